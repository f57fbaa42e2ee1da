-- What a job on board may wait for besides its driver: an answer at the door, or the closing time
-- of the place that it goes back to.
local function door_entry(job)
  return 'door/' .. job.mall .. '/' .. job.id
end

local function return_entry(job)
  return 'return/' .. job.mall .. '/' .. job.id
end

local function waits_no_more(job)
  redis.call('ZREM', K.due, door_entry(job), return_entry(job))
  effects.over[#effects.over + 1] = door_entry(job)
  effects.over[#effects.over + 1] = return_entry(job)
end

-- Call it after each change of state. The sweeper plans the way back at once unless the script has
-- a plan.
local function look_after(job, was)
  if was == job.state then return end
  if was == 'picked_up' or was == 'returning' then waits_no_more(job) end
  if was == 'returning' then leave_returns(job) end
  if job.state == 'returning' then falls_due(return_entry(job), now) end
end
