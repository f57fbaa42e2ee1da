#!lua flags=allow-oom
-- A step of a held job. A `picked_up` from a holder revoked meanwhile wins (custody).
-- KEYS: drivers positions idle nodes due offers waiting counts events push forget externals coming wait job... dwell
-- ARGV: now policy arg{driver attempt step at_ms? age_checked reason}
-- REPLY: ok effects pushes driver[record position] job_state attempt | not_yours | stale_attempt
-- REPLY: wrong_state | proof_needed | run … jobs
-- include lib/base.lua
-- include lib/drivers.lua
-- include lib/jobs.lua
-- include lib/offers.lua
-- include lib/holders.lua
-- include lib/room.lua
-- include lib/custody.lua
-- include lib/dwell.lua

-- Which states a step leads on from, and in which it has been done already.
local STEPS = {
  at_mall = { from = { assigned = true },
    done = { at_mall = true, picked_up = true, returning = true, delivered = true,
      returned = true } },
  picked_up = { from = { assigned = true, at_mall = true },
    done = { picked_up = true, returning = true, delivered = true, returned = true } },
  delivered = { from = { picked_up = true }, done = { delivered = true } },
  returning = { from = { picked_up = true }, done = { returning = true, returned = true } },
  returned = { from = { returning = true }, done = { returned = true } },
}

local job = read_job(KEYS[15])
if not job then return reply('not_yours') end
local function answer()
  return reply('ok', told(arg.driver), job.state, job.attempt)
end

job.reported_ms = arg.at_ms
if job.driver ~= arg.driver or job.attempt ~= arg.attempt then
  local verdict, names = claim_custody(job, arg.driver, arg.attempt, arg.step)
  if verdict == 'ok' then return answer() end
  return reply(verdict, names)
end

local step = STEPS[arg.step]
if step.done[job.state] then return answer() end
if not step.from[job.state] then return reply('wrong_state') end
if arg.step == 'delivered' and job.age_check and not arg.age_checked then
  return reply('proof_needed')
end

local rec = read_driver(arg.driver)
if arg.step == 'picked_up' then
  if job.state == 'assigned' then
    move(job, 'at_mall', arg.driver, 'arrived')
  elseif policy.learns_dwell and #rec.jobs == 1 then
    note_stay(KEYS[#KEYS], job)
  end
end
local cause = arg.step == 'at_mall' and 'arrived' or arg.step
local due_at = not TERMINAL[arg.step] and silence_limit(rec) or nil
move(job, arg.step, arg.driver, cause, due_at, arg.reason)
if TERMINAL[arg.step] then
  drop_job(rec, job.id)
  if policy.keeps_work and arg.step == 'delivered' then
    rec.done = (rec.done or 0) + 1
    rec.earned_minor = (rec.earned_minor or 0) + (cmsgpack.unpack(job.need).pay_minor or 0)
  end
  save_driver(arg.driver, rec)
elseif note_arrival(rec, job) then
  save_driver(arg.driver, rec)
end
return answer()
