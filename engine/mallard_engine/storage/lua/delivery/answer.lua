#!lua flags=allow-oom
-- Answers a problem: stores the answer with it, pushes it to the driver, and moves the job if the
-- parcels go back or are to be delivered after all. Only the answer to a problem at the door ends
-- the wait there; an answer to another problem does not. A repeated answer has no effect.
-- KEYS: drivers positions idle nodes due offers waiting counts events push forget externals coming wait job
-- ARGV: now policy arg{problem action text actor plan?{place code}}
-- REPLY: ok effects pushes | gone | no_problem | wrong_state … state
-- include lib/base.lua
-- include lib/drivers.lua
-- include lib/jobs.lua
-- include lib/holders.lua
-- include lib/problems.lua
-- include lib/returns.lua
-- include lib/door.lua

-- The states in which an action is possible; the other actions are possible in any state with a
-- holder.
local STATES = {
  retry = { assigned = true, at_mall = true, picked_up = true, returning = true },
  leave = { picked_up = true },
  ['return'] = { picked_up = true, returning = true },
  wait = { assigned = true, at_mall = true, picked_up = true },
  instructions = { assigned = true, at_mall = true, picked_up = true, returning = true },
}

local job = read_job(KEYS[15])
if not job then return reply('gone') end
local problems, problem = problems_of(job.key), nil
for _, each in ipairs(problems) do
  if each.id == arg.problem then problem = each end
end
if not problem then return reply('no_problem') end
local given = problem.answer
if given and given.action == arg.action and given.text == arg.text then return reply('ok') end

local rec = job.driver ~= '' and read_driver(job.driver)
if not rec or not STATES[arg.action][job.state] or problem.state == 'resolved' then
  return reply('wrong_state', job.state)
end
if arg.action == 'retry' and is_cancel_requested(job) then
  return reply('wrong_state', job.state)
end

problem.state = 'answered'
problem.answer = { action = arg.action, text = arg.text, at_ms = now, actor = arg.actor }
save_problems(job.key, problems)
job_event(job, { kind = 'problem_answered', what = problem.kind, problem = problem.id,
  action = arg.action, actor = arg.actor })
local door = { problem = problem.id, kind = problem.kind }
local is_at_door = job.state == 'picked_up' and AT_DOOR[problem.kind]
if job.state == 'picked_up' and arg.action == 'return' then
  bring_back(job, rec, door, arg.actor, 'answered', arg.text, arg.plan)
elseif job.state == 'picked_up' and arg.action == 'leave' then
  leave_it(job, rec, door, arg.text)
elseif is_at_door and arg.action == 'wait' then
  keep_on_board(job, rec, door, arg.actor, 'answered', arg.text, arg.plan)
else
  if job.state == 'returning' and arg.action == 'retry' then turn_round(job, rec, arg.actor) end
  if is_at_door then
    forget_door(job)
    redis.call('HSET', job.key, 'leave', '')
    if arg.action == 'retry' then redis.call('HSET', job.key, 'visited', '') end
  end
  notify_answer(job, rec, { problem = problem.id, action = arg.action, text = arg.text })
end
return reply('ok')
