#!lua flags=allow-oom
-- Ends a job for which no driver was found in time, or which has used up its attempts.
-- KEYS: drivers positions idle nodes due offers waiting counts events push forget externals coming wait job...
-- ARGV: now policy arg{reason max_attempts}
-- REPLY: ok effects pushes | gone | early | run … jobs
-- include lib/base.lua
-- include lib/drivers.lua
-- include lib/jobs.lua
-- include lib/offers.lua

local job = read_job(KEYS[15])
if not job then return reply('gone') end
if job.state ~= 'scheduled' and job.state ~= 'queued' and job.state ~= 'offered' then
  return reply('gone')
end
-- The offer of the last attempt may still be accepted.
local is_spent = job.state ~= 'offered' and job.attempt >= arg.max_attempts
if now < job.expires_ms and not is_spent then return reply('early') end
local run, names = offered_run(job)
if not run then return reply('run', names) end
if job.state == 'offered' then close_offer(job, run, 'expired', 'expired') end
move(job, 'expired', 'engine', 'expired', nil, arg.reason)
return reply('ok')
