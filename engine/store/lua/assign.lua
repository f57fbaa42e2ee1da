#!lua flags=allow-oom
-- An operator gives a job to a driver, from any state before pick-up, under a higher attempt.
-- KEYS: drivers positions idle nodes due offers waiting counts events push forget externals wait job
-- ARGV: now policy arg{driver actor}
-- REPLY: ok effects pushes | gone | wrong_state … state | no_driver | suspended | busy
-- include lib/base.lua
-- include lib/drivers.lua
-- include lib/jobs.lua
-- include lib/offers.lua
-- include lib/holders.lua

local job = read_job(KEYS[14])
if not job then return reply('gone') end
if not BEFORE_PICKUP[job.state] then return reply('wrong_state', job.state) end
if job.driver == arg.driver then return reply('ok') end
local rec = read_driver(arg.driver)
if not rec then return reply('no_driver') end
if rec.suspended then return reply('suspended') end
if not has_room(rec) or (rec.offer and rec.offer ~= job.offer) then return reply('busy') end

if job.state == 'offered' then close_offer(job, 'withdrawn', 'withdrawn') end
if job.driver ~= '' then
  note_asked(job, job.driver, 'unassigned')
  note_former(job, job.driver)
  take_from_holder(job, 'assigned', 'unassigned')
end
job.attempt = job.attempt + 1
job.driver = arg.driver
rec = read_driver(arg.driver)
rec.jobs[#rec.jobs + 1] = { job = job.id, attempt = job.attempt, mall = job.mall }
tell_holder(job, rec, 'assigned', 'assigned')
save_driver(arg.driver, rec)
move(job, 'assigned', arg.actor, 'operator_assigned', silence_limit(rec))
return reply('ok')
