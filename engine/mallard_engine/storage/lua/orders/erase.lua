#!lua flags=allow-oom
-- Erases the customer's data of an ended job: the caller passes the order without them.
-- open: the job has not ended. again: it has changed since it was read.
-- KEYS: drivers positions idle nodes due offers waiting counts events push forget externals coming wait job
-- ARGV: now policy arg{customer_ref actor} was body need
-- REPLY: ok effects pushes | open | again | gone
-- include lib/base.lua
-- include lib/jobs.lua
-- include lib/by_customer.lua
-- include lib/problems.lua

local job = read_job(KEYS[15])
if not job then return reply('gone') end
if not TERMINAL[job.state] then return reply('open') end
local body = redis.call('HGET', job.key, 'body')
if body == ARGV[5] then return reply('ok') end -- a repeat
if body ~= ARGV[4] then return reply('again') end

redis.call('HSET', job.key, 'body', ARGV[5], 'need', ARGV[6], 'erased_ms', now, 'updated_ms', now)
-- Also the values of proofs and the codes that they were compared with. Kinds and times of proofs
-- stay.
local proofs = list_of(redis.call('HGET', job.key, 'proofs'))
for _, proof in ipairs(proofs) do proof.value = '' end
if #proofs > 0 then redis.call('HSET', job.key, 'proofs', cmsgpack.pack(proofs)) end
redis.call('HDEL', job.key, 'codes', 'wrong_codes')
-- Nor stays what people wrote about the door and the customer.
local problems = problems_of(job.key)
for _, problem in ipairs(problems) do
  problem.text = ''
  if problem.answer then problem.answer.text = '' end
end
if #problems > 0 then save_problems(job.key, problems) end
redis.call('HDEL', job.key, 'answer', 'cancel_note')
leave_by_customer(job, arg.customer_ref)
job_event(job, { kind = 'updated', actor = arg.actor, fields = { '/dropoff' } })
return reply('ok')
