-- Continues a staggered round after one more offer was made or one has ended. As in lib/rounds.lua,
-- the functions are created only when a round is found.
local function staggering()
-- include lib/asking.lua
  local round_of = rounds()

  -- Offers the job to the first free driver of the rest; nil if none is free.
  local function ask_next(job, round)
    local is_over = round.asked >= round.most or now >= job.expires_ms
    if is_over or K.is_paused({ job }) then return nil end
    local barred = barred_from({ job })
    for i, plan in ipairs(round.rest) do
      local rec = not barred[plan[1]] and read_driver(plan[1])
      if rec and may_take(rec, plan, { job }) then
        local id = table.remove(round.ids)
        table.remove(round.rest, i)
        round.live[#round.live + 1] = id
        round.asked, round.next_ms = round.asked + 1, now + round.gap_ms
        falls_due(round_of.offer_member(job, id), ask(id, { job }, rec, plan, nil, true))
        event({ kind = 'offer', what = 'offered', job = job.id, service = job.service,
          attempt = job.attempt, driver = plan[1] })
        return plan[1]
      end
    end
    return nil
  end

  local function save(job, round)
    job.offer = round.live[1]
    redis.call('HSET', job.key, 'round', cmsgpack.pack(round))
    save_job(job)
    local member = 'more/' .. job.mall .. '/' .. job.id
    if round.asked < round.most and #round.rest > 0 then
      falls_due(member, round.next_ms)
    else
      round_of.falls_due_no_more(member)
    end
  end

  -- One offer of the round has ended without an accept. The round continues with its other live
  -- offers; after the last one, with the next driver at once. Returns whether it continues: if not,
  -- its job returns to the queue.
  local function goes_on(job, id, offer, outcome, reason)
    local round = round_of.read(job)
    for i, other in ipairs(round.live) do
      if other == id then table.remove(round.live, i) break end
    end
    if #round.live == 0 and not ask_next(job, round) then
      round_of.drop(job)
      return false
    end
    note_asked(job, offer.driver, outcome)
    event({ kind = 'offer', what = outcome, job = job.id, service = job.service,
      attempt = job.attempt, driver = offer.driver, reason = reason })
    round_of.falls_due_no_more(round_of.offer_member(job, id))
    save(job, round)
    return true
  end

  return { ask_next = ask_next, save = save, goes_on = goes_on }
end
