-- The proof that a driver gives with a step is stored with the job, each kind and value of a step
-- once. A code that the customer gave is not stored, since readers of the job would see it.
local MOST_PROOFS = 16

local function read_list(job, field)
  local packed = redis.call('HGET', job.key, field)
  return packed and cmsgpack.unpack(packed) or {}
end

local function has_proof(proofs, kind, step)
  for _, proof in ipairs(proofs) do
    if proof.kind == kind and proof.step == step then return true end
  end
  return false
end

-- include lib/codes.lua

-- The kinds whose value names an uploaded image; see proof_add.lua.
local IMAGES = { photo = true, signature = true }
local UPLOADED, UNUSED = K.due:sub(1, -4) .. 'proofs', K.due:sub(1, -4) .. 'unused_proofs'

-- Marks the image of this report as the job's; false if it is not this driver's, or another job's.
local function use_image(job)
  local proof = arg.proof.value
  local packed = redis.call('HGET', UPLOADED, proof)
  local image = packed and cmsgpack.unpack(packed)
  local is_usable = image and image.driver == arg.driver and (image.job or job.id) == job.id
  if not is_usable then return false end
  image.job = job.id
  redis.call('HSET', UPLOADED, proof, cmsgpack.pack(image))
  redis.call('ZREM', UNUSED, arg.driver .. '/' .. proof)
  return true
end

local function is_kept(proofs, proof, value)
  for _, known in ipairs(proofs) do
    if known.kind == proof.kind and known.value == value and known.step == arg.step then
      return true
    end
  end
  return false
end

-- Stores the proof of this report, if it has one; false if there is no room for another, or no such
-- image. `codes`: see `codes_of`; only a delivery needs them. is_done: an operator may have closed
-- the job, so that the code was not compared.
local function keep_proof(job, codes, is_done)
  local proof, proofs = arg.proof, read_list(job, 'proofs')
  local is_secret = proof and codes and is_the_customers(codes)
  local value = proof and (is_secret and '' or proof.value)
  if not proof or is_secret and is_done or is_kept(proofs, proof, value) then return true end
  if #proofs >= MOST_PROOFS or IMAGES[proof.kind] and not use_image(job) then return false end
  proofs[#proofs + 1] = { kind = proof.kind, value = value, step = arg.step, at_ms = now,
    reported_ms = arg.at_ms, driver = arg.driver }
  redis.call('HSET', job.key, 'proofs', cmsgpack.pack(proofs), 'updated_ms', now)
  job_event(job, { kind = 'proof', what = proof.kind, step = arg.step, driver = arg.driver,
    reported_ms = arg.at_ms })
  return true
end

-- The kinds of proof that a delivery still needs.
local function missing_proofs(job, codes)
  local proofs, missing = read_list(job, 'proofs'), {}
  local function needs(name, kind, is_needed)
    if is_needed and not has_proof(proofs, kind, 'delivered') then
      missing[#missing + 1] = name
    end
  end
  needs('pin', 'code', codes.door ~= '')
  needs('photo', 'photo', codes.leave or codes.images.photo)
  needs('signature', 'signature', codes.images.signature)
  needs('age_check', 'age_checked', job.age_check)
  return missing
end
