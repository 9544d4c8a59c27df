#!lua flags=allow-oom
-- Writes an item of the outbox by whoever leased it.
-- KEYS    1 root
-- ARGV    1 skew, 2 key, 3 token, 4 value, 5 'lease', 'due', 'parked' or 'done', 6 milliseconds of the lease, or the instant it is due
-- Returns 1, or 0 if the lease is over or another's
local name, due = key('outbox', ARGV[2]), key('outbox')
local now, item = clock(), get(name, 'token', 'leased', 'woken')
if item.token ~= ARGV[3] or not item.leased or tonumber(redis.call('ZSCORE', due, ARGV[2]) or 0) <= now then
  return 0
end
if ARGV[5] == 'done' and not item.woken then
  redis.call('DEL', name)
  redis.call('ZREM', due, ARGV[2])
  return 1
end
redis.call('HSET', name, 'value', ARGV[4])
if ARGV[5] == 'lease' then
  redis.call('ZADD', due, whole(now + ARGV[6]), ARGV[2])
  return 1
end
redis.call('HDEL', name, 'leased', 'woken')
redis.call('ZADD', due, whole(item.woken and now or ARGV[5] == 'due' and tonumber(ARGV[6]) or never), ARGV[2])
return 1
