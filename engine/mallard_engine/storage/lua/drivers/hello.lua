#!lua
-- Registers a driver's socket; the newest wins, and the older one gets `replaced`. The wish is
-- restored if the driver was away no longer than resume_ms.
-- KEYS: drivers positions idle nodes due offers waiting counts events push forget externals coming held registry
-- ARGV: now policy arg{driver node kinds vehicle? claims? device?{kind token}
-- ARGV: fix?{at lat lon acc fault}}
-- REPLY: ok effects pushes driver[record position]
-- include lib/base.lua
-- include lib/drivers.lua
-- include lib/positions.lua
-- include lib/sockets.lua
-- include lib/vehicles.lua

local rec = read_driver(arg.driver) or new_driver(arg.driver)
resume_wish(rec)
connect(rec, arg.node, rec.epoch + 1, KEYS[14])
rec.unreachable = false
rec.said, rec.claims, rec.hello_ms = arg.vehicle or rec.said, arg.claims, now
equip(rec, read_profile(KEYS[15], arg.driver))
rec.device = arg.device or rec.device

if arg.fix then
  local verdict, pos = take_fix(read_position(arg.driver), arg.fix.at > 0 and arg.fix.at or now,
    arg.fix.lat, arg.fix.lon, arg.fix.acc, arg.fix.fault)
  redis.call('HSET', K.positions, arg.driver, cmsgpack.pack(pos))
end
save_driver(arg.driver, rec)
return reply('ok', driver_reply(arg.driver))
