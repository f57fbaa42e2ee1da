-- A job that has ended may be packed (storage/records/packed_jobs.py). Scripts cannot read a packed
-- record. A script that needs more than the job's state must say so before it writes; the caller
-- then unpacks the job and runs the script again (`ScriptRunner.run`).
local function refuse_packed(key)
  if redis.call('HEXISTS', key, 'packed') == 1 then error({ err = 'PACKED ' .. key }) end
end
