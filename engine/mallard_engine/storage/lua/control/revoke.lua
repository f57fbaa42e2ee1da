#!lua flags=allow-oom
-- Revokes the tokens of a subject that were issued up to now. The field is role/sub/market.
-- `version` rises, so that nodes read the hash only after a change. All markets share this key.
-- KEYS: revoked
-- ARGV: now arg{field most}
-- REPLY: the moment, 0 if there is no room for another
local arg = cmsgpack.unpack(ARGV[2])
local now = tonumber(ARGV[1])
if not now then
  local t = redis.call('TIME')
  now = t[1] * 1000 + math.floor(t[2] / 1000)
end
local known = redis.call('HGET', KEYS[1], arg.field)
if not known and redis.call('HLEN', KEYS[1]) > arg.most then return 0 end
now = math.max(now, tonumber(known or 0))
redis.call('HSET', KEYS[1], arg.field, string.format('%.0f', now))
redis.call('HINCRBY', KEYS[1], 'version', 1)
return now
