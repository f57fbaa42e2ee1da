#!lua flags=allow-oom
-- Takes or renews a role that only one node of the market has at a time, or gives it up (ttl_ms 0).
-- KEYS: role
-- ARGV: now arg{node ttl_ms}
-- REPLY: 1 if the node has the role now, 0
local arg = cmsgpack.unpack(ARGV[2])
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= arg.node then return 0 end
if arg.ttl_ms > 0 then
  redis.call('SET', KEYS[1], arg.node, 'PX', arg.ttl_ms)
  return 1
end
redis.call('DEL', KEYS[1])
return 0
