-- Remove messages from a queue that no worker has taken yet.
--
-- KEYS     the lists of one queue, as kombu's Redis transport keeps them
-- ARGV     task ids
--
-- Returns the ids it removed, and how many messages are left.

local ours, taken, left = {}, {}, 0
for _, id in ipairs(ARGV) do ours[id] = true end
for _, key in ipairs(KEYS) do
    for _, message in ipairs(redis.call('LRANGE', key, 0, -1)) do
        local is_json, read = pcall(cjson.decode, message)
        local headers = is_json and type(read) == 'table' and read.headers
        local id = type(headers) == 'table' and headers.id
        if id and ours[id] then
            redis.call('LREM', key, 1, message)
            taken[#taken + 1] = id
        end
    end
    left = left + redis.call('LLEN', key)
end
return {taken, left}
