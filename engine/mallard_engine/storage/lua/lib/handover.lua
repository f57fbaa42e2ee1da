-- The code that the driver shows at the counter, as engine/mallard_engine/core/handover.py computes
-- it. Each attempt has its own. nil if the job was stored before there were codes.
local function handover_code(job, attempt)
  local key = redis.call('HGET', job.key, 'handover_key')
  if not key or key == '' then return nil end
  local digest = redis.sha1hex(key .. '/' .. attempt)
  return string.format('%06d', tonumber(digest:sub(1, 8), 16) % 1000000)
end
