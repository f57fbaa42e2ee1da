#!lua flags=allow-oom
-- Notes that the place that a job goes back to has been shown the code. From then on a photo does
-- not replace the code.
-- KEYS: job
-- ARGV: now arg{mall store}
-- REPLY: 1 if the job goes back there, else 0
local arg = cmsgpack.unpack(ARGV[2])
local v = redis.call('HMGET', KEYS[1], 'state', 'return_to')
if v[1] ~= 'returning' or not v[2] or v[2] == '' then return 0 end
local place = cmsgpack.unpack(v[2])
if place.mall ~= arg.mall or place.store ~= arg.store then return 0 end
redis.call('HSET', KEYS[1], 'code_shown', '1')
return 1
