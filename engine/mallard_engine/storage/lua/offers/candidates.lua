#!lua flags=no-writes
-- Reads what a round of a mall needs: queued jobs, and free drivers, nearest first.
-- Jobs: if there are more than `jobs`, the first of each service by priority and age, and the
-- `named` ones wherever they stand. If there are more than MOST services, those after `after`. With
-- `jobs` 0 the named ones alone.
-- Drivers: the radius doubles from radius_m until `drivers` are found or max_radius_m is reached,
-- so the cost depends on the drivers nearby, not on the city. Where runs are pooled, also up to
-- `coming` drivers who are on their way to the mall and have room for more.
-- KEYS: drivers positions idle nodes waiting holds wait coming
-- ARGV: now arg{lat lon radius_m max_radius_m drivers jobs mall coming named[job] after}
-- REPLY: now radius_m waiting_total jobs[job packed …] drivers[driver distance_m …] records positions nodes holds
-- REPLY: coming[record …] coming_positions after
local MOST = 64
local arg = cmsgpack.unpack(ARGV[2])
local DRIVERS, POSITIONS, IDLE, NODES, WAITING, HOLDS, WAIT =
  KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7]

local now = ARGV[1]
if now == '' then
  local t = redis.call('TIME')
  now = t[1] * 1000 + math.floor(t[2] / 1000)
end
now = tonumber(now)

local total = redis.call('ZCARD', WAIT)
if total == 0 and arg.jobs > 0 and #arg.named == 0 then
  return { now, 0, 0, {}, {}, {}, {}, {}, {}, {}, {}, '' }
end

local ids, names, known, after = {}, {}, {}, ''
local function add(places)
  for _, place in ipairs(places) do
    local id = place:match('^[^/]*/[^/]*/([^/]*)/')
    ids[#ids + 1], names[#ids + 1], known[id] = id, place, true
  end
end
if arg.jobs > 0 and total <= arg.jobs then
  add(redis.call('ZRANGE', WAIT, 0, -1))
elseif arg.jobs > 0 then
  -- `0` follows `/` in ASCII: the end of a service's names.
  local services, low = {}, arg.after == '' and '-' or '(' .. arg.after .. '0'
  repeat
    local first = redis.call('ZRANGE', WAIT, low, '+', 'BYLEX', 'LIMIT', 0, 1)[1]
    if not first then break end
    services[#services + 1] = first:match('^[^/]*')
    low = '(' .. services[#services] .. '0'
  until #services == MOST
  if #services == MOST then after = services[MOST] end
  for _, service in ipairs(services) do
    add(redis.call('ZRANGE', WAIT, '[' .. service .. '/', '(' .. service .. '0', 'BYLEX',
      'LIMIT', 0, math.ceil(arg.jobs / #services)))
  end
end
-- Named jobs are read wherever they stand: an engine of schema 1 gives them no place in the queue.
for _, id in ipairs(arg.named) do
  if not known[id] then ids[#ids + 1] = id end
end
local jobs = {}
for i, packed in ipairs(#ids > 0 and redis.call('HMGET', WAITING, unpack(ids)) or {}) do
  -- An engine of schema 1 leaves the place of a job behind: the reply names the place instead.
  jobs[2 * i - 1], jobs[2 * i] = packed and ids[i] or names[i] or ids[i], packed
end

local radius = math.min(arg.radius_m, arg.max_radius_m)
local found
while true do
  found = redis.call('GEOSEARCH', IDLE, 'FROMLONLAT', arg.lon, arg.lat, 'BYRADIUS', radius, 'm',
    'ASC', 'COUNT', arg.drivers, 'WITHDIST')
  if #found >= arg.drivers or radius >= arg.max_radius_m then break end
  radius = math.min(radius * 2, arg.max_radius_m)
end

local near, names = {}, {}
for i, hit in ipairs(found) do
  names[i] = hit[1]
  near[2 * i - 1] = hit[1]
  near[2 * i] = hit[2]
end
local records, positions = {}, {}
if #names > 0 then
  records = redis.call('HMGET', DRIVERS, unpack(names))
  positions = redis.call('HMGET', POSITIONS, unpack(names))
end
local holds = redis.call('EXISTS', HOLDS) == 1 and redis.call('HGETALL', HOLDS) or {}
local nodes = redis.call('ZRANGE', NODES, '(' .. now, '+inf', 'BYSCORE')
local coming, coming_positions = {}, {}
if arg.coming > 0 then
  -- `0` follows `/` in ASCII: the end of this mall's names.
  local names = redis.call('ZRANGE', KEYS[8], '[' .. arg.mall .. '/', '(' .. arg.mall .. '0',
    'BYLEX', 'LIMIT', 0, arg.coming)
  for i, name in ipairs(names) do names[i] = name:sub(#arg.mall + 2) end
  if #names > 0 then
    coming = redis.call('HMGET', DRIVERS, unpack(names))
    coming_positions = redis.call('HMGET', POSITIONS, unpack(names))
  end
end
return { now, math.ceil(radius), total, jobs, near, records, positions, nodes, holds,
  coming, coming_positions, after }
