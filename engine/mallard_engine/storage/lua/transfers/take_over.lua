#!lua flags=allow-oom
-- Ends a transfer: its second driver has the parcels and proves the meeting with the transfer's
-- code. In one step the jobs that it received change driver, and their attempts rise.
-- KEYS: drivers positions idle nodes due offers waiting counts events push forget externals coming wait job...
-- ARGV: now policy arg{driver attempt at_ms? proof?{kind value} jobs?[job] step}
-- REPLY: ok effects pushes driver[record position] job_state attempt jobs[job …] | not_yours
-- REPLY: stale_attempt | wrong_state | wrong_code … tries_left | proof_needed … missing | bad_field
-- REPLY: run … jobs
-- include lib/base.lua
-- include lib/drivers.lua
-- include lib/jobs.lua
-- include lib/offers.lua
-- include lib/holders.lua
-- include lib/room.lua
-- include lib/claimed.lua
-- include lib/custody.lua
-- include lib/proofs.lua
-- include lib/carried.lua

local job = read_job(KEYS[15])
if not job then return reply('not_yours') end
local names = carried_names(job)
local live, first = read_carried(job, names)
if not live then
  table.insert(names, 1, job.id)
  return reply('run', names)
end

local function answer()
  local got = {}
  for i = 16, #KEYS do
    if redis.call('HGET', KEYS[i], 'driver') == arg.driver then
      got[#got + 1] = redis.call('HGETALL', KEYS[i])
    end
  end
  return reply('ok', driver_reply(arg.driver), job.state, job.attempt, got)
end

local is_mine = is_holder(job, arg.driver, arg.attempt)
if is_mine and job.state == 'delivered' then return answer() end -- a repeat
if is_mine and job.state ~= 'assigned' and job.state ~= 'at_mall' then
  return reply('wrong_state')
end
-- A former holder that knows the code has met the first driver: custody, if no other driver has.
local may_claim = was_holder(job, arg.driver, arg.attempt) and BEFORE_PICKUP[job.state]
if not is_mine and not may_claim then
  local verdict = claim_custody(job, arg.driver, arg.attempt, 'picked_up')
  if verdict == 'ok' then return answer() end -- a repeat
  return reply(verdict)
end
if not arg.proof or arg.proof.kind ~= 'code' then return reply('proof_needed', { 'code' }) end
local left = tries_left(job, redis.call('HGET', job.key, 'code'))
if left then return reply('wrong_code', left) end

local got, known, gone = {}, {}, {}
for _, name in ipairs(names) do known[name] = true end
local is_asked = {}
for _, name in ipairs(arg.jobs or names) do
  if not known[name] then return reply('bad_field') end
  is_asked[name] = true
end
for _, each in ipairs(live) do
  if is_asked[each.id] then got[#got + 1], known[each.id] = each, nil end
end
for name in pairs(known) do gone[#gone + 1] = name end
if #got == 0 then return reply('wrong_state') end

job.reported_ms = arg.at_ms
if is_mine then
  if job.state == 'assigned' then move(job, 'at_mall', arg.driver, 'arrived') end
  move(job, 'picked_up', arg.driver, 'picked_up')
else
  claim_custody(job, arg.driver, arg.attempt, 'picked_up')
end
local second = read_driver(arg.driver)
drop_job(second, job.id)
local before = read_driver(first)
for _, each in ipairs(got) do
  note_asked(each, first, 'unassigned')
  strike_former(each, first) -- it has handed the parcels over and can no longer claim custody
  each.attempt = each.attempt + 1
  each.driver = arg.driver
  take_on(second, each, true)
  drop_job(before, each.id)
  each.driver = first
  notify_holder(each, before, each.state, 'transferred')
  each.driver, each.reported_ms = arg.driver, arg.at_ms
  move(each, each.state, arg.driver, is_mine and 'transferred' or 'custody', silence_limit(second))
end
redis.call('HSET', job.key, 'gone', cmsgpack.pack(gone)) -- the jobs that were not handed over
save_driver(first, before)
save_driver(arg.driver, second)
move(job, 'delivered', arg.driver, 'delivered')
return answer()
