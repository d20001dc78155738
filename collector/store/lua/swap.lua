-- Write a field of a hash if what was read is still the same.
--
-- KEYS[1]  gaps:{market}   HASH  {channel}:{from_ms} -> the gap, JSON
-- ARGV     the field; its value as it was read, '' where there was none; its new value; time to live of
--          KEYS[1], seconds
--
-- Returns 1 stored, 0 no longer what was read.

if (redis.call('HGET', KEYS[1], ARGV[1]) or '') ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
redis.call('EXPIRE', KEYS[1], ARGV[4])
return 1
