#!lua flags=allow-oom
-- Notes that a position fix of the holder lies inside the place that a job goes back to.
-- KEYS: drivers positions idle nodes due offers waiting counts events push forget externals coming wait job
-- ARGV: now policy arg{driver attempt mall}
-- REPLY: ok effects pushes | gone
-- include lib/base.lua
-- include lib/drivers.lua
-- include lib/jobs.lua
-- include lib/holders.lua
-- include lib/returns.lua

local job = read_job(KEYS[15])
if not job or job.state ~= 'returning' or job.driver ~= arg.driver
  or job.attempt ~= arg.attempt then
  return reply('gone')
end
local place = return_place(job)
if not place or place.mall ~= arg.mall then return reply('gone') end
redis.call('HSET', job.key, 'at_place', arg.mall)
return reply('ok')
