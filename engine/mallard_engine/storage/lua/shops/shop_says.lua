#!lua flags=allow-oom
-- Records that a shop has fewer parcels of a job than ordered, or none, and applies the order's
-- rule for that. Repeatable, but not after the shop's parcels were collected.
-- KEYS: drivers positions idle nodes due offers waiting counts events push forget externals coming wait job...
-- ARGV: now policy arg{store state parcels? actor}
-- REPLY: ok effects pushes | gone | wrong_state … state | bad_field | run … jobs
-- include lib/base.lua
-- include lib/drivers.lua
-- include lib/jobs.lua
-- include lib/offers.lua
-- include lib/holders.lua
-- include lib/shops.lua
-- include lib/holding.lua

local job = read_job(KEYS[15])
if not job then return reply('gone') end
local shop = shop_named(job, arg.store)
local there = arg.state == 'missing' and 0 or arg.parcels
if not shop or not there or there >= shop.parcels or (there == 0) ~= (arg.state == 'missing') then
  return reply('bad_field')
end
local is_repeat = shop.state == arg.state and shop.there == there and shop.collected == 0
if is_repeat then return reply('ok') end
if not BEFORE_PICKUP[job.state] and job.state ~= 'picked_up' or shop.collected > 0 then
  return reply('wrong_state', job.state)
end

local run, names = offered_run(job)
if not run then return reply('run', names) end
shop.state, shop.there, shop.wait_ms, shop.wait_attempt = arg.state, there, nil, nil
job_event(job, { kind = 'shop', what = arg.state, store = shop.store, parcels = there,
  ordered = shop.parcels, actor = arg.actor })
local rule = rule_for(job, shop, arg.state)
if rule == 'hold' and job.held then
  -- The job is already held; a further report of the shop does not prolong the hold.
  save_shops(job)
elseif rule == 'deliver' then
  save_shops(job)
  if job.held and job.held.store == shop.store then
    move(job, 'queued', arg.actor, 'released', now + policy.safety_ms)
  elseif job.driver ~= '' then
    local rec = read_driver(job.driver)
    notify_holder(job, rec, job.state, 'updated')
    save_driver(job.driver, rec)
  end
else
  if job.state == 'offered' then close_offer(job, run, 'withdrawn', 'withdrawn') end
  apply_rule(job, shop, arg.state, nil, arg.actor, false)
end
return reply('ok')
