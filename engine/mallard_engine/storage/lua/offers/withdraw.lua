#!lua flags=allow-oom
-- Withdraws a live offer; its jobs return to the queue.
-- KEYS: drivers positions idle nodes due offers waiting counts events push forget externals coming wait job...
-- ARGV: now policy arg{offer actor}
-- REPLY: ok effects pushes | gone | run … jobs
-- include lib/base.lua
-- include lib/drivers.lua
-- include lib/jobs.lua
-- include lib/offers.lua
-- include lib/staggering.lua

local job = read_job(KEYS[15])
local offer = read_offer(arg.offer)
if not job or job.state ~= 'offered' or not offer or offer.state ~= 'live'
  or not is_out(arg.offer, offer, job) then
  return reply('gone')
end
if offer.staggered then
  take_back(arg.offer, offer, 'withdrawn', 'withdrawn')
  if not staggering().goes_on(job, arg.offer, offer, 'withdrawn') then
    requeue_offered({ job }, offer, 'withdrawn', arg.actor)
  end
  return reply('ok')
end
local run, names = offered_run(job)
if not run then return reply('run', names) end
close_offer(job, run, 'withdrawn', 'withdrawn')
move(job, 'queued', arg.actor, 'withdrawn', now + policy.safety_ms)
return reply('ok')
