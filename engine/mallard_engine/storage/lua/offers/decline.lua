#!lua flags=allow-oom
-- Declines an offer: its jobs return to the queue, and the driver cools down. Declining one more
-- job for a run has no cool-down.
-- KEYS: drivers positions idle nodes due offers waiting counts events push forget externals coming wait job...
-- ARGV: now policy arg{driver offer reason}
-- REPLY: ok effects pushes driver[record position] | not_yours | offer_closed | run … jobs
-- include lib/base.lua
-- include lib/drivers.lua
-- include lib/jobs.lua
-- include lib/offers.lua
-- include lib/history.lua
-- include lib/patience.lua
-- include lib/staggering.lua
-- include lib/reasons.lua

local offer = read_offer(arg.offer)
if not offer or offer.driver ~= arg.driver then return reply('not_yours') end
if offer.state == 'declined' then return reply('ok', driver_reply(arg.driver)) end
if offer.state ~= 'live' or now >= offer.expires_ms then return reply('offer_closed') end
local run, names = read_run(offer, read_job(KEYS[15]))
if not run then return reply('run', names) end
if not is_current(offer, run, arg.offer) then return reply('offer_closed') end

end_offer(arg.offer, offer, 'declined')
for _, job in ipairs(run) do keep_reason(job, arg.driver, job.attempt, arg.reason) end
local rec = read_driver(arg.driver)
rec.offer, rec.unreachable = nil, false
if not offer.add_on then
  rec.cool_until_ms = now + cooldown_ms(run)
  note_refusal(rec, offer, false)
end
save_driver(arg.driver, rec)
local goes_on = offer.staggered
  and staggering().goes_on(run[1], arg.offer, offer, 'declined', arg.reason)
if not goes_on then
  requeue_offered(run, offer, 'declined', arg.driver, arg.reason)
end
return reply('ok', driver_reply(arg.driver))
