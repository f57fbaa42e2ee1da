#!lua flags=no-writes
-- Reads the queued jobs of a market, in no order. If there are more than `limit`, it reads about
-- `limit` from `cursor` on, and the `named` ones; the next call continues at the cursor of the
-- reply, so that all are read in turn. A limit of 0 reads the named ones alone.
-- KEYS: waiting holds
-- ARGV: now arg{limit cursor named[job]}
-- REPLY: now total jobs[job packed …] holds cursor
local arg = cmsgpack.unpack(ARGV[2])
local now = tonumber(ARGV[1])
if not now then
  local t = redis.call('TIME')
  now = t[1] * 1000 + math.floor(t[2] / 1000)
end

local total = redis.call('HLEN', KEYS[1])
local jobs = {}
local cursor = '0'
if total > arg.limit then
  cursor = arg.cursor
  while #jobs < 2 * arg.limit do
    local page = redis.call('HSCAN', KEYS[1], cursor, 'COUNT', 256)
    cursor = page[1]
    for _, part in ipairs(page[2]) do jobs[#jobs + 1] = part end
    if cursor == '0' then break end
  end
  for _, job in ipairs(arg.named) do
    local packed = redis.call('HGET', KEYS[1], job)
    if packed then jobs[#jobs + 1], jobs[#jobs + 2] = job, packed end
  end
elseif total > 0 then
  jobs = redis.call('HGETALL', KEYS[1])
end
local holds = redis.call('EXISTS', KEYS[2]) == 1 and redis.call('HGETALL', KEYS[2]) or {}
return { now, total, jobs, holds, cursor }
