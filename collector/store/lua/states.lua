-- Put the newest state of markets: each only where the stamp that was read is still there.
--
-- KEYS[1]   counters                               HASH  name -> integer
-- KEYS[2…]  ticker:{market} or book:{market}       HASH  `stamp` -> time:arrival, `value` -> JSON
-- ARGV[1]   the counter of those that are stored
-- ARGV[2…]  for each key but the first: the stamp as it was read, '' where there was none; stamp; value
--
-- Returns for each key but the first 1 stored, 0 no longer what was read.

local stored = {}
local count = 0
for key = 2, #KEYS do
  local before, stamp, value = unpack(ARGV, 3 * key - 4, 3 * key - 2)
  local is_as_read = (redis.call('HGET', KEYS[key], 'stamp') or '') == before
  if is_as_read then
    redis.call('HSET', KEYS[key], 'stamp', stamp, 'value', value)
    count = count + 1
  end
  stored[key - 1] = is_as_read and 1 or 0
end
if count > 0 then redis.call('HINCRBY', KEYS[1], ARGV[1], count) end
return stored
