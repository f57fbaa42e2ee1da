#!lua flags=allow-oom
-- Removes an entry of one of these sets and hashes that the state of its job does not justify, if
-- the job has not changed since it was read. place: which of the keys. state: '' if there is no
-- such job.
-- KEYS: due waiting externals by_shop by_customer returns wait job
-- ARGV: now arg{place entry state}
-- REPLY: how many were removed
local arg = cmsgpack.unpack(ARGV[2])
local key, job = KEYS[arg.place], KEYS[8]
if (redis.call('HGET', job, 'state') or '') ~= arg.state then return 0 end
if redis.call('TYPE', key).ok == 'hash' then return redis.call('HDEL', key, arg.entry) end
return redis.call('ZREM', key, arg.entry)
