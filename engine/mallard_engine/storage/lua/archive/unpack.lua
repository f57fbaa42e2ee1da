#!lua flags=allow-oom
-- Restores the fields of a packed job and its last round. Fields that were written since it was
-- packed stay. Fenced: nothing is done if the packed record has changed since it was read. The job
-- is packed again later.
-- KEYS: unpacked job round
-- ARGV: now arg{job kept_ms again_ms} packed last_round field...
-- REPLY: 1, or 0 if the packed record is another
local arg = cmsgpack.unpack(ARGV[2])
local now = tonumber(ARGV[1])
if not now then
  local t = redis.call('TIME')
  now = t[1] * 1000 + math.floor(t[2] / 1000)
end
local UNPACKED, JOB, ROUND = KEYS[1], KEYS[2], KEYS[3]
if redis.call('HGET', JOB, 'packed') ~= ARGV[3] then return 0 end
local since = redis.call('HGETALL', JOB)
redis.call('HSET', JOB, unpack(ARGV, 5))
redis.call('HSET', JOB, unpack(since))
redis.call('HDEL', JOB, 'packed')
local left_ms = redis.call('PTTL', JOB)
if ARGV[4] ~= '' then
  redis.call('SET', ROUND, ARGV[4], 'PX', left_ms > 0 and left_ms or arg.kept_ms)
end
redis.call('ZADD', UNPACKED, now + arg.again_ms, arg.job)
return 1
