#!lua flags=allow-oom
-- Applies the time limits of a driver: a stale position, the end of a cool-down or block, an
-- expired wish, and, after a week away without jobs, the deletion of its record.
-- KEYS: drivers positions idle nodes due offers waiting counts events push forget externals coming
-- ARGV: now policy arg{driver}
-- REPLY: ok effects pushes | gone
-- include lib/base.lua
-- include lib/drivers.lua

local rec = read_driver(arg.driver)
if not rec then
  redis.call('ZREM', K.due, 'driver/' .. arg.driver)
  return reply('gone')
end
local away_ms = rec.connected and 0 or now - rec.lost_ms
if away_ms >= FORGET_DRIVER_MS and is_done_with(rec) then
  redis.call('HDEL', K.drivers, arg.driver)
  redis.call('HDEL', K.positions, arg.driver)
  redis.call('ZREM', K.due, 'driver/' .. arg.driver)
  return reply('gone')
end

local wished = rec.wish
if away_ms > policy.resume_ms then rec.wish, rec.until_ms = 'offline', nil end
if rec.until_ms and rec.until_ms <= now then
  rec.wish, rec.until_ms, rec.block_over = 'offline', nil, true
  push_state(arg.driver, rec, 'block_over')
  if rec.connected and wished ~= 'offline' then
    event({ kind = 'driver', driver = arg.driver, what = 'offline', was = wished,
      reason = 'block_over' })
  end
end
local ends_soon_ms = before_block_end(rec)
if ends_soon_ms and ends_soon_ms <= now then
  rec.hand_over_ms, rec.hand_over_why, rec.told_end_ms = now, 'block_ends', rec.until_ms
end
if rec.hand_over_ms then effects.hand_overs = { { arg.driver, rec.hand_over_why } } end
local pos = read_position(arg.driver)
local is_stale = rec.connected and pos and pos[1] > 0 and not is_fresh(pos)
-- Pushed once each time its positions stop, however often this runs.
if is_stale and rec.wish == 'available' and rec.told_stale_ms ~= pos[1] then
  rec.told_stale_ms = pos[1]
  push_state(arg.driver, rec, 'stale')
end
save_driver(arg.driver, rec)
return reply('ok')
