--- Text that comes in pieces, broken into lines between words. A word is held
--- back until it is whole, or too long to be one.
local screens = require("agentwire.command._screen")

local M = {}

local WORD_MAX = 100

--- A whole text, its later lines indented.
---@param text string
---@param indent integer also what stands before the first line
---@param columns integer
---@return string
function M.indented(text, indent, columns)
  local lines, line = {}, ""
  for word in text:gmatch("%S+") do
    if line ~= "" and indent + screens.width(line .. word) + 1 > columns then
      lines[#lines + 1] = line
      line = word
    else
      line = line == "" and word or line .. " " .. word
    end
  end
  lines[#lines + 1] = line
  return table.concat(lines, "\n" .. (" "):rep(indent))
end

---@class agentwire.command.Wrap
local Wrap = {}
Wrap.__index = Wrap

---@param write fun(text: string)
---@param columns fun(): integer how wide a line may be; it may change
---@param in_line fun(): boolean false: somebody else has ended the line
---@return agentwire.command.Wrap
function M.new(write, columns, in_line)
  return setmetatable({ _write = write, _columns = columns, _in_line = in_line,
    _used = 0, _blanks = "", _word = "" }, Wrap)
end

-- Blanks at the end of a line that is broken are not written.
local function put_word(self)
  if self._used > 0 and not self._in_line() then
    self._used, self._blanks = 0, ""
  end
  local width = screens.width(self._word)
  if self._used > 0 and self._used + #self._blanks + width > self._columns() then
    self._write("\n")
    self._used, self._blanks = 0, ""
  end
  self._write(self._blanks .. self._word)
  self._used = self._used + #self._blanks + width
  self._blanks, self._word = "", ""
end

---@param text string
function Wrap:put(text)
  for space, word in text:gmatch("(%s*)(%S*)") do
    if space ~= "" and self._word ~= "" then
      put_word(self)
    end
    for character in space:gmatch(".") do
      if character == "\n" then
        self._write("\n")
        self._used, self._blanks = 0, ""
      else
        self._blanks = self._blanks .. " "
      end
    end
    self._word = self._word .. word
    if #self._word > WORD_MAX then
      put_word(self)
    end
  end
end

--- Writes what was held back: the text has ended.
function Wrap:finish()
  if self._word ~= "" then
    put_word(self)
  end
  self._used, self._blanks = 0, ""
end

return M
