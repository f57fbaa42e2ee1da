#!lua flags=no-writes
-- At which malls of a market jobs wait, each named once for each of its jobs; of more than `limit`
-- jobs only how many there are.
-- KEYS: waiting
-- ARGV: now arg{limit}
-- REPLY: total malls[mall …]
local arg = cmsgpack.unpack(ARGV[2])

local total = redis.call('HLEN', KEYS[1])
local malls = {}
if total > 0 and total <= arg.limit then
  for i, packed in ipairs(redis.call('HVALS', KEYS[1])) do
    malls[i] = cmsgpack.unpack(packed)[5]
  end
end
return { total, malls }
