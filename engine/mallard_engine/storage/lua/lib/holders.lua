-- Takes a job off its holder before pickup. The holder's record must be changed before the push,
-- which contains the state after the change.
local function notify_holder(job, rec, state, reason)
  push(job.driver, rec, { kind = 'job', job = job.id, mall = job.mall, attempt = job.attempt,
    state = state, reason = reason, driver_state = shown_state(rec) })
end

-- Removes the job from its holder's record, and pushes the reason unless the holder itself gave it
-- up.
local function take_from_holder(job, state, reason)
  redis.call('HSET', job.key, 'eta_dropoff_ms', '')
  if BEFORE_PICKUP[job.state] then
    redis.call('HSET', job.key, 'eta_pickup_ms', '', 'promised_ms', '')
  end
  look_at_risk(job) -- the ETA by which it was in time is gone
  local rec = read_driver(job.driver)
  if not rec then return end
  drop_job(rec, job.id)
  if reason then notify_holder(job, rec, state, reason) end
  save_driver(job.driver, rec)
end

-- Returns the job to the queue at a higher attempt: calls at the old one have no effect.
local function revoke(job, outcome, actor, reason)
  local why = outcome ~= 'gave_up' and outcome or nil
  note_asked(job, job.driver, outcome)
  if why then note_former(job, job.driver) else strike_former(job, job.driver) end
  job.attempt = job.attempt + 1
  take_from_holder(job, 'queued', why)
  job.driver = ''
  move(job, 'queued', actor, outcome, now + policy.safety_ms, reason)
end

-- Call it when the job has ended while its driver held it.
local function leave_hands(job, rec)
  drop_job(rec, job.id)
  if policy.keeps_work and job.state == 'delivered' then
    rec.done = (rec.done or 0) + 1
    local pay_minor = job.pay_minor or cmsgpack.unpack(job.need).pay_minor or 0
    rec.earned_minor = (rec.earned_minor or 0) + pay_minor
  end
  save_driver(job.driver, rec)
end

-- When to check whether a holder is silent: at its limit if it is away, else one limit from now.
local function silence_limit(rec)
  if rec.connected then
    return now + math.min(policy.resume_ms, policy.stuck_ms or policy.resume_ms)
  end
  return math.max(rec.lost_ms + policy.resume_ms, now + 1)
end
