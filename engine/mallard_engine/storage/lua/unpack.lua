#!lua flags=allow-oom
-- Writes the fields of a packed job and its last round again, as they were before. Fields that were
-- written since it was packed stay. Fenced: nothing is done if it is not packed as it was read.
-- KEYS: job round
-- ARGV: now arg{kept_ms} packed last_round field...
-- REPLY: 1, or 0 if it was not packed like this
local arg = cmsgpack.unpack(ARGV[2])
local JOB, ROUND = KEYS[1], KEYS[2]
if redis.call('HGET', JOB, 'packed') ~= ARGV[3] then return 0 end
local since = redis.call('HGETALL', JOB)
redis.call('HSET', JOB, unpack(ARGV, 5))
redis.call('HSET', JOB, unpack(since))
redis.call('HDEL', JOB, 'packed')
local left_ms = redis.call('PTTL', JOB)
if ARGV[4] ~= '' then
  redis.call('SET', ROUND, ARGV[4], 'PX', left_ms > 0 and left_ms or arg.kept_ms)
end
return 1
