--- What the adapters of real providers have in common: their options, where the
--- key comes from, and the adapter port over the one driver. A vendor is a table
--- with what is its own:
---
---   title, name, api, base_url, key_env   of `aw.providers.NAME.new`
---   OPTIONS      spec of its options, M.OPTIONS among them
---   authorize    (headers, key, settings): puts the key into a header
---   build        (request, {tag, settings, base_url}) -> {path, headers?, body,
---                format = "events"|"lines"?} | nil, text, code
---   reader       ({emit, settings, request}) -> feed(self, data, event),
---                finish(self), `ended`, `usage`
---
--- A key is in closures and in the header that it belongs in, nowhere else.
local class = require("agentwire._class")
local driver = require("agentwire.providers._driver")
local misuse = require("agentwire._misuse")
local options_of = require("agentwire._options")
local protocol = require("agentwire.provider.protocol")
local state = require("agentwire.providers._state")
local tables = require("agentwire._tables")
local task = require("agentwire.task")

local M = {}

-- One event of a stream.
local MAX_EVENT_BYTES = 1024 * 1024

-- Until the first byte: reasoning models think for minutes before it.
local FIRST_BYTE_MS = 300000

-- Without any byte, pings and comments counted.
local IDLE_MS = 120000

local CONNECT_MS = 10000

-- Attempts in all, and what lies between two of them.
local ATTEMPTS, MIN_RETRY_MS, MAX_RETRY_MS = 3, 500, 8000

-- A provider that wants a longer pause than this is told of instead.
local MAX_RETRY_DELAY_MS = 60000

local TIMEOUTS = options_of.spec("timeouts", {
  connect_ms = options_of.duration_ms, first_byte_ms = options_of.duration_ms,
  idle_ms = options_of.duration_ms, call_ms = options_of.duration_ms,
})

local RETRY = options_of.spec("retry", {
  attempts = options_of.count, min_ms = options_of.duration_ms,
  max_ms = options_of.duration_ms, max_delay_ms = options_of.duration_ms,
})

M.OPTIONS = options_of.spec("providers", {
  api_key = options_of.filled,
  base_url = options_of.filled,
  name = options_of.filled,
  models = options_of.list_of(options_of.table),
  headers = options_of.table,
  http = options_of.having("an HTTP client, which has a stream function",
    "stream"),
  timeouts = TIMEOUTS,
  retry = RETRY,
  max_event_bytes = options_of.bytes,
  max_arguments_bytes = options_of.bytes,
  random = options_of.func,
})

---@class agentwire.ProviderTimeouts
---@field connect_ms number? until there is a connection, 10 000
---@field first_byte_ms number? until the first byte of the answer, 300 000
---@field idle_ms number? without any byte, pings and comments counted, 120 000
---@field call_ms number? for all of it, none

---@class agentwire.ProviderRetry
---@field attempts integer? in all, 3
---@field min_ms number? the most that is waited before the second, 500
---@field max_ms number? the most that is waited before any, 8000
---@field max_delay_ms number? a provider that asks for more is told of instead, 60 000

---@class agentwire.ProviderAdapterOptions
---@field api_key string? else from the environment variable of the provider
---@field base_url string? the provider's own; a request's is not asked
---@field name string? the provider's name in models and requests
---@field models table[]? descriptors; `takes` says what one refuses
---@field headers table<string, string>? sent with every request
---@field http table? what has a `stream` like that of `aw.http`, which is the default
---@field timeouts agentwire.ProviderTimeouts?
---@field retry agentwire.ProviderRetry?
---@field max_event_bytes integer? of one event of a stream, 1 MiB
---@field max_arguments_bytes integer? of one tool call, 4 MiB
---@field random fun(): number? from 0 to 1, for the pauses; `math.random`

---@class agentwire.ProviderAdapter
---@field name string
---@field api string
local Adapter = {}
Adapter.__index = Adapter

function Adapter:__tostring()
  return ("provider %s (%s)"):format(self.name, self.api)
end

local function settings_of(vendor, options)
  local timeouts, retry = options.timeouts or {}, options.retry or {}
  local settings = tables.over(options, {
    connect_ms = timeouts.connect_ms or CONNECT_MS,
    first_byte_ms = timeouts.first_byte_ms or FIRST_BYTE_MS,
    idle_ms = timeouts.idle_ms or IDLE_MS,
    call_ms = timeouts.call_ms,
    attempts = retry.attempts or ATTEMPTS,
    min_retry_ms = retry.min_ms or MIN_RETRY_MS,
    max_retry_ms = retry.max_ms or MAX_RETRY_MS,
    max_retry_delay_ms = retry.max_delay_ms or MAX_RETRY_DELAY_MS,
    max_event_bytes = options.max_event_bytes or MAX_EVENT_BYTES,
    random = options.random or math.random,
    api_version = options.api_version or vendor.api_version,
  })
  settings.api_key = nil
  return settings
end

local function without_slash(url)
  return (url:gsub("/+$", ""))
end

local function key_of(vendor, given)
  if given then
    return given
  end
  for _, name in ipairs(vendor.key_env or {}) do
    local value = os.getenv(name)
    if value and value:find("%S") then
      return value:match("^%s*(.-)%s*$")
    end
  end
end

-- Headers that a request may not set: they say who asks, or how it is framed.
local RESERVED = { authorization = true, ["x-api-key"] = true,
  ["api-key"] = true, ["x-goog-api-key"] = true, host = true, cookie = true,
  ["content-length"] = true, ["content-type"] = true,
  ["transfer-encoding"] = true, connection = true,
  ["proxy-authorization"] = true }

local function headers_of(vendor, settings, request, key)
  return function(own)
    local headers = { ["content-type"] = "application/json",
      accept = "text/event-stream" }
    for _, header in ipairs(request.options.headers or {}) do
      local name = header.name:lower()
      if not RESERVED[name] and name:find("^[%w!#$%%&'*+.^_`|~-]+$")
        and not header.value:find("%c") then
        headers[name] = header.value
      end
    end
    for name, value in pairs(tables.over(settings.headers, own)) do
      headers[name:lower()] = value
    end
    if key then
      vendor.authorize(headers, key, settings)
    end
    return headers
  end
end

-- What the entry of a model says that it takes, under all of an adapter's.
local function settings_for(settings, request)
  local more = { takes = {} }
  for _, model in ipairs(settings.models or {}) do
    if (model.model_id or model.id) == request.model.id then
      more.takes = model.takes or {}
    end
  end
  local delay_ms = request.options.retry
    and request.options.retry.max_retry_delay_ms
  if delay_ms then
    more.max_retry_delay_ms = math.min(delay_ms, settings.max_retry_delay_ms)
  end
  return tables.over(settings, more)
end

local function new_stream(vendor, settings, base_url, own_key)
  return function(self, request, emit, call)
    local key = request.options.api_key or own_key
    local ask = {
      vendor = vendor, settings = settings_for(settings, request),
      base_url = base_url, request = request, emit = emit, call = call,
      key = key, headers = headers_of(vendor, settings, request, key),
      tag = state.tag(self.api, self.name, request.model.id, base_url, key),
    }
    if settings.call_ms then
      return task.timeout(settings.call_ms, driver.perform, ask)
    end
    return driver.perform(ask)
  end
end

--- Part of the adapter port.
---@return table[] descriptors
function Adapter:models()
  local list = {}
  for index, model in ipairs(self._models) do
    local told = tables.over({
      provider_id = self.name, api = self.api,
      capabilities = { "chat", "streaming", "tools" },
    }, model)
    told.takes = nil
    list[index] = protocol.build_descriptor(told)
  end
  return list
end

--- Part of the adapter port.
---@param model table
---@return boolean
function Adapter:find(model)
  return (model.provider == "" or model.provider == self.name)
    and (model.api == "" or model.api == self.api)
end

--- Part of the adapter port.
---@async
---@param request table decoded stream_request
---@param emit fun(event: table)
---@param call table
---@return table|nil message
---@return string|nil text
---@return string|nil code
---@return table|nil details
function Adapter:stream(request, emit, call)
  return self._stream(self, request, emit, call)
end

class.seal(Adapter, "provider")

local function http_client(vendor)
  local found, client = pcall(require, "agentwire.http")
  if not found then
    misuse.raise("%s: option http: there is no HTTP client in this build",
      vendor.title)
  end
  return client
end

--- An adapter of a vendor.
---@param vendor table
---@param options table|nil
---@return agentwire.ProviderAdapter
function M.new(vendor, options)
  options = tables.copy(vendor.OPTIONS:check(options))
  options.http = options.http or http_client(vendor)
  local base_url = without_slash(options.base_url or vendor.base_url)
  return setmetatable({
    name = options.name or vendor.name,
    api = vendor.api,
    _models = options.models or {},
    _stream = new_stream(vendor, settings_of(vendor, options), base_url,
      key_of(vendor, options.api_key)),
  }, Adapter)
end

return M
