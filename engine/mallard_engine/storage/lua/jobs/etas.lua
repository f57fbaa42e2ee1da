#!lua flags=allow-oom
-- Stores the expected pickup and drop-off times of jobs that a driver holds. A job that the driver
-- no longer holds at that attempt, or that has ended, keeps its times. The next sweep looks at a
-- job whose risk changes with its new times (lib/risk.lua). Changed times are written as events.
-- KEYS: risks events job...
-- ARGV: now arg{driver margin_ms kept_ms stops[{attempt eta_pickup_ms eta_dropoff_ms}]}
-- REPLY: how many jobs got new times
local arg = cmsgpack.unpack(ARGV[2])
local stored, now = 0, tonumber(ARGV[1])
if not now then
  local t = redis.call('TIME')
  now = t[1] * 1000 + math.floor(t[2] / 1000)
end
-- Smaller changes of the drop-off time are not written as events.
local LEAST_CHANGE_MS = 60000
local function risk_at(eta_ms, deadline_ms)
  if eta_ms > deadline_ms then return 'late' end
  return eta_ms > deadline_ms - arg.margin_ms and 'at_risk' or 'none'
end
local function write_event(job, etas)
  local fields = { kind = 'eta', job = job[7], service = job[8], state = job[3],
    attempt = tonumber(job[2]), driver = job[1], etas = etas, at = now }
  redis.call('XADD', KEYS[2], 'MINID', '~', now - arg.kept_ms,
    ARGV[1] == '' and '*' or ARGV[1] .. '-*', 'e', cmsgpack.pack(fields))
end
for i, stop in ipairs(arg.stops) do
  local key = KEYS[i + 2]
  local job = redis.call('HMGET', key, 'driver', 'attempt', 'state', 'promised_ms', 'deadline_ms',
    'risk', 'id', 'service', 'eta_pickup_ms', 'told_eta_ms', 'eta_dropoff_ms')
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
    -- The time that readers know: that of the last event, or at first that of the assignment.
    local was_ms = tonumber(job[10] or nil) or tonumber(job[11] or nil)
    if was_ms and not job[10] then redis.call('HSET', key, 'told_eta_ms', was_ms) end
    if not was_ms or math.abs(stop[3] - was_ms) >= LEAST_CHANGE_MS then
      redis.call('HSET', key, 'told_eta_ms', stop[3])
      write_event(job, { job[3] == 'picked_up' and tonumber(job[9]) or stop[2], stop[3] })
    end
    stored = stored + 1
  end
end
return stored
