#!lua flags=allow-oom
-- Stores the device token of an open socket. Fenced by epoch: a newer hello wins.
-- KEYS: drivers positions idle nodes due offers waiting counts events push forget externals coming
-- ARGV: now policy arg{driver epoch device{kind token}}
-- REPLY: ok effects pushes
-- include lib/base.lua
-- include lib/drivers.lua

local rec = read_driver(arg.driver)
if rec and rec.epoch == arg.epoch then
  rec.device = arg.device
  save_driver(arg.driver, rec)
end
return reply('ok')
