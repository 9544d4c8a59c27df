#!lua
-- Puts an item into the outbox, due at once, unless there is one.
-- KEYS    1 root
-- ARGV    1 skew, 2 key, 3 value
-- Returns 1 if it was put, 0 if there was one
local name = key('outbox', ARGV[2])
if redis.call('EXISTS', name) == 1 then
  return 0
end
redis.call('HSET', name, 'value', ARGV[3], 'token', 0)
redis.call('ZADD', key('outbox'), whole(clock()), ARGV[2])
return 1
