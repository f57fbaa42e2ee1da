#!lua flags=allow-oom
-- Suspends or resumes a driver on behalf of an operator. A live offer must be withdrawn separately.
-- KEYS: drivers positions idle nodes due offers waiting counts events push forget externals coming registry
-- ARGV: now policy arg{driver suspended reason kinds}
-- REPLY: ok effects pushes driver[record position] | no_driver
-- include lib/base.lua
-- include lib/drivers.lua
-- include lib/sockets.lua
-- include lib/vehicles.lua
-- include lib/suspension.lua

local rec = read_driver(arg.driver)
if not rec then
  local profile = read_profile(KEYS[14], arg.driver)
  if not profile then return reply('no_driver') end
  rec = registered_driver(arg.driver, profile)
end
set_suspended(arg.driver, rec, arg.suspended, arg.reason)
save_driver(arg.driver, rec)
return reply('ok', driver_reply(arg.driver))
