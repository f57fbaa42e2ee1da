#!lua flags=allow-oom
-- Records a batch of fixes. The caller has validated the fast path against its cache
-- (position_cache.py): if its bytes are those stored, these fixes are written as they came, and
-- only their places in `idle` move. All others are validated here.
-- KEYS: drivers positions idle nodes due offers waiting counts events push forget externals coming
-- ARGV: now policy arg{drivers[driver] known writes[driver blob …] moves[lon lat driver …]
-- ARGV: fixes[{driver at lat lon acc fault}]}
-- REPLY: ok effects pushes missed[verdict] verdicts learnt[driver blob …]
-- include lib/base.lua
-- include lib/drivers.lua
-- include lib/positions.lua

local NOTIFY_AFTER = 5
local missed, verdicts, learnt = {}, {}, {}
local judged, was_fresh, rejected, last, order = {}, {}, {}, {}, {}

local function judge(driver, at, lat, lon, acc, fault)
  local pos = judged[driver]
  if pos == nil then
    pos = read_position(driver)
    was_fresh[driver] = is_fresh(pos)
    rejected[driver] = pos and pos[6] or 0
    if not pos and redis.call('HEXISTS', K.drivers, driver) == 0 then
      return fault ~= '' and fault or 'unknown'
    end
    order[#order + 1] = driver
  end
  last[driver], judged[driver] = take_fix(pos, at, lat, lon, acc, fault)
  return last[driver]
end

-- One comparison covers all drivers: of `known` with the concatenation of the stored blobs.
local function are_known(stored)
  for i = 1, #stored do
    if not stored[i] then return false end
  end
  return table.concat(stored) == arg.known
end

local drivers, writes = arg.drivers, arg.writes
if #drivers > 0 then
  if are_known(redis.call('HMGET', K.positions, unpack(drivers))) then
    redis.call('HSET', K.positions, unpack(writes))
    redis.call('GEOADD', K.idle, 'XX', unpack(arg.moves))
  else
    for i, driver in ipairs(drivers) do
      local fix = cmsgpack.unpack(writes[2 * i])
      missed[i] = judge(driver, fix[2], fix[3], fix[4], fix[5], '')
    end
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
  -- Rejects before an accepted fix of the same batch need not be counted.
  local notifies = pos[6] >= NOTIFY_AFTER and rejected[driver] < NOTIFY_AFTER
  local rec = (not was_fresh[driver] and pos[1] == now or notifies) and read_driver(driver)
  if rec and notifies then
    local skewed = last[driver] == 'future' or last[driver] == 'old'
    push_state(driver, rec, skewed and 'clock_skew' or 'fixes_rejected')
    save_driver(driver, rec)
  elseif rec and #rec.jobs > 0 then
    save_driver(driver, rec)
  elseif rec then
    index_driver(driver, rec, pos)
  end
end
return reply('ok', missed, verdicts, learnt)
