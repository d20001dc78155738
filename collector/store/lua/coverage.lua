-- Write what a listener covers, unless Redis does not hold what it wrote there before.
--
-- KEYS[1]  coverage                 HASH    shard -> status, JSON
-- KEYS[2]  coverage-alive:{shard}   STRING  the shard's listener lives
-- ARGV[1]  the shard
-- ARGV[2]  the id of the Redis process that the listener wrote to before; '' = any
-- ARGV[3]  the status; ARGV[4] time to live of KEYS[2], ms
-- ARGV[5…] what may be there: the statuses it wrote last, '' = none
--
-- Returns {1 written or 0 not, the id of this Redis process, the status that was found or ''}.

local run_id = redis.call('INFO', 'server'):match('run_id:(%w+)') or ''
local found = redis.call('HGET', KEYS[1], ARGV[1]) or ''
local is_expected = ARGV[2] == '' or ARGV[2] == run_id
if is_expected then
  is_expected = false
  for index = 5, #ARGV do is_expected = is_expected or ARGV[index] == found end
end
if not is_expected then return {0, run_id, found} end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
redis.call('SET', KEYS[2], '1', 'PX', ARGV[4])
return {1, run_id, found}
