-- Limits that fit the slack of a job: core/matching/patience.py has the same rules and says why.
local function fitted_ms(left_ms, least_ms, most_ms)
  return math.min(most_ms, math.max(least_ms, math.floor(policy.slack_share * left_ms)))
end

-- How long the driver of an offer of these jobs gets no other; the most urgent of them decides.
local function cooldown_ms(jobs)
  local left_ms = math.huge
  for _, job in ipairs(jobs) do left_ms = math.min(left_ms, job.expires_ms - now) end
  return fitted_ms(left_ms, policy.cooldown_min_ms, policy.cooldown_ms)
end
