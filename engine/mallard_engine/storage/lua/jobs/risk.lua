#!lua flags=allow-oom
-- Computes the risk of an open job, stores it if it has changed, and notes when to look again.
-- KEYS: drivers positions idle nodes due offers waiting counts events push forget externals coming wait job
-- ARGV: now policy arg{job}
-- REPLY: changed effects pushes risk | same | gone
-- include lib/base.lua
-- include lib/jobs.lua
-- include lib/risk.lua

local job = read_job(KEYS[15])
if not job or TERMINAL[job.state] then
  redis.call('ZREM', K.risks, arg.job)
  return reply('gone')
end
local risk, next_ms, expected = risk_of(job)
if next_ms then
  redis.call('ZADD', K.risks, math.max(next_ms, now + 1), job.id)
else
  redis.call('ZREM', K.risks, job.id)
end
if risk == job.risk then return reply('same') end
redis.call('HSET', job.key, 'risk', risk, 'updated_ms', now)
job_event(job, { kind = 'risk', mall = job.mall, from = job.risk, to = risk, eta_ms = expected })
return reply('changed', risk)
