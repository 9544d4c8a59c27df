#!lua flags=allow-oom
-- Looks whether this server holds a store of ours, and makes one if it holds none. The first event is never told: it is where following begins.
-- KEYS    1 root
-- ARGV    1 skew, 2 schema version
-- Returns the schema version that is there
if redis.call('SET', key('schema'), ARGV[2], 'NX') then
  redis.call('XADD', key('events'), '*', 'begin', ARGV[2])
end
return redis.call('GET', key('schema'))
