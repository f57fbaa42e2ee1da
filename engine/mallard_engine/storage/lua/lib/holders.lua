-- Taking a job out of its holder's hands before pick-up. Whoever tells the holder has changed its
-- record already: the push says its own state after the change.
local function tell_holder(job, rec, state, reason)
  push(job.driver, rec, { kind = 'job', job = job.id, mall = job.mall, attempt = job.attempt,
    state = state, reason = reason, driver_state = shown_state(rec) })
end

-- Removes the job from its holder's record; the holder hears why unless it said so itself.
local function take_from_holder(job, state, reason)
  redis.call('HSET', job.key, 'eta_dropoff_ms', '')
  if BEFORE_PICKUP[job.state] then
    redis.call('HSET', job.key, 'eta_pickup_ms', '', 'promised_ms', '')
  end
  local rec = read_driver(job.driver)
  if not rec then return end
  drop_job(rec, job.id)
  if reason then tell_holder(job, rec, state, reason) end
  save_driver(job.driver, rec)
end

-- Back to the queue under a higher attempt, so that whatever names the old one has no effect.
local function revoke(job, outcome, actor, reason)
  local told = outcome ~= 'gave_up' and outcome or nil
  note_asked(job, job.driver, outcome)
  if told then note_former(job, job.driver) else strike_former(job, job.driver) end
  job.attempt = job.attempt + 1
  take_from_holder(job, 'queued', told)
  job.driver = ''
  move(job, 'queued', actor, outcome, now + policy.safety_ms, reason)
end

-- The job has ended in its driver's hands.
local function leave_hands(job, rec)
  drop_job(rec, job.id)
  if policy.keeps_work and job.state == 'delivered' then
    rec.done = (rec.done or 0) + 1
    rec.earned_minor = (rec.earned_minor or 0) + (cmsgpack.unpack(job.need).pay_minor or 0)
  end
  save_driver(job.driver, rec)
end

-- When to look whether a holder is still there: at its limit if it is away, else a limit from now.
local function silence_limit(rec)
  if rec.connected then
    return now + math.min(policy.resume_ms, policy.stuck_ms or policy.resume_ms)
  end
  return math.max(rec.lost_ms + policy.resume_ms, now + 1)
end
