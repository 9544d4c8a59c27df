#!lua flags=no-writes
-- Reads an item of the outbox.
-- KEYS    1 root
-- ARGV    1 skew, 2 key
-- Returns its value, or nothing
return redis.call('HGET', key('outbox', ARGV[2]), 'value')
