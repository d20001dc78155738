-- Commit one minute of one market: all of it, or nothing where somebody else was faster.
--
-- KEYS[1]  candle:{market}:{yyyymmdd}    HASH  minute open (epoch ms) -> candle, JSON
-- KEYS[2]  trades:{market}:{minute_ms}   HASH  exchange_ms -> trades of that millisecond, JSON
-- KEYS[3]  counters                      HASH  name -> integer
-- ARGV[1]  minute open, epoch ms
-- ARGV[2]  the candle as it was read, '' where there was none
-- ARGV[3]  the candle to store
-- ARGV[4]  time to live of KEYS[1], seconds
-- ARGV[5]  time to live of KEYS[2], seconds
-- ARGV[6]  trades counted by this commit
-- ARGV[7]  copies in it that were known already
-- ARGV[8…] exchange_ms, trades, exchange_ms, trades …
--
-- Returns 1 stored, 0 no longer what was read.

local known = redis.call('HGET', KEYS[1], ARGV[1]) or ''
if known ~= ARGV[2] then return 0 end
-- The trades may have expired since: then their candle is sealed and must be read again.
if known ~= '' and redis.call('EXISTS', KEYS[2]) == 0 then return 0 end

redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
-- In slices: Lua's stack holds about 8000 values.
for first = 8, #ARGV, 2000 do
  redis.call('HSET', KEYS[2], unpack(ARGV, first, math.min(first + 1999, #ARGV)))
end
redis.call('EXPIRE', KEYS[1], ARGV[4])
redis.call('EXPIRE', KEYS[2], ARGV[5])
redis.call('HINCRBY', KEYS[3], 'trades_counted', ARGV[6])
redis.call('HINCRBY', KEYS[3], 'trades_duplicate', ARGV[7])
return 1
