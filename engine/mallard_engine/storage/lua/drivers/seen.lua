#!lua flags=allow-oom
-- Returns a driver to matching whose last offer was not acknowledged, after a frame from it.
-- KEYS: drivers positions idle nodes due offers waiting counts events push forget externals coming
-- ARGV: now policy arg{driver}
-- REPLY: ok effects pushes
-- include lib/base.lua
-- include lib/drivers.lua

local rec = read_driver(arg.driver)
if rec and rec.unreachable then
  rec.unreachable = false
  save_driver(arg.driver, rec)
end
return reply('ok')
