-- Write fields of a hash if the one that was read is still the same.
--
-- KEYS[1]  ticker:{market}, book:{market} or gaps:{market}   HASH
-- ARGV[1]  the field that was read (`stamp`, or a gap's name)
-- ARGV[2]  its value as it was read, '' where there was none
-- ARGV[3]  time to live of KEYS[1], seconds; 0 = for ever
-- ARGV[4…] field, value, field, value …
--
-- Returns 1 stored, 0 no longer what was read.

if (redis.call('HGET', KEYS[1], ARGV[1]) or '') ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], unpack(ARGV, 4))
if ARGV[3] ~= '0' then redis.call('EXPIRE', KEYS[1], ARGV[3]) end
return 1
