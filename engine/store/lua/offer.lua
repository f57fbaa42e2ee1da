#!lua flags=allow-oom
-- Reserves the first driver of the plan who still may be offered the job, and puts the offer out.
-- KEYS: drivers positions idle nodes due offers waiting counts events push forget externals wait job
-- KEYS: round
-- ARGV: now policy arg{offer attempt drivers[{driver gate eta_s distance_m eta_pickup_ms eta_dropoff_ms}]} record
-- REPLY: offered effects pushes driver | nobody | gone
-- include lib/base.lua
-- include lib/drivers.lua
-- include lib/jobs.lua

local job = read_job(KEYS[14])
if not job then return reply('gone') end
if job.state == 'offered' and job.offer == arg.offer then
  -- The reply to an earlier run of this very call was lost.
  return reply('offered', cmsgpack.unpack(redis.call('HGET', K.offers, arg.offer)).driver)
end
if job.state ~= 'queued' or job.attempt ~= arg.attempt or now >= job.expires_ms then
  return reply('gone')
end

local FOREVER = { declined = true, expired = true, gave_up = true, silent = true,
  unassigned = true }
local barred = {}
for _, turn in ipairs(job.asked) do
  local for_a_while = turn[3] == 'unacknowledged' and turn[4] + policy.unreachable_ms > now
  if FOREVER[turn[3]] or for_a_while then
    barred[turn[1]] = true
  end
end

for _, plan in ipairs(arg.drivers) do
  local driver = plan[1]
  local rec = not barred[driver] and read_driver(driver)
  if rec and may_be_offered(rec, read_position(driver)) then
    job.attempt = job.attempt + 1
    job.offer = arg.offer
    local expires = math.min(now + policy.offer_timeout_ms, job.expires_ms)
    local ack_by = math.min(now + policy.ack_timeout_ms, expires)
    local offer = { offer = arg.offer, driver = driver, mall = job.mall, gate = plan[2],
      attempt = job.attempt, jobs = { { job = job.id, attempt = job.attempt } }, eta_s = plan[3],
      distance_m = plan[4], eta_pickup_ms = plan[5], eta_dropoff_ms = plan[6],
      expires_ms = expires, ack_by_ms = ack_by, state = 'live' }
    redis.call('HSET', K.offers, arg.offer, cmsgpack.pack(offer))
    rec.offer = arg.offer
    push(driver, rec, { kind = 'offer', offer = offer }, job.card)
    save_driver(driver, rec)
    move(job, 'offered', 'engine', 'offered', ack_by)
    redis.call('SET', KEYS[15], ARGV[4], 'PX', policy.terminal_kept_ms) -- for `explain`
    return reply('offered', driver)
  end
end
return reply('nobody')
