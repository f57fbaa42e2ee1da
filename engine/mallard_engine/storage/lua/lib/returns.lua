-- The way back: where the parcels go, and what is pushed to the holder. A plan is {place code}: the
-- place that the caller has chosen, and the code that it shows. Needs lib/jobs.lua,
-- lib/holders.lua.
local function is_cancel_requested(job)
  return redis.call('HGET', job.key, 'cancel_requested') == '1'
end

-- Without a plan the sweeper makes one at once: `move` has left an entry.
local function set_return(job, plan)
  if not plan then return end
  leave_returns(job)
  goes_back_to(job, plan.place)
  redis.call('HSETNX', job.key, 'return_code', plan.code)
  redis.call('HSET', job.key, 'return_to', cmsgpack.pack(plan.place), 'updated_ms', now)
  falls_due(return_entry(job),
    math.min(plan.place.open_until or math.huge, now + policy.return_check_ms))
end

local function return_place(job)
  local packed = redis.call('HGET', job.key, 'return_to')
  return packed and packed ~= '' and cmsgpack.unpack(packed) or nil
end

local function turn_back(job, rec, actor, cause, reason, plan)
  move(job, 'returning', actor, cause, silence_limit(rec), reason)
  redis.call('HSET', job.key, 'door', '', 'at_place', '', 'answer', '', 'leave', '')
  set_return(job, plan)
end

local function turn_round(job, rec, actor)
  move(job, 'picked_up', actor, 'turned_round', silence_limit(rec))
  redis.call('HSET', job.key, 'reason', '', 'return_to', '', 'at_place', '', 'visited', '',
    'answer', '')
end

-- Pushes to the holder what to do with the parcels. `answer`: {problem action text}.
local function notify_answer(job, rec, answer)
  redis.call('HSET', job.key, 'answer', cmsgpack.pack(answer))
  push(job.driver, rec, { kind = 'job', job = job.id, mall = job.mall, attempt = job.attempt,
    state = job.state, reason = 'answer', driver_state = shown_state(rec), answer = answer })
  save_driver(job.driver, rec)
end
