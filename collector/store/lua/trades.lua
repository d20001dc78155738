-- Commit the minutes of a batch of trades: each as a whole, or not at all where somebody else was faster.
--
-- KEYS[1]             counters                      HASH  name -> integer
-- KEYS[2]             recovered                     HASH  market -> trades counted that a backfill brought
-- KEYS[3], KEYS[5] …  candle:{market}:{yyyymmdd}    HASH  minute open (epoch ms) -> candle, JSON
-- KEYS[4], KEYS[6] …  trades:{market}:{minute_ms}   HASH  exchange_ms -> trades of that millisecond, JSON
-- ARGV[1]             time to live of candles, seconds
-- ARGV[2]             time to live of trades, seconds
-- ARGV[3…]            for each pair of keys: market; minute open (epoch ms); the candle as it was read, ''
--                     where there was none; the candle to store; trades counted; copies that were known;
--                     trades counted that a backfill brought; n; and n times exchange_ms, trades
--
-- Times to live start with the first write of a minute. The only sums are of trade counts: integers far below
-- 2^53, so exact.
--
-- Returns for each pair of keys 1 stored, 0 no longer what was read.

-- Lua's stack holds about 8000 values.
local AT_ONCE = 4000

local function is_as_read(candle_key, trades_key, minute, candle)
  if (redis.call('HGET', candle_key, minute) or '') ~= candle then return false end
  -- The trades may have expired since: then their candle is sealed and must be read again.
  return candle == '' or redis.call('EXISTS', trades_key) == 1
end

local stored = {}
local all_counted, all_known, all_recovered = 0, 0, 0
local first = 3
for key = 3, #KEYS, 2 do
  local market, minute, before, after, counted, known, recovered, count = unpack(ARGV, first, first + 7)
  local last = first + 7 + 2 * tonumber(count)
  local is_free = is_as_read(KEYS[key], KEYS[key + 1], minute, before)
  if is_free then
    redis.call('HSET', KEYS[key], minute, after)
    for slice = first + 8, last, AT_ONCE do
      redis.call('HSET', KEYS[key + 1], unpack(ARGV, slice, math.min(slice + AT_ONCE - 1, last)))
    end
    if before == '' then
      redis.call('EXPIRE', KEYS[key], ARGV[1])
      redis.call('EXPIRE', KEYS[key + 1], ARGV[2])
    end
    all_counted = all_counted + tonumber(counted)
    all_known = all_known + tonumber(known)
    if tonumber(recovered) > 0 then
      all_recovered = all_recovered + tonumber(recovered)
      redis.call('HINCRBY', KEYS[2], market, recovered)
    end
  end
  stored[#stored + 1] = is_free and 1 or 0
  first = last + 1
end
if all_counted > 0 then redis.call('HINCRBY', KEYS[1], 'trades_counted', all_counted) end
if all_known > 0 then redis.call('HINCRBY', KEYS[1], 'trades_duplicate', all_known) end
if all_recovered > 0 then redis.call('HINCRBY', KEYS[1], 'trades_recovered', all_recovered) end
return stored
