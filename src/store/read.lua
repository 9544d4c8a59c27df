#!lua flags=no-writes
-- Reads one hold.
-- KEYS    1 root
-- ARGV    1 skew, 2 id
-- Returns {now, [id, field, value, …]}; without the second if there is no such hold
local fields = redis.call('HGETALL', key('hold', ARGV[2]))
if #fields == 0 then
  return { clock() }
end
table.insert(fields, 1, ARGV[2])
return { clock(), fields }
