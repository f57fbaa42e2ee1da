-- What a driver carries, and whether more of it fits. Where runs are allowed, its record says of each
-- job where it goes and how much it is, so that a round can plan with what it holds.
local function need_of(job)
  job.needs = job.needs or cmsgpack.unpack(job.need)
  return job.needs
end

local function is_equipped(vehicle, need)
  for _, item in ipairs(need.requires) do
    local has = item == 'id_check' -- a duty at the door
    for _, own in ipairs(vehicle.equipment) do has = has or own == item end
    if not has then return false end
  end
  return true
end

-- Whether these jobs fit beside what it holds. That one job fits an empty vehicle was its ranking's
-- affair, or its operator's.
local function fits(rec, jobs)
  local count = #rec.jobs + #jobs
  if count == 1 then return true end
  if count > most_jobs(rec) then return false end
  local weight, volume = 0, 0
  for _, held in ipairs(rec.jobs) do
    if not has_place(held) then return false end
    weight, volume = weight + held.weight_g, volume + held.volume_l
  end
  for _, job in ipairs(jobs) do
    local need = need_of(job)
    if not is_equipped(rec.vehicle, need) then return false end
    weight, volume = weight + need.weight_g, volume + need.volume_l
  end
  return weight <= rec.vehicle.max_weight_g and volume <= rec.vehicle.max_volume_l
end

-- Puts the job, at its attempt, into the driver's hands. `there`: at the mall already.
local function take_on(rec, job, there)
  local held = { job = job.id, attempt = job.attempt, mall = job.mall }
  if policy.max_run_jobs > 1 then
    local need = need_of(job)
    held.there = there
    held.lat, held.lon, held.deadline_ms = need.lat, need.lon, need.deadline_ms
    held.weight_g, held.volume_l = need.weight_g, need.volume_l
  end
  rec.jobs[#rec.jobs + 1] = held
end

-- The driver has come to the mall with this job: from now on nothing is added to its run, also by a
-- node that pools where this one does not. Whether its record must be saved.
local function note_arrival(rec, job)
  local held = rec.jobs[holds(rec, job.id)]
  if not held or held.there or not has_place(held) then return false end
  held.there = true
  return true
end
