#!lua flags=allow-oom
-- Records a driver's problem with its job, and as an event. A store that cannot hand over is held
-- for a while, and the order's rule for missing parcels is applied at once. Reports of the same
-- open job, store and kind are one problem. is_new: 0 if it was known already.
-- KEYS: drivers positions idle nodes due offers waiting counts events push forget externals coming wait job holds
-- ARGV: now policy arg{driver kind mall job attempt? at_ms? store until_ms? text}
-- REPLY: ok effects pushes driver[record position] is_new | not_yours | stale_attempt
-- include lib/base.lua
-- include lib/drivers.lua
-- include lib/jobs.lua
-- include lib/holders.lua
-- include lib/claimed.lua
-- include lib/holds.lua
-- include lib/shops.lua
-- include lib/holding.lua
-- include lib/problems.lua

local JOB, HOLDS = KEYS[15], KEYS[16]
local HOLDS_STORE = { not_ready = true, store_closed = true }
local ALERTS = { unsafe = true, accident = true }
-- The rule of the order that applies, by the kind of the problem.
local WHY = { missing = 'missing', partial = 'short', store_closed = 'store_closed' }
local SHOP_STATE = { missing = 'missing', partial = 'short', store_closed = 'closed' }
local MAY_COLLECT = { assigned = true, at_mall = true, picked_up = true }

local rec = read_driver(arg.driver)
if not rec then return reply('not_yours') end
local held = arg.job ~= '' and rec.jobs[holds(rec, arg.job)]
local job = arg.job ~= '' and read_job(JOB)
if arg.job ~= '' and not held then
  -- A repeat of the report that has held or ended the job.
  if job and WHY[arg.kind] and has_held(job, arg.driver, arg.attempt) then
    return reply('ok', driver_reply(arg.driver), 0)
  end
  return reply('not_yours')
end
if job and arg.attempt and not is_holder(job, arg.driver, arg.attempt) then
  return reply('stale_attempt')
end
local shops = job and shops_of(job) or {}
-- A report without a store is about the job's only store.
local store = arg.store == '' and #shops == 1 and shops[1].store or arg.store
local shop = job and shop_named(job, store)

-- One driver's report holds the store for all drivers, so the time is bounded.
local holds_store = HOLDS_STORE[arg.kind] and arg.mall ~= '' and store ~= ''
local till = holds_store
  and math.min(arg.until_ms or now + policy.hold_ms, now + policy.longest_hold_ms) or nil
local place = arg.mall .. '/' .. store
local word = till and own_word(HOLDS, place) or 0

local is_new = true
if job then
  local _, is_first = keep_problem(JOB, { kind = arg.kind, store = store, text = arg.text,
    until_ms = arg.until_ms, at_ms = arg.at_ms, driver = arg.driver }, till)
  is_new = is_first
end
if is_new then
  local function fields(text)
    return { kind = 'problem', what = arg.kind, driver = arg.driver, job = arg.job,
      service = job and job.service or nil, mall = arg.mall, store = store,
      until_ms = arg.until_ms, text = text, reported_ms = arg.at_ms }
  end
  -- Readers see the text of a job's problem with the job, where it can be erased.
  if job then job_event(job, fields()) else event(fields(arg.text)) end
  if ALERTS[arg.kind] then alert(arg.kind, fields(arg.text)) end
end
if is_new and arg.kind == 'breakdown' and #rec.jobs > 0 then
  -- The node begins a transfer at once; if it dies, driver_due.lua asks for it again.
  rec.hand_over_ms, rec.hand_over_why = now, 'breakdown'
  effects.hand_overs = { { arg.driver, 'breakdown' } }
  save_driver(arg.driver, rec)
end
-- A hold by the shop itself that lasts longer stays.
if till and till > word then
  -- The reason is a separate field, as engines of schema 1 read only numbers.
  local is_closed = arg.kind == 'store_closed' or word > 0
  redis.call('HSET', HOLDS, place, till, 'closed/' .. place, is_closed and 1 or 0)
  redis.call('ZADD', K.forget, till, 'hold/' .. place)
end

local why = WHY[arg.kind]
if shop and shop.collected == 0 and MAY_COLLECT[job.state] then
  if why then
    -- If the order is to be delivered as it is, the driver collects the parcels that are there.
    if why ~= 'short' or rule_for(job, shop, why) ~= 'deliver' then
      shop.state = SHOP_STATE[arg.kind]
    end
    apply_rule(job, shop, why, why == 'store_closed' and till and math.max(till, word) or nil,
      arg.driver, true)
  elseif arg.kind == 'not_ready' then
    shop.state, shop.wait_ms, shop.wait_attempt = 'waiting', till, job.attempt
    save_shops(job)
  end
end
return reply('ok', driver_reply(arg.driver), is_new and 1 or 0)
