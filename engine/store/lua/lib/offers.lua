-- Offers live in one hash; an ended one is kept a while, so that a repeated answer gets the first.
local function read_offer(id)
  local raw = redis.call('HGET', K.offers, id)
  return raw and cmsgpack.unpack(raw) or nil
end

local function end_offer(id, offer, state)
  offer.state = state
  redis.call('HSET', K.offers, id, cmsgpack.pack(offer))
  redis.call('ZADD', K.forget, now + policy.answer_kept_ms, 'offer/' .. id)
end

-- Ends the live offer of a job that has found another way, and tells its driver.
local function close_offer(job, outcome, why)
  local id = job.offer
  local offer = read_offer(id)
  end_offer(id, offer, outcome)
  job.offer = ''
  local rec = read_driver(offer.driver)
  if rec and rec.offer == id then
    rec.offer = nil
    push(offer.driver, rec, { kind = 'offer_closed', offer_id = id, why = why })
    save_driver(offer.driver, rec)
  end
  note_asked(job, offer.driver, outcome)
end

-- The offer found no taker: the job looks on. Its round follows at once; the due entry is for the
-- case that whoever should do that dies first.
local function requeue_offered(job, offer, outcome, actor, reason)
  note_asked(job, offer.driver, outcome)
  job.offer = ''
  move(job, 'queued', actor, outcome, now + policy.safety_ms, reason)
end
