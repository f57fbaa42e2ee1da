-- Offers one or more jobs of a mall to their first driver.
-- include lib/asking.lua
local MOST_KEPT = 64

-- Makes the offer `arg.offer` at a new attempt. The caller's keys are the wait set, the jobs and
-- their rounds; its arguments end with the records of the rounds.
local function put_out(jobs, rec, plan, etas, is_staggered)
  for _, job in ipairs(jobs) do
    job.attempt = job.attempt + 1
    job.offer = arg.offer
  end
  local ack_by = ask(arg.offer, jobs, rec, plan, etas, is_staggered)
  for i, job in ipairs(jobs) do
    move(job, 'offered', 'engine', 'offered', ack_by)
    -- For `explain`.
    redis.call('SET', KEYS[14 + #jobs + i], ARGV[3 + i], 'PX', policy.terminal_kept_ms)
  end
end

-- Starts a staggered round (lib/rounds.lua) with the drivers after the nth of the plan, who has
-- just received the offer. offer_more.lua continues it.
local function begin_round(job, plans, n, more)
  table.remove(plans, n)
  for i = #plans, MOST_KEPT + 1, -1 do plans[i] = nil end
  local next_ms = now + more.gap_ms
  redis.call('HSET', job.key, 'round', cmsgpack.pack({ live = { job.offer }, asked = 1,
    most = more.most, gap_ms = more.gap_ms, next_ms = next_ms, rest = plans, ids = more.offers }))
  if #plans > 0 then falls_due('more/' .. job.mall .. '/' .. job.id, next_ms) end
end
