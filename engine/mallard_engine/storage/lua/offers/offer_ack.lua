#!lua flags=allow-oom
-- Acknowledges an offer: from now on only an answer or its expiry ends it.
-- KEYS: drivers positions idle nodes due offers waiting counts events push forget externals coming
-- ARGV: now policy arg{driver offer}
-- REPLY: ok effects pushes | not_yours | offer_closed
-- include lib/base.lua
-- include lib/offers.lua

local offer = read_offer(arg.offer)
if not offer or offer.driver ~= arg.driver then return reply('not_yours') end
if offer.state ~= 'live' or now >= offer.expires_ms then return reply('offer_closed') end
if offer.ack_by_ms > 0 then
  offer.ack_by_ms = 0
  redis.call('HSET', K.offers, arg.offer, cmsgpack.pack(offer))
  for _, j in ipairs(offer.jobs) do
    falls_due('offer/' .. offer.mall .. '/' .. arg.offer .. '/' .. j.job, offer.expires_ms)
  end
end
return reply('ok')
