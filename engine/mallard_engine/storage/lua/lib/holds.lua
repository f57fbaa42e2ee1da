-- Until when the shop itself has said that it is closed; 0 if it has not, or the time has passed.
-- Needs `now`.
local function own_word(holds, place)
  local till = tonumber(redis.call('HGET', holds, 'word/' .. place) or 0)
  return till > now and till or 0
end
