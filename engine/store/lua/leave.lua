#!lua flags=allow-oom
-- A node that holds no driver any more gives up its lease.
-- KEYS: nodes held
-- ARGV: now arg{node}
-- REPLY: left, 0 while drivers are still held
local arg = cmsgpack.unpack(ARGV[2])
if redis.call('SCARD', KEYS[2]) > 0 then return 0 end
return redis.call('ZREM', KEYS[1], arg.node)
