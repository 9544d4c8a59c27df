#!lua flags=allow-oom
-- Makes an item of the outbox due at once; one that is leased, as soon as it is given back.
-- KEYS    1 root
-- ARGV    1 skew, 2 key
-- Returns nothing
local name, due = key('outbox', ARGV[2]), key('outbox')
local now, at = clock(), tonumber(redis.call('ZSCORE', due, ARGV[2]) or 0)
if at > now then
  if redis.call('HEXISTS', name, 'leased') == 1 then
    redis.call('HSET', name, 'woken', 1)
  else
    redis.call('ZADD', due, whole(now), ARGV[2])
  end
end
