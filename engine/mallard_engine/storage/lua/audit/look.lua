#!lua flags=no-writes
-- Runs read commands in one step, for the audit. It writes nothing, so that a full store, which
-- refuses a transaction, and a replica run it as well.
-- KEYS: nodes keys...
-- ARGV: commands
-- REPLY: time leases replies
local replies = {}
for index, command in ipairs(cmsgpack.unpack(ARGV[1])) do
  replies[index] = redis.pcall(unpack(command))
end
return { redis.call('TIME'), redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES'), replies }
