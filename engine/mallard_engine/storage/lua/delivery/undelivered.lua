#!lua flags=allow-oom
-- Records that nobody takes a job's parcels at the door: stores the problem, counts the attempt to
-- deliver, and applies the order's rule, now or later. is_new: 0 if the problem was known already.
-- KEYS: drivers positions idle nodes due offers waiting counts events push forget externals coming wait job
-- ARGV: now policy arg{driver kind attempt? at_ms? store until_ms? text plan?{place code}}
-- REPLY: ok effects pushes driver[record position] is_new | not_yours | stale_attempt
-- include lib/base.lua
-- include lib/drivers.lua
-- include lib/jobs.lua
-- include lib/holders.lua
-- include lib/claimed.lua
-- include lib/problems.lua
-- include lib/returns.lua
-- include lib/door.lua

local job = read_job(KEYS[15])
local rec = read_driver(arg.driver)
if not job or not rec or not holds(rec, job.id) then return reply('not_yours') end
if arg.attempt and not is_holder(job, arg.driver, arg.attempt) then
  return reply('stale_attempt')
end
job.reported_ms = arg.at_ms

local problem, is_new = keep_problem(job.key, { kind = arg.kind, store = arg.store,
  text = arg.text, until_ms = arg.until_ms, at_ms = arg.at_ms, driver = arg.driver })
if is_new then
  job_event(job, { kind = 'problem', what = arg.kind, driver = arg.driver, mall = job.mall,
    store = arg.store, until_ms = arg.until_ms, reported_ms = arg.at_ms })
end
if job.state == 'picked_up' then nobody_takes_it(job, rec, problem, is_new, arg.plan) end
return reply('ok', driver_reply(arg.driver), is_new and 1 or 0)
