#!lua flags=allow-oom
-- Returns drivers to the index, at their last positions, whose sockets a node still holds after its
-- lease expired or the server was away. Fenced by epoch: a newer hello wins (`lost`). `back`: the
-- driver had been taken out of the index, or its record was lost. `kept`: neither. rewound: the
-- server has lost writes, so the wish, vehicle and device that the node knows are newer than the
-- stored ones.
-- KEYS: drivers positions idle nodes due offers waiting counts events push forget externals coming held registry
-- ARGV: now policy arg{node rewound kinds drivers[{driver epoch wish until_ms? vehicle? claims?
-- ARGV: device? fix? age_ms?}]}
-- REPLY: ok effects pushes verdicts[kept | back | lost …] records[record …] positions[position …]
-- include lib/base.lua
-- include lib/drivers.lua
-- include lib/positions.lua
-- include lib/sockets.lua
-- include lib/vehicles.lua

local verdicts, records, positions = {}, {}, {}

-- {at lat lon acc fault}; received age_ms ago.
local function place(driver, fix, age_ms)
  local pos, received = read_position(driver), now - age_ms
  local at = fix[1] > 0 and fix[1] or received
  if pos and at <= pos[2] then return end
  local verdict, taken = take_fix(pos, at, unpack(fix, 2, 5))
  if verdict == 'ok' then
    taken[1] = math.max(received, pos and pos[1] or 0)
    redis.call('HSET', K.positions, driver, cmsgpack.pack(taken))
  end
end

local function take_back(own)
  local rec = read_driver(own.driver) or new_driver(own.driver)
  local is_ours = rec.connected and rec.node == arg.node and rec.epoch == own.epoch
  if not is_ours and (rec.epoch > own.epoch or (rec.epoch == own.epoch and rec.connected)) then
    return 'lost', rec
  end
  if arg.rewound or rec.epoch < own.epoch then
    rec.wish, rec.until_ms, rec.device = own.wish, own.until_ms, own.device or rec.device
    rec.said, rec.claims = own.vehicle or rec.said, own.claims
    equip(rec, read_profile(KEYS[15], own.driver))
    if rec.until_ms and rec.until_ms <= now then rec.wish, rec.until_ms = 'offline', nil end
  elseif not is_ours then
    resume_wish(rec)
  end
  if not is_ours then connect(rec, arg.node, own.epoch, KEYS[14]) end
  if own.fix then place(own.driver, own.fix, own.age_ms) end
  save_driver(own.driver, rec)
  return is_ours and 'kept' or 'back', rec
end

for i, own in ipairs(arg.drivers) do
  local verdict, rec = take_back(own)
  verdicts[i], records[i] = verdict, cmsgpack.pack(rec)
  positions[i] = redis.call('HGET', K.positions, own.driver)
end
return reply('ok', verdicts, records, positions)
