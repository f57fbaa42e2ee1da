-- The shops of a job: what each has handed over, and what follows if that is less than ordered. The
-- order (the job's body) says how many parcels each shop has and which rules apply. The field
-- `shops` is written once there is more to keep. Needs lib/jobs.lua.
-- include lib/problems.lua
local HOLD_MS = 4 * 3600000

-- `there`: how many parcels the shop has said to have, if fewer than ordered. `holds`: how often a
-- driver's report has held the job for this shop. `wait_ms`, `wait_attempt`: until when the shop is
-- not ready, as the holder at that attempt reported.
local function shops_of(job)
  if job.shops then return job.shops end
  local v = redis.call('HMGET', job.key, 'body', 'shops')
  local is_json, order = pcall(cjson.decode, v[1] or '')
  if not is_json or type(order) ~= 'table' then order = {} end
  local kept = {}
  for _, shop in ipairs(list_of(v[2])) do kept[shop.store] = shop end
  local shops = { on_short = order.on_short or 'deliver', on_missing = order.on_missing or 'hold',
    hold_ms = order.hold_s and order.hold_s * 1000 or HOLD_MS }
  for i, asked in ipairs((order.pickup or {}).stores or {}) do
    local shop = kept[asked.store] or { store = asked.store, state = 'waiting', collected = 0,
      holds = 0 }
    shop.parcels, shop.code = asked.parcels or 1, asked.pickup_code
    shops[i] = shop
  end
  job.shops = shops
  return shops
end

-- Whether there is still something to collect.
local function is_open(shop)
  return shop.state == 'waiting' or shop.state == 'ready'
    or (shop.state == 'short' and shop.collected == 0 and (shop.there or 0) > 0)
end

-- The stores that need not be visited because nothing is left to collect. A closed store counts as
-- such if there are others; else the driver waits for it.
local function stores_done(job)
  local done, closed = {}, {}
  for _, shop in ipairs(shops_of(job)) do
    local list = shop.state == 'closed' and closed or not is_open(shop) and done
    if list then list[#list + 1] = shop.store end
  end
  if #done + #closed < #job.shops then
    for _, store in ipairs(closed) do done[#done + 1] = store end
  end
  return done
end

-- Keeps the job's need, by which rounds rank and drivers plan, in step with its shops.
local function note_done(job)
  local need, done = cmsgpack.unpack(job.need), stores_done(job)
  if table.concat(need.done or {}, ' ') == table.concat(done, ' ') then return end
  need.done = done
  job.need, job.needs = cmsgpack.pack(need), nil
  redis.call('HSET', job.key, 'need', job.need)
  if job.state == 'queued' and job.was == 'queued' then wait_for_driver(job) end
end

local function save_shops(job)
  local kept = {}
  for i, shop in ipairs(job.shops) do
    kept[i] = { store = shop.store, state = shop.state, collected = shop.collected,
      holds = shop.holds, there = shop.there, wait_ms = shop.wait_ms,
      wait_attempt = shop.wait_attempt }
  end
  redis.call('HSET', job.key, 'shops', cmsgpack.pack(kept), 'updated_ms', now)
  note_done(job)
end

local function shop_named(job, store)
  for _, shop in ipairs(shops_of(job)) do
    if shop.store == store then return shop end
  end
  return nil
end

local function parcels_on_board(job)
  local count = 0
  for _, shop in ipairs(shops_of(job)) do count = count + shop.collected end
  return count
end

local function has_other_open(job, but)
  for _, shop in ipairs(shops_of(job)) do
    if shop ~= but and is_open(shop) then return true end
  end
  return false
end

local function note_collected(job, shop, parcels, actor)
  shop.collected, shop.wait_ms, shop.wait_attempt = parcels, nil, nil
  shop.state = parcels == shop.parcels and 'collected' or parcels > 0 and 'short' or 'missing'
  job_event(job, { kind = 'shop', what = 'collected', store = shop.store, parcels = parcels,
    ordered = shop.parcels, actor = actor, reported_ms = job.reported_ms })
  if parcels > 0 then resolve_at_shop(job, shop.store, parcels == shop.parcels) end
end

-- A `picked_up` or a delivery counts as `collected` for every shop that is left, and also for shops
-- that had no parcels if otherwise no parcel would be on board.
local function collect_the_rest(job, actor)
  local shops, is_changed = shops_of(job), false
  for _, shop in ipairs(shops) do
    if is_open(shop) then
      note_collected(job, shop, shop.there or shop.parcels, actor)
      is_changed = true
    end
  end
  if parcels_on_board(job) == 0 then
    for _, shop in ipairs(shops) do note_collected(job, shop, shop.parcels, actor) end
    is_changed = #shops > 0
  end
  if is_changed then save_shops(job) end
end
