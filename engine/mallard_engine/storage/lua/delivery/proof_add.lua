#!lua flags=allow-oom
-- Registers an image that a driver uploads, before its file is written. If the node dies between
-- the two, the record is deleted like that of any image that no report names.
-- KEYS: proofs unused_proofs forget
-- ARGV: now arg{driver proof media_type size kept_ms most}
-- REPLY: 1, or 0 if the driver has too many images that no report names
local PROOFS, UNUSED, FORGET = KEYS[1], KEYS[2], KEYS[3]
local arg = cmsgpack.unpack(ARGV[2])
local now = tonumber(ARGV[1])
if not now then
  local t = redis.call('TIME')
  now = t[1] * 1000 + math.floor(t[2] / 1000)
end
-- No id has a slash; 0 is the character after it.
local unused = redis.call('ZLEXCOUNT', UNUSED, '[' .. arg.driver .. '/', '(' .. arg.driver .. '0')
if unused >= arg.most then return 0 end
local name = arg.driver .. '/' .. arg.proof
redis.call('HSET', PROOFS, arg.proof, cmsgpack.pack({ driver = arg.driver,
  media_type = arg.media_type, size = arg.size, at_ms = now }))
redis.call('ZADD', UNUSED, 0, name)
redis.call('ZADD', FORGET, now + arg.kept_ms, 'proof/' .. name)
return 1
