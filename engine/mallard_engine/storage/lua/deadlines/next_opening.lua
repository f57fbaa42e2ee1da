#!lua flags=allow-oom
-- Schedules a job that cannot be collected before its mall closes for the mall's next opening.
-- was_ready_ms: the time at which its parcels are ready, as the caller read it. need: the job's
-- need at the opening.
-- KEYS: drivers positions idle nodes due offers waiting counts events push forget externals coming wait job...
-- ARGV: now policy arg{attempt was_ready_ms release_ms} need
-- REPLY: ok effects pushes | gone | run … jobs
-- include lib/base.lua
-- include lib/drivers.lua
-- include lib/jobs.lua
-- include lib/offers.lua
-- include lib/room.lua
-- include lib/shops.lua

local job = read_job(KEYS[15])
if not job or job.attempt ~= arg.attempt or need_of(job).ready_ms ~= arg.was_ready_ms
  or (job.state ~= 'queued' and job.state ~= 'offered') then
  return reply('gone')
end
local run, names = offered_run(job)
if not run then return reply('run', names) end
if job.state == 'offered' then close_offer(job, run, 'withdrawn', 'withdrawn') end
job.need, job.release_ms = ARGV[4], arg.release_ms
redis.call('HSET', job.key, 'need', job.need, 'release_ms', job.release_ms)
note_done(job) -- a shop may have spoken since the caller read the need
move(job, 'scheduled', 'engine', 'mall_closes', job.release_ms)
return reply('ok')
