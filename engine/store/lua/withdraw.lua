#!lua flags=allow-oom
-- Takes a live offer back, whoever has it; its job looks on.
-- KEYS: drivers positions idle nodes due offers waiting counts events push forget externals wait job
-- ARGV: now policy arg{offer actor}
-- REPLY: ok effects pushes | gone
-- include lib/base.lua
-- include lib/drivers.lua
-- include lib/jobs.lua
-- include lib/offers.lua

local job = read_job(KEYS[14])
if not job or job.state ~= 'offered' or job.offer ~= arg.offer then return reply('gone') end
close_offer(job, 'withdrawn', 'withdrawn')
move(job, 'queued', arg.actor, 'withdrawn', now + policy.safety_ms)
return reply('ok')
