--- Asks an upstream and reads its answer, for every adapter: builds the request,
--- waits within limits, asks again while nothing has been told yet, and closes
--- what it opened however it ends. What is said is the adapter's (`build` and
--- `reader`, both pure); how it gets there is the `http` port's:
---
---   http.stream { url, method, headers, body, connect_timeout_ms,
---     first_byte_timeout_ms, idle_timeout_ms, event_bytes_max, line_bytes_max }
---     -> response | nil, text, code
---   response.status, response.headers (names in lower case)
---   response:events() -> an iterator of {data, event}; response:lines() of texts
---   response:reason() -> text, code of the end; "closed" after a good one
---   response:read() -> bytes | nil
---   response:close(): idempotent; ends the request if it runs
---
--- as `agentwire.http` has it. It counts silence by bytes, so that pings and
--- comments break it.
local clock = require("agentwire._clock")
local errors = require("agentwire.providers._errors")
local json = require("agentwire.json")
local task = require("agentwire.task")
local undo = require("agentwire._undo")

local M = {}

-- Of a refusal's body.
local MAX_REFUSAL = 64 * 1024

---@class agentwire.ProviderAsk
---@field vendor table `build` and `reader`
---@field settings table timeouts, retry, limits, the port
---@field base_url string
---@field headers fun(own: table|nil): table
---@field request table
---@field emit fun(event: table)
---@field call table
---@field key string|nil
---@field tag table

-- The vendor may have put the key into what it says.
local function without_key(text, key)
  text = tostring(text)
  if not key or key == "" then
    return text
  end
  local from, to = text:find(key, 1, true)
  while from do
    text = text:sub(1, from - 1) .. "[key]" .. text:sub(to + 1)
    from, to = text:find(key, from, true)
  end
  return text
end

-- What one attempt tells goes through here: the first of it says whose it is,
-- and after it nothing is asked again.
local function teller(ask)
  local told = { has_delta = false, has_start = false }
  function told.start()
    if not told.has_start then
      told.has_start = true
      ask.emit { type = "start", state_of = ask.tag }
    end
  end
  function told.emit(event)
    told.start()
    told.has_delta = true
    ask.emit(event)
  end
  return told
end

local function body_of(response)
  local pieces, size = {}, 0
  repeat
    local bytes = size < MAX_REFUSAL and response:read() or nil
    pieces[#pieces + 1] = bytes
    size = size + #(bytes or "")
  until not bytes
  return table.concat(pieces):sub(1, MAX_REFUSAL)
end

local function refusal(response)
  local text, code, details = errors.read(body_of(response), response.status)
  local wish = response.headers["x-should-retry"]
  if wish == "true" or wish == "false" then
    details.may_retry = wish == "true"
  end
  details.retry_after_ms = errors.retry_after_ms(response.headers,
    clock.now_ms())
  return nil, text, code, details
end

-- The port's word for what went wrong on the way, as one of the wire's.
local function transport_code(code, otherwise)
  code = tostring(code)
  return code:find("^timeout") and "timeout" or code == "limit" and code
    or otherwise
end

local NEVER_AGAIN = { limit = true, unsupported = true, invalid_argument = true }

-- Reads events until the reader has its end, or the upstream has.
local function read_answer(ask, response, format, reader)
  local step, state = response[format](response)
  while not reader.ended do
    local event = step(state)
    if not event then
      local text, code = response:reason()
      if code and code ~= "closed" then
        return nil, "the answer broke off: " .. tostring(text),
          transport_code(code, "truncated"),
          { usage = reader.usage, may_retry = not NEVER_AGAIN[code] }
      end
      break
    end
    local is_line = type(event) == "string"
    local ok, text, code, details = reader:feed(is_line and event or event.data,
      not is_line and event.event ~= "message" and event.event or nil)
    ask.call.usage = reader.usage or ask.call.usage
    if not ok then
      details = details or {}
      details.usage = reader.usage
      return nil, text, code, details
    end
  end
  return reader:finish()
end

local function answer(ask, response, format, told)
  if response.status < 200 or response.status > 299 then
    return refusal(response)
  end
  return read_answer(ask, response, format, ask.vendor.reader {
    emit = told.emit, settings = ask.settings, request = ask.request,
  })
end

local function attempt(ask, built, told)
  local settings = ask.settings
  local response, text, code = settings.http.stream {
    url = ask.base_url .. built.path, method = "POST",
    headers = ask.headers(built.headers), body = built.text,
    connect_timeout_ms = settings.connect_ms,
    first_byte_timeout_ms = settings.first_byte_ms,
    idle_timeout_ms = settings.idle_ms,
    event_bytes_max = settings.max_event_bytes,
    line_bytes_max = settings.max_event_bytes,
  }
  if not response then
    return nil, text or "no connection", transport_code(code, "provider_error"),
      { may_retry = not NEVER_AGAIN[code] }
  end
  return undo.always(function()
    response:close()
  end, answer, ask, response, built.format or "events", told)
end

-- Full jitter, or as long as the provider asks for. Nil: not worth waiting.
local function pause_ms(settings, number, details)
  local wish = details.retry_after_ms
  if wish then
    return wish <= settings.max_retry_delay_ms and wish or nil
  end
  local most = math.min(settings.max_retry_ms,
    settings.min_retry_ms * 2 ^ (number - 1))
  return settings.random() * most
end

-- Whether it is to be asked again; waits until then.
local function pause(settings, number, details)
  local wait_ms = details.may_retry and number < settings.attempts
    and pause_ms(settings, number, details)
  if wait_ms then
    task.sleep(wait_ms)
  end
  return wait_ms ~= nil and wait_ms ~= false
end

local function encode(built)
  local text, why = json.encode_sorted(built.body)
  if not text then
    return nil, "the request has no JSON form: " .. why, "invalid_request"
  end
  built.text = text
  return built
end

local function build(ask, tag)
  local built, text, code = ask.vendor.build(ask.request, {
    tag = tag, settings = ask.settings, base_url = ask.base_url,
  })
  if not built then
    return nil, text, code
  end
  return encode(built)
end

-- The provider does not take its own words back: they go, once.
local function strip(ask, told)
  told.start()
  ask.emit {
    type = "warning", code = "state_dropped",
    message = "the provider refused the state of earlier answers; asked again"
      .. " without it",
  }
  return build(ask, nil)
end

--- Asks until there is an answer, or none can be had.
---@async
---@param ask agentwire.ProviderAsk
---@return table|nil message
---@return string|nil text
---@return string|nil code
---@return table|nil details usage, retry_after_ms
function M.perform(ask)
  local built, text, code = build(ask, ask.tag)
  if not built then
    return nil, text, code
  end
  local told, number, stripped = teller(ask), 1, false
  local message, details
  repeat
    message, text, code, details = attempt(ask, built, told)
    details = details or {}
    if message then
      return message
    end
    text = without_key(text, ask.key)
    local again = not told.has_delta
    if again and details.is_state and not stripped then
      stripped = true
      built = strip(ask, told)
    elseif again then
      again = pause(ask.settings, number, details)
      number = number + 1
    end
  until not again
  return nil, text, code, {
    usage = details.usage, retry_after_ms = details.retry_after_ms,
  }
end

return M
