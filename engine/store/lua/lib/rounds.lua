-- A staggered round: one job is out to several drivers at the same attempt; the first accept ends it.
-- The field `round` of the job's key has it: the offers that are `live`, of which `job.offer` is the
-- first; how many drivers have been `asked` and may be at the `most`; whom the ranking names after
-- them (`rest`) and the `ids` of their offers; when the next is asked (`next_ms`, `gap_ms`). Each live
-- offer is marked `staggered` and has a due entry of its own; `more/…` is that of the next. A job that
-- is offered to one driver alone has none of all this.
local function more_member(job)
  return 'more/' .. job.mall .. '/' .. job.id
end

local function offer_member(job, id)
  return 'offer/' .. job.mall .. '/' .. id .. '/' .. job.id
end

local function falls_due_no_more(member)
  if redis.call('ZREM', K.due, member) == 1 then effects.over[#effects.over + 1] = member end
end

local function read_round(job)
  local packed = redis.call('HGET', job.key, 'round')
  return packed and cmsgpack.unpack(packed) or nil
end

local function drop_round(job)
  redis.call('HDEL', job.key, 'round')
  falls_due_no_more(more_member(job))
end

-- Ends a live offer and tells its driver why.
local function take_back(id, offer, outcome, why)
  end_offer(id, offer, outcome)
  local rec = read_driver(offer.driver)
  if rec and rec.offer == id then
    rec.offer = nil
    push(offer.driver, rec, { kind = 'offer_closed', offer_id = id, why = why })
    save_driver(offer.driver, rec)
  end
end

-- The round is decided, by the offer `but` or by something else: its other offers end. Nobody is
-- barred by that, nobody cools down.
local function end_round(job, but, outcome, why)
  for _, id in ipairs(read_round(job).live) do
    if id ~= but then
      local offer = read_offer(id)
      take_back(id, offer, outcome, why)
      note_asked(job, offer.driver, outcome)
    end
    falls_due_no_more(offer_member(job, id))
  end
  drop_round(job)
end
