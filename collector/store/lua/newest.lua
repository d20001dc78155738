-- Move times forward, never back.
--
-- KEYS[1]  newest                        HASH  `as_of`, `trade:{market}` -> epoch ms
-- ARGV     n, then n fields, then n times in epoch ms   (below 2^53, so comparing them as doubles is exact)
--
-- Returns how many were moved. At most 2000 fields: Lua's stack holds about 8000 values.

local count = tonumber(ARGV[1])
local known = redis.call('HMGET', KEYS[1], unpack(ARGV, 2, 1 + count))
local newer = {}
for index = 1, count do
  local time = ARGV[1 + count + index]
  if not known[index] or tonumber(known[index]) < tonumber(time) then
    newer[#newer + 1] = ARGV[1 + index]
    newer[#newer + 1] = time
  end
end
if #newer > 0 then redis.call('HSET', KEYS[1], unpack(newer)) end
return #newer / 2
