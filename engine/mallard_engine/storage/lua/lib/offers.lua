-- Offers are stored in one hash. An offer that has ended is kept for a while, so that a repeated
-- answer gets the first reply. An offer has one job or a run of several. A transition that ends it
-- must declare the keys of all its jobs, from KEYS[15] on. If some are missing, the verdict is
-- `run` with the jobs' names, and the caller repeats the call.
local function read_offer(id)
  local raw = redis.call('HGET', K.offers, id)
  return raw and cmsgpack.unpack(raw) or nil
end

-- The jobs of an offer, with this one as it was read; nil and their names if keys are missing.
local function read_run(offer, job)
  if #offer.jobs == 1 then return { job } end
  local keys, run, names, is_whole = {}, {}, {}, true
  for i = 15, #KEYS do keys[KEYS[i]:match(':job:(.+)$') or ''] = KEYS[i] end
  for i, each in ipairs(offer.jobs) do
    names[i] = each.job
    if job and each.job == job.id then
      run[i] = job
    elseif keys[each.job] then
      run[i] = read_job(keys[each.job])
    end
    is_whole = is_whole and run[i] ~= nil
  end
  if not is_whole then return nil, names end
  return run
end

-- The jobs that are offered together with this one, including itself; none if it is not offered.
local function offered_run(job)
  if job.state ~= 'offered' then return {} end
  return read_run(read_offer(job.offer), job)
end

-- Whether the offer is live for this job: as its only one, or in a staggered round, whose offers
-- share its attempt.
local function is_out(id, offer, job)
  return job.offer == id
    or (offer.staggered and job.state == 'offered' and job.attempt == offer.attempt)
end

-- Whether the offer is live for exactly these jobs, each at the attempt that it names.
local function is_current(offer, run, id)
  for i, job in ipairs(run) do
    if not is_out(id, offer, job) or job.state ~= 'offered'
      or job.attempt ~= offer.jobs[i].attempt then
      return false
    end
  end
  return #run > 0
end

local function end_offer(id, offer, state)
  offer.state = state
  redis.call('HSET', K.offers, id, cmsgpack.pack(offer))
  redis.call('ZADD', K.forget, now + policy.answer_kept_ms, 'offer/' .. id)
end

-- Ends a live offer and pushes the reason to its driver.
local function take_back(id, offer, outcome, why)
  end_offer(id, offer, outcome)
  local rec = read_driver(offer.driver)
  if rec and rec.offer == id then
    rec.offer = nil
    push(offer.driver, rec, { kind = 'offer_closed', offer_id = id, why = why })
    save_driver(offer.driver, rec)
  end
end
-- include lib/rounds.lua
-- include lib/pay.lua

-- Returns the jobs of an offer that was not accepted to the queue. Their round follows at once; the
-- due entries cover a crash before that.
local function requeue_offered(run, offer, outcome, actor, reason)
  for _, job in ipairs(run) do
    note_asked(job, offer.driver, outcome)
    job.offer = ''
    raise_pay(job, outcome)
    move(job, 'queued', actor, outcome, now + policy.safety_ms, reason)
  end
end

-- Ends the live offer, or the whole staggered round, of a job that something else moves, and pushes
-- the end. Jobs that were offered together with it return to the queue; the caller moves the job.
local function close_offer(job, run, outcome, why)
  local id = job.offer
  local offer = read_offer(id)
  take_back(id, offer, outcome, why)
  local others = {}
  for _, each in ipairs(run) do
    if each.id ~= job.id then others[#others + 1] = each end
  end
  requeue_offered(others, offer, 'withdrawn', 'engine')
  note_asked(job, offer.driver, outcome)
  if offer.staggered then rounds().finish(job, id, outcome, why) end
  job.offer = ''
end
