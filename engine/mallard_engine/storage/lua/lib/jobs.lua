-- A job's fields, and all that each change of state updates: wait set, due entry, counters,
-- timeline, event.
local DUE_KIND = { scheduled = 'release', queued = 'retry', offered = 'offer',
  assigned = 'silent', at_mall = 'silent', picked_up = 'silent', returning = 'silent' }
-- include lib/terminal.lua
local BEFORE_PICKUP = { scheduled = true, queued = true, offered = true, assigned = true,
  at_mall = true }

local function due_member(job)
  local kind = DUE_KIND[job.state]
  if not kind then return nil end
  if kind == 'offer' then return 'offer/' .. job.mall .. '/' .. job.offer .. '/' .. job.id end
  return kind .. '/' .. job.mall .. '/' .. job.id
end
-- include lib/packed.lua
local function list_of(packed)
  return packed and cmsgpack.unpack(packed) or {}
end

-- A field that the version which wrote the job did not know is empty, 0 or an empty list.
local function read_job(key)
  local v = redis.call('HMGET', key, 'id', 'state', 'attempt', 'mall', 'driver', 'offer',
    'expires_ms', 'release_ms', 'priority', 'created_ms', 'service', 'external_id', 'need', 'card',
    'timeline', 'asked', 'former', 'age_check', 'alerted_ms', 'demand', 'occurred',
    'held', 'transfer', 'kind', 'pay_minor', 'deadline_ms',
    'risk', 'lead_ms', 'haul_ms', 'dead_letter')
  if not v[1] then return refuse_packed(key) end
  local job = { key = key, id = v[1], state = v[2], attempt = tonumber(v[3]), mall = v[4],
    driver = v[5] or '', offer = v[6] or '', expires_ms = tonumber(v[7]),
    release_ms = tonumber(v[8] or 0), priority = tonumber(v[9] or 0),
    created_ms = tonumber(v[10]), service = v[11], external_id = v[12] or '', need = v[13],
    card = v[14], timeline = list_of(v[15]), asked = list_of(v[16]), former = list_of(v[17]),
    age_check = v[18] == '1', alerted_ms = tonumber(v[19] or -1), demand = v[20] or '',
    occurred = list_of(v[21]), held = v[22] and cmsgpack.unpack(v[22]) or nil,
    transfer = v[23] or '', kind = v[24] or '',
    pay_minor = tonumber(v[25] or nil), deadline_ms = tonumber(v[26] or 0),
    risk = v[27] or 'none', lead_ms = tonumber(v[28] or 0), haul_ms = tonumber(v[29] or 0),
    dead_letter = v[30] or '' }
  job.was, job.due_was = job.state, due_member(job)
  return job
end

-- include lib/dead_letters.lua
-- include lib/queue.lua

local function note_asked(job, driver, outcome)
  job.asked[#job.asked + 1] = { driver, job.attempt, outcome, now }
end

-- Notes a driver whose job was revoked: it may still have the parcel on board (custody).
local function note_former(job, driver)
  job.former[#job.former + 1] = { driver, job.attempt }
end

-- Removes a driver who gave the job up: it has no parcel.
local function strike_former(job, driver)
  for i = #job.former, 1, -1 do
    if job.former[i][1] == driver then table.remove(job.former, i) end
  end
end

local function save_job(job)
  redis.call('HSET', job.key, 'state', job.state, 'attempt', job.attempt, 'driver', job.driver,
    'offer', job.offer, 'updated_ms', now, 'timeline', cmsgpack.pack(job.timeline),
    'asked', cmsgpack.pack(job.asked), 'former', cmsgpack.pack(job.former))
end

-- include lib/by_shop.lua

-- include lib/open_jobs.lua
-- include lib/times.lua
-- include lib/job_events.lua
-- include lib/transferred.lua
-- include lib/on_board.lua

-- The name under which a job in this state is counted: a transfer is not a customer's job.
local function counted_as(job, state)
  return job.kind == 'transfer' and 'transfer_' .. state or state
end

-- The only way to change a job's state. `due_at` is the time of its due entry.
local function move(job, state, actor, cause, due_at, reason)
  local was = job.state
  if job.due_was then
    redis.call('ZREM', K.due, job.due_was)
    effects.over[#effects.over + 1] = job.due_was
  end
  job.state = state
  if was ~= state then
    redis.call('HINCRBY', K.counts, counted_as(job, was), -1)
    redis.call('HINCRBY', K.counts, counted_as(job, state), 1)
  end
  if was == 'queued' and state ~= 'queued' then wait_no_more(job) end
  if state == 'queued' then wait_for_driver(job) end
  if job.held and state ~= 'scheduled' then
    job.held = nil
    redis.call('HDEL', job.key, 'held')
  end
  if job.dead_letter ~= '' and state ~= 'scheduled' then K.dig_up(job) end
  local occurred = note_change(job, state, actor, cause)
  save_job(job)
  -- The event says why a job is queued again or held; the job itself has no reason then.
  if reason and state ~= 'queued' and state ~= 'scheduled' then
    redis.call('HSET', job.key, 'reason', reason)
  end
  job.due_was = due_member(job)
  if job.due_was and due_at then falls_due(job.due_was, due_at) end
  look_after(job, was)
  if TERMINAL[state] then
    end_job(job)
  elseif job.risk ~= 'none' or was == 'returning' or state == 'scheduled' then
    look_at_risk(job)
  end
  note_transfer(job, reason)
  event({ kind = 'job', job = job.id, service = job.service, from = was, to = state,
    attempt = job.attempt, driver = job.driver, actor = actor, cause = cause, reason = reason,
    reported_ms = job.reported_ms, occurred_ms = occurred, etas = etas_of(job) })
end
