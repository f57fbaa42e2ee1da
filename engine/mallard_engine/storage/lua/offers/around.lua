#!lua flags=no-writes
-- Reads the free drivers around several points: the nearest of each point, each driver once. The
-- radius doubles from radius_m until `drivers` are found around the point or max_radius_m is
-- reached. Where runs are pooled, it also reads up to `coming` drivers who are on their way to each
-- of the malls and have room for more.
-- KEYS: drivers positions idle nodes coming
-- ARGV: now arg{points[{lat lon}] radius_m max_radius_m drivers most malls[mall] coming}
-- REPLY: now drivers[driver …] records positions nodes coming[record …] coming_positions
local arg = cmsgpack.unpack(ARGV[2])
local DRIVERS, POSITIONS, IDLE, NODES = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local now = tonumber(ARGV[1])
if not now then
  local t = redis.call('TIME')
  now = t[1] * 1000 + math.floor(t[2] / 1000)
end

local ids, known = {}, {}
local free = redis.call('ZCARD', IDLE)
if free <= arg.most then
  -- There are few enough to read all of them, in the order of the index.
  ids = redis.call('ZRANGE', IDLE, 0, -1)
else
  for _, point in ipairs(arg.points) do
    local radius = math.min(arg.radius_m, arg.max_radius_m)
    local found
    while true do
      found = redis.call('GEOSEARCH', IDLE, 'FROMLONLAT', point[2], point[1], 'BYRADIUS', radius,
        'm', 'ASC', 'COUNT', arg.drivers)
      if #found >= arg.drivers or radius >= arg.max_radius_m then break end
      radius = math.min(radius * 2, arg.max_radius_m)
    end
    for _, driver in ipairs(found) do
      if not known[driver] and #ids < arg.most then
        known[driver] = true
        ids[#ids + 1] = driver
      end
    end
  end
end
local records, positions = {}, {}
if #ids > 0 then
  records = redis.call('HMGET', DRIVERS, unpack(ids))
  positions = redis.call('HMGET', POSITIONS, unpack(ids))
end
local nodes = redis.call('ZRANGE', NODES, '(' .. now, '+inf', 'BYSCORE')
local coming, coming_positions = {}, {}
if arg.coming > 0 then
  for _, mall in ipairs(arg.malls) do
    if #coming >= arg.most then break end
    -- `0` follows `/` in ASCII: the end of this mall's names.
    local names = redis.call('ZRANGE', KEYS[5], '[' .. mall .. '/', '(' .. mall .. '0', 'BYLEX',
      'LIMIT', 0, arg.coming)
    for i, name in ipairs(names) do names[i] = name:sub(#mall + 2) end
    for i, record in ipairs(#names > 0 and redis.call('HMGET', DRIVERS, unpack(names)) or {}) do
      coming[#coming + 1] = record
      coming_positions[#coming_positions + 1] = redis.call('HGET', POSITIONS, names[i])
    end
  end
end
return { now, ids, records, positions, nodes, coming, coming_positions }
