-- Limits that fit the slack of a job: core/matching/patience.py has the same rules and says why.
local function fitted_ms(left_ms, least_ms, most_ms)
  return math.min(most_ms, math.max(least_ms, math.floor(policy.slack_share * left_ms)))
end

-- How long the holder of this job may be silent before pickup, from the disconnect on. Around the
-- mall it may be silent for longer.
local function silence_ms(job, lost_ms)
  local times = redis.call('HMGET', job.key, 'deadline_ms', 'eta_dropoff_ms')
  local done_ms = math.max(tonumber(times[2]) or 0, lost_ms)
  local left_ms = (tonumber(times[1]) or 0) - done_ms
  local limit_ms = fitted_ms(left_ms, policy.resume_ms, policy.silence_most_ms)
  if job.state == 'at_mall' then return math.max(limit_ms, policy.at_mall_silence_ms) end
  return limit_ms
end

-- How long the driver of an offer of these jobs gets no other offer; the most urgent job decides.
local function cooldown_ms(jobs)
  local left_ms = math.huge
  for _, job in ipairs(jobs) do left_ms = math.min(left_ms, job.expires_ms - now) end
  return fitted_ms(left_ms, policy.cooldown_min_ms, policy.cooldown_ms)
end
