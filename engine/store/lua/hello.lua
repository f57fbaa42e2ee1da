#!lua
-- Registers a driver's socket; the newest wins and the older one hears `replaced`. The wish comes
-- back if the driver was away no longer than resume_ms.
-- KEYS: drivers positions idle nodes due offers waiting counts events push forget externals coming held
-- ARGV: now policy arg{driver node vehicle? fix?{at lat lon acc fault}}
-- REPLY: ok effects pushes epoch seq
-- include lib/base.lua
-- include lib/drivers.lua
-- include lib/positions.lua

local HELD = KEYS[14]
local NEW = { id = arg.driver, wish = 'offline', jobs = {}, epoch = 0, node = '',
  connected = false, lost_ms = 0, cool_until_ms = 0, suspended = false, unreachable = false,
  seq = 0, declines = 0, declines_ms = 0, free_since_ms = now }

local rec = read_driver(arg.driver) or NEW
if not rec.connected and now > rec.lost_ms + policy.resume_ms then rec.wish = 'offline' end
if rec.until_ms and rec.until_ms <= now then rec.wish, rec.block_over = 'offline', true end
if rec.wish == 'offline' then rec.until_ms = nil end

rec.epoch = rec.epoch + 1
if rec.connected then
  -- No seq: it is for the node that holds the older socket, not for the phone.
  local body = cmsgpack.pack({ kind = 'replaced', driver = arg.driver, seq = 0, epoch = rec.epoch })
  redis.call('XADD', K.push, 'MAXLEN', '~', policy.push_len, stamp, 'p', body, 'c', '')
  pushes[1], pushes[2] = body, ''
end
rec.node, rec.connected, rec.unreachable = arg.node, true, false
rec.vehicle = arg.vehicle or rec.vehicle
redis.call('SADD', HELD, arg.driver)

if arg.fix then
  local verdict, pos = take_fix(read_position(arg.driver), arg.fix.at > 0 and arg.fix.at or now,
    arg.fix.lat, arg.fix.lon, arg.fix.acc, arg.fix.fault)
  redis.call('HSET', K.positions, arg.driver, cmsgpack.pack(pos))
end
save_driver(arg.driver, rec)
event({ kind = 'driver', driver = arg.driver, what = 'connected', epoch = rec.epoch,
  node = arg.node })
return reply('ok', rec.epoch, rec.seq)
