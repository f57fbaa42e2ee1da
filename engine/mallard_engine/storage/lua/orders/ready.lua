#!lua flags=allow-oom
-- Changes when the parcels of a store are ready. `said`: the store, if the shop or the order
-- service says so, which ends the job's hold for that store (absent: a driver reports it). again:
-- the order has changed since it was read.
-- KEYS: drivers positions idle nodes due offers waiting counts events push forget externals coming wait job
-- ARGV: now policy arg{release_ms expires_ms actor said? is_ready? etas?{attempt pickup_ms dropoff_ms}} was body card
-- ARGV: need
-- REPLY: ok effects pushes | gone | wrong_state … state | again
-- include lib/base.lua
-- include lib/drivers.lua
-- include lib/jobs.lua
-- include lib/holders.lua
-- include lib/shops.lua
-- include lib/holding.lua
-- include lib/hold_end.lua

-- Resolves the problems that drivers have reported of this shop.
local function settle_problems(job, store)
  local problems, is_changed = list_of(redis.call('HGET', job.key, 'problems')), false
  for _, problem in ipairs(problems) do
    if problem.store == store and problem.state ~= 'resolved' then
      problem.state, is_changed = 'resolved', true
      job_event(job, { kind = 'problem_resolved', what = problem.kind, problem = problem.id,
        store = store, actor = arg.actor })
    end
  end
  if is_changed then redis.call('HSET', job.key, 'problems', cmsgpack.pack(problems)) end
end

local job = read_job(KEYS[15])
if not job then return reply('gone') end
local shop = arg.said and shop_named(job, arg.said)
local may_come = job.state == 'picked_up' and shop
if not (BEFORE_PICKUP[job.state] or may_come) or (shop and shop.collected > 0) then
  return reply('wrong_state', job.state)
end
local body = redis.call('HGET', job.key, 'body')
local state = shop and (arg.is_ready and 'ready' or 'waiting')
local is_said = not shop or (shop.state == state and not shop.there)
local ends_hold = job.held and job.held.store == arg.said
if body == ARGV[5] and is_said and not ends_hold
  and (job.release_ms == arg.release_ms or job.held) then
  return reply('ok') -- a repeat
end
if body ~= ARGV[4] then return reply('again') end

redis.call('HSET', job.key, 'body', ARGV[5], 'card', ARGV[6], 'need', ARGV[7],
  'expires_ms', arg.expires_ms, 'updated_ms', now)
job.expires_ms, job.need, job.card = arg.expires_ms, ARGV[7], ARGV[6]
if shop then
  shop.state, shop.there, shop.wait_ms, shop.wait_attempt = state, nil, nil, nil
  save_shops(job)
  settle_problems(job, shop.store)
else
  note_done(job) -- a shop may have spoken since the caller read the need
end
local other = ends_hold and unanswered(job)
if other then
  wait_for(job, other)
elseif ends_hold then
  job.held = nil
  redis.call('HDEL', job.key, 'held')
end
if not job.held then
  job.release_ms = arg.release_ms
  redis.call('HSET', job.key, 'release_ms', job.release_ms)
end
if job.state == 'scheduled' and not job.held and now >= job.release_ms then
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
  local held = rec.jobs[holds(rec, job.id)]
  if held and held.ready_ms then held.ready_ms = cmsgpack.unpack(job.need).ready_ms end
  notify_holder(job, rec, job.state, 'ready_changed')
  save_driver(job.driver, rec)
end
look_at_risk(job)
event({ kind = 'job', job = job.id, service = job.service, from = job.state, to = job.state,
  attempt = job.attempt, driver = job.driver, actor = arg.actor, cause = 'ready_changed',
  etas = etas_of(job) })
return reply('ok')
