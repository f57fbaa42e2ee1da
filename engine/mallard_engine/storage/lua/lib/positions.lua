-- Validates fixes. `pos` is the result of read_position, or nil.
local AGREEING = 3
local EARTH_M = 6371008.8

local function distance_m(lat1, lon1, lat2, lon2)
  local p1, p2 = math.rad(lat1), math.rad(lat2)
  local a = math.sin((p2 - p1) / 2) ^ 2
    + math.cos(p1) * math.cos(p2) * math.sin(math.rad(lon2 - lon1) / 2) ^ 2
  return 2 * EARTH_M * math.asin(math.min(1, math.sqrt(a)))
end

-- Two fixes less than a second apart count as one second apart, because GPS jumps by metres.
local function is_reachable(lat1, lon1, at1, lat2, lon2, at2)
  local seconds = math.max(math.abs(at2 - at1) / 1000, 1)
  return distance_m(lat1, lon1, lat2, lon2) <= policy.max_speed_mps * seconds
end

local function reject(pos, verdict)
  pos = pos or { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 }
  pos[6] = pos[6] + 1
  return verdict, pos
end

-- Returns the verdict and what to store. A driver without any position has received = 0. `fault`:
-- the caller's verdict, or ''.
local function take_fix(pos, at, lat, lon, acc, fault)
  if fault ~= '' then return reject(pos, fault) end
  if at > now + policy.future_ms then return reject(pos, 'future') end
  -- A position from the future was received before the clock was set back. Newer fixes have
  -- earlier times, so it limits none of them.
  local known = pos and pos[1] <= now + policy.future_ms and pos or nil
  if not is_fresh(known) then
    -- After a stale period the former position does not limit the present one.
    if at < now - policy.stale_ms then return reject(pos, 'old') end
  elseif at == known[2] and lat == known[3] and lon == known[4] then
    -- A device at rest repeats its last fix, so an equal time is accepted.
    return 'ok', { now, at, lat, lon, acc, 0, 0, 0, 0, 0 }
  end
  if known and known[1] > 0 then
    if at <= pos[2] then return reject(pos, 'old') end
    if not is_reachable(pos[3], pos[4], pos[2], lat, lon, at) then
      -- A repeated fix confirms nothing.
      if pos[7] > 0 and at <= pos[10] then return reject(pos, 'old') end
      local agree = 1
      if pos[7] > 0 and is_reachable(pos[8], pos[9], pos[10], lat, lon, at) then
        agree = pos[7] + 1
      end
      if agree < AGREEING then
        pos[7], pos[8], pos[9], pos[10] = agree, lat, lon, at
        return reject(pos, 'impossible')
      end
    end
  end
  return 'ok', { now, at, lat, lon, acc, 0, 0, 0, 0, 0 }
end
