#!lua flags=allow-oom
-- Shortens the hold of a store to until_ms, or ends it if that has passed. If the shop itself has
-- said until when it is closed, the hold is not shortened below that time.
-- KEYS: holds forget
-- ARGV: now arg{place until_ms}
-- REPLY: 1: it was held for longer | 0
local arg = cmsgpack.unpack(ARGV[2])
local now = tonumber(ARGV[1])
if not now then
  local t = redis.call('TIME')
  now = t[1] * 1000 + math.floor(t[2] / 1000)
end
-- include lib/holds.lua

local until_ms = math.max(arg.until_ms, own_word(KEYS[1], arg.place))
local held = redis.call('HGET', KEYS[1], arg.place)
if not held or tonumber(held) <= until_ms then return 0 end
if until_ms <= now then
  redis.call('HDEL', KEYS[1], arg.place, 'closed/' .. arg.place)
  redis.call('ZREM', KEYS[2], 'hold/' .. arg.place)
else
  redis.call('HSET', KEYS[1], arg.place, until_ms)
  redis.call('ZADD', KEYS[2], until_ms, 'hold/' .. arg.place)
end
return 1
