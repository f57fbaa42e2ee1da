#!lua flags=allow-oom
-- What is overdue, oldest first. Nothing is popped: it is re-scored a little on, and the fenced
-- transition removes it; so doing it twice does nothing and a poison entry blocks nobody.
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
