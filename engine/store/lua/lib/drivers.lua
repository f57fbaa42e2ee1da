-- A driver's record, and whether it may be offered something now. `idle` holds exactly those who
-- may; save_driver keeps it so, and keeps one due entry for the next limit that time will reach.
local FORGET_DRIVER_MS = 7 * 86400000

local function read_driver(id)
  local raw = redis.call('HGET', K.drivers, id)
  return raw and cmsgpack.unpack(raw) or nil
end

-- {received, at, lat, lon, acc, rejected in a row, agreeing rejects, their lat, lon, at}
local function read_position(id)
  local raw = redis.call('HGET', K.positions, id)
  return raw and cmsgpack.unpack(raw) or nil
end

local function is_fresh(pos)
  return pos and now - pos[1] <= policy.stale_ms
end

local function is_alive(node)
  local lease = redis.call('ZSCORE', K.nodes, node)
  return lease and tonumber(lease) > now
end

-- A run is one job for now, so to have room is to hold none.
local function has_room(rec)
  return #rec.jobs == 0
end

local function may_be_offered(rec, pos)
  return rec.wish == 'available' and rec.connected and not rec.suspended and not rec.unreachable
    and not rec.offer and has_room(rec) and rec.cool_until_ms <= now
    and (not rec.until_ms or rec.until_ms > now) and is_fresh(pos) and is_alive(rec.node)
end

-- A record goes after a week away, unless something still hangs on it.
local function is_done_with(rec)
  return not rec.connected and #rec.jobs == 0 and not rec.offer and not rec.suspended
end

local function next_limit(rec, pos)
  local at
  local function consider(limit)
    if limit and limit > now and (not at or limit < at) then at = limit end
  end
  consider(rec.cool_until_ms)
  consider(rec.until_ms)
  if not rec.connected then
    consider(rec.lost_ms + policy.resume_ms + 1)
    if is_done_with(rec) then consider(math.max(rec.lost_ms + FORGET_DRIVER_MS, now + 1)) end
  elseif pos then
    consider(pos[1] + policy.stale_ms + 1)
  end
  return at
end

-- Puts the driver in or out of `idle`, as its record and position now say.
local function index_driver(id, rec, pos)
  if may_be_offered(rec, pos) then
    if redis.call('GEOADD', K.idle, pos[4], pos[3], id) == 1 then
      effects.freed[#effects.freed + 1] = { driver = id, lat = pos[3], lon = pos[4] }
    end
  else
    redis.call('ZREM', K.idle, id)
  end
  local at = next_limit(rec, pos)
  if at then
    redis.call('ZADD', K.due, at, 'driver/' .. id)
  else
    redis.call('ZREM', K.due, 'driver/' .. id)
  end
end

local function save_driver(id, rec)
  redis.call('HSET', K.drivers, id, cmsgpack.pack(rec))
  index_driver(id, rec, read_position(id))
end

local function shown_state(rec)
  if #rec.jobs > 0 then return 'on_run' end
  if rec.offer then return 'offered' end
  if not rec.connected then return 'offline' end
  return rec.wish
end

local function push_state(id, rec, why)
  push(id, rec, { kind = 'state', state = shown_state(rec), why = why })
end

local function holds(rec, job)
  for i, held in ipairs(rec.jobs) do
    if held.job == job then return i end
  end
  return nil
end

local function drop_job(rec, job)
  local i = holds(rec, job)
  if i then
    table.remove(rec.jobs, i)
    rec.free_since_ms = now
  end
end
