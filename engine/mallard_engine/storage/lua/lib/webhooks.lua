-- The common start of the scripts of webhooks. They declare one key, `endpoints`; all others share
-- its hash tag, and so its slot.
local PREFIX = KEYS[1]:match('^(.*)endpoints$')
local arg = cmsgpack.unpack(ARGV[2])
local now = tonumber(ARGV[1])
if not now then
  local t = redis.call('TIME')
  now = t[1] * 1000 + math.floor(t[2] / 1000)
end

local function key(name) return PREFIX .. name end

local function version() return tonumber(redis.call('GET', key('version')) or '0') end

local function changed() redis.call('INCR', key('version')) end

-- Drops the deliveries that wait for an endpoint. Returns the time of the oldest; 0 if none waited.
local function drop_waiting(endpoint)
  local oldest
  for _, name in ipairs(redis.call('HKEYS', key('waiting:' .. endpoint))) do
    local at = tonumber(name:match('/(%d+)-%d+$'))
    if at and (not oldest or at < oldest) then oldest = at end
  end
  redis.call('DEL', key('queue:' .. endpoint), key('waiting:' .. endpoint),
    key('tries:' .. endpoint))
  for _, reads in ipairs({ 'replays', 'behind' }) do
    for _, field in ipairs(redis.call('HKEYS', key(reads))) do
      if field:match('^([^/]+)/') == endpoint then redis.call('HDEL', key(reads), field) end
    end
  end
  return oldest or 0
end

-- Disables an endpoint; returns whether it was enabled. Nodes read `untold`, and one writes the
-- event.
local function disable(endpoint, reason)
  if redis.call('HEXISTS', KEYS[1], endpoint) == 0 then return false end
  if redis.call('HEXISTS', key('disabled'), endpoint) == 1 then return false end
  local entry = { now, reason, drop_waiting(endpoint) }
  redis.call('HSET', key('disabled'), endpoint, cmsgpack.pack(entry))
  redis.call('ZADD', key('untold'), now, endpoint)
  changed()
  return true
end

local function is_enabled(endpoint)
  return redis.call('HEXISTS', KEYS[1], endpoint) == 1
    and redis.call('HEXISTS', key('disabled'), endpoint) == 0
end

-- Queues a delivery, due now, unless it waits already.
local function queue(endpoint, name, entry)
  redis.call('ZADD', key('queue:' .. endpoint), 'NX', now, name)
  redis.call('HSET', key('waiting:' .. endpoint), name, entry)
end
