#!lua flags=allow-oom
-- Reserves the first driver of the plan who still may be offered its jobs, and puts the offer out, if
-- every one of them still waits at its attempt; gone tells which do not (their places in the plan).
-- KEYS: drivers positions idle nodes due offers waiting counts events push forget externals coming wait job...
-- KEYS: round...
-- ARGV: now policy arg{offer attempts[attempt] drivers[{driver gate eta_s distance_m eta_pickup_ms
-- ARGV: eta_dropoff_ms cell?}] etas?} record...
-- REPLY: offered effects pushes driver | nobody | gone … places
-- include lib/base.lua
-- include lib/drivers.lua
-- include lib/jobs.lua
-- include lib/room.lua

local count = #arg.attempts
local jobs, gone = {}, {}
for i, attempt in ipairs(arg.attempts) do
  local job = read_job(KEYS[14 + i])
  if job and job.state == 'offered' and job.offer == arg.offer then
    -- The reply to an earlier run of this very call was lost.
    return reply('offered', cmsgpack.unpack(redis.call('HGET', K.offers, arg.offer)).driver)
  end
  if not job or job.state ~= 'queued' or job.attempt ~= attempt or now >= job.expires_ms then
    gone[#gone + 1] = i
  end
  jobs[i] = job
end
if #gone > 0 then return reply('gone', gone) end

local FOREVER = { declined = true, expired = true, gave_up = true, silent = true,
  unassigned = true }
local barred = {}
for _, job in ipairs(jobs) do
  for _, turn in ipairs(job.asked) do
    local for_a_while = turn[3] == 'unacknowledged' and turn[4] + policy.unreachable_ms > now
    if FOREVER[turn[3]] or for_a_while then
      barred[turn[1]] = true
    end
  end
end

-- A run goes to one who is free; to one on its way, one more job from the mall that it is bound for.
local function may_take(rec, driver)
  local has_room = #rec.jobs == 0 or (count == 1 and bound_for(rec) == jobs[1].mall)
  return has_room and fits(rec, jobs) and may_be_asked(rec, read_position(driver))
end

local function put_out(rec, plan, etas)
  local expires, attempt, run, cards = now + policy.offer_timeout_ms, 0, {}, {}
  for i, job in ipairs(jobs) do
    job.attempt = job.attempt + 1
    job.offer = arg.offer
    attempt, expires = math.max(attempt, job.attempt), math.min(expires, job.expires_ms)
    run[i] = { job = job.id, attempt = job.attempt }
    if etas then run[i].eta_pickup_ms, run[i].eta_dropoff_ms = etas[i][1], etas[i][2] end
    cards[i] = job.card
  end
  local ack_by = math.min(now + policy.ack_timeout_ms, expires)
  local offer = { offer = arg.offer, driver = plan[1], mall = jobs[1].mall, gate = plan[2],
    attempt = attempt, jobs = run, eta_s = plan[3], distance_m = plan[4],
    eta_pickup_ms = plan[5], eta_dropoff_ms = plan[6], expires_ms = expires, ack_by_ms = ack_by,
    state = 'live', add_on = #rec.jobs > 0 or nil, cell = #rec.jobs == 0 and plan[7] or nil }
  redis.call('HSET', K.offers, arg.offer, cmsgpack.pack(offer))
  rec.offer = arg.offer
  local card = count == 1 and cards[1] or cmsgpack.pack(cards)
  push(plan[1], rec, { kind = 'offer', offer = offer }, card)
  save_driver(plan[1], rec)
  for i, job in ipairs(jobs) do
    move(job, 'offered', 'engine', 'offered', ack_by)
    -- For `explain`.
    redis.call('SET', KEYS[14 + count + i], ARGV[3 + i], 'PX', policy.terminal_kept_ms)
  end
end

for n, plan in ipairs(arg.drivers) do
  local rec = not barred[plan[1]] and read_driver(plan[1])
  if rec and may_take(rec, plan[1]) then
    put_out(rec, plan, arg.etas and arg.etas[n])
    return reply('offered', plan[1])
  end
end
return reply('nobody')
