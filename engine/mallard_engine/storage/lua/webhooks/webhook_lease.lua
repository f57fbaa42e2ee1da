#!lua flags=allow-oom
-- Renews a node's leases of endpoints and markets, and takes those that no live node holds, up to a
-- fair share. With leases one node at a time works on an endpoint. Correctness does not depend on
-- them: positions are fenced, and a taken delivery is postponed. leave: gives up all leases
-- instead.
-- KEYS: endpoints
-- ARGV: now arg{node lease_ms markets[] again_ms leave?}
-- REPLY: version held[…] unannounced[endpoint …] waiting
-- include lib/webhooks.lua

local NODES, LEASES = key('nodes'), key('leases')
redis.call('ZREMRANGEBYSCORE', NODES, '-inf', now)
if arg.leave then
  redis.call('ZREM', NODES, arg.node)
  return { version(), {}, {}, 0 }
end
redis.call('ZADD', NODES, now + arg.lease_ms, arg.node)

local units = {}
if redis.call('EXISTS', KEYS[1]) == 1 then
  for _, market in ipairs(arg.markets) do units[#units + 1] = 'market/' .. market end
end
for _, endpoint in ipairs(redis.call('HKEYS', KEYS[1])) do
  if redis.call('HEXISTS', key('disabled'), endpoint) == 0 then units[#units + 1] = endpoint end
end
local share = math.ceil(#units / redis.call('ZCARD', NODES))
local held, free = {}, {}
for _, unit in ipairs(units) do
  local holder = redis.call('HGET', LEASES, unit)
  if holder == arg.node then
    if #held < share then held[#held + 1] = unit else redis.call('HDEL', LEASES, unit) end
  elseif not holder or not redis.call('ZSCORE', NODES, holder) then
    free[#free + 1] = unit
  end
end
for _, unit in ipairs(free) do
  if #held >= share then break end
  redis.call('HSET', LEASES, unit, arg.node)
  held[#held + 1] = unit
end

local unannounced = redis.call('ZRANGE', key('untold'), '-inf', now, 'BYSCORE', 'LIMIT', 0, 16)
for _, endpoint in ipairs(unannounced) do
  redis.call('ZADD', key('untold'), now + arg.again_ms, endpoint)
end
local waiting = 0
for _, unit in ipairs(held) do waiting = waiting + redis.call('ZCARD', key('queue:' .. unit)) end
return { version(), held, unannounced, waiting }
