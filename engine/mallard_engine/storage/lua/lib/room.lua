-- What a driver carries, and whether more fits. Where runs are allowed, its record holds each job's
-- drop-off and load, so that a round can plan with them.
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

-- An express job is its driver's only one until it ends. A job stored before there were service
-- levels has that of the market's preset.
local function is_express(job)
  if job.kind == 'transfer' then return false end
  local level = need_of(job).service_level
  if not level then return policy.express ~= nil end
  return level == 'express'
end

-- How many jobs it counts as: a transfer needs the room of all jobs that it carries.
local function parts_of(job)
  return job.kind == 'transfer' and need_of(job).jobs or 1
end

-- Whether these jobs fit beside those that the driver holds. The ranking, or the operator, checks
-- that one job fits an empty vehicle. `by_operator`: an express job may join others.
local function fits(rec, jobs, by_operator)
  local count = 0
  for _, held in ipairs(rec.jobs) do count = count + (held.jobs or 1) end
  for _, job in ipairs(jobs) do count = count + parts_of(job) end
  if count == 1 then return true end
  if count > most_jobs(rec) then return false end
  local weight, volume = 0, 0
  for _, held in ipairs(rec.jobs) do
    if not has_place(held) or (held.alone and not by_operator) then return false end
    weight, volume = weight + held.weight_g, volume + held.volume_l
  end
  for _, job in ipairs(jobs) do
    local need = need_of(job)
    if not is_equipped(rec.vehicle, need) then return false end
    if is_express(job) and not by_operator then return false end
    weight, volume = weight + need.weight_g, volume + need.volume_l
  end
  return weight <= rec.vehicle.max_weight_g and volume <= rec.vehicle.max_volume_l
end

-- The stores that a driver must visit; all of them if nothing is left to collect.
local function visits_of(need)
  local is_done, visits = {}, {}
  for _, store in ipairs(need.done or {}) do is_done[store] = true end
  for _, store in ipairs(need.stores) do
    if not is_done[store] then visits[#visits + 1] = store end
  end
  return #visits > 0 and visits or need.stores
end

-- Adds the job, at its attempt, to the driver's record. `there`: it is at the mall already; `gate`:
-- where it parks, if known.
local function take_on(rec, job, there, gate)
  local held = { job = job.id, attempt = job.attempt, mall = job.mall }
  -- No job is added on the way to the meeting of a transfer.
  if job.kind == 'transfer' then held.jobs, there = parts_of(job), true end
  if policy.max_run_jobs > 1 then
    local need = need_of(job)
    held.there, held.alone = there, is_express(job) or nil
    held.lat, held.lon, held.deadline_ms = need.lat, need.lon, need.deadline_ms
    held.weight_g, held.volume_l = need.weight_g, need.volume_l
    if not there then
      held.stores, held.ready_ms, held.gate = visits_of(need), need.ready_ms, gate
    end
  end
  rec.jobs[#rec.jobs + 1] = held
end

-- Marks that the driver is at the mall with this job: no node adds jobs to its run from now on.
-- Returns whether its record must be saved.
local function note_arrival(rec, job)
  local held = rec.jobs[holds(rec, job.id)]
  if not held or held.there or not has_place(held) then return false end
  held.there = true
  return true
end
