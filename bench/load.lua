-- One load for all scenarios. Arguments: file of tokens, method, path, file of the body or "-", pause between requests in ms.
-- With several tokens they are sent in turn. Prints what was measured as one line of JSON.
local requests, at = {}, 0

function init(args)
  local tokens, method, path, body, pause = args[1], args[2], args[3], args[4], tonumber(args[5])
  local content = nil
  if body ~= "-" then
    local file = assert(io.open(body, "rb"))
    content = file:read("*a")
    file:close()
  end
  for token in io.lines(tokens) do
    local headers = { ["Authorization"] = "Bearer " .. token, ["Accept"] = "application/json", ["User-Agent"] = "wrk" }
    if content then headers["Content-Type"] = "application/json" end
    requests[#requests + 1] = wrk.format(method, path, headers, content)
    wrk.method, wrk.path, wrk.body = method, path, content
    for name, value in pairs(headers) do wrk.headers[name] = value end
  end
  if #requests > 1 then
    request = function()
      at = at % #requests + 1
      return requests[at]
    end
  end
  if pause > 0 then
    -- Spread, so that the connections do not march in step.
    delay = function() return math.random(math.floor(pause * 0.5), math.ceil(pause * 1.5)) end
  end
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '\n{"requests":%d,"us":%d,"bytes":%d,"status":%d,"broken":%d,"p50us":%d,"p99us":%d}\n',
    summary.requests, summary.duration, summary.bytes, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout, latency:percentile(50), latency:percentile(99)
  ))
end
