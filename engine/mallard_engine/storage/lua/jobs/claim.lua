#!lua flags=allow-oom
-- Records a driver's claim in its hello: the parcel is on board (picked_up), or delivered
-- (picked_up if proof is missing). It is accepted from the stored holder at that attempt, and from
-- a driver whose job was revoked meanwhile (custody). From any other driver it is accepted only if
-- writes were lost after the job was created and no surviving record contradicts it; else it raises
-- an alert.
-- KEYS: drivers positions idle nodes due offers waiting counts events push forget externals coming wait job...
-- KEYS: lineage alerted
-- ARGV: now policy arg{driver job attempt state at_ms? step? proof?}
-- REPLY: ok effects pushes driver[record position] job_state attempt | not_yours | stale_attempt
-- REPLY: wrong_state | run … jobs
-- include lib/base.lua
-- include lib/drivers.lua
-- include lib/jobs.lua
-- include lib/offers.lua
-- include lib/holders.lua
-- include lib/room.lua
-- include lib/custody.lua
-- include lib/proofs.lua
-- include lib/shops.lua

local LINEAGE, ALERTED = KEYS[#KEYS - 1], KEYS[#KEYS]
local MOST_ALERTED = 10000

local job = read_job(KEYS[15])
if not job then
  -- One alert for each job and driver, however often its app repeats the claim; the oldest are
  -- dropped.
  redis.call('ZREMRANGEBYSCORE', ALERTED, '-inf', now - policy.terminal_kept_ms)
  if redis.call('ZADD', ALERTED, 'NX', now, arg.job .. '/' .. arg.driver) == 1 then
    redis.call('ZREMRANGEBYRANK', ALERTED, 0, -MOST_ALERTED - 1)
    alert('unknown_job_held', { job = arg.job, driver = arg.driver, state = arg.state })
  end
  return reply('not_yours')
end

local function has_refused()
  for _, turn in ipairs(job.asked) do
    if turn[1] == arg.driver and turn[2] == arg.attempt
      and (turn[3] == 'declined' or turn[3] == 'gave_up') then
      return true
    end
  end
  return false
end

-- A transfer needs the code of the meeting, which only take_over.lua checks.
if job.kind == 'transfer' then return reply('wrong_state') end
local was = job.state
local is_holder = job.driver == arg.driver and job.attempt == arg.attempt
if not is_holder and not was_holder(job, arg.driver, arg.attempt) then
  local lost = tonumber(redis.call('HGET', LINEAGE, 'lost') or 0)
  if lost > job.created_ms and not has_refused() then
    local run, names = offered_run(job)
    if not run then return reply('run', names) end
    -- The transition that made the driver the holder is among the lost writes.
    alert_once(job, 'custody_after_lost_writes', arg.driver)
    job.former[#job.former + 1] = { arg.driver, arg.attempt }
  elseif arg.attempt > job.attempt then
    alert_once(job, 'unknown_attempt_held', arg.driver)
  end
end

if not is_holder then
  local verdict, names = claim_custody(job, arg.driver, arg.attempt, 'picked_up')
  if verdict ~= 'ok' then return reply(verdict, names) end
elseif BEFORE_PICKUP[job.state] then
  local rec = read_driver(arg.driver)
  if job.state == 'assigned' then move(job, 'at_mall', arg.driver, 'arrived') end
  if arg.state ~= 'delivered' then job.reported_ms = arg.at_ms end
  move(job, 'picked_up', arg.driver, 'picked_up', silence_limit(rec))
  if note_arrival(rec, job) then save_driver(arg.driver, rec) end
end
-- The claim holds for all shops, as the step does. If the job was on board already, some shops may
-- still follow.
if BEFORE_PICKUP[was] then collect_the_rest(job, arg.driver) end

local is_on_board = job.state == 'picked_up' or job.state == 'returning'
if arg.state == 'delivered' and is_on_board and job.driver == arg.driver
  and #missing_proofs(job, codes_of(job)) == 0 then
  job.reported_ms = arg.at_ms
  collect_the_rest(job, arg.driver)
  move(job, 'delivered', arg.driver, 'delivered')
  leave_hands(job, read_driver(arg.driver))
end
return reply('ok', driver_reply(arg.driver), job.state, job.attempt)
