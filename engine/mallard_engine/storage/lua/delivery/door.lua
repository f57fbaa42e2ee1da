#!lua flags=allow-oom
-- Applies the order's rule for parcels that nobody takes: no answer has come in time.
-- KEYS: drivers positions idle nodes due offers waiting counts events push forget externals coming wait job
-- ARGV: now policy arg{member attempt plan?{place code}}
-- REPLY: ok effects pushes | waits | gone
-- include lib/base.lua
-- include lib/drivers.lua
-- include lib/jobs.lua
-- include lib/holders.lua
-- include lib/problems.lua
-- include lib/returns.lua
-- include lib/door.lua

local job = read_job(KEYS[15])
local door = job and job.state == 'picked_up' and door_of(job)
local rec = door and read_driver(job.driver)
if not rec or door_entry(job) ~= arg.member then
  redis.call('ZREM', K.due, arg.member)
  return reply('gone')
end
-- The job was read before: an answer or another holder may have come meanwhile.
if job.attempt ~= arg.attempt then return reply('waits') end
if door.at > now then
  falls_due(arg.member, door.at)
  return reply('waits')
end
act_at_door(job, rec, door, arg.plan)
return reply('ok')
