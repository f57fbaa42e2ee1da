#!lua flags=allow-oom
-- Renews a node's lease. lapsed 1: it had run out, so its drivers may have been taken out.
-- KEYS: nodes
-- ARGV: now arg{node lease_ms}
-- REPLY: now lapsed dead[node …]
local arg = cmsgpack.unpack(ARGV[2])
local now = tonumber(ARGV[1])
if not now then
  local t = redis.call('TIME')
  now = t[1] * 1000 + math.floor(t[2] / 1000)
end
local lease = redis.call('ZSCORE', KEYS[1], arg.node)
local lapsed = (not lease or tonumber(lease) <= now) and 1 or 0
redis.call('ZADD', KEYS[1], now + arg.lease_ms, arg.node)
return { now, lapsed, redis.call('ZRANGE', KEYS[1], '-inf', now, 'BYSCORE', 'LIMIT', 0, 16) }
