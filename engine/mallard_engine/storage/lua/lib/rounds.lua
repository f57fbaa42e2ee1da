-- A staggered round: one job is offered to several drivers at the same attempt; the first accept
-- ends it. The field `round` of the job's key holds it: the `live` offers, of which `job.offer` is
-- the first; how many drivers have been `asked` and at `most` may be; the `rest` of the ranking and
-- the `ids` of their offers; when the next offer is made (`next_ms`, `gap_ms`). Each live offer is
-- marked `staggered` and has a due entry of its own; `more/…` is that of the next. A job that is
-- offered to a single driver has no `round`, so these functions are created only when one is found.
local function rounds()
  local function falls_due_no_more(member)
    if redis.call('ZREM', K.due, member) == 1 then effects.over[#effects.over + 1] = member end
  end

  local function offer_member(job, id)
    return 'offer/' .. job.mall .. '/' .. id .. '/' .. job.id
  end

  local function read(job)
    local packed = redis.call('HGET', job.key, 'round')
    return packed and cmsgpack.unpack(packed) or nil
  end

  local function drop(job)
    redis.call('HDEL', job.key, 'round')
    falls_due_no_more('more/' .. job.mall .. '/' .. job.id)
  end

  -- Ends the round, decided by the offer `but` or otherwise: the other offers end, without
  -- cool-down.
  local function finish(job, but, outcome, why)
    for _, id in ipairs(read(job).live) do
      if id ~= but then
        local offer = read_offer(id)
        take_back(id, offer, outcome, why)
        note_asked(job, offer.driver, outcome)
        event({ kind = 'offer', what = outcome, job = job.id, service = job.service,
          attempt = job.attempt, driver = offer.driver })
      end
      falls_due_no_more(offer_member(job, id))
    end
    drop(job)
  end

  return { falls_due_no_more = falls_due_no_more, offer_member = offer_member, read = read,
    drop = drop, finish = finish }
end
