#!lua flags=allow-oom
-- Stores the pickup and drop-off times of jobs that a driver holds. A job that it does not hold at
-- that attempt any more, or that has ended, keeps its times. A job whose risk follows from its new
-- times is looked at by the next sweep (lib/risk.lua).
-- KEYS: risks job...
-- ARGV: now arg{driver margin_ms stops[{attempt eta_pickup_ms eta_dropoff_ms}]}
-- REPLY: how many were told
local arg = cmsgpack.unpack(ARGV[2])
local told = 0
local function risk_at(eta_ms, deadline_ms)
  if eta_ms > deadline_ms then return 'late' end
  return eta_ms > deadline_ms - arg.margin_ms and 'at_risk' or 'none'
end
for i, stop in ipairs(arg.stops) do
  local key = KEYS[i + 1]
  local job = redis.call('HMGET', key, 'driver', 'attempt', 'state', 'promised_ms', 'deadline_ms',
    'risk', 'id')
  local is_held = job[3] == 'assigned' or job[3] == 'at_mall' or job[3] == 'picked_up'
  if is_held and job[1] == arg.driver and tonumber(job[2]) == stop[1] then
    -- A job on board keeps the actual time of its pickup.
    if job[3] ~= 'picked_up' then
      redis.call('HSET', key, 'eta_pickup_ms', stop[2])
      if (job[4] or '') == '' then redis.call('HSET', key, 'promised_ms', stop[2]) end
    end
    redis.call('HSET', key, 'eta_dropoff_ms', stop[3])
    if risk_at(stop[3], tonumber(job[5] or 0)) ~= (job[6] or 'none') then
      redis.call('ZADD', KEYS[1], 0, job[7])
    end
    told = told + 1
  end
end
return told
