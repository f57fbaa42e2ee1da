#!lua flags=allow-oom
-- Ends a job that goes back, as reported by its driver (`driver`), the shop or an operator
-- (`actor`). The driver must have been inside the place since `returning` began (at_place: its last
-- fix is), and must give the place's code; while the code has been shown to nobody, a photo will
-- do.
-- KEYS: drivers positions idle nodes due offers waiting counts events push forget externals coming wait job
-- ARGV: now policy arg{driver? attempt? actor? cause? step at_ms? proof?{kind value} reason
-- ARGV: at_place? plan?{place code}}
-- REPLY: ok effects pushes driver[record position] job_state attempt | gone | not_yours
-- REPLY: stale_attempt | wrong_state … state | no_position | wrong_code … tries_left
-- REPLY: proof_needed … missing | bad_field
-- include lib/base.lua
-- include lib/drivers.lua
-- include lib/jobs.lua
-- include lib/holders.lua
-- include lib/claimed.lua
-- include lib/custody.lua
-- include lib/proofs.lua
-- include lib/returns.lua

local MOST_WRONG_RETURNS = 3

local job = read_job(KEYS[15])
if not job then return reply(arg.driver and 'not_yours' or 'gone') end

-- How many tries are left, if this code is wrong or no try is left; else nil.
local function wrong_return_code()
  if not arg.proof or arg.proof.kind ~= 'code' then return nil end
  local wrong = read_list(job, 'wrong_returns')
  local code = redis.call('HGET', job.key, 'return_code')
  if #wrong < MOST_WRONG_RETURNS and arg.proof.value == code then return nil end
  for _, value in ipairs(wrong) do
    if value == arg.proof.value then return MOST_WRONG_RETURNS - #wrong end
  end
  if #wrong < MOST_WRONG_RETURNS then
    wrong[#wrong + 1] = arg.proof.value
    redis.call('HSET', job.key, 'wrong_returns', cmsgpack.pack(wrong))
    if #wrong == MOST_WRONG_RETURNS then
      alert('wrong_code', { job = job.id, service = job.service, driver = arg.driver })
    end
  end
  return MOST_WRONG_RETURNS - #wrong
end

-- Why the driver's report is refused: the verdict and its values; nil if it is accepted.
local function refusal_of_driver()
  if not is_holder(job, arg.driver, arg.attempt) then
    return refusal_of(job, arg.driver, arg.attempt)
  end
  if job.state == 'returned' then return nil end
  if job.state ~= 'returning' then return 'wrong_state', job.state end
  local place = return_place(job)
  if not place and not arg.plan then return 'wrong_state', job.state end
  if not place then set_return(job, arg.plan) end
  local been = redis.call('HGET', job.key, 'at_place')
  if not arg.at_place and been ~= (place or arg.plan.place).mall then return 'no_position' end
  local left = wrong_return_code()
  if left then return 'wrong_code', left end
  if not keep_proof(job) then return 'bad_field' end
  local proofs = read_list(job, 'proofs')
  if has_proof(proofs, 'code', 'returned') then return nil end
  if redis.call('HGET', job.key, 'code_shown') == '1' then return 'proof_needed', { 'code' } end
  if not has_proof(proofs, 'photo', 'returned') then return 'proof_needed', { 'photo' } end
  return nil
end

if arg.driver then
  local verdict, rest = refusal_of_driver()
  if verdict then return reply(verdict, rest) end
elseif job.state ~= 'returned' and job.state ~= 'returning' then
  return reply('wrong_state', job.state)
end
local driver = job.driver
if job.state == 'returning' then
  job.reported_ms = arg.at_ms
  local reason = arg.reason ~= '' and arg.reason or nil
  if arg.driver then
    move(job, 'returned', driver, 'returned', nil, reason)
    leave_hands(job, read_driver(driver))
  else
    take_from_holder(job, 'returned', 'closed')
    move(job, 'returned', arg.actor, arg.cause, nil, reason)
  end
end
return reply('ok', driver_reply(driver), job.state, job.attempt)
