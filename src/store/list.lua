#!lua flags=no-writes
-- Reads a page of holds: the first few of each state, merged.
-- KEYS    1 root
-- ARGV    1 skew, 2 'due' or 'newest', 3 limit, 4 the place after which to begin ('': at the start), 5… states
-- Returns {now, [place of the last one, if more follow, or ''], [id, field, value, …], …}
local order, limit, after = ARGV[2], tonumber(ARGV[3]), ARGV[4]
local ascending = order == 'due'
local from = after ~= '' and '(' .. after or ascending and '-' or '+'
local places = {}
for i = 5, #ARGV do
  local found
  if ascending then
    found = redis.call('ZRANGE', key('due', ARGV[i]), from, '+', 'BYLEX', 'LIMIT', 0, limit + 1)
  else
    found = redis.call('ZRANGE', key('since', ARGV[i]), from, '-', 'BYLEX', 'REV', 'LIMIT', 0, limit + 1)
  end
  for _, member in ipairs(found) do
    places[#places + 1] = member
  end
end
table.sort(places, function(a, b)
  if ascending then
    return a < b
  end
  return a > b
end)
local answer = { clock(), places[limit + 1] and places[limit] or '' }
for i = 1, math.min(limit, #places) do
  local id = string.sub(places[i], 17)
  local fields = redis.call('HGETALL', key('hold', id))
  table.insert(fields, 1, id)
  answer[#answer + 1] = fields
end
return answer
