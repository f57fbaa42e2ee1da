#!lua flags=allow-oom
-- Marks the holder of a job as arrived: its position is at the mall of the job.
-- KEYS: drivers positions idle nodes due offers waiting counts events push forget externals coming wait job
-- ARGV: now policy arg{driver attempt}
-- REPLY: ok effects pushes | gone
-- include lib/base.lua
-- include lib/drivers.lua
-- include lib/jobs.lua
-- include lib/holders.lua
-- include lib/room.lua

local job = read_job(KEYS[15])
if not job or job.state ~= 'assigned' or job.driver ~= arg.driver or job.attempt ~= arg.attempt then
  return reply('gone')
end
local rec = read_driver(arg.driver)
note_arrival(rec, job)
notify_holder(job, rec, 'at_mall', 'arrived')
save_driver(arg.driver, rec)
move(job, 'at_mall', 'engine', 'arrived', silence_limit(rec))
return reply('ok')
