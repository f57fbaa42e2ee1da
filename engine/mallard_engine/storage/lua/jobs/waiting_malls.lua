#!lua flags=no-writes
-- Reads the mall of each waiting job of a market; if more than `limit` wait, only their number.
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
