#!lua flags=allow-oom
-- Drops what has been kept long enough from the hashes and sets that cannot have a TTL a member.
-- KEYS: forget offers externals holds by_service by_age
-- ARGV: now arg{limit}
-- REPLY: how many were dropped
local arg = cmsgpack.unpack(ARGV[2])
local now = tonumber(ARGV[1])
if not now then
  local t = redis.call('TIME')
  now = t[1] * 1000 + math.floor(t[2] / 1000)
end
local members = redis.call('ZRANGE', KEYS[1], '-inf', now, 'BYSCORE', 'LIMIT', 0, arg.limit)
for _, member in ipairs(members) do
  local kind, rest = member:match('^(%a+)/(.+)$')
  if kind == 'offer' then redis.call('HDEL', KEYS[2], rest)
  elseif kind == 'external' then redis.call('HDEL', KEYS[3], rest)
  elseif kind == 'hold' then redis.call('HDEL', KEYS[4], rest, 'closed/' .. rest)
  elseif kind == 'job' then
    redis.call('ZREM', KEYS[5], rest)
    redis.call('ZREM', KEYS[6], rest:match('([^/]+)$'))
  end
  redis.call('ZREM', KEYS[1], member)
end
return #members
