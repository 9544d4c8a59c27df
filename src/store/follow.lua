#!lua flags=no-writes
-- Reads the events after one that was told before. If that one is gone, others may be gone with it: a gap.
-- KEYS    1 root
-- ARGV    1 skew, 2 id of an event ('': where the log ends now), 3 limit
-- Returns {'from', id to go on after, [[id, [field, value, …]], …]} | {'gap', id to go on after}
local events, after = key('events'), ARGV[2]
local newest = redis.call('XREVRANGE', events, '+', '-', 'COUNT', 1)
local last = newest[1] and newest[1][1] or '0-0'
if after == '' or after == last then
  return { 'from', last, {} }
end
if #redis.call('XRANGE', events, after, after) == 0 then
  return { 'gap', last }
end
local found = redis.call('XRANGE', events, '(' .. after, '+', 'COUNT', ARGV[3])
return { 'from', found[#found] and found[#found][1] or after, found }
