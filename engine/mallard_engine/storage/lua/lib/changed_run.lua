-- Applies a changed order to the driver who holds its job. Needs lib/door.lua.
local IS_UNDER_WAY = { assigned = true, at_mall = true, picked_up = true }

-- A wait at the door follows the new order. A corrected address counts as the answer "try again".
local function change_at_door(job, rec)
  local door = door_of(job)
  if door and door.is_kept then
    door.at = math.min(door.at, math.max(job.deadline_ms, now))
    next_at_door(job, door)
  elseif door and arg.on_undeliverable
    and tonumber(redis.call('HGET', job.key, 'delivery_attempts') or 0) < MOST_ATTEMPTS then
    door.action = arg.on_undeliverable
    next_at_door(job, door)
  end
  if not arg.is_moved or is_cancel_requested(job) then return end
  local problems, problem = problems_of(job.key), nil
  for _, each in ipairs(problems) do
    if AT_DOOR[each.kind] and each.state == 'open' then problem = each end
  end
  if not problem then return end
  problem.state = 'answered'
  problem.answer = { action = 'retry', text = '', at_ms = now, actor = arg.actor }
  save_problems(job.key, problems)
  job_event(job, { kind = 'problem_answered', what = problem.kind, problem = problem.id,
    action = 'retry', actor = arg.actor })
  if job.state == 'returning' then turn_round(job, rec, arg.actor) end
  forget_door(job)
  redis.call('HSET', job.key, 'leave', '', 'visited', '')
  notify_answer(job, rec, { problem = problem.id, action = 'retry', text = '' })
end

-- Stores the new times of the holder's other jobs, and pushes each to it.
local function note_run(job, rec)
  for _, stop in ipairs(arg.etas or {}) do
    local held = rec.jobs[holds(rec, stop.job) or 0]
    local key = K.due:sub(1, -4) .. 'job:' .. stop.job
    local v = redis.call('HMGET', key, 'state', 'mall')
    if held and held.attempt == stop.attempt and IS_UNDER_WAY[v[1]] then
      if v[1] ~= 'picked_up' then redis.call('HSET', key, 'eta_pickup_ms', stop.pickup_ms) end
      redis.call('HSET', key, 'eta_dropoff_ms', stop.dropoff_ms)
      if stop.job ~= job.id then
        redis.call('ZADD', K.risks, now, stop.job)
        push(job.driver, rec, { kind = 'job', job = stop.job, mall = v[2], attempt = stop.attempt,
          state = v[1], reason = 'updated', driver_state = shown_state(rec) })
      elseif #arg.stores > 0 and BEFORE_PICKUP[job.state] then
        redis.call('HSET', key, 'promised_ms', stop.pickup_ms)
      end
    end
  end
end

-- Updates the holder's record to the order, and notifies its app.
local function notify_run(job)
  local rec = read_driver(job.driver)
  local held = rec.jobs[holds(rec, job.id) or 0]
  if held and has_place(held) then
    held.lat, held.lon, held.deadline_ms = arg.lat, arg.lon, arg.deadline_ms
  end
  notify_holder(job, rec, job.state, 'updated')
  note_run(job, rec)
  save_driver(job.driver, rec)
  change_at_door(job, rec)
end
