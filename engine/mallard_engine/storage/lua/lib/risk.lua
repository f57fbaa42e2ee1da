-- The risk of an open job: whether its expected drop-off is after its deadline (`late`), or within
-- the market's margin of it (`at_risk`). K.risks has, for each open job, when its risk may change
-- next if nothing else happens: an entry may be too early, never too late.
-- A transfer has no risk: no customer waits for it, and the jobs that it carries have their own.
-- While a driver holds the job, its ETA is the expected drop-off. Before, the drop-off is expected
-- after the least time that it takes from now: `lead_ms` until the pickup, and `haul_ms` from
-- there.
local HAS_ETA = { assigned = true, at_mall = true, picked_up = true }

-- When the job is dropped off at the earliest, and how long that takes from its next step on (0: the
-- ETA is fixed).
local function expected_ms(job)
  local lead, haul, at = job.lead_ms, job.haul_ms, now
  if HAS_ETA[job.state] then
    local eta = tonumber(redis.call('HGET', job.key, 'eta_dropoff_ms') or nil)
    if eta then return math.max(eta, now), 0 end
    if job.state == 'picked_up' then lead = 0 end
    return now + lead + haul, lead + haul
  end
  if job.state == 'scheduled' then at = math.max(now, job.release_ms) end
  local ready_ms = cmsgpack.unpack(job.need).ready_ms
  return math.max(at + lead, ready_ms) + haul, lead + haul
end

-- The risk, when it may change next (nil: only with the job), and the expected drop-off.
local function risk_of(job)
  if job.state == 'returning' or job.kind == 'transfer' then return 'none', nil, nil end
  local expected, course = expected_ms(job)
  if expected > job.deadline_ms then return 'late', nil, expected end
  local late_from = job.deadline_ms - course + 1
  local at_risk_from = late_from - policy.risk_margin_ms
  if expected >= job.deadline_ms - policy.risk_margin_ms + 1 then
    return 'at_risk', late_from, expected
  end
  return 'none', at_risk_from, expected
end
