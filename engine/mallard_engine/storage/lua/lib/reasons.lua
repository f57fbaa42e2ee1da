-- The last reasons with which drivers declined a job or gave it up, for `explain`.
local MOST_REASONS = 16

local function keep_reason(job, driver, attempt, text)
  if not text or text == '' then return end
  local packed = redis.call('HGET', job.key, 'reasons')
  local reasons = packed and cmsgpack.unpack(packed) or {}
  reasons[#reasons + 1] = { driver = driver, attempt = attempt, text = text }
  if #reasons > MOST_REASONS then table.remove(reasons, 1) end
  redis.call('HSET', job.key, 'reasons', cmsgpack.pack(reasons))
end
