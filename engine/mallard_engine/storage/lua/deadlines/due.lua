#!lua flags=allow-oom
-- Reads the overdue entries, oldest first. Nothing is popped: entries are postponed a little, and
-- the fenced transition removes them. So a repeat has no effect, and an entry whose transition
-- fails does not block the others.
-- KEYS: due
-- ARGV: now arg{limit again_ms}
-- REPLY: entries[member …]
local arg = cmsgpack.unpack(ARGV[2])
local now = tonumber(ARGV[1])
if not now then
  local t = redis.call('TIME')
  now = t[1] * 1000 + math.floor(t[2] / 1000)
end
local entries = redis.call('ZRANGE', KEYS[1], '-inf', now, 'BYSCORE', 'LIMIT', 0, arg.limit)
for i = 1, #entries do
  redis.call('ZADD', KEYS[1], now + arg.again_ms, entries[i])
end
return entries
