#!lua flags=allow-oom
-- Takes something from the shelf: it is read and gone in one step.
-- KEYS    1 root
-- ARGV    1 skew, 2 key
-- Returns the value, or nothing if it is not there or has ended
local value = shelved(ARGV[2], clock())
redis.call('HDEL', key('shelf'), ARGV[2])
redis.call('ZREM', key('shelf-names'), ARGV[2])
redis.call('ZREM', key('shelf-ends'), ARGV[2])
return value
