#!lua flags=allow-oom
-- Raises the schema mark to that of the calling version. If that version may no longer read the
-- data, nothing changes. Two versions that start at once therefore cannot lower each other's mark.
-- KEYS: schema
-- ARGV: now arg{written oldest_reader}
-- REPLY: ok | newer written oldest_reader
local arg = cmsgpack.unpack(ARGV[2])
local found = redis.call('HMGET', KEYS[1], 'written', 'oldest_reader')
local stored_written, stored_oldest = tonumber(found[1] or 1), tonumber(found[2] or 1)
if stored_oldest > arg.written then return { 'newer', stored_written, stored_oldest } end
redis.call('HSET', KEYS[1], 'written', math.max(arg.written, stored_written),
  'oldest_reader', math.max(arg.oldest_reader, stored_oldest))
return { 'ok' }
