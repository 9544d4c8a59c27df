#!lua
-- Leases items of the outbox that are due.
-- KEYS    1 root
-- ARGV    1 skew, 2 limit, 3 milliseconds of the lease
-- Returns [key, value, token, key, value, token, …], longest overdue first
local now, found = clock(), {}
for _, name in ipairs(redis.call('ZRANGE', key('outbox'), '-inf', whole(now), 'BYSCORE', 'LIMIT', 0, ARGV[2])) do
  local item = key('outbox', name)
  local token = redis.call('HINCRBY', item, 'token', 1)
  redis.call('HSET', item, 'leased', 1)
  redis.call('HDEL', item, 'woken')
  redis.call('ZADD', key('outbox'), whole(now + ARGV[3]), name)
  found[#found + 1], found[#found + 2], found[#found + 3] = name, redis.call('HGET', item, 'value') or '', token
end
return found
