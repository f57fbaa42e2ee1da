#!lua flags=allow-oom
-- Renews a node's presence on a server, and returns which other nodes are present and which markets
-- operators have changed. leave: removes the node instead. busy_ms: the node has drivers to look
-- after, which others assume for this long. busy: 1 if a node has; if not, presence lasts calm_ms, as
-- nodes renew it less often.
-- KEYS: peers changed
-- ARGV: now arg{member lease_ms calm_ms version busy_ms? leave?}
-- REPLY: now peers[member …] version changed[market count …] busy
local arg = cmsgpack.unpack(ARGV[2])
local now = tonumber(ARGV[1])
if not now then
  local t = redis.call('TIME')
  now = t[1] * 1000 + math.floor(t[2] / 1000)
end
local busy = tonumber(redis.call('HGET', KEYS[2], '/busy') or 0) - now
if arg.busy_ms and busy < arg.busy_ms / 2 then
  busy = arg.busy_ms
  redis.call('HSET', KEYS[2], '/busy', string.format('%.0f', now + busy))
end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
if arg.leave then
  redis.call('ZREM', KEYS[1], arg.member)
else
  redis.call('ZADD', KEYS[1], now + (busy > 0 and arg.lease_ms or arg.calm_ms), arg.member)
end
local version = tonumber(redis.call('HGET', KEYS[2], '/') or 0)
local changed = version ~= arg.version and redis.call('HGETALL', KEYS[2]) or {}
return { now, redis.call('ZRANGE', KEYS[1], 0, -1), version, changed, busy > 0 and 1 or 0 }
