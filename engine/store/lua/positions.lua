#!lua flags=allow-oom
-- Records a batch of fixes. The common case, a driver whose last position was fresh, touches no
-- driver record: its place in `idle`, if it has one, only moves.
-- KEYS: drivers positions idle nodes due offers waiting counts events push forget externals
-- ARGV: now policy arg{fixes[{driver at lat lon acc inside}]}
-- REPLY: ok effects pushes verdicts
-- include lib/base.lua
-- include lib/drivers.lua
-- include lib/positions.lua

local TELL_AFTER = 5
local ids, known, verdicts = {}, {}, {}
for i, fix in ipairs(arg.fixes) do ids[i] = fix[1] end
local raws = redis.call('HMGET', K.positions, unpack(ids))

local latest, was_fresh, tell = {}, {}, {}
for i, fix in ipairs(arg.fixes) do
  local driver = fix[1]
  if known[driver] == nil then
    known[driver] = raws[i] and cmsgpack.unpack(raws[i]) or false
    was_fresh[driver] = known[driver] and is_fresh(known[driver])
  end
  if was_fresh[driver] or known[driver] or redis.call('HEXISTS', K.drivers, driver) == 1 then
    local verdict, pos = take_fix(known[driver] or nil, fix[2], fix[3], fix[4], fix[5], fix[6])
    verdicts[i], known[driver], latest[driver] = verdict, pos, pos
    if pos[6] == TELL_AFTER then tell[driver] = verdict end
  else
    verdicts[i] = 'unknown'
  end
end

local writes, moves = {}, {}
for driver, pos in pairs(latest) do
  writes[#writes + 1] = driver
  writes[#writes + 1] = cmsgpack.pack(pos)
  if was_fresh[driver] and pos[1] == now then
    moves[#moves + 1] = pos[4]
    moves[#moves + 1] = pos[3]
    moves[#moves + 1] = driver
  end
end
if #writes > 0 then redis.call('HSET', K.positions, unpack(writes)) end
if #moves > 0 then redis.call('GEOADD', K.idle, 'XX', unpack(moves)) end

for driver, pos in pairs(latest) do
  if not was_fresh[driver] and pos[1] == now then
    local rec = read_driver(driver)
    if rec then index_driver(driver, rec, pos) end
  end
  if tell[driver] then
    local rec = read_driver(driver)
    if rec then
      local skewed = tell[driver] == 'future' or tell[driver] == 'old'
      push_state(driver, rec, skewed and 'clock_skew' or 'fixes_rejected')
      save_driver(driver, rec)
    end
  end
end
return reply('ok', verdicts)
