#!lua flags=allow-oom
-- Assigns the jobs of an offer to its driver, if the offer is current, the driver's own, and not
-- expired.
-- KEYS: drivers positions idle nodes due offers waiting counts events push forget externals coming wait job...
-- ARGV: now policy arg{driver offer}
-- REPLY: ok effects pushes driver[record position] jobs[job …] | not_yours | offer_closed | run … jobs
-- include lib/base.lua
-- include lib/drivers.lua
-- include lib/jobs.lua
-- include lib/offers.lua
-- include lib/holders.lua
-- include lib/room.lua
-- include lib/history.lua

local offer = read_offer(arg.offer)
if not offer or offer.driver ~= arg.driver then return reply('not_yours') end
local function answer()
  local jobs = {}
  for i = 15, #KEYS do jobs[i - 14] = redis.call('HGETALL', KEYS[i]) end
  return reply('ok', driver_reply(arg.driver), jobs)
end
local run, names = read_run(offer, read_job(KEYS[15]))
if offer.state == 'accepted' then return run and answer() or reply('run', names) end
if offer.state ~= 'live' or now >= offer.expires_ms then return reply('offer_closed') end
if not run then return reply('run', names) end
if not is_current(offer, run, arg.offer) then return reply('offer_closed') end
-- A claim of custody may have left no room since; the offer then expires.
local rec = read_driver(arg.driver)
if not rec or not fits(rec, run) then return reply('offer_closed') end

end_offer(arg.offer, offer, 'accepted')
rec.offer, rec.unreachable = nil, false
note_answer(rec, offer, true)
if offer.staggered then rounds().finish(run[1], arg.offer, 'withdrawn', 'taken') end
for _, job in ipairs(run) do take_on(rec, job, false, offer.gate) end
save_driver(arg.driver, rec)
for i, job in ipairs(run) do
  note_asked(job, arg.driver, 'accepted')
  job.driver, job.offer = arg.driver, ''
  local eta = offer.jobs[i].eta_dropoff_ms and offer.jobs[i] or offer
  redis.call('HSET', job.key, 'eta_pickup_ms', eta.eta_pickup_ms,
    'eta_dropoff_ms', eta.eta_dropoff_ms, 'promised_ms', eta.eta_pickup_ms)
  move(job, 'assigned', arg.driver, 'accepted', silence_limit(rec))
  if eta.eta_dropoff_ms > job.deadline_ms - policy.risk_margin_ms then look_at_risk(job) end
end
return answer()
