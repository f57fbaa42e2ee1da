-- What a driver can carry, from three sources: the operators' register (`profile`), its token
-- (rec.claims), its hello (rec.said). The first of register and token that states a vehicle sets
-- the limits, and the hello narrows them. arg.kinds: the usual room of kinds, see core/vehicles.py.
local LIMITS = { 'max_jobs', 'max_weight_g', 'max_volume_l' }

local function usual(kind)
  return arg.kinds.rooms[kind] or arg.kinds.other
end

-- A stated vehicle with the usual room of its kind where it states no limit.
local function whole(said)
  local kind = said.kind or arg.kinds.usual
  local vehicle = { kind = kind }
  for i, limit in ipairs(LIMITS) do vehicle[limit] = said[limit] or usual(kind)[i] end
  return vehicle
end

-- Whether a kind differs from the other and has no more room than it in any respect.
local function is_smaller(kind, than)
  if not kind or kind == than then return false end
  for i = 1, #LIMITS do
    if usual(kind)[i] > usual(than)[i] then return false end
  end
  return true
end

local function narrow(vehicle, said)
  local room = is_smaller(said.kind, vehicle.kind) and usual(said.kind)
  if room then vehicle.kind = said.kind end
  for i, limit in ipairs(LIMITS) do
    local own = said[limit] or (room and room[i])
    if own then vehicle[limit] = math.min(vehicle[limit], own) end
  end
  return vehicle
end

-- The items that the source allows and the hello names. allowed nil: any item; named nil: all
-- items.
local function both(allowed, named)
  if not allowed or not named then return allowed or named or {} end
  local is_named, items = {}, {}
  for _, item in ipairs(named) do is_named[item] = true end
  for _, item in ipairs(allowed) do
    if is_named[item] then items[#items + 1] = item end
  end
  return items
end

-- Sets the driver's vehicle and qualifications. `requires` of a job is matched with the vehicle's
-- equipment, which therefore also holds the qualifications, after its own items.
local function equip(rec, profile)
  local registered, claims, said = profile or {}, rec.claims or {}, rec.said or {}
  local base = registered.vehicle or claims.vehicle
  rec.vehicle = base and narrow(whole(base), said) or whole(said)
  local allowed = claims.equipment
  if base then
    allowed = base.equipment or (not registered.vehicle and claims.equipment) or {}
  end
  local items, has = {}, {}
  local qualified = registered.qualifications or claims.qualifications
  for _, each in ipairs({ both(allowed, said.equipment), qualified or {} }) do
    for _, item in ipairs(each) do
      if not has[item] then items[#items + 1], has[item] = item, true end
    end
  end
  rec.vehicle.equipment = items
  rec.qualifications = qualified
end

local function read_profile(key, driver)
  local raw = redis.call('HGET', key, driver)
  return raw and cmsgpack.unpack(raw) or nil
end
