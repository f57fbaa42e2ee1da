-- What follows if a shop cannot hand over: the job goes on, is held, fails, or goes back. Needs
-- lib/shops.lua and lib/holders.lua.
local FAILED_FOR = { missing = 'not_at_counter', not_ready = 'not_at_counter', short = 'short',
  store_closed = 'store_closed' }

-- The caller counts the jobs that shops have held or ended, by reason.
local function count_outcome(outcome, reason)
  effects.shops = effects.shops or {}
  effects.shops[#effects.shops + 1] = { outcome, reason }
end

-- Takes the job off its driver, if it has one, at a higher attempt. The driver may be offered it
-- again, and may still claim the parcels (custody), unless it `gave_up`.
local function take_off(job, state, reason, gave_up)
  local driver = job.driver
  if driver ~= '' then
    note_asked(job, driver, 'held')
    if gave_up then strike_former(job, driver) else note_former(job, driver) end
  end
  job.attempt = job.attempt + 1
  if driver == '' then return end
  take_from_holder(job, state, not gave_up and reason or nil)
  job.driver = ''
end

-- Ends a job of which no parcel was carried. The caller must have closed a live offer.
local function fail(job, why, actor, gave_up)
  count_outcome('failed', FAILED_FOR[why])
  take_off(job, 'failed', FAILED_FOR[why], gave_up)
  move(job, 'failed', actor, 'failed', nil, FAILED_FOR[why])
end

-- Suspends the search for a driver until `until_ms` (nil: as long as the order allows), or until
-- the shop or the order service answers. The caller must have closed a live offer. by_driver: the
-- second hold for this shop ends the job.
local function hold(job, shop, why, until_ms, actor, by_driver, gave_up)
  local shops = shops_of(job)
  if by_driver then shop.holds = shop.holds + 1 end
  save_shops(job)
  if by_driver and shop.holds > 1 then return fail(job, why, actor, gave_up) end
  local at = math.max(math.min(until_ms or now + shops.hold_ms, job.expires_ms), now)
  count_outcome('held', why)
  take_off(job, 'scheduled', 'held', gave_up)
  job.held, job.release_ms = { why = why, store = shop.store, until_ms = at }, at
  -- An engine that knows no holds releases the job at that time.
  redis.call('HSET', job.key, 'held', cmsgpack.pack(job.held), 'release_ms', at)
  if job.state ~= 'scheduled' then return move(job, 'scheduled', actor, 'held', at, why) end
  save_job(job)
  falls_due(job.due_was, at)
  look_at_risk(job)
  event({ kind = 'job', job = job.id, service = job.service, from = 'scheduled', to = 'scheduled',
    attempt = job.attempt, driver = '', actor = actor, cause = 'held', reason = why })
end

-- The order's rule for a shop that has fewer parcels than ordered, or none, by `why`. Once a parcel
-- is on board, the job is not held.
local function rule_for(job, shop, why)
  local shops = shops_of(job)
  if parcels_on_board(job) > 0 or job.state == 'picked_up' then
    return shops.on_short == 'fail' and 'return' or 'deliver', 'short'
  end
  if why == 'short' or has_other_open(job, shop) then
    return shops.on_short, why == 'missing' and 'short' or why
  end
  return shops.on_missing, why
end

-- Applies the rule. why: missing, short or store_closed. until_ms: when a closed shop opens.
local function apply_rule(job, shop, why, until_ms, actor, by_driver)
  local rule, because = rule_for(job, shop, why)
  save_shops(job)
  if rule == 'hold' then
    hold(job, shop, because, until_ms, actor, by_driver)
  elseif rule == 'fail' then
    fail(job, because, actor)
  elseif rule == 'return' and job.state == 'picked_up' then
    move(job, 'returning', actor, 'short', silence_limit(read_driver(job.driver)), 'short')
  end
end

-- Whether a report of this driver at this attempt has already held or ended the job.
local function has_held(job, driver, attempt)
  for _, turn in ipairs(job.asked) do
    if turn[1] == driver and turn[3] == 'held' and (not attempt or turn[2] == attempt) then
      return true
    end
  end
  return false
end
