-- A driver's record, and whether it may be offered a job now. `idle` holds exactly the free drivers
-- who may be, `coming` those who may be offered one more job from the mall that they are on their
-- way to. save_driver maintains both, and one due entry for the driver's next time limit.
-- include lib/askable.lua
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

-- A record is deleted after a week away, unless it holds jobs or an offer.
local function is_done_with(rec)
  return not rec.connected and #rec.jobs == 0 and not rec.offer and not rec.suspended
end

-- When the transfer of parcels on board must begin before the driver's block ends; once for each
-- end.
local function before_block_end(rec)
  if not policy.transfer_before_ms or not rec.until_ms or #rec.jobs == 0
    or rec.told_end_ms == rec.until_ms then
    return nil
  end
  return rec.until_ms - policy.transfer_before_ms
end

local function next_limit(rec, pos)
  local at
  local function consider(limit)
    if limit and limit > now and (not at or limit < at) then at = limit end
  end
  consider(rec.cool_until_ms)
  consider(rec.until_ms)
  local hand_over_ms = before_block_end(rec)
  if hand_over_ms then consider(math.max(hand_over_ms, now + 1)) end
  if rec.hand_over_ms then consider(now + policy.safety_ms) end
  if not rec.connected then
    consider(rec.lost_ms + policy.resume_ms + 1)
    if is_done_with(rec) then consider(math.max(rec.lost_ms + FORGET_DRIVER_MS, now + 1)) end
  elseif pos then
    consider(pos[1] + policy.stale_ms + 1)
  end
  return at
end

-- Adds the driver to `coming` or removes it. The caller must save the record: it holds the driver's
-- place in the index. The mall gets a round if jobs wait in its queue, whose key is derived.
local function index_coming(id, rec, pos)
  local mall = bound_for(rec)
  if mall and not may_be_asked(rec, pos) then mall = nil end
  if rec.coming and rec.coming ~= mall then
    redis.call('ZREM', K.coming, rec.coming .. '/' .. id)
  end
  if mall and redis.call('ZADD', K.coming, 0, mall .. '/' .. id) == 1
    and redis.call('EXISTS', K.due:sub(1, -4) .. 'queue:' .. mall) == 1 then
    effects.malls[#effects.malls + 1] = mall
  end
  rec.coming = mall
end

-- Adds the driver to `idle` or removes it, by its record and position.
local function index_driver(id, rec, pos)
  if #rec.jobs == 0 and may_be_asked(rec, pos) then
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
  local pos = read_position(id)
  if policy.max_run_jobs > 1 or rec.coming then index_coming(id, rec, pos) end
  redis.call('HSET', K.drivers, id, cmsgpack.pack(rec))
  index_driver(id, rec, pos)
end

local function shown_state(rec)
  if #rec.jobs > 0 then return 'on_run' end
  if rec.offer then return 'offered' end
  if not rec.connected then return 'offline' end
  return rec.wish
end

local function push_state(id, rec, why, until_ms)
  push(id, rec, { kind = 'state', state = shown_state(rec), why = why, until_ms = until_ms })
end

-- The part of a reply about a driver: its record, and its position with its time.
local function driver_reply(id)
  return { redis.call('HGET', K.drivers, id), redis.call('HGET', K.positions, id) }
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
    if #rec.jobs == 0 then rec.free_since_ms = now end
  end
end
