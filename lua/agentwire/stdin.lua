--- Standard input, read by tasks while everything else goes on: lines, bytes,
--- and keys of a terminal. Nothing is read that nobody asks for.
---
--- `io.read` is left alone, and stops the whole loop; what one of the two has
--- buffered the other does not see.
local class = require("agentwire._class")
local core = require("agentwire.core")
local host = require("agentwire.host")
local misuse = require("agentwire._misuse")
local options = require("agentwire._options")
local undo = require("agentwire._undo")
local wait = require("agentwire._wait")

-- A line that is longer is told, not kept.
local LINE_MAX = 1024 * 1024
-- An escape that nothing follows for this long was the key of that name.
local ESCAPE_MS = 50

local KEYS = {
  ["\r"] = "enter", ["\n"] = "enter", ["\t"] = "tab", ["\127"] = "backspace",
  ["\8"] = "backspace", ["\27"] = "escape",
  ["\27[A"] = "up", ["\27[B"] = "down", ["\27[C"] = "right",
  ["\27[D"] = "left", ["\27[H"] = "home", ["\27[F"] = "end",
  ["\27OA"] = "up", ["\27OB"] = "down", ["\27OC"] = "right",
  ["\27OD"] = "left", ["\27OH"] = "home", ["\27OF"] = "end",
  ["\27[1~"] = "home", ["\27[2~"] = "insert", ["\27[3~"] = "delete",
  ["\27[4~"] = "end", ["\27[5~"] = "page_up", ["\27[6~"] = "page_down",
}

---@class agentwire.Stdin
local Stdin = {}
Stdin.__index = Stdin

local stdin = setmetatable({
  _text = "", -- read, and not taken yet
  _host = nil, -- whose loop the input hangs on
  _core = nil,
  _ready = wait.signal("standard input"),
  _reader = nil, -- the task that reads
  _ended = false,
}, Stdin)

local function open(self)
  local current = host.current()
  if self._host == current and not current:is_closed() then
    return true
  end
  local input, message, code = current:loop():input(0)
  if not input then
    return nil, "standard input: " .. message, code
  end
  self._host, self._core = current, input
  current:watch(input:handle(), function()
    self._ready:wake_all()
  end)
  return true
end

--- Reads more, waiting for it if it has to.
---@return true|nil more, string? message, string? code
local function fill(self, timeout_ms)
  if self._ended then
    return nil, "the end of the input", "closed"
  end
  while true do
    local bytes, message, code = self._core:read()
    if bytes then
      self._text = self._text .. bytes
      return true
    elseif code ~= "would_block" then
      self._ended = code == "closed"
      return nil, message, code
    end
    local _
    _, message, code = self._ready:wait(timeout_ms)
    if code then
      return nil, message, code
    end
  end
end

--- One reader at a time: two would get halves.
local function as_reader(self, title, timeout_ms, fn, ...)
  options.timeout("stdin:" .. title, timeout_ms)
  local me = wait.waiting_task(3)
  if self._reader then
    misuse.raise("stdin:%s: %s reads already", title, tostring(self._reader))
  end
  local ok, message, code = open(self)
  if not ok then
    return nil, message, code
  end
  self._core:set_raw(title == "key")
  self._reader = me
  return undo.always(function()
    self._reader = nil
  end, fn, self, timeout_ms, ...)
end

local function take(self, length, skip)
  local taken = self._text:sub(1, length)
  self._text = self._text:sub(length + (skip or 0) + 1)
  return taken
end

local function read_line(self, timeout_ms)
  local looked = 1
  while true do
    local at = self._text:find("\n", looked, true)
    if at then
      return (take(self, at - 1, 1):gsub("\r$", ""))
    elseif #self._text > LINE_MAX then
      take(self, #self._text)
      return nil, ("a line is longer than %d bytes"):format(LINE_MAX), "limit"
    end
    looked = #self._text + 1
    local more, message, code = fill(self, timeout_ms)
    if not more and code == "closed" and self._text ~= "" then
      return take(self, #self._text)
    elseif not more then
      return nil, message, code
    end
  end
end

--- The next line, without its end.
---@async
---@param timeout_ms number?
---@return string|nil line
---@return string? message
---@return string? code `closed` at the end of the input, `timeout`, `limit`: it
--- is longer than 1 MiB
function Stdin:line(timeout_ms)
  return as_reader(self, "line", timeout_ms, read_line)
end

--- Every line up to the end.
---@return fun(): string?
function Stdin:lines()
  return function()
    return (self:line())
  end
end

local function read_bytes(self, timeout_ms, most)
  if self._text == "" then
    local more, message, code = fill(self, timeout_ms)
    if not more then
      return nil, message, code
    end
  end
  return take(self, most)
end

--- What is there, at least one byte.
---@async
---@param most integer? bytes, 65536
---@param timeout_ms number?
---@return string|nil bytes
---@return string? message
---@return string? code `closed` at the end of the input, `timeout`
function Stdin:read(most, timeout_ms)
  options.optional("stdin:read", "most", options.count, most)
  return as_reader(self, "read", timeout_ms, read_bytes, most or 65536)
end

-- How long the key is that the text begins with; nil: more has to come.
local function key_length(text)
  local first = text:byte()
  if first == 27 then
    local sequence = text:match("^\27%[[0-9;]*[%a~]") or text:match("^\27O%a")
    return sequence and #sequence
      or (text:find("^\27[^%[O]") or text:find("^\27%[[^0-9;%a~]")) and 1 or nil
  end
  local length = first < 0xC0 and 1 or first < 0xE0 and 2 or first < 0xF0 and 3
    or 4
  return #text >= length and length or nil
end

local function name_of(key)
  local code = #key == 1 and key:byte()
  return KEYS[key] or code and code > 0 and code < 27
    and "ctrl-" .. string.char(code + 96) or key
end

local function read_key(self, timeout_ms)
  while true do
    local length = self._text ~= "" and key_length(self._text)
    if length then
      return name_of(take(self, length))
    end
    local begun = self._text ~= ""
    local more, message, code = fill(self, begun and ESCAPE_MS or timeout_ms)
    if not more and begun then
      return name_of(take(self, 1))
    elseif not more then
      return nil, message, code
    end
  end
end

--- The next key of a terminal, at once and unechoed: a character, or "enter",
--- "tab", "backspace", "escape", "up", "down", "left", "right", "home", "end",
--- "insert", "delete", "page_up", "page_down", "ctrl-d" and so on. Ctrl-C stays
--- a signal. The terminal is as it was again with the next `line` or `read`,
--- and when the process ends. From a pipe, characters.
---@async
---@param timeout_ms number?
---@return string|nil key
---@return string? message
---@return string? code `closed` at the end of the input, `timeout`
function Stdin:key(timeout_ms)
  return as_reader(self, "key", timeout_ms, read_key)
end

---@return boolean
function Stdin:is_terminal() -- luacheck: no self
  return core.is_terminal(0)
end

class.seal(Stdin, "stdin")

return stdin
