#!lua flags=allow-oom
-- Cancels a job that is not yet on board; again too.
-- KEYS: drivers positions idle nodes due offers waiting counts events push forget externals wait job
-- ARGV: now policy arg{actor reason}
-- REPLY: ok effects pushes | gone | wrong_state … state
-- include lib/base.lua
-- include lib/drivers.lua
-- include lib/jobs.lua
-- include lib/offers.lua
-- include lib/holders.lua

local job = read_job(KEYS[14])
if not job then return reply('gone') end
if job.state == 'cancelled' then return reply('ok') end
if not BEFORE_PICKUP[job.state] then return reply('wrong_state', job.state) end
if job.state == 'offered' then
  close_offer(job, 'withdrawn', 'cancelled')
elseif job.driver ~= '' then
  take_from_holder(job, 'cancelled', 'cancelled')
  job.driver = ''
end
move(job, 'cancelled', arg.actor, 'cancelled', nil, arg.reason)
return reply('ok')
