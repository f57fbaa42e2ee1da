-- Codes that a driver gives. A code is compared if the order has one: `door` for the delivery, any
-- of `shops` for the pickup. Needs lib/proofs.lua.
local MOST_WRONG = 3

-- The codes of the order, and the images that it requires. `leave`: the order is left at the door,
-- with a photo.
local function codes_of(job)
  local v = redis.call('HMGET', job.key, 'codes', 'leave', 'images')
  local codes = v[1] and cmsgpack.unpack(v[1]) or { door = '', shops = {} }
  codes.leave, codes.images = v[2] == '1', {}
  for _, kind in ipairs(v[3] and cmsgpack.unpack(v[3]) or {}) do codes.images[kind] = true end
  return codes
end

local function is_the_customers(codes)
  return arg.proof.kind == 'code' and arg.step == 'delivered' and codes.door ~= ''
end

-- Compares in constant time, so that the time does not reveal how much of the code is right.
local function is_same_code(given, right)
  local differs = bit.bxor(#given, #right)
  for i = 1, #right do
    differs = bit.bor(differs, bit.bxor(given:byte(i) or 0, right:byte(i)))
  end
  return differs == 0
end

-- How many tries are left, if the code of this report is wrong or no try is left; else nil. After
-- the last try the right code is refused as well: an operator closes the job.
local function tries_left(job, right)
  local wrong = read_list(job, 'wrong_codes')
  if #wrong < MOST_WRONG and is_same_code(arg.proof.value, right) then return nil end
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
  if not arg.proof or not is_the_customers(codes) then return nil end
  if has_proof(read_list(job, 'proofs'), 'code', 'delivered') then return nil end
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
