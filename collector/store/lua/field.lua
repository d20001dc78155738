-- Read one field of many hashes.
--
-- KEYS     ticker:{market} or book:{market}   HASH
-- ARGV[1]  the field
--
-- Returns its value for each key, or false.

local found = {}
for index, key in ipairs(KEYS) do found[index] = redis.call('HGET', key, ARGV[1]) end
return found
