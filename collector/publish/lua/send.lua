-- Put messages into their queues, each after a note of it where it must arrive, all in one step.
--
-- KEYS[1…n]     of each message the list that is its queue, as kombu's Redis transport keeps it
-- KEYS[n + 1]   unconfirmed        HASH  batch id -> the note            (collector/publish/in_flight.py)
-- KEYS[n + 2]   unconfirmed-due    ZSET  batch id, by the epoch ms it may be sent again from
-- KEYS[n + 3]   unconfirmed-from   ZSET  batch id, by the exchange's time of its oldest trade, epoch ms
--               (these three only where there is a note)
-- ARGV          for each message: the message; the note, '' = none; batch id, and the two times, of the note
--
-- A Redis without memory refuses the first of these writes, or none.

local count = #ARGV / 5
for number = 1, count do
  local message, note, id, due_ms, from_ms = unpack(ARGV, 5 * number - 4, 5 * number)
  if note ~= '' then
    redis.call('HSET', KEYS[count + 1], id, note)
    redis.call('ZADD', KEYS[count + 2], due_ms, id)
    redis.call('ZADD', KEYS[count + 3], from_ms, id)
  end
  redis.call('LPUSH', KEYS[number], message)
end
