--- Text that streams into a buffer: written once a screen update however often it
--- comes, at a mark that moves with the user's edits, in one step of undo as long
--- as the user changes nothing in between.
local class = require("agentwire._class")
local each = require("agentwire._each")
local host = require("agentwire.host")
local options = require("agentwire._options")
local tables = require("agentwire._tables")

local M = {}

-- A screen shows 60 pictures a second.
local INTERVAL_MS = 16
-- What waits for the next picture; more is written at once.
local PENDING_BYTES = 65536
-- What is written in all: an answer is as long as the peer likes.
local MAX_BYTES = 16 * 1024 * 1024

local OPTIONS = options.spec("nvim.sink", {
  buffer = options.integer(0),
  row = options.integer(0),
  column = options.integer(0),
  interval_ms = options.duration_ms,
  max_bytes = options.bytes,
  follow = options.boolean,
})

---@class agentwire.SinkOptions
---@field buffer integer? 0, the current one
---@field row integer? where the text begins, counted from 0; nil: the buffer's end
---@field column integer? bytes, counted from 0; nil: the end of the row
---@field interval_ms number? between two changes of the buffer, 16
---@field max_bytes integer? of all that is written; beyond it: "limit". 16 MiB
---@field follow boolean? a window whose cursor is on the last row of the text goes
--- along, true

---@class agentwire.Sink
---@field buffer integer
local Sink = {}
Sink.__index = Sink

function Sink:__tostring()
  return ("sink of buffer %d (%s)"):format(self.buffer,
    self._closed and "closed" or "open")
end

local function api()
  return rawget(_G, "vim").api
end

local function namespace()
  return api().nvim_create_namespace("agentwire")
end

local function is_there(self)
  return api().nvim_buf_is_valid(self.buffer)
    and api().nvim_buf_is_loaded(self.buffer)
end

local function set_mark(self, row, column)
  self._mark = api().nvim_buf_set_extmark(self.buffer, self._namespace, row,
    column, { id = self._mark, right_gravity = false })
end

-- Where the text goes on. The row may have been cut off since.
local function position(self)
  local at = api().nvim_buf_get_extmark_by_id(self.buffer, self._namespace,
    self._mark, {})
  return at[1], at[2]
end

local function beginning(buffer, given)
  local count = api().nvim_buf_line_count(buffer)
  local row = math.min(given.row or count - 1, count - 1)
  local line = api().nvim_buf_get_lines(buffer, row, row + 1, false)[1] or ""
  return row, math.min(given.column or #line, #line)
end

--- Gives back what `fn` changes of an option: chats are often not modifiable.
local function modifiable(buffer, fn, ...)
  local options_of = rawget(_G, "vim").bo[buffer]
  local before = options_of.modifiable
  if not before then
    options_of.modifiable = true
  end
  local ok, problem = pcall(fn, ...)
  if not before and api().nvim_buf_is_valid(buffer) then
    options_of.modifiable = false
  end
  if not ok then
    error(problem, 0)
  end
end

-- A row for each line; CR LF ends one as LF does.
local function rows_of(text)
  local rows = {}
  for row in (text .. "\n"):gmatch("([^\n]*)\n") do
    rows[#rows + 1] = row
  end
  return rows
end

-- Nothing is joined to what the user did meanwhile, nor after an undo, where
-- there is nothing to join.
local function join_undo(self)
  if self._tick == api().nvim_buf_get_changedtick(self.buffer) then
    api().nvim_buf_call(self.buffer, function()
      pcall(api().nvim_command, "undojoin")
    end)
  end
end

local function followers(self, row)
  local list = {}
  if self._follow then
    for _, window in ipairs(rawget(_G, "vim").fn.win_findbuf(self.buffer)) do
      if api().nvim_win_get_cursor(window)[1] == row + 1 then
        list[#list + 1] = window
      end
    end
  end
  return list
end

local function put(self, text)
  local row, column = position(self)
  local windows, rows = followers(self, row), rows_of(text)
  join_undo(self)
  api().nvim_buf_set_text(self.buffer, row, column, row, column, rows)
  local last = rows[#rows]
  if #rows == 1 then
    column = column + #last
  else
    row, column = row + #rows - 1, #last
  end
  set_mark(self, row, column)
  self._tick = api().nvim_buf_get_changedtick(self.buffer)
  for _, window in ipairs(windows) do
    api().nvim_win_set_cursor(window, { row + 1, column })
  end
end

-- A carriage return at the end may belong to the line break that comes next.
local function take_pending(self, is_last)
  local text = table.concat(self._pieces)
  self._pieces, self._pending_bytes = {}, 0
  text = text:gsub("\r\n", "\n")
  if not is_last and text:sub(-1) == "\r" then
    self._pieces[1] = "\r"
    text = text:sub(1, -2)
  end
  return text
end

local function end_it(self, message, code)
  if self._closed then
    return
  end
  self._closed = true
  self._message, self._code = message, code
  self._pieces = {}
  if self._timer then
    self._host:cancel_timer(self._timer)
    self._timer = nil
  end
  pcall(api().nvim_del_autocmd, self._watch)
  if is_there(self) then
    api().nvim_buf_del_extmark(self.buffer, self._namespace, self._mark)
  end
  local handle = self._handle
  if handle and code ~= "closed" then
    handle:cancel(message)
  end
end

local function write_pending(self, is_last)
  if self._timer then
    self._host:cancel_timer(self._timer)
    self._timer = nil
  end
  if self._closed then
    return
  elseif not is_there(self) then
    return end_it(self, "the buffer is gone", "buffer_gone")
  end
  local text = take_pending(self, is_last)
  local ok, problem = true, nil
  if text ~= "" then
    ok, problem = pcall(modifiable, self.buffer, put, self, text)
  end
  if not ok then
    return end_it(self, "the buffer cannot be changed: " .. problem,
      "buffer_failed")
  end
  self._written_at = self._host:now()
end

local function on_timer(self)
  self._timer = nil
  write_pending(self, false)
end

--- A place in a buffer that text is streamed to.
---@param given agentwire.SinkOptions?
---@return agentwire.Sink
function M.new(given)
  given = OPTIONS:check(given)
  local vim = rawget(_G, "vim")
  local buffer = given.buffer or 0
  buffer = buffer == 0 and api().nvim_get_current_buf() or buffer
  options.argument("nvim.sink", "buffer", options.kind("a buffer that is loaded",
    vim.api.nvim_buf_is_loaded), buffer)
  local self = setmetatable({
    buffer = buffer,
    _host = host.current(),
    _namespace = namespace(),
    _mark = nil,
    _pieces = {},
    _pending_bytes = 0,
    _left = given.max_bytes or MAX_BYTES,
    _interval_ms = given.interval_ms or INTERVAL_MS,
    _follow = given.follow ~= false,
    _written_at = nil,
    _tick = nil, -- the buffer's, after the last change that was ours
    _timer = nil,
    _handle = nil,
    _closed = false,
    _message = nil,
    _code = nil,
  }, Sink)
  set_mark(self, beginning(buffer, given))
  self._watch = api().nvim_create_autocmd("BufUnload", {
    buffer = buffer,
    desc = "agentwire: nothing is streamed to it any more",
    callback = function()
      end_it(self, "the buffer is gone", "buffer_gone")
    end,
  })
  return self
end

-- So many bytes at most, and no part of a character.
local function beginning_of(text, count)
  local byte = text:byte(count + 1)
  while byte and byte >= 128 and byte < 192 and count > 0 do
    count = count - 1
    byte = text:byte(count + 1)
  end
  return text:sub(1, count)
end

--- Adds text, which is in the buffer after the next screen update.
---@param text string
---@return true|nil ok
---@return string? message
---@return string? code closed, buffer_gone, buffer_failed, limit
function Sink:write(text)
  options.argument("sink:write", "text", options.string, text)
  if self._closed then
    return nil, self._message, self._code
  end
  self._left = self._left - #text
  if self._left < 0 then
    table.insert(self._pieces, beginning_of(text, #text + self._left))
    write_pending(self, true)
    end_it(self, "the text is longer than the limit", "limit")
    return nil, self._message, self._code
  end
  table.insert(self._pieces, text)
  self._pending_bytes = self._pending_bytes + #text
  if self._pending_bytes >= PENDING_BYTES then
    write_pending(self, false)
  elseif not self._timer then
    local left = self._written_at
      and self._written_at + self._interval_ms - self._host:now() or 0
    self._timer = self._host:timer(math.max(0, left), on_timer, self)
  end
  return true
end

--- Puts what waits into the buffer now.
function Sink:flush()
  write_pending(self, true)
end

--- Where the text goes on; it moves with what the user changes above it.
---@return integer? row counted from 0; nil once it is closed
---@return integer? column
function Sink:position()
  if self._closed or not is_there(self) then
    return nil
  end
  return position(self)
end

---@return boolean
function Sink:is_open()
  return not self._closed
end

--- Writes what waits and lets go of the buffer; the text stays. Idempotent.
function Sink:close()
  write_pending(self, true)
  end_it(self, "the sink was closed", "closed")
end

--- The answer's text in an event of a stream or of a session's run.
---@param event table
---@return string?
local function text_of(event)
  local inner = event.type == "message_update" and event.event or event
  return inner.type == "text_delta" and inner.delta or nil
end

---@class agentwire.SinkHandlers: agentwire.EachOptions
---@field text (fun(event: table): string?)? what to write of an event; default:
--- the answer's text

local TEXT = options.spec("sink:read", { text = options.func })

local function ending(self, fn, is_error)
  return function(result, code)
    write_pending(self, true)
    self._handle = nil
    if code == "cancelled" and self._code then
      result, code = self._message, self._code
    end
    if fn then
      return fn(result, code)
    elseif is_error and code ~= "cancelled" then
      self._host:report(result, "a sink")
    end
  end
end

--- Streams into the buffer, as `aw.each` does into callbacks; those that are given
--- are called as well, `on_done` and `on_error` when the text is in the buffer. It
--- is cancelled when the buffer goes. `coalesce` is true here unless it is given.
---@param source agentwire.Stream|agentwire.Session|function as of aw.each
---@param handlers agentwire.SinkHandlers?
---@return agentwire.Each handle
function Sink:read(source, handlers)
  handlers = tables.copy(handlers)
  TEXT:check { text = handlers.text }
  local text, on_event = handlers.text or text_of, handlers.on_event
  handlers.text = nil
  handlers.on_event = function(event)
    local piece = text(event)
    if piece then
      self:write(piece)
    end
    if on_event then
      on_event(event)
    end
  end
  if handlers.coalesce == nil then -- nobody sees the single ones
    handlers.coalesce = true
  end
  handlers.on_done = ending(self, handlers.on_done, false)
  handlers.on_error = ending(self, handlers.on_error, true)
  self._handle = each(source, handlers)
  return self._handle
end

class.seal(Sink, "sink")

return M
