#!lua flags=allow-oom
-- Releases jobs that have been archived: acknowledges their events and restores their usual
-- retention. A job whose score in `unarchived` has changed since it was read stays.
-- KEYS: events unarchived forget job...
-- ARGV: now arg{group places[] jobs[{job service at?}]}
-- REPLY: how many jobs were released
local arg = cmsgpack.unpack(ARGV[2])
local now = tonumber(ARGV[1])
if not now then
  local t = redis.call('TIME')
  now = t[1] * 1000 + math.floor(t[2] / 1000)
end
for _, place in ipairs(arg.places) do redis.call('XACK', KEYS[1], arg.group, place) end
local count = 0
for i, job in ipairs(arg.jobs) do
  local at = redis.call('ZSCORE', KEYS[2], job.job)
  if at and tonumber(at) == job.at then
    redis.call('ZREM', KEYS[2], job.job)
    count = count + 1
    local till = redis.call('ZSCORE', KEYS[3], 'job/' .. job.service .. '/' .. job.job)
    if till then
      local left_ms = math.max(1, till - now)
      redis.call('PEXPIRE', KEYS[3 + i], left_ms)
      redis.call('PEXPIRE', KEYS[1]:sub(1, -7) .. 'round:' .. job.job, left_ms)
    end
  end
end
return count
