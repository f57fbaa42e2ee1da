#!lua flags=allow-oom
-- Cancels a job. Parcels on board go back, and the job then ends as returned. Idempotent.
-- KEYS: drivers positions idle nodes due offers waiting counts events push forget externals coming wait job...
-- ARGV: now policy arg{actor reason code note? plan?{place code}}
-- REPLY: ok effects pushes | gone | wrong_state … state | run … jobs
-- include lib/base.lua
-- include lib/drivers.lua
-- include lib/jobs.lua
-- include lib/offers.lua
-- include lib/holders.lua
-- include lib/returns.lua

local job = read_job(KEYS[15])
if not job then return reply('gone') end
if job.state == 'cancelled' then return reply('ok') end

local function note_cancelled()
  redis.call('HSET', job.key, 'cancelled_by', arg.actor, 'cancel_reason', arg.code,
    'cancel_note', arg.note or '', 'cancel_stage', job.state, 'updated_ms', now)
end

if is_cancel_requested(job) and (job.state == 'returning' or job.state == 'returned') then
  return reply('ok')
end
if job.state == 'picked_up' or job.state == 'returning' then
  local rec = read_driver(job.driver)
  note_cancelled()
  redis.call('HSET', job.key, 'cancel_requested', '1')
  if job.state == 'picked_up' then
    turn_back(job, rec, arg.actor, 'cancel_requested', arg.reason, arg.plan)
  else
    job_event(job, { kind = 'cancel_requested', actor = arg.actor })
  end
  notify_holder(job, rec, 'returning', 'cancelled')
  save_driver(job.driver, rec)
  return reply('ok')
end
if not BEFORE_PICKUP[job.state] then return reply('wrong_state', job.state) end
local run, names = offered_run(job)
if not run then return reply('run', names) end
note_cancelled()
if job.state == 'offered' then
  close_offer(job, run, 'withdrawn', 'cancelled')
elseif job.driver ~= '' then
  take_from_holder(job, 'cancelled', 'cancelled')
  job.driver = ''
end
move(job, 'cancelled', arg.actor, 'cancelled', nil, arg.reason)
return reply('ok')
