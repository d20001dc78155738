-- Commit the minutes of a batch of trades: each as a whole, or not at all where its candle is another one than
-- the worker knows. Of those return what is needed to try again.
--
-- KEYS[1]             counters                      HASH    name -> integer
-- KEYS[2]             recovered                     HASH    market -> trades counted that a backfill brought
-- KEYS[3]             markets                       SET     every market ever seen
-- KEYS[4]             events                        STREAM  what was counted (store/event_log.py)
-- KEYS[5], KEYS[7] …  candle:{market}:{yyyymmdd}    HASH    minute open (epoch ms) -> candle (store/minute_layout.py)
-- KEYS[6], KEYS[8] …  trades:{market}:{minute_ms}   LIST    chunks of trades, in the order of their commits
-- ARGV[1]             time to live of candles, seconds
-- ARGV[2]             time to live of trades, seconds
-- ARGV[3]             entries kept in the stream, 0 where none is written; ARGV[4] for how long, ms
-- ARGV[5…]            for each pair of keys: market; minute open (epoch ms); the version of the known candle, ''
--                     where there is none; the candle to store and the chunk to append, '' where all copies are
--                     known; what was counted as a chunk, '' where that is the one to append; four numbers of 4
--                     bytes, the first byte the highest: trades counted; copies that were known; trades counted
--                     that a backfill brought; the oldest millisecond of the batch, after the minute's start
--
-- Times to live start with the first write of a minute. The only sums are of trade counts: integers far below
-- 2^53, so exact.
--
-- Returns for each pair of keys 1 stored; or a list: the candle that is there or '', 1 where its trades are
-- still known, 1 where they are a hash of the layout before, and they: all fields and values of the hash, or
-- the chunks that may have trades as new as the batch's oldest, the newest chunk first.

local OPEN_BRACKET = 91  -- begins a candle of the layout before

local function is_as_known(found, version)
  if version == '' then return found == '' end
  return string.sub(found, 1, #version) == version
end

-- Returns the place of the chunk in its list, -1 where none was to be appended, nil where the trades have expired
-- since: then their candle is sealed, and nothing may be appended.
local function append(key, version, chunk)
  if version == '' then
    local length = redis.call('RPUSH', key, chunk)
    redis.call('EXPIRE', key, ARGV[2])
    return length - 1
  end
  if chunk == '' then return redis.call('EXISTS', key) == 1 and -1 or nil end
  if string.byte(version) ~= OPEN_BRACKET then
    local length = redis.call('RPUSHX', key, chunk)
    return length > 0 and length - 1 or nil
  end
  local left_ms = redis.call('PTTL', key)
  if left_ms == -2 then return nil end
  redis.call('DEL', key)
  redis.call('RPUSH', key, chunk)
  if left_ms >= 0 then redis.call('PEXPIRE', key, left_ms) end
  return 0
end

-- The event names the chunk, or holds what was counted of it.
local function announce(market, minute, place, counted_of_it)
  if ARGV[3] == '0' then return end
  local name, value = 'i', place
  if counted_of_it ~= '' then name, value = 'c', counted_of_it end
  redis.call('XADD', KEYS[4], 'MAXLEN', '~', ARGV[3], '*', 'm', market, 't', minute, name, value)
end

local function trades_since(key, oldest)
  local kind = redis.call('TYPE', key).ok
  if kind == 'hash' then return 1, 1, redis.call('HGETALL', key) end
  local chunks = {}
  while kind == 'list' do
    local chunk = redis.call('LINDEX', key, -1 - #chunks)
    if not chunk then break end
    local high, low = string.byte(chunk, 1, 2)
    if 256 * high + low < oldest then break end
    chunks[#chunks + 1] = chunk
  end
  return kind == 'list' and 1 or 0, 0, chunks
end

local replies = {}
local all_counted, all_known, all_recovered = 0, 0, 0
for key = 5, #KEYS, 2 do
  local first = 5 + 7 * (key - 5) / 2
  local market, minute, version, candle, chunk, counted_of_it, numbers = unpack(ARGV, first, first + 6)
  local counted, known, recovered, oldest = struct.unpack('>I4I4I4I4', numbers)
  local found = redis.call('HGET', KEYS[key], minute) or ''
  local place = is_as_known(found, version) and append(KEYS[key + 1], version, chunk)
  if place then
    if counted > 0 then announce(market, minute, place, counted_of_it) end
    if candle ~= '' then redis.call('HSET', KEYS[key], minute, candle) end
    if version == '' then
      redis.call('EXPIRE', KEYS[key], ARGV[1])
      redis.call('SADD', KEYS[3], market)
    end
    all_counted = all_counted + counted
    all_known = all_known + known
    if recovered > 0 then
      all_recovered = all_recovered + recovered
      redis.call('HINCRBY', KEYS[2], market, recovered)
    end
    replies[#replies + 1] = 1
  else
    replies[#replies + 1] = {found, trades_since(KEYS[key + 1], oldest)}
  end
end
if all_counted > 0 then
  redis.call('HINCRBY', KEYS[1], 'trades_counted', all_counted)
  if ARGV[3] ~= '0' then
    local now = redis.call('TIME')
    redis.call('XTRIM', KEYS[4], 'MINID', '~', now[1] * 1000 - ARGV[4])
  end
end
if all_known > 0 then redis.call('HINCRBY', KEYS[1], 'trades_duplicate', all_known) end
if all_recovered > 0 then redis.call('HINCRBY', KEYS[1], 'trades_recovered', all_recovered) end
return replies
