#!lua flags=allow-oom
-- Drops images; any node removes their files afterwards. With a job: the images of its proofs, of
-- which kinds and times stay.
-- KEYS: proofs unused_proofs gone_proofs job
-- ARGV: now arg{proofs[] job}
-- REPLY: how many were dropped
local PROOFS, UNUSED, GONE, JOB = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local arg = cmsgpack.unpack(ARGV[2])
local IMAGES = { photo = true, signature = true }
-- include lib/packed.lua
if arg.job ~= '' then refuse_packed(JOB) end

local dropped = 0
local function drop(proof)
  local packed = redis.call('HGET', PROOFS, proof)
  if not packed then return end
  redis.call('HDEL', PROOFS, proof)
  redis.call('ZREM', UNUSED, cmsgpack.unpack(packed).driver .. '/' .. proof)
  redis.call('SADD', GONE, proof)
  dropped = dropped + 1
end

for _, proof in ipairs(arg.proofs) do drop(proof) end
local given = arg.job ~= '' and redis.call('HGET', JOB, 'proofs')
if given then
  given = cmsgpack.unpack(given)
  for _, proof in ipairs(given) do
    if IMAGES[proof.kind] and proof.value ~= '' then
      drop(proof.value)
      proof.value = ''
    end
  end
  redis.call('HSET', JOB, 'proofs', cmsgpack.pack(given))
end
return dropped
