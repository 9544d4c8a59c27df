#!lua
-- Opens a hold, or answers why not: Idempotency-Key, fingerprint, pauses, caps, in this order.
-- KEYS    1 root
-- ARGV    1 skew, 2 JSON {id, caller, fingerprints, idempotency?: {keys, keepMs}, pauses, caps, bytes, dueAt, facts: {name: JSON}, live, bound},
--         3 head, 4 sealed request, 5 sealed view, 6 entry
-- Returns {'opened', id, rev} | {'attached', id} | {'conflict', id} | {'paused', untilAt} | {'full', scope}
local ask = cjson.decode(ARGV[2])
local now = clock()
local name = key('hold', ask.id)
local earlier

-- Of a hold from another run nobody knows how far it got: no caller attaches to it, and its reviewers are told.
local function attach(id, hold)
  if not foreign(hold.epoch, ask.bound) then
    return true
  end
  earlier = earlier or { id = id, state = hold.state, at = hold.stateAt }
  return false
end

local function idempotent()
  for _, used in ipairs(ask.idempotency and ask.idempotency.keys or {}) do
    local known = get(key('idempotency', used), 'hold', 'fingerprint', 'untilAt')
    if known.hold and tonumber(known.untilAt) > now then
      if not has(ask.fingerprints, known.fingerprint) then
        return { 'conflict', known.hold }
      end
      local hold = get(key('hold', known.hold), 'state', 'stateAt', 'epoch')
      if hold.state and attach(known.hold, hold) then
        return { 'attached', known.hold }
      end
    end
  end
end

local function same()
  for _, fingerprint in ipairs(ask.fingerprints) do
    local id = redis.call('GET', key('fingerprint', fingerprint))
    if id then
      local hold = get(key('hold', id), 'state', 'stateAt', 'epoch', 'findableUntilAt')
      local findable = has(ask.live, hold.state) or tonumber(hold.findableUntilAt or 0) > now
      if hold.state and findable and attach(id, hold) then
        return { 'attached', id }
      end
    end
  end
end

local function paused()
  local untilAt = 0
  for _, pause in ipairs(ask.pauses) do
    untilAt = math.max(untilAt, tonumber(redis.call('HGET', key('denials', pause), 'pausedUntilAt') or 0))
  end
  return untilAt > now and { 'paused', untilAt } or nil
end

local function full()
  local totals = get(key('totals'), 'holds', 'bytes')
  if tonumber(redis.call('HGET', key('callers'), ask.caller) or 0) >= ask.caps.perCaller then
    return { 'full', 'caller' }
  elseif tonumber(totals.holds or 0) >= ask.caps.holds then
    return { 'full', 'holds' }
  elseif tonumber(totals.bytes or 0) + ask.bytes > ask.caps.bytes then
    return { 'full', 'bytes' }
  end
end

local instead = idempotent() or same() or paused() or full()
if instead then
  return instead
end
if redis.call('EXISTS', name) == 1 then
  return redis.error_reply('HOLDPOINT a hold of this id exists')
end

for _, fingerprint in ipairs(ask.fingerprints) do
  local known = get(key('remembered', fingerprint), 'hold', 'untilAt')
  if not earlier and known.hold and tonumber(known.untilAt) > now then
    local hold = get(key('hold', known.hold), 'state', 'stateAt')
    earlier = hold.state and { id = known.hold, state = hold.state, at = hold.stateAt }
  end
end

local fields = {
  'head', ARGV[3], 'state', 'pending', 'rev', 1, 'fence', 0, 'dueAt', whole(ask.dueAt), 'stateAt', whole(now), 'caller', ask.caller,
  'fingerprint', ask.fingerprints[1], 'bytes', whole(ask.bytes),
}
local function field(fieldName, value)
  fields[#fields + 1], fields[#fields + 2] = fieldName, value
end
for fact, json in pairs(ask.facts) do
  field('fact.' .. fact, json)
end
if earlier then
  field('fact.earlier', '{"id":' .. cjson.encode(earlier.id) .. ',"state":"' .. earlier.state .. '","at":' .. earlier.at .. '}')
end
if ask.bound then
  field('epoch', run())
end
redis.call('HSET', name, unpack(fields))
redis.call('SET', key('request', ask.id), ARGV[4])
redis.call('SET', key('view', ask.id), ARGV[5])
redis.call('SET', key('fingerprint', ask.fingerprints[1]), ask.id)
redis.call('ZADD', key('due', 'pending'), 0, place(ask.dueAt, ask.id))
redis.call('ZADD', key('since', 'pending'), 0, place(now, ask.id))
redis.call('HINCRBY', key('callers'), ask.caller, 1)
redis.call('HINCRBY', key('totals'), 'holds', 1)
redis.call('HINCRBY', key('totals'), 'bytes', whole(ask.bytes))
if ask.idempotency and ask.idempotency.keys[1] then
  local keepMs = ask.idempotency.keepMs
  put(key('idempotency', ask.idempotency.keys[1]), keepMs,
    'hold', ask.id, 'fingerprint', ask.fingerprints[1], 'untilAt', whole(now + keepMs))
end
append(now, ARGV[6])
publish(ask.id, 'pending', 1, ask.facts.async == 'true')
return { 'opened', ask.id, 1 }
