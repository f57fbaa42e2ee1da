#!lua flags=allow-oom
-- Alerts operators to a job that was confirmed to its order service and was lost before it ended,
-- and removes every reference to it, so that the service can submit it again with the same key.
-- KEYS: drivers positions idle nodes due offers waiting counts events push forget externals coming job
-- KEYS: by_age by_service key...
-- ARGV: now policy arg{job service external}
-- REPLY: ok effects pushes did[what …] | changed
-- include lib/base.lua
if redis.call('EXISTS', KEYS[14]) == 1 then return reply('changed') end
local count = redis.call('ZREM', KEYS[15], arg.job)
  + redis.call('ZREM', KEYS[16], arg.service .. '/' .. arg.job)
for i = 17, #KEYS do count = count + redis.call('DEL', KEYS[i]) end
if arg.external ~= '' and redis.call('HGET', K.externals, arg.external) == arg.job then
  count = count + redis.call('HDEL', K.externals, arg.external)
end
redis.call('HDEL', K.waiting, arg.job)
redis.call('ZREM', K.risks, arg.job)
if count == 0 then return reply('changed') end
alert('job_lost', { job = arg.job, service = arg.service, external_id = arg.external })
return reply('ok', { 'an alert: it is gone, although its service has a confirmation' })
