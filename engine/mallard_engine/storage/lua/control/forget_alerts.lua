#!lua flags=allow-oom
-- Deletes alerts, open or acknowledged, whose retention has ended.
-- KEYS: alerts alerts_open alerts_done
-- ARGV: now arg{limit kept_ms}
-- REPLY: how many were dropped
local arg = cmsgpack.unpack(ARGV[2])
local now = tonumber(ARGV[1])
if not now then
  local t = redis.call('TIME')
  now = t[1] * 1000 + math.floor(t[2] / 1000)
end
local dropped = 0
for i = 2, 3 do
  local old = redis.call('ZRANGE', KEYS[i], '-inf', now - arg.kept_ms, 'BYSCORE', 'LIMIT', 0,
    arg.limit)
  for _, alert in ipairs(old) do
    redis.call('ZREM', KEYS[i], alert)
    redis.call('HDEL', KEYS[1], alert)
  end
  dropped = dropped + #old
end
return dropped
