-- Delete a lease if it is still its owner's, in one step.
--
-- KEYS[1]  lease:{shard}   STRING  the owner's name
-- ARGV     the owner's name
--
-- Returns 1 deleted, 0 it is somebody else's or nobody's.

if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
