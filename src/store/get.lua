#!lua flags=no-writes
-- Reads from the shelf.
-- KEYS    1 root
-- ARGV    1 skew, 2 key
-- Returns the value, or nothing if it is not there or has ended
return shelved(ARGV[2], clock())
