#!lua flags=allow-oom
-- Writes how an attempt at a delivery ended. outcome: `delivered`, `skipped` (there was nothing to
-- send), `failed` (repeated at next_ms), `gave_up`, `gone` (the endpoint wants nothing any more).
-- An endpoint without a success for give_up_ms is disabled. Of a delivery that was settled meanwhile
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
if arg.outcome == 'failed' then
  redis.call('ZADD', from, arg.next_ms, arg.name)
  redis.call('HSET', tries, arg.name, string.format('%d %d', arg.failed, arg.first_ms))
else
  redis.call('ZREM', from, arg.name)
  redis.call('HDEL', key('waiting:' .. arg.id), arg.name)
  redis.call('HDEL', tries, arg.name)
end
if arg.outcome == 'delivered' or arg.outcome == 'skipped' then return { 'ok' } end
redis.call('HSETNX', key('failing'), arg.id, now)
local reason
if arg.outcome == 'gone' then
  reason = 'gone'
elseif now - tonumber(redis.call('HGET', key('failing'), arg.id)) >= arg.give_up_ms then
  reason = 'failing'
end
if reason and disable(arg.id, reason) then return { 'disabled', reason } end
return { 'ok' }
