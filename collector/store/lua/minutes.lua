-- Read the minutes that a batch of trades touches.
--
-- KEYS[1], KEYS[3] …  candle:{market}:{yyyymmdd}    HASH  minute open (epoch ms) -> candle, JSON
-- KEYS[2], KEYS[4] …  trades:{market}:{minute_ms}   HASH  exchange_ms -> trades of that millisecond, JSON
-- ARGV                for each pair of keys: minute open, n, then n times exchange_ms (epoch ms)
--
-- Returns for each pair of keys: the candle or false; 1 where any of its trades are known, else 0; and lists
-- that together hold the n trades or false.

-- Lua's stack holds about 8000 values.
local AT_ONCE = 4000

local found = {}
local argument = 1
for key = 1, #KEYS, 2 do
  local candle = redis.call('HGET', KEYS[key], ARGV[argument])
  local known = redis.call('EXISTS', KEYS[key + 1])
  local lists = {}
  if known == 1 then
    local last = argument + 1 + tonumber(ARGV[argument + 1])
    for first = argument + 2, last, AT_ONCE do
      local slice_end = math.min(first + AT_ONCE - 1, last)
      lists[#lists + 1] = redis.call('HMGET', KEYS[key + 1], unpack(ARGV, first, slice_end))
    end
  end
  found[#found + 1] = candle
  found[#found + 1] = known
  found[#found + 1] = lists
  argument = argument + 2 + tonumber(ARGV[argument + 1])
end
return found
