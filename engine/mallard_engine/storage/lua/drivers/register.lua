#!lua flags=allow-oom
-- Replaces a driver's entry in the register on behalf of an operator, or erases it if there is no
-- profile. The driver's vehicle is updated at once. A live offer of a suspended driver must be
-- withdrawn separately.
-- KEYS: drivers positions idle nodes due offers waiting counts events push forget externals coming registry
-- ARGV: now policy arg{driver kinds profile?{alias? vehicle? qualifications?} suspended actor}
-- REPLY: ok effects pushes record position profile
-- include lib/base.lua
-- include lib/drivers.lua
-- include lib/sockets.lua
-- include lib/vehicles.lua
-- include lib/suspension.lua

local before = redis.call('HGET', KEYS[14], arg.driver)
local after = arg.profile and cmsgpack.pack(arg.profile) or false
if after then
  redis.call('HSET', KEYS[14], arg.driver, after)
else
  redis.call('HDEL', KEYS[14], arg.driver)
end
if before ~= after then
  event({ kind = 'driver', driver = arg.driver, what = after and 'registered' or 'unregistered',
    actor = arg.actor })
end

local rec = read_driver(arg.driver)
local is_known = rec ~= nil
rec = rec or new_driver(arg.driver)
equip(rec, arg.profile)
-- A driver that has not said hello has a record only to keep its suspension.
if is_known or arg.suspended then
  set_suspended(arg.driver, rec, arg.suspended)
  save_driver(arg.driver, rec)
end
return reply('ok', cmsgpack.pack(rec), redis.call('HGET', K.positions, arg.driver), after)
