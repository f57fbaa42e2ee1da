-- When a job's states began: by the engine's clock, and by the device that reported it.
local ACTUAL = { picked_up = 'eta_pickup_ms', delivered = 'eta_dropoff_ms' }

-- When something that a device reported occurred: the device's time, but neither before the job's
-- present state nor after now.
local function occurred_at(job, reported_ms)
  local last = #job.timeline
  local before = job.occurred[last] or job.timeline[last][2]
  return math.min(math.max(reported_ms or now, before), now)
end

-- Adds a change to the timeline. Returns when it occurred. The ETA of a step that has happened
-- becomes its actual time.
local function note_change(job, state, actor, cause)
  local entries = #job.timeline
  local is_new = job.timeline[entries][1] ~= state
  local occurred = occurred_at(job, job.reported_ms)
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
