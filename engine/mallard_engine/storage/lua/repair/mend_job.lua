#!lua flags=allow-oom
-- Rebuilds what is derived from a job's record, if the record is still as the audit read it: lists,
-- queue, due entries, risk, TTL, external id. If its offer is not live, or its driver does not hold
-- it, the job returns to the queue; a job that is on board raises an alert instead, once.
-- KEYS: drivers positions idle nodes due offers waiting counts events push forget externals coming wait job
-- ARGV: now policy arg{state attempt wrong[due_entry …] lists[by_age by_service]}
-- REPLY: ok effects pushes did[what …] | changed
-- include lib/base.lua
-- include lib/drivers.lua
-- include lib/jobs.lua
-- include lib/offers.lua
-- include lib/holders.lua

local job = read_job(KEYS[15])
if not job or job.state ~= arg.state or job.attempt ~= arg.attempt then
  return reply('changed')
end
local did = {}
local function done(what, count)
  if count and count ~= 0 then did[#did + 1] = what end
end
local function again(entry)
  if redis.call('ZADD', K.due, 'NX', now, entry) == 1 then done('due again: ' .. entry, 1) end
end

local listed = redis.call('ZADD', arg.lists[1], 'NX', 0, job.id)
  + redis.call('ZADD', arg.lists[2], 'NX', 0, job.service .. '/' .. job.id)
done('listed again', listed)
for _, entry in ipairs(arg.wrong) do
  done('no longer due: ' .. entry, redis.call('ZREM', K.due, entry))
end
local external = job.external_id ~= '' and job.service .. '/' .. job.external_id
local is_over = TERMINAL[job.state]
if external and (not is_over or job.state == 'delivered') then
  done('has its external id again', redis.call('HSETNX', K.externals, external, job.id))
end

if is_over then
  local was_queued = redis.call('HEXISTS', K.waiting, job.id)
  wait_no_more(job)
  done('out of the queue', was_queued)
  local kept = 'job/' .. job.service .. '/' .. job.id
  local ends = redis.call('PTTL', job.key) >= 0 and redis.call('ZSCORE', K.forget, kept)
  if not ends or redis.call('ZSCORE', K.risks, job.id)
    or (external and job.state ~= 'delivered'
      and redis.call('HGET', K.externals, external) == job.id) then
    end_job(job)
    done('ended again', 1)
  end
  return reply('ok', did)
end

done('kept until it ends', redis.call('PERSIST', job.key))
local rec = job.driver ~= '' and read_driver(job.driver)
local is_held = rec and holds(rec, job.id)
local has_holder = job.state ~= 'scheduled' and job.state ~= 'queued' and job.state ~= 'offered'
if not has_holder and job.driver ~= '' and not is_held then
  job.driver = ''
  done('has no driver', redis.call('HSET', job.key, 'driver', '') + 1)
end
if job.state ~= 'offered' and job.offer ~= '' then
  job.offer = ''
  done('has no offer', redis.call('HSET', job.key, 'offer', '') + 1)
end
if job.held and job.state ~= 'scheduled' then
  done('is not held', redis.call('HDEL', job.key, 'held'))
elseif job.held and job.held.until_ms ~= job.release_ms then
  job.release_ms = job.held.until_ms
  redis.call('HSET', job.key, 'release_ms', string.format('%.0f', job.release_ms))
  done('released when its hold ends', 1)
end

local offer = job.state == 'offered' and read_offer(job.offer)
local in_round = redis.call('HEXISTS', job.key, 'round') == 1
if job.state == 'offered' and not in_round and (not offer or offer.state ~= 'live') then
  redis.call('ZREM', K.due, job.due_was)
  job.offer = ''
  move(job, 'queued', 'repair', 'withdrawn', now + policy.safety_ms)
  done('queued again: its offer is not live', 1)
elseif (job.state == 'assigned' or job.state == 'at_mall') and not is_held then
  revoke(job, 'unassigned', 'repair', 'repair')
  done('queued again: no driver holds it', 1)
elseif has_holder and not is_held then
  if redis.call('HSETNX', job.key, 'mend_alert', job.attempt) == 1 then
    alert('holder_unknown', { job = job.id, service = job.service, driver = job.driver })
    done('an alert: it is on board, and its driver does not hold it', 1)
  end
elseif job.state == 'queued' then
  local before = redis.call('HGET', K.waiting, job.id)
  local waits = redis.call('ZSCORE', WAIT, place_of(job))
  wait_for_driver(job)
  local is_new = not waits or before ~= redis.call('HGET', K.waiting, job.id)
  done('in the queue again', is_new and 1)
else
  local was_queued = redis.call('HEXISTS', K.waiting, job.id)
  wait_no_more(job)
  done('out of the queue', was_queued)
end

local entry = due_member(job)
if entry and not in_round then again(entry) end
local function has(field)
  return (redis.call('HGET', job.key, field) or '') ~= ''
end
if job.state == 'picked_up' and has('door_ms') then again(door_entry(job)) end
if job.state == 'returning' and has('return_to') then again(return_entry(job)) end
local may_change = job.risk ~= 'late' and job.state ~= 'returning'
if may_change and not redis.call('ZSCORE', K.risks, job.id) then
  look_at_risk(job)
  done('its risk is looked at', 1)
end
return reply('ok', did)
