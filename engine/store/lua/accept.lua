#!lua flags=allow-oom
-- Gives the job to the driver, if the offer is current, the driver's own, and not yet over.
-- KEYS: drivers positions idle nodes due offers waiting counts events push forget externals wait job
-- ARGV: now policy arg{driver offer}
-- REPLY: ok effects pushes record job | not_yours | offer_closed
-- include lib/base.lua
-- include lib/drivers.lua
-- include lib/jobs.lua
-- include lib/offers.lua
-- include lib/holders.lua

local offer = read_offer(arg.offer)
if not offer or offer.driver ~= arg.driver then return reply('not_yours') end
local function answer()
  return reply('ok', redis.call('HGET', K.drivers, arg.driver), redis.call('HGETALL', KEYS[14]))
end
if offer.state == 'accepted' then return answer() end
if offer.state ~= 'live' or now >= offer.expires_ms then return reply('offer_closed') end
local job = read_job(KEYS[14])
if not job or job.offer ~= arg.offer or job.state ~= 'offered' or job.attempt ~= offer.attempt then
  return reply('offer_closed')
end
-- A claim to custody may have filled its hands since; the offer then runs out by its own clock.
local rec = read_driver(arg.driver)
if not rec or not has_room(rec) then return reply('offer_closed') end

end_offer(arg.offer, offer, 'accepted')
rec.offer, rec.unreachable = nil, false
rec.jobs[#rec.jobs + 1] = { job = job.id, attempt = job.attempt, mall = job.mall }
save_driver(arg.driver, rec)
note_asked(job, arg.driver, 'accepted')
job.driver, job.offer = arg.driver, ''
move(job, 'assigned', arg.driver, 'accepted', silence_limit(rec))
redis.call('HSET', KEYS[14], 'eta_pickup_ms', offer.eta_pickup_ms,
  'eta_dropoff_ms', offer.eta_dropoff_ms)
return answer()
