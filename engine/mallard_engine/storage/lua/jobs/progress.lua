#!lua flags=allow-oom
-- Advances a held job by a step. If a revoked holder reports `picked_up`, or that it `collected`
-- parcels, its report wins (custody). Proof is stored even if more is needed.
-- KEYS: drivers positions idle nodes due offers waiting counts events push forget externals coming wait job... dwell
-- ARGV: now policy arg{driver attempt step at_ms? proof?{kind value} reason store? parcels?
-- ARGV: plan?{place code}}
-- REPLY: ok effects pushes driver[record position] job_state attempt | not_yours | stale_attempt
-- REPLY: wrong_state | wrong_code … tries_left? | proof_needed … missing | bad_field | run … jobs
-- include lib/base.lua
-- include lib/drivers.lua
-- include lib/jobs.lua
-- include lib/offers.lua
-- include lib/holders.lua
-- include lib/room.lua
-- include lib/claimed.lua
-- include lib/custody.lua
-- include lib/dwell.lua
-- include lib/proofs.lua
-- include lib/shops.lua
-- include lib/holding.lua
-- include lib/collecting.lua
-- include lib/returns.lua
-- include lib/problems.lua
-- include lib/door.lua
-- include lib/timed_steps.lua

-- The states in which a step is possible, and those in which it has already been done.
local STEPS = {
  at_mall = { from = { assigned = true },
    done = { at_mall = true, picked_up = true, returning = true, delivered = true,
      returned = true } },
  picked_up = { from = { assigned = true, at_mall = true },
    done = { picked_up = true, returning = true, delivered = true, returned = true } },
  at_door = { from = { picked_up = true }, done = { delivered = true } },
  delivered = { from = { picked_up = true, returning = true }, done = { delivered = true } },
  returning = { from = { picked_up = true }, done = { returning = true, returned = true } },
  resume = { from = { returning = true }, done = { picked_up = true, delivered = true } },
}

local job = read_job(KEYS[15])
if not job then return reply('not_yours') end
local function answer()
  return reply('ok', driver_reply(arg.driver), job.state, job.attempt)
end

-- take_over.lua is the only pickup of a transfer.
if job.kind == 'transfer' and (arg.step == 'picked_up' or arg.step == 'collected') then
  return reply('wrong_state')
end
job.reported_ms = arg.at_ms
local shop = arg.step == 'collected' and shop_named(job, arg.store)
local holds_it = is_holder(job, arg.driver, arg.attempt)
if arg.step == 'collected' and (holds_it or was_holder(job, arg.driver, arg.attempt)) then
  if not shop or (arg.parcels or 0) > shop.parcels then return reply('bad_field') end
  if is_wrong_at(shop) then return reply('wrong_code') end
end
if not holds_it then
  -- A repeat of the report that has held the job, or an outdated report, claims no parcel.
  if arg.step == 'collected' and arg.parcels == 0 then
    if has_held(job, arg.driver, arg.attempt) then return answer() end
    return reply(was_asked(job, arg.driver) and 'stale_attempt' or 'not_yours')
  end
  local was = job.state
  local verdict, names = claim_custody(job, arg.driver, arg.attempt, arg.step)
  if verdict ~= 'ok' then return reply(verdict, names) end
  keep_proof(job)
  if shop and BEFORE_PICKUP[was] then
    collect(job, shop, arg.parcels, arg.driver, true)
  elseif BEFORE_PICKUP[was] then
    collect_the_rest(job, arg.driver)
  end
  return answer()
end

if shop then
  local fault = collect(job, shop, arg.parcels, arg.driver, true, KEYS[#KEYS])
  if fault then return reply(fault) end
  keep_proof(job)
  return answer()
end

if TIMED[arg.step] then
  if not arg.at_ms then return reply('bad_field') end
  if is_taken(job, arg.at_ms) then return answer() end
end
local step = STEPS[arg.step]
local is_done = step.done[job.state]
local is_barred = arg.step == 'resume' and is_cancel_requested(job)
if not is_done and (is_barred or not step.from[job.state]) then return reply('wrong_state') end
local codes = (arg.proof or arg.step == 'delivered') and codes_of(job)
if not is_done and codes then
  if is_no_shops(codes) then return reply('wrong_code') end
  local left = wrong_code(job, codes)
  if left then return reply('wrong_code', left) end
end
if not keep_proof(job, codes, is_done) then return reply('bad_field') end
if is_done then return answer() end
if arg.step == 'delivered' then
  local missing = missing_proofs(job, codes)
  if #missing > 0 then return reply('proof_needed', missing) end
end

local rec = read_driver(arg.driver)
if TIMED[arg.step] then return answer(take_timed_step(job, rec)) end
if arg.step == 'picked_up' then
  pick_up(job, arg.driver, KEYS[#KEYS])
  collect_the_rest(job, arg.driver)
  return answer()
end
if arg.step == 'delivered' then collect_the_rest(job, arg.driver) end
local cause = arg.step == 'at_mall' and 'arrived' or arg.step
local due_at = not TERMINAL[arg.step] and silence_limit(rec) or nil
move(job, arg.step, arg.driver, cause, due_at, arg.reason)
if TERMINAL[arg.step] then
  leave_hands(job, rec)
elseif note_arrival(rec, job) then
  save_driver(arg.driver, rec)
end
return answer()
