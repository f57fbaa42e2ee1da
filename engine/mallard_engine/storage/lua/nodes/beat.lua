#!lua flags=allow-oom
-- Renews a node's lease and checks whether the market has lost writes. Each reply repeats both
-- states, since a reply may be lost.
-- since: when the lease began. If that is later than the node knows, its lease had expired.
-- lost: when writes were last found missing; 0 never. Writes are missing if the last event that the
-- node knows (`last_event`) is gone, if the server does not know of a loss that the node knows
-- (`lost`), or if the server is another one (restarted, failed over) and the market has not `moved` here from
-- a server that is alive. A node that does not know whether it has moved leaves `moved` out: if the
-- answer depends on it, lost is -1.
-- dead: nodes whose leases have expired; none right after this node's lease began, since all nodes
-- may have been without the server. A loss is also written as an event, which says since when.
-- KEYS: nodes leases events lineage
-- ARGV: now arg{node lease_ms kept_ms lost last_event? moved?}
-- REPLY: now since lost dead[node …]
local NODES, LEASES, EVENTS, LINEAGE = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local TRIMMED_EARLY_MS = 600000
local arg = cmsgpack.unpack(ARGV[2])
local now = tonumber(ARGV[1])
if not now then
  local t = redis.call('TIME')
  now = t[1] * 1000 + math.floor(t[2] / 1000)
end

-- '' if the account may not read it.
local function server()
  local info = redis.pcall('INFO', 'server', 'replication')
  if type(info) ~= 'string' then return '' end
  return (info:match('run_id:(%x+)') or '') .. (info:match('master_replid:(%x+)') or '')
end

local function is_gone(event)
  local at = tonumber(event:match('^%d+'))
  local is_kept = now - at < arg.kept_ms - TRIMMED_EARLY_MS
  return is_kept and #redis.call('XRANGE', EVENTS, event, event) == 0
end

-- The time of the last surviving event or heartbeat: everything written up to then is still there.
local function kept_until()
  local below = arg.last_event and is_gone(arg.last_event) and '(' .. arg.last_event or '+'
  local last = redis.call('XREVRANGE', EVENTS, below, '-', 'COUNT', 1)[1]
  local beat = redis.call('ZREVRANGE', NODES, 0, 0, 'WITHSCORES')[2]
  local at = last and tonumber(last[1]:match('^%d+')) or 0
  return beat and math.min(at, tonumber(beat) - arg.lease_ms) or at
end

local function notify_readers(since_ms)
  local event = { kind = 'market', what = 'rewound', since_ms = since_ms, at = now }
  redis.call('XADD', EVENTS, 'MINID', '~', now - arg.kept_ms,
    ARGV[1] == '' and '*' or ARGV[1] .. '-*', 'e', cmsgpack.pack(event))
end

local known = redis.call('HMGET', LINEAGE, 'server', 'lost')
local here, lost = server(), tonumber(known[2] or 0)
local is_other = known[1] and here ~= '' and known[1] ~= here
local is_unsure = is_other and arg.moved == nil

-- A node that does not know of the last loss names an event from before it.
local is_lost = arg.lost > lost or (arg.lost == lost and arg.last_event and is_gone(arg.last_event))
if is_lost or (is_other and arg.moved == false) then
  lost = math.max(now, lost + 1, arg.lost + 1)
  notify_readers(kept_until())
  redis.call('HSET', LINEAGE, 'server', here, 'lost', lost)
  is_unsure = false
elseif not known[1] or (is_other and arg.moved) then
  redis.call('HSET', LINEAGE, 'server', here)
end

local lease = redis.call('ZSCORE', NODES, arg.node)
local since = redis.call('HGET', LEASES, arg.node)
if not since or not lease or tonumber(lease) <= now then
  since = now
  redis.call('HSET', LEASES, arg.node, since)
end
redis.call('ZADD', NODES, now + arg.lease_ms, arg.node)
local dead = {}
if now - since >= arg.lease_ms then
  dead = redis.call('ZRANGE', NODES, '-inf', now, 'BYSCORE', 'LIMIT', 0, 16)
end
return { now, tonumber(since), is_unsure and -1 or lost, dead }
