--- Asks an upstream and reads its answer, for every adapter: builds the request,
--- waits within limits, asks again while nothing has been told yet, and closes
--- what it opened however it ends. What is said is the adapter's (`build` and
--- `reader`, both pure); how it gets there is the `http` port's:
---
---   http.stream { url, method, headers, body, format = "sse"|"lines",
---     connect_timeout_ms, max_event_bytes } -> response | nil, text, code
---   response.status, response.headers (names in lower case)
---   response:next(timeout_ms) -> {data, event?} | nil at the end
---     | nil, text, code; "timeout" when not a single byte came for so long
---   response:read(max_bytes, timeout_ms) -> the body's text, cut there
---   response:close(): idempotent; ends the request if it runs
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

local function refusal(response, settings)
  local body = response:read(MAX_REFUSAL, settings.idle_ms)
  local text, code, details = errors.read(body, response.status)
  local wish = response.headers["x-should-retry"]
  if wish == "true" or wish == "false" then
    details.may_retry = wish == "true"
  end
  details.retry_after_ms = errors.retry_after_ms(response.headers,
    clock.now_ms())
  return nil, text, code, details
end

-- Reads events until the reader has its end, or the upstream has.
local function read_answer(ask, response, reader)
  local settings = ask.settings
  local timeout_ms = settings.first_byte_ms
  while not reader.ended do
    local event, text, code = response:next(timeout_ms)
    timeout_ms = settings.idle_ms
    if not event then
      if not text then
        break
      end
      local details = { usage = reader.usage, may_retry = true }
      return nil, code == "timeout" and "the provider went silent" or text,
        code == "timeout" and code or "truncated", details
    end
    local ok, details
    ok, text, code, details = reader:feed(event.data, event.event)
    ask.call.usage = reader.usage or ask.call.usage
    if not ok then
      details = details or {}
      details.usage = reader.usage
      return nil, text, code, details
    end
  end
  return reader:finish()
end

local function answer(ask, response, told)
  if response.status < 200 or response.status > 299 then
    return refusal(response, ask.settings)
  end
  return read_answer(ask, response, ask.vendor.reader {
    emit = told.emit, settings = ask.settings, request = ask.request,
  })
end

local function attempt(ask, built, told)
  local settings = ask.settings
  local response, text, code = settings.http.stream {
    url = ask.base_url .. built.path, method = "POST",
    headers = ask.headers(built.headers), body = built.text,
    format = built.format or "sse",
    connect_timeout_ms = settings.connect_ms,
    first_byte_timeout_ms = settings.first_byte_ms,
    max_event_bytes = settings.max_event_bytes,
  }
  if not response then
    return nil, text or "no connection", code == "timeout" and code
      or "provider_error", { may_retry = true }
  end
  return undo.always(function()
    response:close()
  end, answer, ask, response, told)
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
  local told, number, stripped, message, details = teller(ask), 1, false, nil, nil
  while true do
    message, text, code, details = attempt(ask, built, told)
    details = details or {}
    if message then
      return message
    end
    text = without_key(text, ask.key)
    if told.has_delta then
      break
    elseif details.is_state and not stripped then
      stripped = true
      built = strip(ask, told)
    else
      local wait_ms = details.may_retry and number < ask.settings.attempts
        and pause_ms(ask.settings, number, details)
      if not wait_ms then
        break
      end
      number = number + 1
      task.sleep(wait_ms)
    end
  end
  return nil, text, code, {
    usage = details.usage, retry_after_ms = details.retry_after_ms,
  }
end

return M
