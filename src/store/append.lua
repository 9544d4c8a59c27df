#!lua
-- Appends entries to the log.
-- KEYS    1 root
-- ARGV    1 skew, 2… entries
-- Returns nothing
local now = clock()
for i = 2, #ARGV do
  append(now, ARGV[i])
end
