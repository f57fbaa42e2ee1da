#!lua flags=allow-oom
-- Changes when the parcels of a store are ready. again: the order has changed since it was read.
-- KEYS: drivers positions idle nodes due offers waiting counts events push forget externals coming wait job
-- ARGV: now policy arg{release_ms expires_ms etas?{attempt pickup_ms dropoff_ms}} was body card need
-- REPLY: ok effects pushes | gone | wrong_state … state | again
-- include lib/base.lua
-- include lib/drivers.lua
-- include lib/jobs.lua
-- include lib/holders.lua

local job = read_job(KEYS[15])
if not job then return reply('gone') end
if not BEFORE_PICKUP[job.state] then return reply('wrong_state', job.state) end
local body = redis.call('HGET', job.key, 'body')
if body == ARGV[5] and job.release_ms == arg.release_ms then return reply('ok') end -- a repeat
if body ~= ARGV[4] then return reply('again') end

redis.call('HSET', job.key, 'body', ARGV[5], 'card', ARGV[6], 'need', ARGV[7],
  'release_ms', arg.release_ms, 'expires_ms', arg.expires_ms, 'updated_ms', now)
job.expires_ms = arg.expires_ms
job.need, job.card, job.release_ms = ARGV[7], ARGV[6], arg.release_ms
if job.state == 'scheduled' and now >= job.release_ms then
  move(job, 'queued', 'engine', 'released', now + policy.safety_ms)
elseif job.state == 'scheduled' then
  falls_due(job.due_was, job.release_ms)
elseif job.state == 'queued' then
  wait_for_driver(job)
elseif job.driver ~= '' then
  if arg.etas and arg.etas.attempt == job.attempt then
    redis.call('HSET', job.key, 'eta_pickup_ms', arg.etas.pickup_ms,
      'eta_dropoff_ms', arg.etas.dropoff_ms, 'promised_ms', arg.etas.pickup_ms)
  end
  local rec = read_driver(job.driver)
  tell_holder(job, rec, job.state, 'ready_changed')
  save_driver(job.driver, rec)
end
event({ kind = 'job', job = job.id, service = job.service, from = job.state, to = job.state,
  attempt = job.attempt, driver = job.driver, actor = job.service, cause = 'ready_changed' })
return reply('ok')
