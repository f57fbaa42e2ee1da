#!lua flags=allow-oom
-- Ends an offer that was not acknowledged or answered in time; early: it is not overdue.
-- KEYS: drivers positions idle nodes due offers waiting counts events push forget externals coming wait job...
-- ARGV: now policy arg{offer member}
-- REPLY: expired effects pushes late_ms | unacknowledged … late_ms | early | gone | run … jobs
-- include lib/base.lua
-- include lib/drivers.lua
-- include lib/jobs.lua
-- include lib/offers.lua
-- include lib/history.lua
-- include lib/patience.lua
-- include lib/staggering.lua

local offer = read_offer(arg.offer)
local job = read_job(KEYS[15])
if not offer or offer.state ~= 'live' or not job
  or not is_out(arg.offer, offer, job) then
  -- The due entry has outlived its offer.
  redis.call('ZREM', K.due, arg.member)
  return reply('gone')
end
local run, names = read_run(offer, job)
if not run then return reply('run', names) end

local outcome, limit
if offer.ack_by_ms > 0 and now >= offer.ack_by_ms then
  outcome, limit = 'unacknowledged', offer.ack_by_ms
elseif now >= offer.expires_ms then
  outcome, limit = 'expired', offer.expires_ms
else
  falls_due(arg.member, offer.ack_by_ms > 0 and offer.ack_by_ms or offer.expires_ms)
  return reply('early')
end

end_offer(arg.offer, offer, outcome)
local rec = read_driver(offer.driver)
if rec and rec.offer == arg.offer then
  rec.offer = nil
  if outcome == 'expired' then
    push(offer.driver, rec, { kind = 'offer_closed', offer_id = arg.offer, why = 'expired' })
    -- Letting one more job for a run lapse has no cool-down.
    if not offer.add_on then
      note_refusal(rec, offer, true)
      if policy.cooldown_ms > 0 then
        rec.cool_until_ms = now + cooldown_ms(run)
        push_state(offer.driver, rec, 'cooling_down', rec.cool_until_ms)
      end
    end
  else
    rec.unreachable = true
    push(offer.driver, rec, { kind = 'offer_closed', offer_id = arg.offer, why = 'withdrawn' })
    push_state(offer.driver, rec, 'unreachable')
  end
  save_driver(offer.driver, rec)
end
local goes_on = offer.staggered and staggering().goes_on(run[1], arg.offer, offer, outcome)
if not goes_on then
  requeue_offered(run, offer, outcome, 'engine')
end
return reply(outcome, now - limit)
