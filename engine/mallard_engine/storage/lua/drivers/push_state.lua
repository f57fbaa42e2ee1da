#!lua flags=allow-oom
-- Pushes a driver's state, with the reason, to its socket.
-- KEYS: drivers positions idle nodes due offers waiting counts events push forget externals coming
-- ARGV: now policy arg{driver why}
-- REPLY: ok effects pushes
-- include lib/base.lua
-- include lib/drivers.lua

local rec = read_driver(arg.driver)
if rec then
  push_state(arg.driver, rec, arg.why)
  save_driver(arg.driver, rec)
end
return reply('ok')
