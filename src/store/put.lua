#!lua
-- Puts something on the shelf, and clears away some of what has ended.
-- KEYS    1 root
-- ARGV    1 skew, 2 key, 3 value, 4 milliseconds it stays ('': for good), 5 'always', 'absent' or 'is', 6 what it must be now, for 'is'
-- Returns 1 if it was put, 0 if the condition does not hold
local shelf, ends, names = key('shelf'), key('shelf-ends'), key('shelf-names')
local now = clock()
for _, ended in ipairs(redis.call('ZRANGE', ends, '-inf', whole(now), 'BYSCORE', 'LIMIT', 0, 20)) do
  redis.call('HDEL', shelf, ended)
  redis.call('ZREM', names, ended)
  redis.call('ZREM', ends, ended)
end
local present = redis.call('HGET', shelf, ARGV[2])
if tonumber(redis.call('ZSCORE', ends, ARGV[2]) or never) <= now then
  present = false
end
if ARGV[5] == 'absent' and present or ARGV[5] == 'is' and present ~= ARGV[6] then
  return 0
end
redis.call('HSET', shelf, ARGV[2], ARGV[3])
redis.call('ZADD', names, 0, ARGV[2])
if ARGV[4] == '' then
  redis.call('ZREM', ends, ARGV[2])
else
  redis.call('ZADD', ends, whole(now + ARGV[4]), ARGV[2])
end
return 1
