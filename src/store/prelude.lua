-- Put into every script below its first line: names of keys, the clock, the server's run, the log and the events.
-- KEYS    1 the root of every key; they all begin with it, so they are in one slot
-- ARGV    1 milliseconds that tests add to the server's clock, otherwise 0
-- Returns nothing. Instants are kept as values and compared with the clock; PEXPIRE only clears away what has ended.
local day, never, eventsKept = 86400000, 999999999999999, 10000

local function key(...)
  return KEYS[1] .. ':' .. table.concat({ ... }, ':')
end

local function clock()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[1]
end

local function whole(number)
  return string.format('%.0f', number)
end

-- Where a hold stands in a list: place.ts says the same.
local function place(at, id)
  return string.format('%015.0f:%s', at, id)
end

local function put(name, forMs, ...)
  redis.call('HSET', name, ...)
  redis.call('PEXPIRE', name, whole(math.max(forMs, 1)))
end

local function get(name, ...)
  local names, found = { ... }, {}
  for i, value in ipairs(redis.call('HMGET', name, ...)) do
    found[names[i]] = value or nil
  end
  return found
end

local function has(list, wanted)
  for _, item in ipairs(list) do
    if item == wanted then
      return true
    end
  end
  return false
end

-- What is on the shelf, or false if it is not there or has ended.
local function shelved(name, now)
  if tonumber(redis.call('ZSCORE', key('shelf-ends'), name) or never) <= now then
    return false
  end
  return redis.call('HGET', key('shelf'), name)
end

-- Puts something on the shelf; without an end it stays.
local function shelve(name, value, untilAt)
  redis.call('HSET', key('shelf'), name, value)
  redis.call('ZADD', key('shelf-names'), 0, name)
  if untilAt then
    redis.call('ZADD', key('shelf-ends'), whole(untilAt), name)
  else
    redis.call('ZREM', key('shelf-ends'), name)
  end
end

local thisRun
local function run()
  thisRun = thisRun or string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
  return thisRun
end

-- Was this hold opened in another run of a server that keeps nothing on disk? `bound`: this one is such a server.
local function foreign(epoch, bound)
  return (bound or epoch ~= nil) and epoch ~= run()
end

local function append(now, entry)
  redis.call('XADD', key('log'), redis.call('INCR', key('seq')) .. '-0', 'at', whole(now), 'json', entry)
end

local function publish(hold, state, rev, async)
  redis.call('XADD', key('events'), 'MAXLEN', '~', eventsKept, '*',
    'hold', hold, 'state', state, 'rev', rev, 'async', async and 1 or 0)
end
