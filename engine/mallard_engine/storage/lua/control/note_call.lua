#!lua flags=allow-oom
-- Writes an entry of the audit log, or its outcome under the same id. Entries past their retention
-- are dropped, and the oldest if there are too many. All markets share this key and its slot,
-- which also has the entries.
-- KEYS: audit
-- ARGV: now arg{id at most kept_ms} entry
-- REPLY: how many entries were dropped
local LOG = KEYS[1]
local ENTRIES = '{' .. LOG .. '}:entries'
local arg = cmsgpack.unpack(ARGV[2])
redis.call('HSET', ENTRIES, arg.id, ARGV[3])
redis.call('ZADD', LOG, arg.at, arg.id)
local old = redis.call('ZRANGE', LOG, '-inf', arg.at - arg.kept_ms, 'BYSCORE', 'LIMIT', 0, 16)
local extra = redis.call('ZCARD', LOG) - arg.most
if #old == 0 and extra > 0 then old = redis.call('ZRANGE', LOG, 0, extra - 1) end
for _, id in ipairs(old) do
  redis.call('ZREM', LOG, id)
  redis.call('HDEL', ENTRIES, id)
end
return #old
