#!lua flags=allow-oom
-- Renews a node's presence on a server, and returns which other nodes are present and which markets
-- operators have changed. leave: removes the node instead.
-- KEYS: peers changed
-- ARGV: now arg{member lease_ms version leave?}
-- REPLY: now peers[member …] version changed[market count …]
local arg = cmsgpack.unpack(ARGV[2])
local now = tonumber(ARGV[1])
if not now then
  local t = redis.call('TIME')
  now = t[1] * 1000 + math.floor(t[2] / 1000)
end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
if arg.leave then
  redis.call('ZREM', KEYS[1], arg.member)
else
  redis.call('ZADD', KEYS[1], now + arg.lease_ms, arg.member)
end
local version = tonumber(redis.call('HGET', KEYS[2], '/') or 0)
local changed = version ~= arg.version and redis.call('HGETALL', KEYS[2]) or {}
return { now, redis.call('ZRANGE', KEYS[1], 0, -1), version, changed }
