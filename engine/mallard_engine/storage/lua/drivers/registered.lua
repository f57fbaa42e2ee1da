#!lua flags=no-writes
-- Reads one driver, also one that the register names before it has said hello.
-- KEYS: drivers positions registry
-- ARGV: now arg{driver kinds}
-- REPLY: ok record position profile | no_driver
local arg = cmsgpack.unpack(ARGV[2])
-- include lib/vehicles.lua

local record = redis.call('HGET', KEYS[1], arg.driver)
local packed = redis.call('HGET', KEYS[3], arg.driver)
if not record and packed then
  local rec = { id = arg.driver, wish = 'offline' }
  equip(rec, cmsgpack.unpack(packed))
  record = cmsgpack.pack(rec)
end
if not record then return { 'no_driver' } end
return { 'ok', record, redis.call('HGET', KEYS[2], arg.driver), packed }
