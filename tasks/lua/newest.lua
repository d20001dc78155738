-- Move times forward, never back.
--
-- KEYS[1]  newest                        HASH  `as_of`, `trade:{market}` -> epoch ms
-- ARGV     field, epoch ms, field, epoch ms …   (below 2^53, so comparing them as doubles is exact)

for index = 1, #ARGV, 2 do
  local known = redis.call('HGET', KEYS[1], ARGV[index])
  if not known or tonumber(known) < tonumber(ARGV[index + 1]) then
    redis.call('HSET', KEYS[1], ARGV[index], ARGV[index + 1])
  end
end
return 1
