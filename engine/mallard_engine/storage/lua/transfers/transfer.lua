#!lua flags=allow-oom
-- Begins a transfer: pauses a driver, returns its jobs that are not yet on board to the queue, and
-- creates an internal job that hands those on board over to another driver. The first driver keeps
-- them until take_over.lua. `held`: all jobs of the driver, in the order of the keys. `carries`:
-- those to hand over (none: no transfer is created). Without `pauses` nothing is done. again: the
-- jobs have changed since they were read. open: the named transfer already carries one of them.
-- KEYS: drivers positions idle nodes due offers waiting counts events push forget externals coming wait job
-- KEYS: by_service by_age job... wait... job...
-- ARGV: now policy arg{job market mall service first pauses held[job] carries[{job attempt}]
-- ARGV: driver? actor code expires_ms demand} body card need
-- REPLY: ok effects pushes | again | no_driver | suspended | busy | open … job
-- include lib/base.lua
-- include lib/drivers.lua
-- include lib/jobs.lua
-- include lib/holders.lua
-- include lib/offers.lua
-- include lib/room.lua
-- include lib/shops.lua
-- include lib/holding.lua
-- include lib/hold_end.lua

local JOB, BY_SERVICE, BY_AGE, HELD = KEYS[15], KEYS[16], KEYS[17], 17
if redis.call('EXISTS', JOB) == 1 then return reply('ok') end -- a repeat
local rec = read_driver(arg.first)
if not rec then return reply('no_driver') end
if #rec.jobs ~= #arg.held then return reply('again') end
local jobs = {}
for i, name in ipairs(arg.held) do
  local job = read_job(KEYS[HELD + i])
  if not holds(rec, name) or not job or job.id ~= name then return reply('again') end
  jobs[name] = job
  WAITS[job.mall] = KEYS[HELD + #arg.held + i]
end
for i, name in ipairs(arg.held) do
  -- The last transfer of the job, if it had one; else the key of the job itself.
  local last, key = jobs[name].transfer:match('([^/]+)$'), KEYS[HELD + 2 * #arg.held + i]
  if last and key:match(':job:(.+)$') ~= last then return reply('again') end
  jobs[name].is_carried = last and not TERMINAL[redis.call('HGET', key, 'state') or 'lost']
end
for _, each in ipairs(arg.carries) do
  local job = jobs[each.job]
  local is_on_board = job and (job.state == 'picked_up' or job.state == 'returning')
  if not is_on_board or job.attempt ~= each.attempt then return reply('again') end
  if job.is_carried then return reply('open', job.transfer:match('([^/]+)$')) end
end

local need = cmsgpack.unpack(ARGV[6])
local transfer = { key = JOB, kind = 'transfer', id = arg.job, needs = need, need = ARGV[6] }
local second = arg.driver and read_driver(arg.driver)
if arg.driver then
  if not second then return reply('no_driver') end
  if second.suspended then return reply('suspended') end
  if second.offer or arg.driver == arg.first or not fits(second, { transfer }, true) then
    return reply('busy')
  end
end

rec.hand_over_ms, rec.hand_over_why = nil, nil
if not arg.pauses then
  save_driver(arg.first, rec)
  return reply('ok')
end
if rec.wish ~= 'paused' then
  rec.wish = 'paused'
  event({ kind = 'driver', driver = arg.first, what = 'paused' })
  push_state(arg.first, rec, 'transfer')
end
save_driver(arg.first, rec)
for _, name in ipairs(arg.held) do
  local job = jobs[name]
  if job.state == 'assigned' or job.state == 'at_mall' then
    take_back_from(job, 'unassigned', arg.actor, 'transfer')
  end
end
if #arg.carries == 0 then return reply('ok') end

local names = {}
for i, each in ipairs(arg.carries) do names[i] = each.job end
local none = cmsgpack.pack({})
redis.call('HSET', JOB, 'id', arg.job, 'market', arg.market, 'service', arg.service,
  'mall', arg.mall, 'state', 'queued', 'attempt', 0, 'driver', '', 'offer', '', 'reason', '',
  'created_ms', now, 'updated_ms', now, 'expires_ms', arg.expires_ms,
  'deadline_ms', arg.expires_ms, 'release_ms', now, 'priority', need.priority,
  'demand', arg.demand, 'external_id', '', 'body', ARGV[4], 'card', ARGV[5], 'need', ARGV[6],
  'eta_pickup_ms', '', 'eta_dropoff_ms', '', 'asked', none, 'former', none,
  'timeline', cmsgpack.pack({ { 'queued', now, arg.actor, 'submitted' } }), 'age_check', '0',
  'alerted_ms', -1, 'kind', 'transfer', 'first', arg.first, 'code', arg.code,
  'carries', cmsgpack.pack(names))
redis.call('ZADD', BY_SERVICE, 0, arg.service .. '/' .. arg.job)
redis.call('ZADD', BY_AGE, 0, arg.job)
redis.call('HINCRBY', K.counts, 'submitted', 1)
local job = read_job(JOB)
redis.call('HINCRBY', K.counts, counted_as(job, 'queued'), 1)
wait_for_driver(job)
falls_due(due_member(job), now + policy.safety_ms)
event({ kind = 'job', job = job.id, service = job.service, from = '', to = 'queued', attempt = 0,
  driver = '', actor = arg.actor, cause = 'submitted' })
for _, name in ipairs(names) do
  local each = jobs[name]
  redis.call('HSET', each.key, 'transfer', arg.mall .. '/' .. arg.job, 'updated_ms', now)
  job_event(each, { kind = 'transfer', what = 'started', actor = arg.actor, transfer = arg.job })
end
falls_due('transfer/' .. arg.mall .. '/' .. arg.job, now)

if second then
  job.attempt, job.driver = 1, arg.driver
  second = read_driver(arg.driver)
  take_on(second, job)
  notify_holder(job, second, 'assigned', 'assigned')
  save_driver(arg.driver, second)
  move(job, 'assigned', arg.actor, 'operator_assigned', silence_limit(second))
end
return reply('ok')
