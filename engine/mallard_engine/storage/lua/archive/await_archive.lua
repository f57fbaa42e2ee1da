#!lua flags=allow-oom
-- Keeps jobs for the archive that ended before there was one.
-- KEYS: archive unarchived forget job...
-- ARGV: now arg{members[]}
-- REPLY: how many are kept
local arg = cmsgpack.unpack(ARGV[2])
local now = tonumber(ARGV[1])
if not now then
  local t = redis.call('TIME')
  now = t[1] * 1000 + math.floor(t[2] / 1000)
end
local hold_ms = tonumber(redis.call('HGET', KEYS[1], 'hold_ms')) or 0
local count = 0
for i, member in ipairs(arg.members) do
  local at = redis.call('ZSCORE', KEYS[3], member)
  if at and redis.call('EXISTS', KEYS[3 + i]) == 1 then
    redis.call('ZADD', KEYS[2], 'NX', now, member:match('([^/]+)$'))
    redis.call('PEXPIRE', KEYS[3 + i], math.max(at - now, 0) + hold_ms)
    count = count + 1
  end
end
return count
