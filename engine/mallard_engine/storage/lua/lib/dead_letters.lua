-- Jobs that broke their rounds, by the id of their dead letter. The key is derived, so that the
-- other keys keep their positions. These are fields of K because Lua allows no more local variables
-- here.
K.dead_letters = K.due:sub(1, -4) .. 'dead_letters'

function K.dig_up(job)
  redis.call('HDEL', K.dead_letters, job.dead_letter)
  redis.call('HDEL', job.key, 'dead_letter')
  job.dead_letter = ''
end
