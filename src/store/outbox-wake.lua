#!lua flags=allow-oom
-- Makes items of the outbox due at once; one that is leased, as soon as it is given back.
-- KEYS    1 root
-- ARGV    1 skew, 2 key ('': every item)
-- Returns nothing
local due, now = key('outbox'), clock()
local names = { ARGV[2] }
if ARGV[2] == '' then
  names = redis.call('ZRANGE', due, '(' .. whole(now), '+inf', 'BYSCORE')
end
for _, name in ipairs(names) do
  if tonumber(redis.call('ZSCORE', due, name) or 0) > now then
    if redis.call('HEXISTS', key('outbox', name), 'leased') == 1 then
      redis.call('HSET', key('outbox', name), 'woken', 1)
    else
      redis.call('ZADD', due, whole(now), name)
    end
  end
end
