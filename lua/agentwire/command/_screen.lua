--- What the command writes: results on stdout, all else on stderr. What a person
--- sees and a pipe does not (colours, a line of progress, cut lines) is decided
--- here, and nowhere else.
local core = require("agentwire.core")
local json = require("agentwire.json")
local log = require("agentwire.log")
local exits = require("agentwire.command._exit")

local M = {}

local EPIPE = 32
local COLOURS = { bold = "1", dim = "2", red = "31", green = "32",
  yellow = "33", cyan = "36" }

---@class agentwire.command.Screen
---@field in_terminal boolean
---@field out_terminal boolean
---@field err_terminal boolean
---@field json boolean results are for programs
local Screen = {}
Screen.__index = Screen

local function is_set(name)
  return (os.getenv(name) or "") ~= ""
end

---@return agentwire.command.Screen
function M.new()
  local plain = is_set("NO_COLOR") or os.getenv("TERM") == "dumb"
  local self = setmetatable({
    in_terminal = core.is_terminal(0),
    out_terminal = core.is_terminal(1),
    err_terminal = core.is_terminal(2),
    json = false,
    _plain = plain,
    _status = nil, -- the line of progress that stands on the terminal
    _in_line = false, -- whether stdout's terminal is in the middle of one
    _prompt = nil, -- what asks a person, as long as it does
  }, Screen)
  self._moves = self.err_terminal and os.getenv("TERM") ~= "dumb"
  log.set_level(self.err_terminal and "info" or "error")
  log.set(function(entry)
    -- Of an absence a person wants to hear when it begins and when it ends.
    if entry.event ~= "reconnecting" or entry.attempt == 1 then
      self:tell(entry.message)
    end
  end)
  return self
end

--- Text without what would move a terminal's cursor or worse.
---@param text string
---@return string
function M.harmless(text)
  return (text:gsub("[%z\1-\8\11-\31\127]", ""):gsub("\194[\128-\159]", ""))
end

--- The same on one line.
---@param text string
---@return string
function M.one_line(text)
  return (M.harmless((text:gsub("%s*[\r\n]+%s*", " "):gsub("\t", " "))))
end

-- Columns that a character takes, by its first byte: from U+3000 on most are
-- two wide.
local function width_of(first)
  return first >= 0xE3 and 2 or 1
end

---@param text string
---@return integer columns
function M.width(text)
  local used = 0
  for first in text:gmatch("[%z\1-\127\192-\255]") do
    used = used + width_of(first:byte())
  end
  return used
end

--- At most so many columns of a line.
---@param text string
---@param columns integer
---@return string
function M.cut(text, columns)
  local used, last = 0, 0
  for at, character in text:gmatch("()([%z\1-\127\192-\255][\128-\191]*)") do
    used = used + width_of(character:byte())
    if used > columns then
      return text:sub(1, last) .. "…"
    end
    -- Room for the ellipsis, should there be more.
    last = used < columns and at + #character - 1 or last
  end
  return text
end

---@return integer
function Screen:columns()
  return core.terminal_columns(1) or core.terminal_columns(2)
    or tonumber(os.getenv("COLUMNS") or "") or 80
end

---@param colour string
---@param text string
---@return string
function Screen:paint(colour, text)
  if self._plain or not self.out_terminal or text == "" then
    return text
  end
  return ("\27[%sm%s\27[0m"):format(COLOURS[colour], text)
end

-- Nobody reads: what is left to do is of no use, and nothing to complain of.
-- Anything else that stdout says is a failure.
local function give_up(why, number)
  if number ~= EPIPE then
    io.stderr:write("agentwire: stdout: ", why, "\n")
  end
  os.exit(number == EPIPE and exits.NO_READER or exits.FAILED)
end

local function put(text)
  local ok, why, number = io.stdout:write(text)
  if ok then
    ok, why, number = io.stdout:flush()
  end
  if not ok then
    give_up(why, number)
  end
end

--- Takes the line of progress away.
local function wipe(self)
  if self._status then
    io.stderr:write("\r\27[K")
    self._status = nil
  end
end

--- Writes to stdout as it is.
---@param text string
function Screen:write(text)
  if text ~= "" then
    wipe(self)
    put(text)
    self._in_line = text:sub(-1) ~= "\n"
  end
end

---@return boolean
function Screen:is_in_line()
  return self._in_line
end

--- Ends the line that was begun, if one was.
function Screen:finish_line()
  if self._in_line then
    self:write("\n")
  end
end

--- Asks a person for a line. What is told meanwhile comes before the question.
---@param text string
function Screen:prompt(text)
  self._prompt = text
  self:write(text)
end

--- The person at the terminal has ended the line.
function Screen:line_was_entered()
  self._prompt, self._in_line = nil, false
end

---@param line string?
function Screen:print(line)
  self:write((line or "") .. "\n")
end

--- One JSON value, on one line.
---@param value any
function Screen:value(value)
  self:print(assert(json.encode_sorted(value)))
end

local function end_lines(self)
  wipe(self)
  if self._in_line and self.out_terminal then
    put("\n")
    self._in_line = false
  end
end

--- One line on stderr.
---@param message string
function Screen:tell(message)
  end_lines(self)
  io.stderr:write("agentwire: ", M.one_line(message), "\n")
  if self._prompt then
    self:write(self._prompt)
  end
end

--- What goes on, on a terminal: one line, which the next one replaces. Nothing
--- in a pipe.
---@param text string? nil: nothing
function Screen:status(text)
  if not self._moves or self._in_line and self.out_terminal then
    return
  end
  text = text and M.cut(M.one_line(text), self:columns() - 1)
  if text == self._status then
    return
  end
  wipe(self)
  if text then
    self._status = text
    io.stderr:write(self._status)
    io.stderr:flush()
  end
end

--- Leaves the terminal as the shell wants to find it.
---@param interrupted boolean by Ctrl-C, which the terminal has shown
function Screen:leave(interrupted)
  wipe(self)
  if interrupted and self.err_terminal then
    io.stderr:write("\n")
  end
end

--- Rows with their columns below each other. On a terminal the last column is
--- cut where the line ends.
---@param rows string[][]
function Screen:rows(rows)
  local widths, out = {}, {}
  for _, row in ipairs(rows) do
    for index = 1, #row - 1 do
      widths[index] = math.max(widths[index] or 0, #row[index])
    end
  end
  for _, row in ipairs(rows) do
    local cells = {}
    for index, cell in ipairs(row) do
      cells[index] = index < #row
        and cell .. (" "):rep(widths[index] - #cell) or cell
    end
    local line = (M.one_line(table.concat(cells, "  ")):gsub(" +$", ""))
    out[#out + 1] = self.out_terminal and M.cut(line, self:columns()) or line
  end
  if #out > 0 then
    self:print(table.concat(out, "\n"))
  end
end

return M
