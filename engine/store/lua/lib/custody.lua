-- A driver that tapped `picked_up` in a basement has the parcel, whatever we believed meanwhile.
local function was_asked(job, driver)
  for _, turn in ipairs(job.asked) do
    if turn[1] == driver then return true end
  end
  return false
end

local function was_holder(job, driver, attempt)
  for _, former in ipairs(job.former) do
    if former[1] == driver and former[2] == attempt then return true end
  end
  return false
end

local function claim_custody(job, driver, attempt, step)
  if not was_holder(job, driver, attempt) then
    if TERMINAL[job.state] and was_asked(job, driver) then return 'wrong_state' end
    if job.driver == driver or was_asked(job, driver) then return 'stale_attempt' end
    return 'not_yours'
  end
  if step ~= 'picked_up' then return 'stale_attempt' end
  if job.driver == driver and (job.state == 'picked_up' or job.state == 'returning') then
    return 'ok'
  end
  if not BEFORE_PICKUP[job.state] then
    event({ kind = 'alert', what = 'two_claim_a_parcel', job = job.id, service = job.service,
      driver = driver, holder = job.driver, state = job.state })
    return 'wrong_state'
  end

  if job.state == 'offered' then close_offer(job, 'withdrawn', 'collected') end
  if job.state == 'assigned' or job.state == 'at_mall' then
    note_asked(job, job.driver, 'unassigned')
    note_former(job, job.driver)
    take_from_holder(job, 'picked_up', 'collected')
  end
  job.attempt = job.attempt + 1
  job.driver = driver
  local rec = read_driver(driver)
  rec.jobs[#rec.jobs + 1] = { job = job.id, attempt = job.attempt, mall = job.mall }
  save_driver(driver, rec)
  move(job, 'at_mall', driver, 'custody')
  move(job, 'picked_up', driver, 'custody')
  return 'ok'
end
