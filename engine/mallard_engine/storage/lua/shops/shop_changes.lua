#!lua flags=allow-oom
-- Applies the hours that a shop has set to one of its jobs. If the shop is closed beyond the
-- driver's arrival, a live offer is withdrawn, the order's rule is applied to a job before pickup,
-- and parcels that go back get another place. If the shop is open again, a job that waits for it is
-- queued. The script reads the shop's present hours, so the order of two calls does not matter.
-- KEYS: drivers positions idle nodes due offers waiting counts events push forget externals coming wait job...
-- ARGV: now policy arg{store actor}
-- REPLY: ok effects pushes | gone | run … jobs
-- include lib/base.lua
-- include lib/drivers.lua
-- include lib/jobs.lua
-- include lib/offers.lua
-- include lib/holders.lua
-- include lib/holds.lua
-- include lib/shops.lua
-- include lib/holding.lua
-- include lib/hold_end.lua

-- Derived: the number of the jobs' keys varies.
local HOLDS = K.due:sub(1, -4) .. 'holds'

local job = read_job(KEYS[15])
if not job then return reply('gone') end
if job.state == 'returning' then
  falls_due(return_entry(job), now)
  return reply('ok')
end
local shop = shop_named(job, arg.store)
if not shop then return reply('gone') end
local till = own_word(HOLDS, job.mall .. '/' .. arg.store)

-- Once for each attempt and each change of the hours.
local function notify_driver()
  local word, field = string.format('%d/%d', job.attempt, till), 'told/' .. shop.store
  local rec = read_driver(job.driver)
  if not rec or redis.call('HGET', job.key, field) == word then return end
  redis.call('HSET', job.key, field, word)
  notify_holder(job, rec, job.state, 'updated')
  save_driver(job.driver, rec)
end

-- A job that waits for the shop to open.
local function wait_until()
  if till == 0 then return no_longer_closed(job, shop, arg.actor) end
  local at = math.max(math.min(till, job.expires_ms), now)
  job.held.until_ms, job.release_ms = at, at
  redis.call('HSET', job.key, 'held', cmsgpack.pack(job.held), 'release_ms', at)
  falls_due(job.due_was, at)
  look_at_risk(job)
end

local function opens_before_arrival()
  local eta = tonumber(redis.call('HGET', job.key, 'eta_pickup_ms') or '')
  return job.state == 'assigned' and eta ~= nil and till <= eta
end

if job.held then
  if job.held.why == 'store_closed' and job.held.store == shop.store then wait_until() end
elseif shop.collected > 0 or not is_open(shop) then
  return reply('ok')
elseif job.state == 'offered' and till > 0 then
  local run, names = offered_run(job)
  if not run then return reply('run', names) end
  close_offer(job, run, 'withdrawn', 'withdrawn')
  move(job, 'queued', arg.actor, 'withdrawn', now + policy.safety_ms)
elseif job.driver ~= '' then
  local rule = rule_for(job, shop, 'store_closed')
  if till == 0 or rule == 'deliver' or rule == 'return' or opens_before_arrival() then
    notify_driver()
  else
    apply_rule(job, shop, 'store_closed', till, arg.actor, false)
  end
end
return reply('ok')
