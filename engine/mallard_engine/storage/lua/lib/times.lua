-- When a job's states began: by the engine's clock, and by the device that reported it.
local ACTUAL = { picked_up = 'eta_pickup_ms', delivered = 'eta_dropoff_ms' }

-- Adds a change to the timeline. Returns when it occurred: the device's time, but not before the
-- previous state, nor after now. The ETA of what has happened becomes the actual time.
local function note_change(job, state, actor, cause)
  local entries = #job.timeline
  local is_new = job.timeline[entries][1] ~= state
  local before = job.occurred[entries] or job.timeline[entries][2]
  local occurred = math.min(math.max(job.reported_ms or now, before), now)
  job.timeline[entries + 1] = { state, now, actor, cause }
  -- A separate list, as engines of schema 1 read only timelines of four elements. Entries that such
  -- an engine has added occurred when they were recorded.
  for i = #job.occurred + 1, entries do job.occurred[i] = job.timeline[i][2] end
  job.occurred[entries + 1] = occurred
  redis.call('HSET', job.key, 'occurred', cmsgpack.pack(job.occurred))
  if ACTUAL[state] and is_new then redis.call('HSET', job.key, ACTUAL[state], occurred) end
  if state == 'returning' then redis.call('HSET', job.key, 'eta_dropoff_ms', '') end
  return occurred
end
