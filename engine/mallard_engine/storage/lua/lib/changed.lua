-- Applies a changed order to its job: its fields, its place in the queue, its hold. Needs
-- lib/holding.lua.
local IS_EARLY = { scheduled = true, queued = true, offered = true }

-- Whether one of the fields, or of the fields of a shop, can no longer change.
local function is_too_late(job)
  if TERMINAL[job.state] then return true end
  if arg.until_state == 'assigned' and not IS_EARLY[job.state] then return true end
  if arg.until_state == 'picked_up' and not BEFORE_PICKUP[job.state] then return true end
  for _, store in ipairs(arg.stores) do
    local shop = shop_named(job, store)
    local may_come = BEFORE_PICKUP[job.state] or job.state == 'picked_up'
    if not shop or not may_come or shop.collected > 0 then return true end
  end
  -- The pay may have risen since the caller read it.
  local pay_minor = job.pay_minor or cmsgpack.unpack(job.need).pay_minor or 0
  return arg.pay_minor ~= nil and arg.pay_minor < pay_minor
end

local function write_order(job)
  redis.call('HSET', job.key, 'body', ARGV[5], 'card', ARGV[6], 'need', ARGV[7],
    'expires_ms', arg.expires_ms, 'deadline_ms', arg.deadline_ms, 'priority', arg.priority,
    'demand', arg.demand, 'age_check', arg.age_check and '1' or '0', 'lead_ms', arg.lead_ms,
    'haul_ms', arg.haul_ms, 'updated_ms', now)
  job.expires_ms, job.deadline_ms, job.priority = arg.expires_ms, arg.deadline_ms, arg.priority
  job.demand, job.age_check = arg.demand, arg.age_check
  job.lead_ms, job.haul_ms = arg.lead_ms, arg.haul_ms
  job.card, job.need, job.needs, job.shops = ARGV[6], ARGV[7], nil, nil
  if arg.pay_minor then
    redis.call('HSET', job.key, 'pay_minor', '')
    job.pay_minor = nil
  end
  if arg.shop_codes then
    local packed = redis.call('HGET', job.key, 'codes')
    local codes = packed and cmsgpack.unpack(packed) or { door = '' }
    codes.shops = arg.shop_codes
    redis.call('HSET', job.key, 'codes', cmsgpack.pack(codes))
  end
end

-- Applies the rules of the new order to shops that lack parcels; the rules also decide on its hold.
local function apply_new_rules(job)
  if not BEFORE_PICKUP[job.state] then return end
  local lacking, because
  for _, shop in ipairs(shops_of(job)) do
    if shop.collected == 0 and (shop.state == 'missing' or shop.state == 'short') then
      local rule, why = rule_for(job, shop, shop.state)
      if rule == 'fail' then return fail(job, why, arg.actor) end
      if rule == 'hold' then lacking, because = shop, why end
    end
  end
  local held = job.held
  local waits_for_parcels = held and (held.why == 'missing' or held.why == 'short')
  if lacking and not held then
    hold(job, lacking, because, nil, arg.actor, false)
  elseif not lacking and waits_for_parcels then
    move(job, 'queued', arg.actor, 'released', now + policy.safety_ms)
  end
end

-- A new `hold_s` counts from the last change of state. No hold outlasts the order.
local function bound_hold(job)
  local held, began = job.held, job.timeline[#job.timeline][2]
  if arg.hold and (held.why == 'missing' or held.why == 'short') then
    held.until_ms = began + shops_of(job).hold_ms
  end
  held.until_ms = math.max(math.min(held.until_ms, job.expires_ms), now)
  job.release_ms = held.until_ms
  redis.call('HSET', job.key, 'held', cmsgpack.pack(held), 'release_ms', job.release_ms)
end
