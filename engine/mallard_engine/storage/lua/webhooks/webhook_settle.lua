#!lua flags=allow-oom
-- Records how an attempt to deliver ended. outcome: `delivered`, `skipped` (there was nothing to
-- send), `failed` (repeated at next_ms), `gave_up`, `gone` (the endpoint answered that it is gone).
-- An endpoint without a success for give_up_ms is disabled. If the delivery was settled meanwhile,
-- only the log is written.
-- KEYS: endpoints
-- ARGV: now arg{id name outcome failed first_ms next_ms? give_up_ms log_most log_kept_ms} log
-- REPLY: ok | over | disabled reason
-- include lib/webhooks.lua

if redis.call('HEXISTS', KEYS[1], arg.id) == 0 then return { 'over' } end
if ARGV[3] ~= '' then
  local log = key('log:' .. arg.id)
  redis.call('XADD', log, 'MAXLEN', '~', arg.log_most, '*', 'a', ARGV[3])
  redis.call('PEXPIRE', log, arg.log_kept_ms)
end
if arg.outcome == 'delivered' then redis.call('HDEL', key('failing'), arg.id) end
local from, tries = key('queue:' .. arg.id), key('tries:' .. arg.id)
if not redis.call('ZSCORE', from, arg.name) then return { 'over' } end
local is_bad = arg.outcome ~= 'delivered' and arg.outcome ~= 'skipped'
if is_bad then
  redis.call('HSETNX', key('failing'), arg.id, now)
  local failing = tonumber(redis.call('HGET', key('failing'), arg.id))
  local reason = arg.outcome == 'gone' and 'gone'
    or now - failing >= arg.give_up_ms and 'failing'
  -- This delivery still waits, so `undelivered_since` counts it.
  if reason and disable(arg.id, reason) then return { 'disabled', reason } end
end
if arg.outcome == 'failed' then
  redis.call('ZADD', from, arg.next_ms, arg.name)
  redis.call('HSET', tries, arg.name, string.format('%d %d', arg.failed, arg.first_ms))
else
  redis.call('ZREM', from, arg.name)
  redis.call('HDEL', key('waiting:' .. arg.id), arg.name)
  redis.call('HDEL', tries, arg.name)
end
return { 'ok' }
