#!lua flags=no-writes
-- Reads a sealed part of a hold.
-- KEYS    1 root
-- ARGV    1 skew, 2 hold, 3 part
-- Returns its text, or nothing if there is none (any more)
if ARGV[3] == 'answer' and tonumber(redis.call('HGET', key('hold', ARGV[2]), 'answerUntilAt') or 0) <= clock() then
  return false
end
return redis.call('GET', key(ARGV[3], ARGV[2]))
