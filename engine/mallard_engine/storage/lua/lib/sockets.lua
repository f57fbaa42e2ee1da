-- A driver's socket on a node, and the older one that it replaces.
local function new_driver(id)
  return { id = id, wish = 'offline', jobs = {}, epoch = 0, node = '', connected = false,
    lost_ms = 0, cool_until_ms = 0, suspended = false, unreachable = false, seq = 0, declines = 0,
    declines_ms = 0, free_since_ms = now }
end

-- Restores the driver's wish, unless it has expired.
local function resume_wish(rec)
  if not rec.connected and now > rec.lost_ms + policy.resume_ms then rec.wish = 'offline' end
  if rec.until_ms and rec.until_ms <= now then rec.wish, rec.block_over = 'offline', true end
  if rec.wish == 'offline' then rec.until_ms = nil end
end

local function connect(rec, node, epoch, held)
  if rec.connected then
    -- Without a seq: the push is for the node that holds the older socket, not for the app.
    send(rec, { kind = 'replaced', driver = rec.id, seq = 0, epoch = epoch })
  end
  local was_connected = rec.connected
  rec.epoch, rec.node, rec.connected = epoch, node, true
  -- Engines of schema 5 push to the node's own stream only if both names are equal.
  rec.reads = node
  redis.call('SADD', held, rec.id)
  event({ kind = 'driver', driver = rec.id, what = 'connected', epoch = epoch, node = node,
    wish = rec.wish, again = was_connected and 1 or nil })
end
