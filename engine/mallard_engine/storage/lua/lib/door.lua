-- What follows if nobody takes the parcels at the customer's door. The order (the job's body) has
-- the rule; the field `door` says what happens next, and when: {problem kind action at}. Needs
-- lib/returns.lua and lib/problems.lua.
local MOST_ATTEMPTS = 3
local HOLD_MS = 4 * 3600000

local function door_of(job)
  local packed = redis.call('HGET', job.key, 'door')
  return packed and packed ~= '' and cmsgpack.unpack(packed) or nil
end

-- Ends the wait: nothing happens until the next report.
local function forget_door(job)
  redis.call('HSET', job.key, 'door', '')
  redis.call('ZREM', K.due, door_entry(job))
  effects.over[#effects.over + 1] = door_entry(job)
end

-- Begins a new visit: the next problem counts as another attempt.
local function begin_visit(job)
  forget_door(job)
  redis.call('HSET', job.key, 'visited', '', 'answer', '', 'leave', '')
  resolve_at_door(job)
end

local function next_at_door(job, door)
  redis.call('HSET', job.key, 'door', cmsgpack.pack(door))
  falls_due(door_entry(job), door.at)
end

local function rules_of(job)
  local v = redis.call('HMGET', job.key, 'body', 'deadline_ms')
  local is_json, order = pcall(cjson.decode, v[1] or '')
  if not is_json or type(order) ~= 'table' then order = {} end
  return order.on_undeliverable or 'return', order.hold_s and order.hold_s * 1000 or HOLD_MS,
    tonumber(v[2])
end

-- Until when parcels may stay on board without an answer.
local function kept_until(job, rec)
  local _, hold_ms, deadline_ms = rules_of(job)
  return math.min(now + hold_ms, deadline_ms, rec.until_ms or math.huge)
end

local function bring_back(job, rec, door, actor, cause, text, plan)
  turn_back(job, rec, actor, cause, door.kind, plan)
  notify_answer(job, rec, { problem = door.problem, action = 'return', text = text })
end

-- Keeps the parcels on board until an answer, or until they must go back.
local function keep_on_board(job, rec, door, actor, cause, text, plan)
  local until_ms = kept_until(job, rec)
  if until_ms <= now then return bring_back(job, rec, door, actor, cause, text, plan) end
  next_at_door(job, { problem = door.problem, kind = door.kind, action = 'return', at = until_ms,
    is_kept = true })
  notify_answer(job, rec, { problem = door.problem, action = 'wait', text = text })
end

local function leave_it(job, rec, door, text)
  forget_door(job)
  redis.call('HSET', job.key, 'leave', '1')
  notify_answer(job, rec, { problem = door.problem, action = 'leave', text = text })
end

-- Applies the order's rule because no answer has come.
local function act_at_door(job, rec, door, plan)
  if door.action == 'leave' then return leave_it(job, rec, door, '') end
  if door.action == 'hold' then
    return keep_on_board(job, rec, door, 'engine', 'undeliverable', '', plan)
  end
  bring_back(job, rec, door, 'engine', 'undeliverable', '', plan)
end

-- Counts the attempt to deliver, once per visit, and decides what follows, at once or after a
-- while.
local function nobody_takes_it(job, rec, problem, is_new, plan)
  local v = redis.call('HMGET', job.key, 'delivery_attempts', 'visited')
  local attempts, is_counted = tonumber(v[1] or 0), v[2] == '1'
  if is_counted and not is_new then return end
  if not is_counted then
    attempts = attempts + 1
    redis.call('HSET', job.key, 'delivery_attempts', attempts, 'visited', '1')
    job_event(job, { kind = 'attempted', what = problem.kind, number = attempts,
      reported_ms = problem.reported_ms })
  end
  local door = { problem = problem.id, kind = problem.kind, action = rules_of(job),
    at = now + policy.door_wait_ms }
  if attempts >= MOST_ATTEMPTS then door.action = 'return' end
  if attempts >= MOST_ATTEMPTS or problem.kind == 'refused' then
    return act_at_door(job, rec, door, plan)
  end
  next_at_door(job, door)
end
