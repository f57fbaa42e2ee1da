#!lua flags=allow-oom
-- Assigns a job to the driver whom an operator names, from any state before pickup, at a higher
-- attempt.
-- KEYS: drivers positions idle nodes due offers waiting counts events push forget externals coming wait job...
-- ARGV: now policy arg{driver actor}
-- REPLY: ok effects pushes | gone | wrong_state … state | no_driver | suspended | busy | run … jobs
-- include lib/base.lua
-- include lib/drivers.lua
-- include lib/jobs.lua
-- include lib/offers.lua
-- include lib/holders.lua
-- include lib/room.lua

local job = read_job(KEYS[15])
if not job then return reply('gone') end
if not BEFORE_PICKUP[job.state] then return reply('wrong_state', job.state) end
if job.driver == arg.driver then return reply('ok') end
local rec = read_driver(arg.driver)
if not rec then return reply('no_driver') end
local is_first = job.kind == 'transfer' and redis.call('HGET', job.key, 'first') == arg.driver
if rec.suspended then return reply('suspended') end
-- A live offer of this job does not prevent it: the offer is closed.
local offer = rec.offer and rec.offer ~= job.offer and read_offer(rec.offer)
local has_other = offer and not (offer.staggered and offer.jobs[1].job == job.id)
if not fits(rec, { job }, true) or has_other or is_first then return reply('busy') end

local run, names = offered_run(job)
if not run then return reply('run', names) end
if job.state == 'offered' then close_offer(job, run, 'withdrawn', 'withdrawn') end
if job.driver ~= '' then
  note_asked(job, job.driver, 'unassigned')
  note_former(job, job.driver)
  take_from_holder(job, 'assigned', 'unassigned')
end
job.attempt = job.attempt + 1
job.driver = arg.driver
rec = read_driver(arg.driver)
take_on(rec, job)
notify_holder(job, rec, 'assigned', 'assigned')
save_driver(arg.driver, rec)
move(job, 'assigned', arg.actor, 'operator_assigned', silence_limit(rec))
return reply('ok')
