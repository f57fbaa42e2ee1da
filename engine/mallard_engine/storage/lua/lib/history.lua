-- How a driver's offers have ended, in the form that
-- engine/mallard_engine/core/matching/acceptance.py reads: pairs of counts, one character for each
-- count. There is one pair (accepted, refused) for each cell, and (declined, lapsed) at the end. A
-- full pair is halved.
local CELLS, FULL = 12, 120
local REFUSALS_HALVE_MS = 3600000

local function count(history, pair, is_second)
  local first, second = string.byte(history, 2 * pair + 1, 2 * pair + 2)
  if is_second then second = second + 1 else first = first + 1 end
  if first + second > FULL then
    first, second = math.floor(first / 2), math.floor(second / 2)
  end
  return string.sub(history, 1, 2 * pair) .. string.char(first, second)
    .. string.sub(history, 2 * pair + 3)
end

-- An offer without a cell was made while the market kept no history.
local function note_answer(rec, offer, accepted)
  if not offer.cell then return end
  local known = rec.history and #rec.history == 2 * CELLS + 2
  local history = known and rec.history or string.rep('\0', 2 * CELLS + 2)
  rec.history = count(history, offer.cell, not accepted)
end

-- A declined or lapsed offer. `declines` counts both, with a half-life of an hour.
local function note_refusal(rec, offer, lapsed)
  rec.declines = rec.declines * 0.5 ^ ((now - rec.declines_ms) / REFUSALS_HALVE_MS) + 1
  rec.declines_ms = now
  note_answer(rec, offer, false)
  if offer.cell then rec.history = count(rec.history, CELLS, lapsed) end
end
