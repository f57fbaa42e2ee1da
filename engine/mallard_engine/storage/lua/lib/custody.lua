-- Custody: a driver who reported `picked_up` while offline has the parcel, whatever was stored in
-- the meantime.
local function was_asked(job, driver)
  for _, turn in ipairs(job.asked) do
    if turn[1] == driver then return true end
  end
  return false
end

local function former_turn(job, driver, attempt)
  for _, former in ipairs(job.former) do
    if former[1] == driver and former[2] == attempt then return former end
  end
  return nil
end

local function was_holder(job, driver, attempt)
  return former_turn(job, driver, attempt) ~= nil
end

-- An app repeats its claim with each hello and retry, so the job's record holds which alerts have
-- been raised.
local function alert_once(job, what, driver)
  if redis.call('HSETNX', job.key, 'alert/' .. what .. '/' .. driver, now) == 1 then
    alert(what, { job = job.id, service = job.service, driver = driver, holder = job.driver,
      state = job.state })
  end
end

-- Why a driver who does not hold the job may not act on it, unless it claims custody.
local function refusal_of(job, driver, attempt)
  if was_holder(job, driver, attempt) then return 'stale_attempt' end
  if TERMINAL[job.state] and was_asked(job, driver) then return 'wrong_state' end
  if job.driver == driver or was_asked(job, driver) then return 'stale_attempt' end
  return 'not_yours'
end

local function claim_custody(job, driver, attempt, step)
  if not was_holder(job, driver, attempt) then return refusal_of(job, driver, attempt) end
  if step ~= 'picked_up' and step ~= 'collected' then return 'stale_attempt' end
  if job.driver == driver and not BEFORE_PICKUP[job.state] then
    return job.state == 'lost' and 'wrong_state' or 'ok' -- a repeat
  end
  if not BEFORE_PICKUP[job.state] then
    alert_once(job, job.driver ~= '' and 'two_claim_a_parcel' or 'parcel_of_ended_job', driver)
    return 'wrong_state'
  end
  if not read_driver(driver) then return 'not_yours' end

  local run, names = offered_run(job)
  if not run then return 'run', names end
  if job.state == 'offered' then close_offer(job, run, 'withdrawn', 'collected') end
  if job.driver ~= '' and job.driver ~= driver then
    note_asked(job, job.driver, 'unassigned')
    note_former(job, job.driver)
    take_from_holder(job, 'picked_up', 'collected')
  end
  job.attempt = math.max(job.attempt, attempt) + 1
  former_turn(job, driver, attempt)[3] = job.attempt -- see is_holder
  job.driver = driver
  local rec = read_driver(driver)
  drop_job(rec, job.id) -- if it was assigned to the driver again meanwhile
  take_on(rec, job, true)
  save_driver(driver, rec)
  move(job, 'picked_up', driver, 'custody', silence_limit(rec))
  return 'ok'
end
