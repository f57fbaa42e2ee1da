#!lua flags=allow-oom
-- Sets the counts of jobs by state, if no event has been written since they were counted.
-- KEYS: counts events
-- ARGV: now arg{event counts{state count}}
-- REPLY: 1 if they were set, 0
local arg = cmsgpack.unpack(ARGV[2])
local newest = redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)[1]
if (newest and newest[1] or '0-0') ~= arg.event then return 0 end
for state, count in pairs(arg.counts) do
  redis.call('HSET', KEYS[1], state, string.format('%.0f', count))
end
return 1
