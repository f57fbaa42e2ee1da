-- What a change of a job means for a transfer. `job.transfer` of a carried job names its last
-- transfer as `<mall>/<job>`; `job.kind` is 'transfer' for the transfer itself. A due entry makes
-- the sweeper run settle_transfer.lua, which ends a transfer that carries no job and notifies the
-- first driver.
local function note_transfer(job, reason)
  if job.kind == 'transfer' then
    falls_due('transfer/' .. job.mall .. '/' .. job.id, now)
    if TERMINAL[job.state] and job.state ~= 'delivered' and reason ~= 'nothing_to_transfer' then
      -- No driver came: the first driver keeps the parcels.
      alert('transfer_failed', { job = job.id, service = job.service, state = job.state })
    end
  elseif job.transfer ~= '' and TERMINAL[job.state] then
    falls_due('transfer/' .. job.transfer, now)
  end
end
