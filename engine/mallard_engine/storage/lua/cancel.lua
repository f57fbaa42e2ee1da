#!lua flags=allow-oom
-- Cancels a job that is not on board yet; idempotent.
-- KEYS: drivers positions idle nodes due offers waiting counts events push forget externals coming wait job...
-- ARGV: now policy arg{actor reason}
-- REPLY: ok effects pushes | gone | wrong_state … state | run … jobs
-- include lib/base.lua
-- include lib/drivers.lua
-- include lib/jobs.lua
-- include lib/offers.lua
-- include lib/holders.lua

local job = read_job(KEYS[15])
if not job then return reply('gone') end
if job.state == 'cancelled' then return reply('ok') end
if not BEFORE_PICKUP[job.state] then return reply('wrong_state', job.state) end
local run, names = offered_run(job)
if not run then return reply('run', names) end
if job.state == 'offered' then
  close_offer(job, run, 'withdrawn', 'cancelled')
elseif job.driver ~= '' then
  take_from_holder(job, 'cancelled', 'cancelled')
  job.driver = ''
end
move(job, 'cancelled', arg.actor, 'cancelled', nil, arg.reason)
return reply('ok')
