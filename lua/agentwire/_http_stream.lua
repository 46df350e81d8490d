--- The body of an answer as it comes (agentwire.http).
local class = require("agentwire._class")
local core = require("agentwire.core")
local json = require("agentwire.json")
local misuse = require("agentwire._misuse")
local options = require("agentwire._options")

local M = {}

---@class agentwire.HttpEvent a server-sent event (WHATWG HTML section 9.2.6)
---@field event string its type, "message" if it has none
---@field data string
---@field id string? the last one of the stream so far
---@field retry_ms integer? that the stream asked for last

---@class agentwire.HttpStream
---@field status integer
---@field headers table<string, string> by name in lower case; repeated ones
--- joined with ", "
---@field url string that answered, without user, query and fragment
local Stream = {}
Stream.__index = Stream

function Stream:__tostring()
  return ("http stream of %s (%d)"):format(self.url, self.status)
end

---@param opened agentwire.HttpExchange
---@param given table `line_bytes_max`, `event_bytes_max`
---@return agentwire.HttpStream
function M.new(opened, given)
  return setmetatable({
    status = opened.status,
    headers = opened.headers,
    url = opened.shown,
    _exchange = opened,
    _limits = { line_bytes_max = given.line_bytes_max,
      event_bytes_max = given.event_bytes_max },
    _reader = nil, -- of what was read last: events or lines
    _kind = nil,
    _whole = false, -- all of it came
    _message = nil, -- how it ended
    _code = nil,
  }, Stream)
end

local function conclude(self, message, code)
  if not self._code then
    self._message, self._code = message, code
    self._exchange:close()
  end
  return nil, self._message, self._code
end

--- What of the body is there, at least a byte.
---@async
---@param timeout_ms number?
---@return string? bytes
---@return string? message
---@return string? code "closed": that was all of it, or it was closed;
--- "timeout": nothing came, the stream goes on; else as of `http.request`
function Stream:read(timeout_ms)
  options.timeout("read", timeout_ms)
  if self._code then
    return nil, self._message, self._code
  end
  local bytes, message, code, goes_on = self._exchange:read(timeout_ms)
  if bytes or goes_on then
    return bytes, message, code
  end
  self._whole = self._code == nil and code == "closed"
  return conclude(self, message, code)
end

-- The reader keeps what it has not given yet, so there is one for all loops.
local function reader_of(self, kind)
  if not self._kind then
    self._reader, self._kind = core.reader(kind, self._limits), kind
  elseif self._kind ~= kind then
    misuse.raise("%s: it is read as %s already, and some of it may be there",
      tostring(self), self._kind)
  end
  return self._reader
end

-- The next event or line; nil at the end, which `reason` explains.
local function next_of(self, kind)
  local reader = reader_of(self, kind)
  while true do
    local item, message, code = reader:next()
    if item then
      return item
    elseif code then
      return conclude(self, message, code)
    elseif self._code then
      return nil
    end
    local bytes = self:read()
    if bytes then
      reader:feed(bytes)
    elseif not self._whole then
      return nil -- what is there is the start of something
    else
      reader:feed(nil) -- a last line may lack its end, an event may not
      item, message, code = reader:next()
      if code then
        self._message, self._code = message, code
      end
      return item
    end
  end
end

local function next_bytes(self)
  return (self:read())
end

local function next_event(self)
  return (next_of(self, "events"))
end

local function next_line(self)
  return (next_of(self, "lines"))
end

local function next_value(self)
  local line = next_of(self, "lines")
  if not line then
    return nil
  end
  local value, message, code = json.decode(line)
  if code then
    return (conclude(self, "a line is no JSON: " .. message, code))
  end
  return value
end

--- Its bytes, as they come, for a loop. The loop ends with the stream, well or
--- badly: `reason` tells which. Leaving it early closes the stream, as it does
--- below: at once in Lua 5.4, else when nobody holds it any more.
---@async
---@return fun(stream: agentwire.HttpStream): string? iterator
---@return agentwire.HttpStream stream
---@return nil
---@return agentwire.HttpStream closing
function Stream:chunks()
  return next_bytes, self, nil, self
end

--- Its lines, without their ends. Empty lines are none.
---@async
---@return fun(stream: agentwire.HttpStream): string? iterator
---@return agentwire.HttpStream stream
---@return nil
---@return agentwire.HttpStream closing
function Stream:lines()
  return next_line, self, nil, self
end

--- Its server-sent events.
---@async
---@return fun(stream: agentwire.HttpStream): agentwire.HttpEvent? iterator
---@return agentwire.HttpStream stream
---@return nil
---@return agentwire.HttpStream closing
function Stream:events()
  return next_event, self, nil, self
end

--- The JSON value of each of its lines; one that is none ends it.
---@async
---@return fun(stream: agentwire.HttpStream): any iterator
---@return agentwire.HttpStream stream
---@return nil
---@return agentwire.HttpStream closing
function Stream:values()
  return next_value, self, nil, self
end

--- Ends it at once, with its connection if it has not ended. Idempotent; does
--- not wait.
function Stream:close()
  conclude(self, "closed", "closed")
end

--- Why nothing more comes, or nil while something may.
---@return string? message
---@return string? code "closed": it was read to its end, or closed; else as of
--- `http.request`
function Stream:reason()
  return self._message, self._code
end

--- What the language calls when a loop, or a block that has the stream as a
--- `<close>` variable, is left (Lua 5.4).
Stream.__close = function(self)
  self:close()
end

class.seal(Stream, "http stream")

return M
