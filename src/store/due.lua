#!lua flags=no-writes
-- Finds live holds whose deadline has come.
-- KEYS    1 root
-- ARGV    1 skew, 2 limit, 3… live states
-- Returns [id, …], longest overdue first
local limit = tonumber(ARGV[2])
local past = '(' .. place(clock() + 1, '')
local places = {}
for i = 3, #ARGV do
  for _, member in ipairs(redis.call('ZRANGE', key('due', ARGV[i]), '-', past, 'BYLEX', 'LIMIT', 0, limit)) do
    places[#places + 1] = member
  end
end
table.sort(places)
local ids = {}
for i = 1, math.min(limit, #places) do
  ids[i] = string.sub(places[i], 17)
end
return ids
