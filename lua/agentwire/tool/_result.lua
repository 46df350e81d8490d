--- Results of tools: lists of text and image parts. Everything that ends a call
--- with something for the model to read makes it here, so that whatever a
--- handler returns and whatever went wrong can be sent and read.
local json = require("agentwire.json")
local problems = require("agentwire._problem")
local protocol = require("agentwire.tool.protocol")
local text = require("agentwire.tool._text")

local M = {}

---@class agentwire.ToolResult
---@field parts table[] text and image parts
---@field result_json string the parts as JSON
---@field is_error boolean the tool says that it failed; the model sees why
---@field error_message string?
---@field details_json string? for people and programs, not for the model
---@field duration_ms integer

local function is_part(value)
  return type(value) == "table" and protocol.parts[value.type] == true
end

local function is_part_list(value)
  if not json.is_array(value) then
    return false
  end
  for _, item in ipairs(value) do
    if not is_part(item) then
      return false
    end
  end
  return true
end

--- What a handler returned, as parts.
local function to_parts(value)
  local parts
  if value == nil then
    return json.array {}
  elseif type(value) == "string" then
    parts = { { type = "text", text = value } }
  elseif is_part(value) then
    parts = { value }
  elseif is_part_list(value) then
    parts = value
  else
    local encoded, why = text.encode(value)
    if not encoded then
      return nil, "the result has no JSON form: " .. why
    end
    parts = { { type = "text", text = encoded } }
  end
  local ok, why = protocol.check_parts(parts)
  if not ok then
    return nil, "the result is no list of parts: " .. why
  end
  return json.array(text.repaired(parts))
end

--- A result that says why a tool failed, for the model to read.
---@param message string
---@param duration_ms? integer
---@return agentwire.ToolResult
function M.failure(message, duration_ms)
  message = text.repair(message)
  local parts = json.array { { type = "text", text = message } }
  return {
    parts = parts,
    result_json = json.encode_sorted(parts),
    is_error = true,
    error_message = message,
    duration_ms = duration_ms or 0,
  }
end

--- The result of what a handler returned.
---@param value any
---@param why any beside a value of nil: why the tool failed
---@param details_json string?
---@param duration_ms integer
---@return agentwire.ToolResult|nil result
---@return string? message
---@return string? code tool_execution_error
function M.of(value, why, details_json, duration_ms)
  if value == nil and why ~= nil then
    local result = M.failure(problems.brief(why), duration_ms)
    result.details_json = details_json
    return result
  end
  local parts, problem = to_parts(value)
  local result_json
  if parts then
    result_json, problem = json.encode_sorted(parts)
  end
  if not result_json then
    return nil, problem, "tool_execution_error"
  end
  return {
    parts = parts,
    result_json = result_json,
    is_error = false,
    details_json = details_json,
    duration_ms = duration_ms,
  }
end

return M
