#!lua flags=allow-oom
-- Gives up the lease of a node that holds no drivers, or of a dead node. Its pushes are deleted: no
-- record names it any more.
-- KEYS: nodes held leases push
-- ARGV: now arg{node dead?}
-- REPLY: left, 0 while drivers are still held, or if it is taken for dead and is not
local arg = cmsgpack.unpack(ARGV[2])
local now = tonumber(ARGV[1])
if not now then
  local t = redis.call('TIME')
  now = t[1] * 1000 + math.floor(t[2] / 1000)
end
if redis.call('SCARD', KEYS[2]) > 0 then return 0 end
local lease = redis.call('ZSCORE', KEYS[1], arg.node)
if arg.dead and lease and tonumber(lease) > now then return 0 end
redis.call('HDEL', KEYS[3], arg.node)
redis.call('DEL', KEYS[4])
return redis.call('ZREM', KEYS[1], arg.node)
