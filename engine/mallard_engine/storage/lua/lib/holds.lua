-- Until when a shop is closed by its own report; 0 if it is not, or if the time has passed. Needs
-- `now`.
local function own_word(holds, place)
  local till = tonumber(redis.call('HGET', holds, 'word/' .. place) or 0)
  return till > now and till or 0
end
