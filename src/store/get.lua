#!lua flags=no-writes
-- Reads from the shelf.
-- KEYS    1 root
-- ARGV    1 skew, 2 key
-- Returns the value, or nothing if it is not there or has ended
if tonumber(redis.call('ZSCORE', key('shelf-ends'), ARGV[2]) or never) <= clock() then
  return false
end
return redis.call('HGET', key('shelf'), ARGV[2])
