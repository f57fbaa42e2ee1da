#!lua flags=allow-oom
-- Ends the tracking of a job by its customer's link, for good.
-- KEYS: job tracked
-- ARGV: now arg{job}
-- REPLY: 1, or 0 if the job is gone
-- include lib/packed.lua
local arg = cmsgpack.unpack(ARGV[2])
refuse_packed(KEYS[1])
local token = redis.call('HGET', KEYS[1], 'tracking')
if not token then return redis.call('EXISTS', KEYS[1]) end
if redis.call('HGET', KEYS[2], token) == arg.job then redis.call('HDEL', KEYS[2], token) end
redis.call('HSET', KEYS[1], 'tracking', '')
return 1
