#!lua flags=allow-oom
-- Returns a job to the queue before pickup: its holder gives it up, or an operator releases it. If
-- the holder gives it up because a shop is not ready, the job is held until the shop is.
-- KEYS: drivers positions idle nodes due offers waiting counts events push forget externals coming wait job
-- ARGV: now policy arg{outcome attempt driver? actor reason}
-- REPLY: ok effects pushes driver[record position] job_state attempt | gone | not_yours | stale_attempt
-- REPLY: wrong_state … state
-- include lib/base.lua
-- include lib/drivers.lua
-- include lib/jobs.lua
-- include lib/holders.lua
-- include lib/claimed.lua
-- include lib/reasons.lua
-- include lib/shops.lua
-- include lib/holding.lua
-- include lib/hold_end.lua

local job = read_job(KEYS[15])
if not job then return reply(arg.driver and 'not_yours' or 'gone') end

local function answer(driver)
  return reply('ok', driver_reply(driver), job.state, job.attempt)
end
-- A repeated give-up gets the first reply; any other call at an old attempt has no effect.
local function refuse_stranger()
  local verdict = 'not_yours'
  for _, turn in ipairs(job.asked) do
    if turn[1] == arg.driver then
      local is_same = turn[2] == arg.attempt and (turn[3] == 'gave_up' or turn[3] == 'held')
      if is_same then return answer(arg.driver) end
      verdict = 'stale_attempt'
    end
  end
  return reply(verdict)
end

if arg.driver and not is_holder(job, arg.driver, arg.attempt) then
  return refuse_stranger()
end
if job.state ~= 'assigned' and job.state ~= 'at_mall' then
  return reply('wrong_state', job.state)
end
if job.attempt ~= arg.attempt then return reply('stale_attempt') end
local holder = job.driver
keep_reason(job, holder, job.attempt, arg.reason)
if arg.outcome == 'gave_up' then
  for _, shop in ipairs(shops_of(job)) do
    if shop.wait_attempt == job.attempt and shop.wait_ms > now and is_open(shop) then
      hold(job, shop, 'not_ready', shop.wait_ms, holder, true, true)
      return answer(holder)
    end
  end
end
take_back_from(job, arg.outcome, arg.actor, arg.reason)
return answer(holder)
