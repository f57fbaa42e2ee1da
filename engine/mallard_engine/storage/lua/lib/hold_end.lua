-- Whether a job still waits for a shop when its hold is over or its driver leaves. Needs
-- lib/holding.lua.
-- A shop that lacks parcels and for which no answer has come, so that the job is not offered:
-- nothing else is left to collect, or the order waits for all parcels.
local function unanswered(job)
  local shops, lacking, has_open = shops_of(job), nil, false
  for _, shop in ipairs(shops) do
    if shop.collected == 0 and (shop.state == 'missing' or shop.state == 'short') then
      lacking = shop
    end
    has_open = has_open or is_open(shop) or shop.state == 'closed'
  end
  if lacking and (not has_open or shops.on_short == 'hold') then return lacking end
  return nil
end

-- Holds a job whose hold is over for another shop that has not answered, no longer than a job is
-- held for missing parcels.
local function wait_for(job, shop)
  local held = job.held
  if held.why ~= 'missing' and held.why ~= 'short' then
    held.until_ms = math.max(math.min(now + shops_of(job).hold_ms, job.expires_ms), now)
  end
  held.why, held.store, job.release_ms = shop.state, shop.store, held.until_ms
  redis.call('HSET', job.key, 'held', cmsgpack.pack(held), 'release_ms', held.until_ms,
    'updated_ms', now)
  falls_due(job.due_was, held.until_ms)
  look_at_risk(job)
end

-- Call it when the shop for which the job is held is open again: the job is queued, unless it waits
-- for another shop.
local function no_longer_closed(job, shop, actor)
  if shop and shop.state == 'closed' then
    shop.state = 'waiting'
    save_shops(job)
  end
  local other = shop and unanswered(job)
  if other then return wait_for(job, other) end
  move(job, 'queued', actor, 'released', now + policy.safety_ms)
end

-- Takes the job off its driver before pickup: it is queued, unless it waits for a shop.
local function take_back_from(job, outcome, actor, reason)
  local shop = unanswered(job)
  if shop then
    hold(job, shop, shop.state, nil, actor, false, outcome == 'gave_up')
  else
    revoke(job, outcome, actor, reason)
  end
end
