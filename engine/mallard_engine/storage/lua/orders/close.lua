#!lua flags=allow-oom
-- Ends a job whose parcels are on board, on behalf of an operator.
-- KEYS: drivers positions idle nodes due offers waiting counts events push forget externals coming wait job
-- ARGV: now policy arg{state actor reason}
-- REPLY: ok effects pushes | gone | wrong_state … state
-- include lib/base.lua
-- include lib/drivers.lua
-- include lib/jobs.lua
-- include lib/holders.lua

local job = read_job(KEYS[15])
if not job then return reply('gone') end
if job.state == arg.state then return reply('ok') end
if job.state ~= 'picked_up' and job.state ~= 'returning' then
  return reply('wrong_state', job.state)
end
take_from_holder(job, arg.state, 'closed')
move(job, arg.state, arg.actor, 'closed', nil, arg.reason)
return reply('ok')
