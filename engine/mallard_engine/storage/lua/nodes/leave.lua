#!lua flags=allow-oom
-- Gives up the lease of a node that holds no drivers, or of a dead node. The node's push stream is
-- deleted: no driver's record names the node any longer.
-- KEYS: nodes held leases push
-- ARGV: now arg{node dead?}
-- REPLY: left; 0 while the node still holds drivers, or if it was considered dead but is alive
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
