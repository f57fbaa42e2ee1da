#!lua flags=no-writes
-- Reads the queued jobs of a mall that one of the vehicles could take, in the order of the wait
-- set. One call looks at a bounded number of names between `low` and `high`. A name holds the
-- demand of its job, so jobs that no vehicle can take are not read.
-- KEYS: waiting holds wait
-- ARGV: now arg{low high looked_at limit vehicles[{weight_g volume_l equipment[]}]}
-- REPLY: jobs[job packed …] holds low
local arg = cmsgpack.unpack(ARGV[2])

local function has_all(own, items)
  for item in items:gmatch('[^,]+') do
    if not own[item] then return false end
  end
  return true
end
for _, vehicle in ipairs(arg.vehicles) do
  local own = {}
  for _, item in ipairs(vehicle[3]) do own[item] = true end
  vehicle[3] = own
end
local function fits(demand)
  local weight, volume, items = demand:match('^(%S+) (%S+) (.*)$')
  if not weight then return true end
  for _, vehicle in ipairs(arg.vehicles) do
    if tonumber(weight) <= vehicle[1] and tonumber(volume) <= vehicle[2]
      and has_all(vehicle[3], items) then return true end
  end
  return false
end

local verdicts, ids, names, last = {}, {}, {}, nil
local places = redis.call('ZRANGE', KEYS[3], arg.low, arg.high, 'BYLEX', 'LIMIT', 0, arg.looked_at)
for _, place in ipairs(places) do
  local id, demand = place:match('^[^/]*/[^/]*/([^/]*)/(.*)$')
  if verdicts[demand] == nil then verdicts[demand] = fits(demand) end
  if verdicts[demand] then ids[#ids + 1], names[#ids + 1] = id, place end
  last = place
  if #ids == arg.limit then break end
end
local jobs = {}
for i, packed in ipairs(#ids > 0 and redis.call('HMGET', KEYS[1], unpack(ids)) or {}) do
  jobs[2 * i - 1], jobs[2 * i] = packed and ids[i] or names[i], packed
end
-- The last piece has no end.
local is_last = #places < arg.looked_at and last == places[#places]
local holds = redis.call('EXISTS', KEYS[2]) == 1 and redis.call('HGETALL', KEYS[2]) or {}
return { jobs, holds, is_last and '' or '(' .. last }
