-- Events of a job. Each contains what readers see of the job at that moment (state, attempt,
-- driver, expected times), since the job may have changed by the time the event is delivered.
-- Needs lib/times.lua and lib/archive.lua.

-- {pickup, drop-off}; 0: unknown. Only a job with a driver, or one that has ended, has these times.
local function etas_of(job)
  if job.driver == '' and not TERMINAL[job.state] then return nil end
  local v = redis.call('HMGET', job.key, 'eta_pickup_ms', 'eta_dropoff_ms')
  return { tonumber(v[1]) or 0, tonumber(v[2]) or 0 }
end

-- Writes an event that is not a change of state; `move` writes those.
local function job_event(job, fields)
  fields.job, fields.service, fields.state = job.id, job.service, job.state
  fields.attempt, fields.driver = job.attempt, fields.driver or job.driver
  fields.etas = etas_of(job)
  if fields.reported_ms then fields.occurred_ms = occurred_at(job, fields.reported_ms) end
  event(fields)
  if TERMINAL[job.state] then await_archive(job) end
end
