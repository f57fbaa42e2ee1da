-- The proof that a driver gives with a step: stored with the job, each kind and value of a step
-- once. A code is compared if the order has one: `door` for the delivery, any of `shops` for the
-- pickup.
local MOST_PROOFS, MOST_WRONG = 16, 3

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

local function is_kept(proofs, proof)
  for _, known in ipairs(proofs) do
    if known.kind == proof.kind and known.value == proof.value and known.step == arg.step then
      return true
    end
  end
  return false
end

-- Stores the proof of this report, if it has one; false if there is no room for another.
local function keep_proof(job)
  local proof, proofs = arg.proof, read_list(job, 'proofs')
  if not proof or is_kept(proofs, proof) then return true end
  if #proofs >= MOST_PROOFS then return false end
  proofs[#proofs + 1] = { kind = proof.kind, value = proof.value, step = arg.step, at_ms = now,
    reported_ms = arg.at_ms, driver = arg.driver }
  redis.call('HSET', job.key, 'proofs', cmsgpack.pack(proofs), 'updated_ms', now)
  event({ kind = 'proof', what = proof.kind, step = arg.step, job = job.id, service = job.service,
    driver = arg.driver, attempt = job.attempt, reported_ms = arg.at_ms })
  return true
end

-- How many wrong codes are left, if the code of this report is wrong or none is left; else nil.
local function tries_left(job, right)
  local wrong = read_list(job, 'wrong_codes')
  if #wrong < MOST_WRONG and arg.proof.value == right then return nil end
  for _, value in ipairs(wrong) do
    if value == arg.proof.value then return MOST_WRONG - #wrong end
  end
  if #wrong < MOST_WRONG then
    wrong[#wrong + 1] = arg.proof.value
    redis.call('HSET', job.key, 'wrong_codes', cmsgpack.pack(wrong))
    if #wrong == MOST_WRONG then
      alert('wrong_code', { job = job.id, service = job.service, driver = arg.driver })
    end
  end
  return MOST_WRONG - #wrong
end

local function wrong_code(job, codes)
  if not arg.proof or arg.proof.kind ~= 'code' or arg.step ~= 'delivered' or codes.door == '' then
    return nil
  end
  return tries_left(job, codes.door)
end

-- Whether the code given with a pickup matches no shop.
local function is_no_shops(codes)
  if not arg.proof or arg.proof.kind ~= 'code' or arg.step ~= 'picked_up' or #codes.shops == 0 then
    return false
  end
  for _, code in ipairs(codes.shops) do
    if code == arg.proof.value then return false end
  end
  return true
end

-- Whether the code given with `collected` is not that of the shop.
local function is_wrong_at(shop)
  return shop.code and arg.proof and arg.proof.kind == 'code' and arg.proof.value ~= shop.code
end

-- The kinds of proof that a delivery still needs.
local function missing_proofs(job, codes)
  local proofs, missing = read_list(job, 'proofs'), {}
  if job.age_check and not has_proof(proofs, 'age_checked', 'delivered') then
    missing[#missing + 1] = 'age_check'
  end
  if codes.door ~= '' and not has_proof(proofs, 'code', 'delivered') then
    missing[#missing + 1] = 'pin'
  end
  if codes.leave and not has_proof(proofs, 'photo', 'delivered') then
    missing[#missing + 1] = 'photo'
  end
  return missing
end

-- The codes of the order; `leave`: it is left at the door, with a photo.
local function codes_of(job)
  local v = redis.call('HMGET', job.key, 'codes', 'leave')
  local codes = v[1] and cmsgpack.unpack(v[1]) or { door = '', shops = {} }
  codes.leave = v[2] == '1'
  return codes
end
