#!lua
-- Stores a job with its idempotency key, its external id, its place in the queue and its due entry.
-- KEYS: drivers positions idle nodes due offers waiting counts events push forget externals coming wait job
-- KEYS: key by_service by_age by_external open open_seen stored job
-- ARGV: now policy arg{job market service mall hash external_id state release_ms
-- ARGV: age_check images?[kind] codes?{door shops[code]} expires_ms deadline_ms priority demand
-- ARGV: max_open max_stored handover_key tracking? stores[store] lead_ms haul_ms redelivery_of? replaces?
-- ARGV: customer_ref?}
-- ARGV: body card need
-- REPLY: ok effects pushes | replayed … job | mismatch | duplicate … job | quota … which
-- REPLY: gone | wrong_state … state
-- include lib/base.lua
-- include lib/jobs.lua
-- include lib/risk.lua
-- include lib/quotas.lua
-- include lib/by_customer.lua

local JOB, KEY, BY_SERVICE, BY_AGE = KEYS[15], KEYS[16], KEYS[17], KEYS[18]
local BY_EXTERNAL, OPEN, OPEN_SEEN, STORED = KEYS[19], KEYS[20], KEYS[21], KEYS[22]
-- Which job a customer's link is for.
local TRACKED = K.due:sub(1, -4) .. 'tracked'
-- A returned job whose parcels this job delivers after all. That happens once, unless this job
-- `replaces` a redelivery that has ended without delivering them.
local ORIGIN = KEYS[23]
if arg.redelivery_of then
  refuse_packed(ORIGIN)
  local origin = redis.call('HMGET', ORIGIN, 'state', 'redelivered_as')
  if not origin[1] then return reply('gone') end
  if origin[1] ~= 'returned' then return reply('wrong_state', origin[1]) end
  local made = origin[2] or ''
  if made ~= '' and made ~= arg.replaces then return reply('replayed', made) end
end
local used = redis.call('GET', KEY)
if used then
  local hash, job = used:match('^(%S+) (%S+)$')
  if hash == arg.hash then return reply('replayed', job) end
  return reply('mismatch')
end
if arg.external_id ~= '' then
  local there = redis.call('HGET', K.externals, arg.service .. '/' .. arg.external_id)
  if there then return reply('duplicate', there) end
end
local bytes = #ARGV[4] + #ARGV[5]
if arg.max_open > 0 then
  local open = open_jobs(OPEN, OPEN_SEEN, arg.service)
  if open >= arg.max_open then return reply('quota', 'open_jobs') end
end
if arg.max_stored > 0 and stored_bytes(STORED) + bytes > arg.max_stored then
  return reply('quota', 'stored_bytes')
end

if arg.max_open > 0 then redis.call('ZADD', OPEN, 0, arg.service .. '/' .. arg.job) end
if arg.max_stored > 0 then note_stored(STORED, bytes) end
local none = cmsgpack.pack({})
redis.call('HSET', JOB, 'id', arg.job, 'market', arg.market, 'service', arg.service,
  'mall', arg.mall, 'state', arg.state, 'attempt', 0, 'driver', '', 'offer', '', 'reason', '',
  'created_ms', now, 'updated_ms', now, 'expires_ms', arg.expires_ms,
  'deadline_ms', arg.deadline_ms, 'release_ms', arg.release_ms, 'priority', arg.priority,
  'lead_ms', arg.lead_ms, 'haul_ms', arg.haul_ms,
  'demand', arg.demand, 'external_id', arg.external_id,
  'body', ARGV[4], 'card', ARGV[5], 'need', ARGV[6],
  'eta_pickup_ms', '', 'eta_dropoff_ms', '', 'asked', none, 'former', none,
  'timeline', cmsgpack.pack({ { arg.state, now, arg.service, 'submitted' } }),
  'age_check', arg.age_check and '1' or '0', 'alerted_ms', -1,
  -- The audit compares it with the idempotency key.
  'key', KEY:match('[^:]*$'), 'handover_key', arg.handover_key)
if arg.redelivery_of then
  redis.call('HSET', JOB, 'redelivery_of', arg.redelivery_of)
  redis.call('HSET', ORIGIN, 'redelivered_as', arg.job)
  await_archive({ key = ORIGIN, id = arg.redelivery_of,
    service = redis.call('HGET', ORIGIN, 'service') })
end
if arg.images then redis.call('HSET', JOB, 'images', cmsgpack.pack(arg.images)) end
if arg.codes then redis.call('HSET', JOB, 'codes', cmsgpack.pack(arg.codes)) end
redis.call('SET', KEY, arg.hash .. ' ' .. arg.job, 'PX', policy.idempotency_kept_ms)
if arg.external_id ~= '' then
  redis.call('HSET', K.externals, arg.service .. '/' .. arg.external_id, arg.job)
  local name = arg.external_id .. '/' .. arg.service .. '/' .. arg.job
  redis.call('ZADD', BY_EXTERNAL, 0, name)
  -- The index keeps the name while the job is listed, whichever version of the engine ends the job.
  redis.call('ZADD', K.forget, now + policy.terminal_kept_ms, 'named/' .. name)
end
if arg.tracking then
  redis.call('HSET', JOB, 'tracking', arg.tracking)
  redis.call('HSET', TRACKED, arg.tracking, arg.job)
  local name = arg.tracking .. '/' .. arg.job
  redis.call('ZADD', K.forget, now + policy.terminal_kept_ms, 'track/' .. name)
end
redis.call('ZADD', BY_SERVICE, 0, arg.service .. '/' .. arg.job)
redis.call('ZADD', BY_AGE, 0, arg.job)
redis.call('HINCRBY', K.counts, 'submitted', 1)
redis.call('HINCRBY', K.counts, arg.state, 1)

local job = read_job(JOB)
list_by_shop(job, arg.stores)
if arg.customer_ref then list_by_customer(job, arg.customer_ref) end
if arg.state == 'queued' then
  wait_for_driver(job)
  falls_due(due_member(job), now + policy.safety_ms)
else
  falls_due(due_member(job), arg.release_ms)
end
local risk, next_ms = risk_of(job)
if risk == 'none' then redis.call('ZADD', K.risks, next_ms, job.id) else look_at_risk(job) end
event({ kind = 'job', job = arg.job, service = arg.service, from = '', to = arg.state, attempt = 0,
  driver = '', actor = arg.service, cause = 'submitted' })
return reply('ok')
