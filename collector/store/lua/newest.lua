-- Move times forward. One event alone that is far ahead of all others moves nothing.
--
-- KEYS[1]  newest        HASH  `as_of`, `trade:{market}` -> epoch ms; `doubted` -> {market}:{epoch ms}
-- ARGV[1]  a time beyond doubt, 0 where there is none
-- ARGV[2]  one further ahead that stands alone, 0 where there is none; ARGV[3] its market
-- ARGV[4]  what the sender's clock shows, 0 where that is not known
-- ARGV[5]  by how much one time may be ahead of another, ms
-- ARGV[6]  how much later the same market confirms itself, ms
-- ARGV[7…] n, then n fields, then n times in epoch ms   (below 2^53, so comparing them as doubles is exact)
--
-- Returns how many fields were moved. At most 2000 fields: Lua's stack holds about 8000 values.

local key = KEYS[1]
local known, lone, market = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3]
local sent, leap, later = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local as_of = tonumber(redis.call('HGET', key, 'as_of') or 0)

-- What the sender's clock and an event agree on is right; a stored time far ahead of both is not.
local function is_wrong(stored, time)
  return sent > 0 and stored > sent + leap and math.abs(time - sent) <= leap
end

-- A lone time is believed once another market has come as far, or its own goes on from there.
local function agrees_with_the_last_doubted()
  local before = redis.call('HGET', key, 'doubted')
  if not before then return false end
  local its_market, its_time = before:match('^(.*):(%d+)$')
  local apart = lone - tonumber(its_time)
  if its_market ~= market then return math.abs(apart) <= leap end
  return apart >= later and apart <= 10 * leap
end

local new = known
if lone > 0 then
  if lone <= math.max(as_of, known) + leap or (as_of == 0 and known == 0) or agrees_with_the_last_doubted() then
    new = lone
  else
    redis.call('HSET', key, 'doubted', market .. ':' .. lone)
  end
end
if new > as_of or (known > 0 and is_wrong(as_of, known)) then
  as_of = new
  redis.call('HSET', key, 'as_of', string.format('%.0f', as_of))
end

local count = tonumber(ARGV[7])
if count == 0 then return 0 end
local stored = redis.call('HMGET', key, unpack(ARGV, 8, 7 + count))
local newer = {}
for index = 1, count do
  local time, before = tonumber(ARGV[7 + count + index]), tonumber(stored[index] or 0)
  if time <= as_of + leap and (before < time or is_wrong(before, time)) then
    newer[#newer + 1] = ARGV[7 + index]
    newer[#newer + 1] = ARGV[7 + count + index]
  end
end
if #newer > 0 then redis.call('HSET', key, unpack(newer)) end
return #newer / 2
