-- When a job's states began: by the engine's clock, and by the phone that reported it.
local ACTUAL = { picked_up = 'eta_pickup_ms', delivered = 'eta_dropoff_ms' }

-- Adds a change to the timeline; when it occurred. That is the phone's word, but not before the state
-- before it, nor after now. What has happened is expected no more: the ETA becomes the actual time.
local function note_change(job, state, actor, cause)
  local entries = #job.timeline
  local before = job.occurred[entries] or job.timeline[entries][2]
  local occurred = math.min(math.max(job.reported_ms or now, before), now)
  job.timeline[entries + 1] = { state, now, actor, cause }
  -- A list of its own, as engines of schema 1 read timelines of four elements only. Entries that
  -- such an engine has added occurred when they were recorded.
  for i = #job.occurred + 1, entries do job.occurred[i] = job.timeline[i][2] end
  job.occurred[entries + 1] = occurred
  redis.call('HSET', job.key, 'occurred', cmsgpack.pack(job.occurred))
  if ACTUAL[state] then redis.call('HSET', job.key, ACTUAL[state], occurred) end
  if state == 'returning' then redis.call('HSET', job.key, 'eta_dropoff_ms', '') end
  return occurred
end
