#!lua
-- Puts something on the shelf, and clears away some of what has ended.
-- KEYS    1 root
-- ARGV    1 skew, 2 key, 3 value, 4 milliseconds it stays ('': for good), 5 'always', 'absent' or 'is', 6 what it must be now, for 'is'
-- Returns 1 if it was put, 0 if the condition does not hold
local now, ends = clock(), key('shelf-ends')
for _, ended in ipairs(redis.call('ZRANGE', ends, '-inf', whole(now), 'BYSCORE', 'LIMIT', 0, 20)) do
  redis.call('HDEL', key('shelf'), ended)
  redis.call('ZREM', key('shelf-names'), ended)
  redis.call('ZREM', ends, ended)
end
local present = shelved(ARGV[2], now)
if ARGV[5] == 'absent' and present or ARGV[5] == 'is' and present ~= ARGV[6] then
  return 0
end
shelve(ARGV[2], ARGV[3], ARGV[4] ~= '' and now + ARGV[4] or nil)
return 1
