#!lua flags=allow-oom
-- Packs a job that has ended, with its last round, if both are unchanged since they were read. A
-- changed one is looked at again later. The TTL stays.
-- KEYS: unpacked job round
-- ARGV: now arg{job again_ms} packed last_round field...
-- REPLY: packed | changed | already | open
-- include lib/terminal.lua
local arg = cmsgpack.unpack(ARGV[2])
local now = tonumber(ARGV[1])
if not now then
  local t = redis.call('TIME')
  now = t[1] * 1000 + math.floor(t[2] / 1000)
end
local UNPACKED, JOB, ROUND = KEYS[1], KEYS[2], KEYS[3]
local is_packed = redis.call('HEXISTS', JOB, 'packed') == 1
local state, left_ms = redis.call('HGET', JOB, 'state'), redis.call('PTTL', JOB)
if is_packed or not TERMINAL[state] or left_ms < 0 then
  redis.call('ZREM', UNPACKED, arg.job)
  return is_packed and 'already' or 'open'
end

-- ARGV[3] is what the fields from ARGV[5] on, name and value in turn, and the last round become.
local is_same = redis.call('HLEN', JOB) == (#ARGV - 4) / 2
  and (redis.call('GET', ROUND) or '') == ARGV[4]
for i = 5, #ARGV, 2 do
  is_same = is_same and redis.call('HGET', JOB, ARGV[i]) == ARGV[i + 1]
end
if not is_same then
  redis.call('ZADD', UNPACKED, now + arg.again_ms, arg.job)
  return 'changed'
end
local beside = redis.call('HMGET', JOB, 'state', 'created_ms', 'updated_ms')
redis.call('DEL', JOB, ROUND)
redis.call('HSET', JOB, 'state', beside[1], 'created_ms', beside[2], 'updated_ms', beside[3],
  'packed', ARGV[3])
redis.call('PEXPIRE', JOB, left_ms)
redis.call('ZREM', UNPACKED, arg.job)
return 'packed'
