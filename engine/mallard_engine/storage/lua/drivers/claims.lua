#!lua flags=allow-oom
-- Stores what the new token of an open socket states about its driver. Fenced by epoch.
-- KEYS: drivers positions idle nodes due offers waiting counts events push forget externals coming registry
-- ARGV: now policy arg{driver epoch kinds claims?}
-- REPLY: ok effects pushes
-- include lib/base.lua
-- include lib/drivers.lua
-- include lib/vehicles.lua

local rec = read_driver(arg.driver)
if rec and rec.connected and rec.epoch == arg.epoch then
  rec.claims = arg.claims
  equip(rec, read_profile(KEYS[14], arg.driver))
  save_driver(arg.driver, rec)
end
return reply('ok')
