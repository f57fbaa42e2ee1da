-- A job that has ended may be packed (storage/records/packed_jobs.py), which no script can read. A
-- script that needs more than its state says so before it has written anything; the caller unpacks
-- the job and runs the script once more (`ScriptRunner.run`).
local function refuse_packed(key)
  if redis.call('HEXISTS', key, 'packed') == 1 then error({ err = 'PACKED ' .. key }) end
end
