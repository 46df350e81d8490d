-- A plain splitter of server-sent events and of lines, for the specs of readers:
-- bytes in any pieces, events out.
local M = {}

local Splitter = {}
Splitter.__index = Splitter

--- Calls `on_event(data, name)` for each event.
function M.new(on_event)
  return setmetatable({ _rest = "", _data = {}, _name = nil,
    _on_event = on_event }, Splitter)
end

local function take_line(self, line)
  if line == "" then
    if #self._data > 0 then
      self._on_event(table.concat(self._data, "\n"), self._name)
    end
    self._data, self._name = {}, nil
    return
  end
  local field, value = line:match("^([^:]*):? ?(.*)$")
  if field == "data" then
    self._data[#self._data + 1] = value
  elseif field == "event" then
    self._name = value
  end
end

-- A CR at the end waits for what may be its LF.
function Splitter:push(bytes)
  local text = self._rest .. bytes
  while true do
    local at, ends = text:find("\r?\n")
    local cr = text:find("\r", 1, true)
    if cr and cr < #text and (not at or cr < at) then
      at, ends = cr, cr
    end
    if not at then
      break
    end
    take_line(self, text:sub(1, at - 1))
    text = text:sub(ends + 1)
  end
  self._rest = text
end

--- The same for lines of JSON; the last one may lack its end.
function M.lines(on_event)
  local rest = ""
  return {
    push = function(_, bytes)
      rest = rest .. bytes
      for line in rest:gmatch("([^\n]*)\n") do
        if line:find("%S") then
          on_event((line:gsub("\r$", "")))
        end
      end
      rest = rest:match("([^\n]*)$")
    end,
    close = function()
      if rest:find("%S") then
        on_event(rest)
      end
    end,
  }
end

return M
