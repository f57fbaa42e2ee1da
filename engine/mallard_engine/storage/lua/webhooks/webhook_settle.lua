#!lua flags=allow-oom
-- Records how some attempts to deliver ended, in the order of their ends. outcome: `delivered`,
-- `skipped` (there was nothing to send), `failed` (repeated at next_ms), `gave_up`, `gone` (the
-- endpoint answered that it is gone). An endpoint without a success for give_up_ms is disabled. If a
-- delivery was settled meanwhile, only its log is written.
-- KEYS: endpoints
-- ARGV: now arg{ended[] give_up_ms log_most log_kept_ms} log...
--   ended: {id name outcome failed first_ms next_ms?}, each with a log; an empty one is not written
-- REPLY: reason... (why the attempt disabled its endpoint, or empty)
-- include lib/webhooks.lua

local function write_log(endpoint, entry)
  local log = key('log:' .. endpoint)
  redis.call('XADD', log, 'MAXLEN', '~', arg.log_most, '*', 'a', entry)
  redis.call('PEXPIRE', log, arg.log_kept_ms)
end

local function settle(it)
  if it.outcome == 'delivered' then redis.call('HDEL', key('failing'), it.id) end
  local from, tries = key('queue:' .. it.id), key('tries:' .. it.id)
  if not redis.call('ZSCORE', from, it.name) then return '' end
  local is_bad = it.outcome ~= 'delivered' and it.outcome ~= 'skipped'
  if is_bad then
    redis.call('HSETNX', key('failing'), it.id, now)
    local failing = tonumber(redis.call('HGET', key('failing'), it.id))
    local reason = it.outcome == 'gone' and 'gone'
      or now - failing >= arg.give_up_ms and 'failing'
    -- This delivery still waits, so `undelivered_since` counts it.
    if reason and disable(it.id, reason) then return reason end
  end
  if it.outcome == 'failed' then
    redis.call('ZADD', from, it.next_ms, it.name)
    redis.call('HSET', tries, it.name, string.format('%d %d', it.failed, it.first_ms))
  else
    redis.call('ZREM', from, it.name)
    redis.call('HDEL', key('waiting:' .. it.id), it.name)
    redis.call('HDEL', tries, it.name)
  end
  return ''
end

local reasons = {}
for i, it in ipairs(arg.ended) do
  reasons[i] = ''
  if redis.call('HEXISTS', KEYS[1], it.id) == 1 then
    if ARGV[i + 2] ~= '' then write_log(it.id, ARGV[i + 2]) end
    reasons[i] = settle(it)
  end
end
return reasons
