-- Put the newest state of markets: each only where it is newer than the one that is there.
--
-- KEYS[1]   counters                           HASH  name -> integer
-- KEYS[2]   changed                            channel of publish/subscribe: names of the keys that were written
-- KEYS[3…]  ticker:{market}                    HASH  `stamp` -> time:arrival, `value` -> JSON
--           or book:{market}                   HASH  `stamp` -> time:arrival:slot, `0`, `1` (store/book_layout.py)
-- ARGV[1]   `ticker` or `book`
-- ARGV[2]   the counter of those that are stored; ARGV[3] of those that are not
-- ARGV[4]   by how much a stamp may be ahead of its arrival, ms
-- ARGV[5…]  for each of these keys: time at the exchange, ms of tickers and us of books; arrival, ms; value
--           (times are below 2^53, so comparing them as doubles is exact)
--
-- Returns how many were stored.

local leap = tonumber(ARGV[4])
local us_in_time = ARGV[1] == 'book' and 1000 or 1

local function ahead(time, arrival) return math.floor(time / us_in_time) - arrival end

-- The later stamp wins, of equals the later arrival; but a stamp that is far more ahead of its arrival than
-- this one gives way to what came after it. As `collector.analytics.leaps.is_newer`.
local function is_newer(time, arrival, known_time, known_arrival)
  if ahead(known_time, known_arrival) - ahead(time, arrival) > leap and arrival >= known_arrival then
    return true
  end
  return time > known_time or (time == known_time and arrival > known_arrival)
end

local function put_book(key, stamp, slot, levels)
  if slot ~= '' and redis.call('HGET', key, slot) == levels then
    redis.call('HSET', key, 'stamp', stamp .. ':' .. slot .. '=')
    return
  end
  local other = slot == '0' and '1' or '0'
  local added = redis.call('HSET', key, 'stamp', stamp .. ':' .. other, other, levels)
  -- The second slot is new: the book of the layout before is not the one before any more.
  if added > 0 and slot ~= '' then redis.call('HDEL', key, 'value') end
end

local changed = {}
for key = 3, #KEYS do
  local time, arrival, value = unpack(ARGV, 3 * key - 4, 3 * key - 2)
  local found = redis.call('HGET', KEYS[key], 'stamp')
  local known_time, known_arrival, slot = (found or ''):match('^(-?%d+):(-?%d+):?(%d?)')
  if not known_time
    or is_newer(tonumber(time), tonumber(arrival), tonumber(known_time), tonumber(known_arrival)) then
    local stamp = time .. ':' .. arrival
    if ARGV[1] == 'book' then
      put_book(KEYS[key], stamp, slot or '', value)
    else
      redis.call('HSET', KEYS[key], 'stamp', stamp, 'value', value)
    end
    changed[#changed + 1] = KEYS[key]
  end
end
local stored = #changed
local stale = #KEYS - 2 - stored
if stored > 0 then
  redis.call('HINCRBY', KEYS[1], ARGV[2], stored)
  redis.call('PUBLISH', KEYS[2], table.concat(changed, ' '))
end
if stale > 0 then redis.call('HINCRBY', KEYS[1], ARGV[3], stale) end
return stored
