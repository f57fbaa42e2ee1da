#!lua flags=allow-oom
-- Notes a request of a driver without a socket: limits that count from its disconnect now count
-- from this moment. An expired wish stays expired.
-- KEYS: drivers positions idle nodes due offers waiting counts events push forget externals coming
-- ARGV: now policy arg{driver}
-- REPLY: ok effects pushes driver[record position] | no_driver
-- include lib/base.lua
-- include lib/drivers.lua

local rec = read_driver(arg.driver)
if not rec then return reply('no_driver') end
if not rec.connected then
  if now > rec.lost_ms + policy.resume_ms then rec.wish, rec.until_ms = 'offline', nil end
  rec.lost_ms = now
  save_driver(arg.driver, rec)
end
return reply('ok', driver_reply(arg.driver))
