#!lua flags=allow-oom
-- Sets the place that a job goes back to, and when to check it again. If the place changes because
-- the first one closes, an alert is raised. changed: 1 if the place is another one.
-- KEYS: drivers positions idle nodes due offers waiting counts events push forget externals coming wait job
-- ARGV: now policy arg{member attempt plan{place code}}
-- REPLY: ok effects pushes changed | gone
-- include lib/base.lua
-- include lib/drivers.lua
-- include lib/jobs.lua
-- include lib/holders.lua
-- include lib/returns.lua

local job = read_job(KEYS[15])
if not job or job.state ~= 'returning' then
  redis.call('ZREM', K.due, arg.member)
  return reply('gone')
end
if job.attempt ~= arg.attempt then return reply('gone') end -- read before it changed hands
local was, place = return_place(job), arg.plan.place
local is_other = not was or was.mall ~= place.mall or was.store ~= place.store
if is_other then redis.call('HSET', job.key, 'at_place', '', 'code_shown', '') end
set_return(job, arg.plan)
if is_other then
  if was then
    alert('return_place_closed', { job = job.id, service = job.service, driver = job.driver,
      place = was.mall .. '/' .. was.store, instead = place.mall .. '/' .. place.store })
  end
  local rec = read_driver(job.driver)
  if rec then
    notify_holder(job, rec, job.state, 'updated')
    save_driver(job.driver, rec)
  end
end
return reply('ok', is_other and 1 or 0)
