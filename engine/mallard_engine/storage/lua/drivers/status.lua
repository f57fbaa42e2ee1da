#!lua flags=allow-oom
-- Sets a driver's wish. `offline` with a live offer replies offer_live: decline it first.
-- KEYS: drivers positions idle nodes due offers waiting counts events push forget externals coming
-- ARGV: now policy arg{driver wish until_ms?}
-- REPLY: ok effects pushes driver[record position] | no_driver | no_position | holds_jobs | bad_field | offer_live
-- include lib/base.lua
-- include lib/drivers.lua
-- include lib/block.lua

local rec = read_driver(arg.driver)
if not rec then return reply('no_driver') end
if arg.until_ms and arg.until_ms <= now then return reply('bad_field') end
if arg.wish == 'available' and not is_fresh(read_position(arg.driver)) then
  return reply('no_position')
end
if arg.wish == 'offline' then
  if #rec.jobs > 0 then return reply('holds_jobs') end
  if rec.offer then return reply('offer_live', rec.offer) end
end

if rec.wish ~= arg.wish then
  event({ kind = 'driver', driver = arg.driver, what = arg.wish, was = rec.wish,
    until_ms = arg.until_ms })
end
if arg.wish == 'available' and rec.wish ~= 'available' then rec.free_since_ms = now end
if policy.keeps_work and arg.wish == 'available' and rec.wish == 'offline' then
  rec.block_ms, rec.done, rec.earned_minor = now, 0, 0
end
rec.wish, rec.block_over = arg.wish, nil
local until_ms = arg.wish ~= 'offline' and arg.until_ms or nil
-- If the end of its block changes, other jobs fit. It leaves the index to count as newly freed.
if rec.until_ms ~= until_ms then
  redis.call('ZREM', K.idle, arg.driver)
  if rec.coming then redis.call('ZREM', K.coming, rec.coming .. '/' .. arg.driver) end
end
if until_ms and until_ms ~= rec.until_ms then shorten_waits(rec, until_ms) end
rec.until_ms = until_ms
save_driver(arg.driver, rec)
return reply('ok', driver_reply(arg.driver))
