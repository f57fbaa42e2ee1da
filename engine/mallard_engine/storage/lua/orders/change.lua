#!lua flags=allow-oom
-- Changes an order, completely or not at all. A live offer is withdrawn, and the search for a
-- driver starts again; a holder is notified. `until_state`: the state from which on one of the
-- fields is fixed. `stores`: those whose own fields change. again: the job has changed since it was
-- read. `seen`: it must not have changed at all. `etas`: the times of the holder's run in its new
-- order.
-- KEYS: drivers positions idle nodes due offers waiting counts events push forget externals coming wait job...
-- ARGV: now policy arg{fields[] until_state stores[] actor expires_ms deadline_ms release_ms
-- ARGV: priority demand age_check lead_ms haul_ms lat lon pay_minor? shop_codes?[] rules hold
-- ARGV: on_undeliverable? is_moved is_ranked seen?{state attempt updated_ms} etas?[{job attempt pickup_ms dropoff_ms}]}
-- ARGV: was body card need
-- REPLY: ok effects pushes | late | again | gone | run … jobs
-- include lib/base.lua
-- include lib/drivers.lua
-- include lib/jobs.lua
-- include lib/offers.lua
-- include lib/holders.lua
-- include lib/shops.lua
-- include lib/holding.lua
-- include lib/problems.lua
-- include lib/returns.lua
-- include lib/door.lua
-- include lib/changed.lua
-- include lib/changed_run.lua

local job = read_job(KEYS[15])
if not job then return reply('gone') end
local stored = redis.call('HMGET', job.key, 'body', 'updated_ms')
if stored[1] == ARGV[5] then return reply('ok') end -- a repeat
local seen = arg.seen
if stored[1] ~= ARGV[4]
  or (seen and (job.attempt ~= seen.attempt or job.state ~= seen.state
    or tonumber(stored[2]) ~= seen.updated_ms)) then
  return reply('again')
end
if is_too_late(job) then return reply('late') end
local run, names = offered_run(job)
if not run then return reply('run', names) end

-- The job's place in the queue is that of the old order. A round may have planned with the old
-- order: a new attempt makes its plan stale.
if job.state == 'queued' then
  wait_no_more(job)
  if arg.is_ranked then
    job.attempt = job.attempt + 1
    redis.call('HSET', job.key, 'attempt', job.attempt)
  end
end
if job.state == 'offered' then close_offer(job, run, 'withdrawn', 'withdrawn') end
write_order(job)
note_done(job) -- a shop may have spoken since the caller read the need
if job.held then bound_hold(job) end
if arg.rules then apply_new_rules(job) end
if not job.held then
  job.release_ms = arg.release_ms
  redis.call('HSET', job.key, 'release_ms', job.release_ms)
end
if job.state == 'offered' then
  move(job, 'queued', arg.actor, 'withdrawn', now + policy.safety_ms)
elseif job.state == 'queued' then
  wait_for_driver(job)
  falls_due(job.due_was, now + policy.safety_ms)
elseif job.state == 'scheduled' and not job.held and now >= job.release_ms then
  move(job, 'queued', 'engine', 'released', now + policy.safety_ms)
elseif job.state == 'scheduled' then
  falls_due(job.due_was, job.release_ms)
elseif job.driver ~= '' and not TERMINAL[job.state] then
  notify_run(job)
end
if not TERMINAL[job.state] then look_at_risk(job) end
job_event(job, { kind = 'updated', actor = arg.actor, fields = arg.fields })
return reply('ok')
