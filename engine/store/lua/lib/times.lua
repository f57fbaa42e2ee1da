-- When a job's states began: by the engine's clock, and by the phone that reported it.
local ACTUAL = { picked_up = 'eta_pickup_ms', delivered = 'eta_dropoff_ms' }

-- Adds a change to the timeline; when it occurred. That is the phone's word, but not before the state
-- before it, nor after now. What has happened is expected no more: the ETA becomes the actual time.
local function note_change(job, state, actor, cause)
  local before = job.timeline[#job.timeline]
  local occurred = math.min(math.max(job.reported_ms or now, before[5] or before[2]), now)
  job.timeline[#job.timeline + 1] = { state, now, actor, cause, occurred }
  if ACTUAL[state] then redis.call('HSET', job.key, ACTUAL[state], occurred) end
  if state == 'returning' then redis.call('HSET', job.key, 'eta_dropoff_ms', '') end
  return occurred
end
