-- The common start of every transition: the market's keys, the policy, the arguments, the time. The
-- market's keys come first and are always in this order.
local K = {
  drivers = KEYS[1], positions = KEYS[2], idle = KEYS[3], nodes = KEYS[4], due = KEYS[5],
  offers = KEYS[6], waiting = KEYS[7], counts = KEYS[8], events = KEYS[9], push = KEYS[10],
  forget = KEYS[11], externals = KEYS[12], coming = KEYS[13],
}
-- When the risk of each open job may change next. The key is derived, so that the other keys keep
-- their positions; it shares the market's hash tag.
K.risks = K.due:sub(1, -4) .. 'risks'
local policy = cmsgpack.unpack(ARGV[2])
local arg = cmsgpack.unpack(ARGV[3])

local now, stamp
if ARGV[1] == '' then
  local t = redis.call('TIME')
  now = t[1] * 1000 + math.floor(t[2] / 1000)
  stamp = '*'
else
  -- The time of a simulation; the ids of the streams follow it.
  now = tonumber(ARGV[1])
  stamp = ARGV[1] .. '-*'
end

-- The effects that the caller applies; see Effects in ports/effects.py.
local effects = { now = now, malls = {}, queued = {}, freed = {}, due = {}, over = {} }
local pushes = {}

local function reply(verdict, ...)
  -- Spares the caller a look at the queues of all malls in reach.
  if effects.freed[1] and redis.call('HLEN', K.waiting) == 0 then effects.nothing_waits = true end
  return { verdict, cmsgpack.pack(effects), pushes, ... }
end

-- The reply names the last event: with each heartbeat the caller checks that it still exists.
local function event(fields)
  fields.at = now
  effects.event = redis.call('XADD', K.events, 'MINID', '~', now - policy.events_ms, stamp,
    'e', cmsgpack.pack(fields))
end

-- include lib/alerts.lua

-- No push reaches a driver without a socket. The operator's push service is asked to wake its app,
-- at most once in this time.
local WAKE_MS = 60000

local function wake(driver, rec, why)
  if now < (rec.woken_ms or 0) + WAKE_MS then return end
  rec.woken_ms = now
  event({ kind = 'driver', driver = driver, what = 'wake', device = rec.device, reason = why })
end

-- The stream from which the node that holds a driver's socket reads pushes. nil: no node holds the
-- socket, or the calling node does, which delivers the pushes of the reply itself.
local function stream_of(rec)
  if not rec.connected or rec.node == policy.node then return nil end
  return K.push .. ':' .. rec.node
end

local function send(rec, body, card)
  local packed, stream = cmsgpack.pack(body), stream_of(rec)
  if stream then
    redis.call('XADD', stream, 'MAXLEN', '~', policy.push_len, stamp, 'p', packed, 'c', card or '')
  end
  pushes[#pushes + 1] = packed
  pushes[#pushes + 1] = card or ''
end

-- The caller must save the driver's record afterwards: it holds the counter of pushes.
local function push(driver, rec, body, card)
  rec.seq = rec.seq + 1
  if not rec.connected then wake(driver, rec, body.kind) end
  body.driver = driver
  body.seq = rec.seq
  send(rec, body, card)
end

local function falls_due(member, at)
  redis.call('ZADD', K.due, at, member)
  effects.due[#effects.due + 1] = { member, at }
end
