-- The steps of a parcel on board that need a time. Needs lib/door.lua.
local TIMED = { at_door = true, returning = true, resume = true }
local FURTHEST_AHEAD_MS = 60000

-- A step with a time is a repeat if it is not later than the last such step at this attempt. The
-- time of a clock that runs ahead is kept but bounded, so that it does not refuse every later step.
local function is_taken(job, at_ms)
  local packed = redis.call('HGET', job.key, 'last_step')
  local last = packed and cmsgpack.unpack(packed)
  return last and last[1] == job.attempt and (at_ms <= last[2] or at_ms == last[3]) or false
end

local function note_taken(job, at_ms)
  redis.call('HSET', job.key, 'last_step', cmsgpack.pack({ job.attempt,
    math.min(at_ms, now + FURTHEST_AHEAD_MS), at_ms }))
end

-- Takes the step of this report, which has passed the checks of every step.
local function take_timed_step(job, rec)
  note_taken(job, arg.at_ms)
  if arg.step == 'at_door' then
    begin_visit(job)
    job_event(job, { kind = 'at_door', driver = arg.driver, reported_ms = arg.at_ms })
  elseif arg.step == 'resume' then
    resolve_at_door(job)
    turn_round(job, rec, arg.driver)
  else
    turn_back(job, rec, arg.driver, 'returning', arg.reason, arg.plan)
  end
end
