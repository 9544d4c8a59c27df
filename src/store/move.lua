#!lua flags=allow-oom
-- Moves a hold, if it is still what it was judged as. Allowed when memory is full: a hold that closes gives its memory back.
-- KEYS    1 root
-- ARGV    1 skew, 2 JSON {hold, move, rev, next: {state: state}, live, bound, survives, quiet, beforeAt?, afterAt?, fence?, dueAt?: ms | null,
--         set: {fact: JSON}, unset: [fact], findableUntilAt?, remember?, denial?, answerUntilAt?, swap?: {key, was?, becomes, untilAt, from}},
--         3 entry, 4 verdict, 5 sealed answer ('': none)
-- Returns {'moved', rev, state, fence, now} | {'refused', state} | {'changed' | 'late' | 'early' | 'fenced' | 'stale' | 'epoch' | 'missing'}
local ask = cjson.decode(ARGV[2])
local name = key('hold', ask.hold)
local hold = get(name, 'state', 'rev', 'fence', 'dueAt', 'stateAt', 'epoch', 'caller', 'fingerprint', 'bytes', 'findableUntilAt', 'votes')
if not hold.state then
  return { 'missing' }
end
if not ask.survives and foreign(hold.epoch, ask.bound) then
  return { 'epoch' }
end
local to = ask.next[hold.state]
if not to then
  return { 'refused', hold.state }
end
if tonumber(hold.rev) ~= ask.rev then
  return { 'changed' }
end
local fence = tonumber(hold.fence)
if ask.fence and ask.fence ~= fence then
  return { 'fenced' }
end
local now = clock()
if ask.beforeAt and now >= ask.beforeAt then
  return { 'late' }
end
if ask.afterAt and now < ask.afterAt then
  return { 'early' }
end
if ask.swap then
  local from = get(key('hold', ask.swap.from), 'state', 'epoch')
  if (shelved(ask.swap.key, now) or nil) ~= ask.swap.was or not from.state or foreign(from.epoch, ask.bound) then
    return { 'stale' }
  end
end

-- How often this key was denied lately; at the limit it pauses, each time twice as long, a day at most.
local function deny(denied)
  local known = get(key('denials', denied), 'times', 'pausedUntilAt', 'pauses')
  local untilAt, pauses = tonumber(known.pausedUntilAt or 0), tonumber(known.pauses or 0)
  local times = {}
  for at in string.gmatch(known.times or '', '%d+') do
    if tonumber(at) > now - ask.denial.windowMs then
      times[#times + 1] = at
    end
  end
  times[#times + 1] = whole(now)
  if now >= untilAt + day then
    pauses = 0
  end
  if #times >= ask.denial.limit then
    local pauseMs = ask.denial.pauseMs
    untilAt = now + math.max(pauseMs, math.min(pauseMs * 2 ^ pauses, day))
    pauses, times = pauses + 1, {}
  end
  put(key('denials', denied), math.max(ask.denial.windowMs, untilAt + day - now),
    'times', table.concat(times, ' '), 'pausedUntilAt', whole(untilAt), 'pauses', pauses)
end

local lived, lives = has(ask.live, hold.state), has(ask.live, to)
local rev = ask.rev + 1
if ask.move == 'release' or ask.move == 'grant' then
  fence = fence + 1
end
local wasDueAt = tonumber(hold.dueAt or never)
local dueAt = wasDueAt
if not lives or ask.dueAt == cjson.null then
  dueAt = never
elseif ask.dueAt then
  dueAt = ask.dueAt
end
redis.call('HSET', name, 'state', to, 'rev', rev, 'fence', fence)
if dueAt == never then
  redis.call('HDEL', name, 'dueAt')
else
  redis.call('HSET', name, 'dueAt', whole(dueAt))
end
if lived then
  redis.call('ZREM', key('due', hold.state), place(wasDueAt, ask.hold))
end
if lives then
  redis.call('ZADD', key('due', to), 0, place(dueAt, ask.hold))
end
if to ~= hold.state then
  redis.call('ZREM', key('since', hold.state), place(tonumber(hold.stateAt), ask.hold))
  redis.call('ZADD', key('since', to), 0, place(now, ask.hold))
  redis.call('HSET', name, 'stateAt', whole(now))
end
for fact, json in pairs(ask.set) do
  redis.call('HSET', name, 'fact.' .. fact, json)
end
for _, fact in ipairs(ask.unset) do
  redis.call('HDEL', name, 'fact.' .. fact)
end
if ARGV[4] ~= '' then
  local votes = tonumber(hold.votes or 0) + 1
  redis.call('HSET', name, 'votes', votes, 'verdict.' .. votes, ARGV[4])
end
if lived and not lives then
  redis.call('DEL', key('request', ask.hold))
  redis.call('HDEL', name, 'fact.token')
  if redis.call('HINCRBY', key('callers'), hold.caller, -1) <= 0 then
    redis.call('HDEL', key('callers'), hold.caller)
  end
  redis.call('HINCRBY', key('totals'), 'holds', -1)
  -- Not -tonumber(...): of a hold without a body that is "-0", which is no integer to Redis.
  redis.call('HINCRBY', key('totals'), 'bytes', 0 - tonumber(hold.bytes))
end

local findableUntilAt = ask.findableUntilAt or tonumber(hold.findableUntilAt or 0)
redis.call('HSET', name, 'findableUntilAt', whole(findableUntilAt))
local finger = key('fingerprint', hold.fingerprint)
local found = redis.call('GET', finger)
if not lives and findableUntilAt > now then
  if not found or found == ask.hold then
    redis.call('SET', finger, ask.hold, 'PX', whole(findableUntilAt - now))
  end
elseif not lives and found == ask.hold then
  redis.call('DEL', finger)
end
if ask.remember then
  put(key('remembered', hold.fingerprint), day, 'hold', ask.hold, 'untilAt', whole(now + day))
elseif ask.remember == false and redis.call('HGET', key('remembered', hold.fingerprint), 'hold') == ask.hold then
  redis.call('DEL', key('remembered', hold.fingerprint))
end
for _, denied in ipairs(ask.denial and ask.denial.keys or {}) do
  deny(denied)
end
if ask.answerUntilAt then
  redis.call('SET', key('answer', ask.hold), ARGV[5], 'PX', whole(math.max(ask.answerUntilAt - now, 1)))
  redis.call('HSET', name, 'answerUntilAt', whole(ask.answerUntilAt))
end
if ask.swap then
  shelve(ask.swap.key, ask.swap.becomes, ask.swap.untilAt)
end
if ARGV[3] ~= '' then
  append(now, ARGV[3])
end
if not ask.quiet then
  publish(ask.hold, to, rev, redis.call('HGET', name, 'fact.async') == 'true')
end
return { 'moved', rev, to, fence, now }
