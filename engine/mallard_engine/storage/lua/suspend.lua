#!lua flags=allow-oom
-- Suspends or resumes a driver, for an operator. A live offer must be withdrawn separately.
-- KEYS: drivers positions idle nodes due offers waiting counts events push forget externals coming
-- ARGV: now policy arg{driver suspended reason}
-- REPLY: ok effects pushes driver[record position] | no_driver
-- include lib/base.lua
-- include lib/drivers.lua

local rec = read_driver(arg.driver)
if not rec then return reply('no_driver') end
if rec.suspended ~= arg.suspended then
  rec.suspended = arg.suspended
  rec.suspended_for = arg.suspended and arg.reason or nil
  push_state(arg.driver, rec, arg.suspended and 'suspended' or 'resumed')
  event({ kind = 'driver', driver = arg.driver, what = arg.suspended and 'suspended' or 'resumed',
    reason = arg.reason })
end
save_driver(arg.driver, rec)
return reply('ok', told(arg.driver))
