--- Reads the lines of Ollama's chat. Pure.
local blocks = require("agentwire.providers._blocks")
local errors = require("agentwire.providers._errors")
local fingerprint = require("agentwire.providers._fingerprint")
local json = require("agentwire.json")
local state = require("agentwire.providers._state")
local usages = require("agentwire.providers._usage")
local values = require("agentwire.providers._values")

local M = {}

local filled, object, objects = values.filled, values.object, values.objects

local STOP = { stop = "stop", length = "length" }

---@class agentwire.OllamaReader
---@field ended boolean
---@field usage table|nil
local Reader = {}
Reader.__index = Reader

---@param given table emit, settings
---@return agentwire.OllamaReader
function M.new(given)
  return setmetatable({
    ended = false,
    usage = nil,
    _blocks = blocks.new(given.emit, given.settings.max_arguments_bytes),
    _calls = 0,
    _reason = nil,
    _raw_usage = nil,
  }, Reader)
end

-- Calls come whole and have no ids: ours follows from what is called, and where.
local function read_call(self, given)
  local spec = object(given["function"]) or {}
  local name, arguments = filled(spec.name) or "unnamed", spec.arguments
  if type(arguments) ~= "string" then
    arguments = json.encode_sorted(object(arguments) or {})
  end
  self._calls = self._calls + 1
  self._blocks:close_current()
  local block = self._blocks:open("tool", filled(given.id) or "call_"
    .. fingerprint.hex(self._calls .. name .. arguments), name)
  local ok, why, code = self._blocks:add(block, arguments)
  self._blocks:close(block)
  return ok, why, code
end

local function read_end(self, line)
  self.ended = true
  self._reason = filled(line.done_reason)
  self._raw_usage = { prompt_eval_count = tonumber(line.prompt_eval_count),
    eval_count = tonumber(line.eval_count) }
  self.usage = usages.of { input = line.prompt_eval_count,
    output = line.eval_count }
end

--- Takes one line.
---@param data string
---@return true|nil ok
---@return string|nil text
---@return string|nil code
---@return table|nil details
function Reader:feed(data)
  local line = object(json.decode(data))
  if not line then
    return nil, "the provider sent a line that is no JSON", "truncated"
  elseif filled(line.error) or object(line.error) then
    local text, code, details = errors.read(line)
    return nil, text, code, details
  end
  local message = object(line.message) or {}
  local thinking = filled(message.thinking) or filled(message.reasoning_content)
  if thinking then
    self._blocks:say("thinking", thinking).state = { thinking = true }
  end
  if filled(message.content) then
    self._blocks:say("text", message.content)
  end
  for _, call in ipairs(objects(message.tool_calls)) do
    local ok, text, code = read_call(self, call)
    if not ok then
      return nil, text, code
    end
  end
  if line.done == true then
    read_end(self, line)
  end
  return true
end

--- The end of what the upstream sent.
---@return table|nil message
---@return string|nil text
---@return string|nil code
---@return table|nil details
function Reader:finish()
  if not self.ended then
    return errors.truncated(self.usage)
  end
  self._blocks:close_all()
  local reason = STOP[self._reason]
  if self._blocks.has_call and reason ~= "length" then
    reason = "tool_use"
  end
  return {
    stop_reason = reason or "stop", stop_raw = self._reason, usage = self.usage,
    provider_state = state.write { usage = self._raw_usage },
  }
end

return M
