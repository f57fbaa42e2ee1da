-- Applies an earlier end of a driver's block to parcels that nobody took: they stay on board until
-- then at the latest. The jobs' keys are derived, since a `status` names no jobs. Needs
-- lib/drivers.lua.
local function shorten_waits(rec, until_ms)
  for _, held in ipairs(rec.jobs) do
    local key = K.due:sub(1, -4) .. 'job:' .. held.job
    local v = redis.call('HMGET', key, 'state', 'door', 'mall')
    local door = v[1] == 'picked_up' and v[2] and v[2] ~= '' and cmsgpack.unpack(v[2])
    if door and door.is_kept and until_ms < door.at then
      door.at = until_ms
      redis.call('HSET', key, 'door', cmsgpack.pack(door))
      falls_due('door/' .. v[3] .. '/' .. held.job, until_ms)
    end
  end
end
