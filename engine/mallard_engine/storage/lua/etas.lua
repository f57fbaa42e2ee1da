#!lua flags=allow-oom
-- Stores the pickup and drop-off times of jobs that a driver holds. A job that it does not hold at
-- that attempt any more, or that has ended, keeps its times.
-- KEYS: job...
-- ARGV: now arg{driver stops[{attempt eta_pickup_ms eta_dropoff_ms}]}
-- REPLY: how many were told
local arg = cmsgpack.unpack(ARGV[2])
local told = 0
for i, stop in ipairs(arg.stops) do
  local job = redis.call('HMGET', KEYS[i], 'driver', 'attempt', 'state', 'promised_ms')
  local is_held = job[3] == 'assigned' or job[3] == 'at_mall' or job[3] == 'picked_up'
  if is_held and job[1] == arg.driver and tonumber(job[2]) == stop[1] then
    -- A job on board keeps the actual time of its pickup.
    if job[3] ~= 'picked_up' then
      redis.call('HSET', KEYS[i], 'eta_pickup_ms', stop[2])
      if (job[4] or '') == '' then redis.call('HSET', KEYS[i], 'promised_ms', stop[2]) end
    end
    redis.call('HSET', KEYS[i], 'eta_dropoff_ms', stop[3])
    told = told + 1
  end
end
return told
