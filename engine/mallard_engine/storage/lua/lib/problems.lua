-- The problems of a job, as its driver reported them.
local MOST_PROBLEMS = 32
local AT_SHOP = { not_ready = true, store_closed = true, missing = true, partial = true }
local AT_DOOR = { customer_unreachable = true, refused = true, wrong_address = true }

local function problems_of(key)
  local packed = redis.call('HGET', key, 'problems')
  return packed and cmsgpack.unpack(packed) or {}
end

local function save_problems(key, problems)
  redis.call('HSET', key, 'problems', cmsgpack.pack(problems), 'updated_ms', now)
end

-- Stores the problem of a report with its job: reports of the same open job, store and kind are
-- one. Returns the problem, and whether it is new. `till`: until when its store is held.
local function keep_problem(key, report, till)
  local problems = problems_of(key)
  local last = problems[#problems]
  local known
  for _, each in ipairs(problems) do
    if each.kind == report.kind and each.store == report.store and each.state == 'open' then
      known = each
    end
  end
  local is_new = not known
  if known then
    if known.text == report.text and known.told_ms == report.until_ms then return known, false end
    known.text, known.told_ms, known.until_ms = report.text, report.until_ms, till
  else
    if #problems >= MOST_PROBLEMS then table.remove(problems, 1) end
    known = { id = 'p' .. (last and tonumber(last.id:sub(2)) or 0) + 1,
      kind = report.kind, store = report.store, text = report.text, at_ms = now,
      reported_ms = report.at_ms, told_ms = report.until_ms, until_ms = till,
      driver = report.driver, state = 'open' }
    problems[#problems + 1] = known
  end
  save_problems(key, problems)
  return known, is_new
end

-- Resolves the problems of the job for which is_over(problem) holds.
local function resolve(job, is_over)
  local problems, is_changed = problems_of(job.key), false
  for _, each in ipairs(problems) do
    if each.state ~= 'resolved' and is_over(each) then
      each.state, is_changed = 'resolved', true
      job_event(job, { kind = 'problem_resolved', what = each.kind, problem = each.id })
    end
  end
  if is_changed then save_problems(job.key, problems) end
end

-- Resolves the problems of the last visit: the driver tries again.
local function resolve_at_door(job)
  resolve(job, function(problem) return AT_DOOR[problem.kind] end)
end

-- Resolves problems of a shop that has handed over parcels. A problem with their number is resolved
-- only if it has handed over all.
local function resolve_at_shop(job, store, has_all)
  resolve(job, function(problem)
    return problem.store == store and AT_SHOP[problem.kind]
      and (has_all or problem.kind ~= 'partial')
  end)
end
