#!lua flags=no-writes
-- Lists what is on the shelf under keys that begin with a prefix, in order.
-- KEYS    1 root
-- ARGV    1 skew, 2 prefix
-- Returns [key, value, key, value, …]
local now, found = clock(), {}
for _, name in ipairs(redis.call('ZRANGE', key('shelf-names'), '[' .. ARGV[2], '(' .. ARGV[2] .. '\255', 'BYLEX')) do
  if tonumber(redis.call('ZSCORE', key('shelf-ends'), name) or never) > now then
    found[#found + 1], found[#found + 2] = name, redis.call('HGET', key('shelf'), name)
  end
end
return found
