#!lua flags=allow-oom
-- Deletes expired members of hashes and sets, which cannot have a TTL for each member.
-- KEYS: forget offers externals holds by_service by_age by_external open by_shop returns
-- KEYS: proofs unused_proofs gone_proofs tracked by_customer archive unarchived
-- ARGV: now arg{limit again_ms}
-- REPLY: how many were dropped
local arg = cmsgpack.unpack(ARGV[2])
local now = tonumber(ARGV[1])
if not now then
  local t = redis.call('TIME')
  now = t[1] * 1000 + math.floor(t[2] / 1000)
end
-- Whether the archive still lacks the job. Its record has a TTL, which bounds how long that lasts.
local function is_held(job)
  if not redis.call('ZSCORE', KEYS[17], job) then return false end
  if redis.call('EXISTS', KEYS[1]:sub(1, -7) .. 'job:' .. job) == 1 then return true end
  redis.call('ZREM', KEYS[17], job)
  redis.call('HINCRBY', KEYS[16], 'lost', 1)
  return false
end
local members = redis.call('ZRANGE', KEYS[1], '-inf', now, 'BYSCORE', 'LIMIT', 0, arg.limit)
for _, member in ipairs(members) do
  local again
  local kind, rest = member:match('^(%a+)/(.+)$')
  if kind == 'offer' then redis.call('HDEL', KEYS[2], rest)
  elseif kind == 'external' then redis.call('HDEL', KEYS[3], rest)
  elseif kind == 'hold' then redis.call('HDEL', KEYS[4], rest, 'closed/' .. rest, 'word/' .. rest)
  elseif kind == 'job' then
    local id = rest:match('([^/]+)$')
    again = is_held(id)
    if not again then
      redis.call('ZREM', KEYS[5], rest)
      redis.call('ZREM', KEYS[8], rest)
      redis.call('ZREM', KEYS[6], id)
    end
  elseif kind == 'named' then
    again = redis.call('ZSCORE', KEYS[6], rest:match('([^/]+)$'))
    if not again then redis.call('ZREM', KEYS[7], rest) end
  elseif kind == 'shop' then
    again = redis.call('ZSCORE', KEYS[6], rest:match('([^/]+)$'))
    if not again then redis.call('ZREM', KEYS[9], rest) end
  elseif kind == 'back' then
    again = redis.call('ZSCORE', KEYS[6], rest:match('([^/]+)$'))
    if not again then redis.call('ZREM', KEYS[10], rest) end
  elseif kind == 'track' then
    local token, job = rest:match('^([^/]+)/([^/]+)$')
    again = redis.call('ZSCORE', KEYS[6], job)
    if not again then redis.call('HDEL', KEYS[14], token) end
  elseif kind == 'proof' then
    -- Any node later removes the files of images that belong to no listed job.
    local id = rest:match('([^/]+)$')
    local image = redis.call('HGET', KEYS[11], id)
    local job = image and cmsgpack.unpack(image).job
    again = job and redis.call('ZSCORE', KEYS[6], job)
    if not again then
      redis.call('ZREM', KEYS[12], rest)
      if redis.call('HDEL', KEYS[11], id) == 1 then redis.call('SADD', KEYS[13], id) end
    end
  elseif kind == 'customer' then
    again = redis.call('ZSCORE', KEYS[6], rest:match('([^/]+)$'))
    if not again then redis.call('ZREM', KEYS[15], rest) end
  elseif kind == 'collected' then redis.call('ZREM', KEYS[9], rest)
  end
  if again then redis.call('ZADD', KEYS[1], now + arg.again_ms, member)
  else redis.call('ZREM', KEYS[1], member) end
end
return #members
