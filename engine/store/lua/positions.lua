#!lua flags=allow-oom
-- Records a batch of fixes. A plain one was judged by the caller against the position that it knows
-- of (tracks.py): if that is what is stored, to the byte, the fix is written as it came, with no
-- more than a place in `idle` to move. All others are judged here.
-- KEYS: drivers positions idle nodes due offers waiting counts events push forget externals coming
-- ARGV: now policy arg{known[blob] plain[blob] moves[lon lat driver…] fixes[{driver at lat lon acc inside}]}
-- REPLY: ok effects pushes missed[index verdict …] verdicts learnt[driver blob …]
-- include lib/base.lua
-- include lib/drivers.lua
-- include lib/positions.lua

local TELL_AFTER = 5
local missed, verdicts, learnt = {}, {}, {}
local judged, was_fresh, tell, order = {}, {}, {}, {}

local function judge(driver, at, lat, lon, acc, inside)
  local pos = judged[driver]
  if pos == nil then
    pos = read_position(driver)
    was_fresh[driver] = is_fresh(pos)
    if not pos and redis.call('HEXISTS', K.drivers, driver) == 0 then return 'unknown' end
    order[#order + 1] = driver
  end
  local verdict
  verdict, judged[driver] = take_fix(pos, at, lat, lon, acc, inside)
  if judged[driver][6] == TELL_AFTER then tell[driver] = verdict end
  return verdict
end

local moves = arg.moves
local count = #arg.plain
if count > 0 then
  local drivers, writes = {}, {}
  for i = 1, count do drivers[i] = moves[3 * i] end
  local stored = redis.call('HMGET', K.positions, unpack(drivers))
  local kept = {}
  for i = 1, count do
    local n = 2 * i
    if stored[i] == arg.known[i] then
      writes[n - 1], writes[n] = drivers[i], arg.plain[i]
    else
      kept[i] = true
    end
  end
  if next(kept) then
    local some = { {}, {} }
    for i = 1, count do
      if kept[i] then
        local fix = cmsgpack.unpack(arg.plain[i])
        missed[#missed + 1] = i
        missed[#missed + 1] = judge(drivers[i], fix[2], fix[3], fix[4], fix[5], true)
      else
        local w, m = some[1], some[2]
        w[#w + 1], w[#w + 2] = drivers[i], arg.plain[i]
        m[#m + 1], m[#m + 2], m[#m + 3] = moves[3 * i - 2], moves[3 * i - 1], drivers[i]
      end
    end
    writes, moves = some[1], some[2]
  end
  if #writes > 0 then
    redis.call('HSET', K.positions, unpack(writes))
    redis.call('GEOADD', K.idle, 'XX', unpack(moves))
  end
end

for i, fix in ipairs(arg.fixes) do verdicts[i] = judge(unpack(fix, 1, 6)) end
for _, driver in ipairs(order) do
  local pos = judged[driver]
  local blob = cmsgpack.pack(pos)
  redis.call('HSET', K.positions, driver, blob)
  learnt[#learnt + 1] = driver
  learnt[#learnt + 1] = blob
  if was_fresh[driver] and pos[1] == now then
    redis.call('GEOADD', K.idle, 'XX', pos[4], pos[3], driver)
  end
  local rec = (not was_fresh[driver] and pos[1] == now or tell[driver]) and read_driver(driver)
  if rec and tell[driver] then
    local skewed = tell[driver] == 'future' or tell[driver] == 'old'
    push_state(driver, rec, skewed and 'clock_skew' or 'fixes_rejected')
    save_driver(driver, rec)
  elseif rec and #rec.jobs > 0 then
    save_driver(driver, rec)
  elseif rec then
    index_driver(driver, rec, pos)
  end
end
return reply('ok', missed, verdicts, learnt)
