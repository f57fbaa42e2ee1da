-- Decides which drivers may be offered jobs, and makes the offer.
-- include lib/room.lua
-- include lib/pauses.lua
-- include lib/patience.lua
local FOREVER = { gave_up = true, silent = true, unassigned = true }
local LONGEST_BARS_MS = { declined = policy.declined_ms, expired = policy.lapsed_ms,
  unacknowledged = policy.unreachable_ms }

-- Until when an earlier offer bars its driver from the job; barred_until_ms in
-- core/matching/patience.py has the same rule.
local function barred_until(job, turn)
  if FOREVER[turn[3]] then return math.huge end
  local most_ms = LONGEST_BARS_MS[turn[3]]
  if not most_ms then return 0 end
  return turn[4] + fitted_ms(job.expires_ms - turn[4], policy.asked_again_min_ms, most_ms)
end

-- Drivers who may not be offered one of these jobs now.
local function barred_from(jobs)
  local barred = {}
  for _, job in ipairs(jobs) do
    for _, turn in ipairs(job.asked) do
      if barred_until(job, turn) > now then barred[turn[1]] = true end
    end
    -- No driver takes over from itself, even if it is free again before its transfer has ended.
    if job.kind == 'transfer' then barred[redis.call('HGET', job.key, 'first')] = true end
  end
  return barred
end

-- A free driver may get a run; a driver on its way gets one more job from the mall that it goes to.
-- A driver who would come too late to collect gets no offer.
local function may_take(rec, plan, jobs)
  local has_room = #rec.jobs == 0 or (#jobs == 1 and bound_for(rec) == jobs[1].mall)
  local is_in_time = plan[7] == 0 or now <= plan[7]
  return has_room and is_in_time and fits(rec, jobs) and may_be_asked(rec, read_position(plan[1]))
end

-- Offers the jobs, each at its attempt, to the driver of this record. Returns by when it must be
-- acknowledged.
local function ask(id, jobs, rec, plan, etas, is_staggered)
  local expires, attempt, run, cards = now + policy.offer_timeout_ms, 0, {}, {}
  -- A later answer would be too late to collect; but the acknowledgement needs its time.
  if plan[7] > 0 then
    expires = math.min(expires, math.max(plan[7], now + policy.ack_timeout_ms))
  end
  for i, job in ipairs(jobs) do
    attempt, expires = math.max(attempt, job.attempt), math.min(expires, job.expires_ms)
    run[i] = { job = job.id, attempt = job.attempt, pay_minor = job.pay_minor,
      done = need_of(job).done }
    if etas then run[i].eta_pickup_ms, run[i].eta_dropoff_ms = etas[i][1], etas[i][2] end
    cards[i] = job.card
  end
  local ack_by = math.min(now + policy.ack_timeout_ms, expires)
  local offer = { offer = id, driver = plan[1], mall = jobs[1].mall, gate = plan[2],
    attempt = attempt, jobs = run, eta_s = plan[3], distance_m = plan[4],
    eta_pickup_ms = plan[5], eta_dropoff_ms = plan[6], expires_ms = expires, ack_by_ms = ack_by,
    state = 'live', add_on = #rec.jobs > 0 or nil, cell = #rec.jobs == 0 and plan[8] or nil,
    staggered = is_staggered }
  redis.call('HSET', K.offers, id, cmsgpack.pack(offer))
  rec.offer = id
  local card = #jobs == 1 and cards[1] or cmsgpack.pack(cards)
  push(plan[1], rec, { kind = 'offer', offer = offer }, card)
  save_driver(plan[1], rec)
  return ack_by
end
