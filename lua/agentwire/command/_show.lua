--- An agent's run as a person sees it: the answer as it comes, each tool call
--- in two short lines.
local json = require("agentwire.json")
local screens = require("agentwire.command._screen")
local wraps = require("agentwire.command._wrap")

local M = {}

-- As much of a result as is looked at for its line.
local LINE_MAX = 4096

-- Of a line, what is left for a call beside its marks.
local MARGIN = 6

---@class agentwire.command.Show
---@field thinking boolean
local Show = {}
Show.__index = Show

---@param screen agentwire.command.Screen
---@param thinking boolean? show what the model thinks
---@return agentwire.command.Show
function M.new(screen, thinking)
  local function columns()
    return screen.out_terminal and screen:columns() or math.huge
  end
  local function in_line()
    return screen:is_in_line()
  end
  return setmetatable({
    thinking = thinking == true,
    _screen = screen,
    _text = wraps.new(function(text)
      screen:write(text)
    end, columns, in_line),
    _thought = wraps.new(function(text)
      screen:write(screen:paint("dim", text))
    end, columns, in_line),
    _muted = false,
  }, Show)
end

local function line(self, colour, mark, text)
  local screen = self._screen
  screen:finish_line()
  text = screens.one_line(text:sub(1, LINE_MAX))
  if screen.out_terminal then
    text = screens.cut(text, math.max(20, screen:columns() - MARGIN))
  end
  screen:print(screen:paint(colour, ("  %s %s"):format(mark, text)))
end

-- The beginning of a result, and how much more there is.
local function summary(event)
  local parts = json.decode(event.result_json or "") or {}
  local first = type(parts) == "table" and parts[1] or {}
  if first.type ~= "text" then
    return #parts == 0 and "nothing"
      or ("%d parts, the first %s"):format(#parts, first.mime_type or "without type")
  end
  local _, more = first.text:gsub("\n+%f[^\n%z]", "")
  local head = first.text:match("^[^\n]*")
  return more > 0 and ("%s (%d more lines)"):format(head, more) or head
end

local SHOW = {}

function SHOW.message_update(self, event)
  local kind, delta = event.event.type, event.event.delta
  if kind == "text_delta" then
    self._text:put(screens.harmless(delta))
  elseif kind == "thinking_delta" and self.thinking then
    self._thought:put(screens.harmless(delta))
  elseif kind == "thinking_delta" then
    self._screen:status("thinking")
  elseif kind == "text_end" or kind == "thinking_end" then
    self._text:finish()
    self._thought:finish()
    self._screen:finish_line()
  end
end

function SHOW.turn_start(self)
  self._screen:status("waiting for the model")
end

function SHOW.tool_execution_start(self, event)
  local args = event.args_json ~= "{}" and " " .. event.args_json or ""
  line(self, "cyan", "->", event.tool_name .. args)
end

function SHOW.tool_execution_update(self, event)
  self._screen:status(("  %s: %s%s"):format(event.tool_name,
    event.progress and ("%d %% "):format(event.progress) or "",
    event.status or ""))
end

function SHOW.tool_execution_end(self, event)
  if event.is_error then
    line(self, "red", "<-", "failed: " .. summary(event))
  else
    line(self, "green", "<-", summary(event))
  end
end

function SHOW.tool_source_out(self, event)
  line(self, "yellow", "!!", ("the tools of %s are away: %s"):format(
    event.source or "a source", event.message or event.code or ""))
end

---@param event table
function Show:event(event)
  local fn = SHOW[event.type]
  if event.type == "agent_start" then
    self._muted = false
  elseif fn and not self._muted then
    fn(self, event)
  end
end

-- Why an answer ended before its end.
local REASONS = {
  aborted = "stopped", length = "cut: the model's limit was reached",
  max_turns = "stopped: too many turns", content_filter = "cut by a filter",
}

--- Shows no more of this run: who has stopped it does not want to read on.
function Show:mute()
  self._muted = true
  self._text:finish()
  self._thought:finish()
  self._screen:finish_line()
end

--- The end of a run that has a result.
---@param result table
function Show:finish(result)
  local screen = self._screen
  screen:status(nil)
  screen:finish_line()
  local reason = REASONS[result.stop_reason]
  if reason then
    line(self, "yellow", "--", reason)
  end
end

return M
