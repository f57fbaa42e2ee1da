#!lua flags=allow-oom
-- Hands over a shop's parcels of a job against the code that its driver shows, with the effect of
-- the driver's own `collected`. The code of an earlier holder is that holder's claim of custody.
-- Each wrong code is counted once. The fifth for a job and the twentieth at a shop raise an alert
-- and bar further codes for ten minutes.
-- KEYS: drivers positions idle nodes due offers waiting counts events push forget externals coming wait job...
-- KEYS: guesses guesses dwell
-- ARGV: now policy arg{store code parcels? actor}
-- REPLY: ok effects pushes driver[record position] job_state attempt | gone | wrong_state … state
-- REPLY: bad_field | wrong_code … tries_left | barred … wait_ms | run … jobs
-- include lib/base.lua
-- include lib/drivers.lua
-- include lib/jobs.lua
-- include lib/offers.lua
-- include lib/holders.lua
-- include lib/room.lua
-- include lib/claimed.lua
-- include lib/custody.lua
-- include lib/dwell.lua
-- include lib/shops.lua
-- include lib/holding.lua
-- include lib/collecting.lua
-- include lib/handover.lua

local OF_JOB, OF_SHOP, DWELL = KEYS[#KEYS - 2], KEYS[#KEYS - 1], KEYS[#KEYS]
local MOST_OF_JOB, MOST_OF_SHOP, BARRED_MS = 5, 20, 600000

local job = read_job(KEYS[15])
local shop = job and shop_named(job, arg.store)
if not shop then return reply('gone') end
if arg.parcels and arg.parcels > shop.parcels then return reply('bad_field') end
if job.driver == '' and #job.former == 0 then return reply('wrong_state', job.state) end

-- The driver whose code it is, and the attempt that the code belongs to.
local function holder_of(code)
  if job.driver ~= '' and handover_code(job, job.attempt) == code then
    return job.driver, job.attempt
  end
  for _, former in ipairs(job.former) do
    if handover_code(job, former[2]) == code then return former[1], former[2] end
  end
  return nil
end

local wrong = list_of(redis.call('GET', OF_JOB))

-- A shop may try the codes of many jobs, so both are bounded.
local function note_wrong(code)
  for _, known in ipairs(wrong) do
    if known == code then return end
  end
  wrong[#wrong + 1] = code
  redis.call('SET', OF_JOB, cmsgpack.pack(wrong), 'PX', BARRED_MS)
  local count = redis.call('INCR', OF_SHOP)
  if count == 1 or count == MOST_OF_SHOP then redis.call('PEXPIRE', OF_SHOP, BARRED_MS) end
  if #wrong == MOST_OF_JOB or count == MOST_OF_SHOP then
    alert('wrong_handover_code', { job = job.id, service = job.service, driver = job.driver,
      store = shop.store, actor = arg.actor })
  end
end

if #wrong >= MOST_OF_JOB then return reply('barred', redis.call('PTTL', OF_JOB)) end
if tonumber(redis.call('GET', OF_SHOP) or 0) >= MOST_OF_SHOP then
  return reply('barred', redis.call('PTTL', OF_SHOP))
end
local driver, attempt = holder_of(arg.code)
if not driver then
  note_wrong(arg.code)
  return reply('wrong_code', MOST_OF_JOB - #wrong)
end

local was, had = shop.state, shop.collected
-- Parcels that the shop had reported missing have turned up.
local parcels = arg.parcels or (shop.there ~= 0 and shop.there) or shop.parcels
if not is_holder(job, driver, attempt) then
  local verdict, names = claim_custody(job, driver, attempt, 'collected')
  if verdict == 'run' then return reply('run', names) end
  if verdict ~= 'ok' then return reply('wrong_state', job.state) end
end
local fault = collect(job, shop, parcels, arg.actor, false, DWELL)
if fault then return reply(fault, job.state) end
if shop.state ~= was or shop.collected ~= had then
  local rec = read_driver(job.driver)
  notify_holder(job, rec, job.state, 'handed_over')
  save_driver(job.driver, rec)
end
return reply('ok', driver_reply(job.driver), job.state, job.attempt)
