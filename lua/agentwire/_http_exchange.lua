--- One request and its answer, as the core has them (agentwire.http). Nothing in
--- here repeats a header's value, or more of a URL than may be shown.
local events_of = require("agentwire._events")
local guard = require("agentwire._guard")
local request = require("agentwire._request")
local tables = require("agentwire._tables")
local undo = require("agentwire._undo")
local wait = require("agentwire._wait")

local M = {}

local has = events_of.has
local DONE = events_of.fetch.DONE

local WEAK = { __mode = "v" }

---@class agentwire.HttpExchange
---@field shown string the URL, as far as it may be told
---@field status integer?
---@field headers table<string, string>?
---@field redirect string?
local Exchange = {}
Exchange.__index = Exchange

--- A URL without user, query and fragment.
---@param url string
---@return string
function M.shown(url)
  local scheme, authority, path = url:match("^(%a+://)([^/?#]*)([^?#]*)")
  return scheme and scheme .. authority:gsub("^.*@", "") .. path or "?"
end

local function is_named(headers, wanted)
  for name, value in pairs(headers) do
    if type(name) == "number" and type(value) == "table" then
      name = value[1]
    end
    if type(name) == "string" and name:lower() == wanted then
      return true
    end
  end
  return false
end

--- Headers with a Content-Type, if they have none.
---@param headers table?
---@param value string
---@return table
function M.with_type(headers, value)
  if headers and is_named(headers, "content-type") then
    return headers
  end
  local all = tables.copy(headers or {})
  all["Content-Type"] = value
  return all
end

--- Headers of an answer: a line that begins with a blank goes on with the one
--- before it (RFC 9112 section 5.2).
---@param lines string
---@return table<string, string>
function M.read_headers(lines)
  local headers = {}
  lines = lines:gsub("\r?\n[ \t]+", " ")
  for name, value in lines:gmatch("([^\r\n:]+):[ \t]*([^\r\n]*)") do
    name, value = name:lower(), value:gsub("[ \t]+$", "")
    headers[name] = headers[name] and headers[name] .. ", " .. value or value
  end
  return headers
end

local function tls_of(asked)
  local tls = asked.tls or {}
  return { ca_file = tls.ca_file, cert_file = tls.cert_file,
    key_file = tls.key_file, insecure = tls.insecure }
end

-- Who asks says who it is, if it wants to.
local function with_agent(headers)
  if headers and is_named(headers, "user-agent") then
    return headers
  end
  local all = tables.copy(headers or {})
  all["User-Agent"] = "agentwire/0.1"
  return all
end

local function core_options(asked)
  local all = tables.over(asked, tls_of(asked))
  all.headers = with_agent(asked.headers)
  all.proxy = request.proxy_for(asked.proxy, asked.url)
  all.http1 = asked.http_version == "1.1"
  return all
end

local function watch(self, current, core)
  local weak, handle = setmetatable({ self }, WEAK), core:handle()
  current:watch(handle, function(_, events)
    if has(events, DONE) then
      current:unwatch(handle)
    end
    if weak[1] then
      weak[1]._news:wake_all()
    end
  end)
end

local function begin(current, asked)
  local core, message, code = current:loop():fetch(core_options(asked))
  local shown = M.shown(asked.url)
  if not core then
    return nil, ("%s %s: %s"):format(asked.method, shown, message), code
  end
  local self = setmetatable({
    shown = shown,
    status = nil,
    headers = nil,
    redirect = nil,
    _core = core,
    _host = current,
    _method = asked.method,
    _news = nil, -- signal
  }, Exchange)
  self._news = wait.signal("an answer of", shown)
  local handle = core:handle()
  self._anchor, self._guard = guard.new(function()
    current:unwatch(handle)
    core:close()
  end)
  watch(self, current, core)
  return self
end

-- A failure, with the request that it is of.
local function explain(self, message, code)
  if code == "closed" then
    return nil, message, code
  end
  return nil, ("%s %s: %s"):format(self._method, self.shown, message), code
end

local function await_head(self)
  while true do
    local status, lines, third = self._core:head()
    if status then
      self.status, self.headers = status, M.read_headers(lines)
      self.redirect = third
      return self
    elseif lines then
      return explain(self, lines, third)
    end
    self._news:wait()
  end
end

--- Begins and waits for the answer's header. Nothing of it is left when there is
--- none, or when the task is cancelled.
---@async
---@param current agentwire.Host
---@param asked table checked
---@return agentwire.HttpExchange? exchange
---@return string? message
---@return string? code
function M.open(current, asked)
  local self, message, code = begin(current, asked)
  if not self then
    return nil, message, code
  end
  local opened
  opened, message, code = undo.unless_returned(function()
    self:close()
  end, await_head, self)
  if not opened then
    self:close()
  end
  return opened, message, code
end

local function await_bytes(self, deadline, timeout_ms)
  while true do
    local bytes, message, code = self._core:read()
    if bytes then
      return bytes
    elseif code then
      return explain(self, message, code)
    end
    local _, _, late = self._news:wait(deadline and deadline - self._host:now())
    if late then
      local _, late_message = wait.timed_out(timeout_ms)
      return nil, late_message, late, true
    end
  end
end

--- What of the body is there, at least a byte. A task that is cancelled while it
--- waits here closes all of it.
---@async
---@param timeout_ms number?
---@return string? bytes
---@return string? message
---@return string? code "closed": there is no more
---@return boolean? goes_on nothing came in that time, which is no end
function Exchange:read(timeout_ms)
  return undo.unless_returned(function()
    self:close()
  end, await_bytes, self, timeout_ms and self._host:now() + timeout_ms,
    timeout_ms)
end

--- Ends it at once, with its connection if it is under way. Idempotent.
function Exchange:close()
  self._guard:dismiss()
  self._host:unwatch(self._core:handle())
  self._core:close()
  self._news:wake_all()
end

return M
