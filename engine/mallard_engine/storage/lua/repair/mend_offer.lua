#!lua flags=allow-oom
-- Ends a live offer that the record of its driver or of one of its jobs does not name.
-- KEYS: drivers positions idle nodes due offers waiting counts events push forget externals coming job...
-- ARGV: now policy arg{offer}
-- REPLY: ok effects pushes did[what …] | changed
-- include lib/base.lua
-- include lib/drivers.lua
-- include lib/jobs.lua
-- include lib/offers.lua
local offer = read_offer(arg.offer)
if not offer then return reply('changed') end
if offer.state ~= 'live' then
  local at = now + policy.answer_kept_ms
  local kept = redis.call('ZADD', K.forget, 'NX', at, 'offer/' .. arg.offer)
  return reply('ok', kept == 1 and { 'is forgotten some day' } or {})
end
local rec = read_driver(offer.driver)
local is_whole = rec and rec.offer == arg.offer
for i, each in ipairs(offer.jobs) do
  local job = KEYS[13 + i] and read_job(KEYS[13 + i])
  is_whole = is_whole and job and job.id == each.job and job.state == 'offered'
    and job.attempt == each.attempt and is_out(arg.offer, offer, job)
end
if is_whole then return reply('ok', {}) end
take_back(arg.offer, offer, 'withdrawn', 'withdrawn')
return reply('ok', { 'ended: its driver or its job does not have it' })
