--- The agent protocol as data: message types, what each must hold, and what to
--- answer to an envelope that was refused. Pure: no I/O, no tasks.

local canonical = require("agentwire._canonical")
local json = require("agentwire.json")
local misuse = require("agentwire._misuse")
local shape = require("agentwire._shape")
local tool_protocol = require("agentwire.tool.protocol")

local object, array_of, optional = shape.object, shape.array_of, shape.optional
local text, flag, integer = shape.text, shape.flag, shape.integer

local M = {
  kind = "agent",
  key = "session_id",
  --- A stopped session's id may be started again, from sequence 1.
  restart = true,
}

M.opens = { agent_start = true }

M.ends = { agent_stopped = true }

M.replies = {
  agent_started = true,
  agent_event = true,
  agent_result = true,
  agent_stopped = true,
  agent_error = true,
  session_info = true,
  tool_list_response = true,
  tool_result = true,
  tool_streaming = true,
  pong = true,
  goodbye = true,
}

--- Sent even while the window is full.
M.urgent = { agent_cancel = true, agent_stop = true }

M.codes = {
  invalid_request = true,
  agent_not_found = true,
  tool_not_found = true,
  tool_execution_error = true,
  context_overflow = true,
  limit = true,
  rate_limited = true,
  internal_error = true,
  agent_busy = true,
  session_expired = true,
  version_mismatch = true,
  invalid_sequence = true,
  duplicate_sequence = true,
  sequence_gap = true,
  -- Why a run's model or link failed: told as it was.
  aborted = true,
  cancelled = true,
  closed = true,
  lost = true,
  model_not_found = true,
  no_credentials = true,
  overloaded = true,
  provider_error = true,
  stream_not_found = true,
  timeout = true,
  unauthenticated = true,
  undeliverable = true,
}

M.modes = { prompt = true, steer = true, follow_up = true }

M.messages = {
  agent_start = object {
    "config_json", text,
    "system_prompt", optional(text),
    "resume_session_id", optional(text),
  },
  agent_message = object {
    "message_json", text,
    "session_id", text,
    "options_json", optional(text),
  },
  agent_cancel = object { "session_id", text, "reason", optional(text) },
  agent_stop = object { "session_id", text, "reason", optional(text) },
  agent_status = object { "session_id", text },
  tool_list = object { "prefix", optional(text) },
  agent_started = object { "session_id", text },
  agent_event = object { "event_json", text },
  agent_result = object { "result_json", text },
  agent_stopped = object { "session_id", text, "reason", optional(text) },
  agent_error = object { "code", text, "message", text },
  session_info = object {
    "session_id", text,
    "status", text,
    "model", text,
    "message_count", integer,
    "created_at", integer,
    "updated_at", integer,
  },
  tool_list_response = object { "tools", array_of(object {}) },
  tool_execute = object {
    "tool_call_id", text,
    "tool_name", text,
    "args_json", text,
    "callback_url", optional(text),
  },
  tool_result = object {
    "tool_call_id", text,
    "result_json", text,
    "is_error", flag,
    "details_json", optional(text),
  },
  tool_streaming = object {
    "tool_call_id", text,
    "partial_json", text,
  },
}

--- Checks a received message against its type.
---@param event table flat: payload members and `type`
---@return true|nil ok
---@return string? message names the field
---@return string? code invalid_request
function M.check(event)
  return shape.check_message(M.messages, event)
end

--- A code that may stand in an `agent_error`; an unknown one reads as
--- internal_error.
---@param code string|nil
---@return string
function M.wire_code(code)
  return M.codes[code] and code or "internal_error"
end

---@param code string
---@param message string
---@return string type
---@return table payload
function M.error(code, message)
  return "agent_error", { code = M.wire_code(code), message = message }
end

--- What to answer to an envelope that was refused; nil for none.
---@param refusal table {code, message, field?, type?, message_id?, id, sequence?, known}
---@return string? type
---@return table? payload
function M.refuse(refusal)
  if M.replies[refusal.type] then
    return nil
  end
  if refusal.code == "unknown_scope" then
    return M.error("agent_not_found", "no such session")
  end
  local message = tostring(refusal.message)
  if refusal.field then
    message = message .. " (" .. refusal.field .. ")"
  end
  local code = M.codes[refusal.code] and refusal.code or "invalid_request"
  return M.error(code, message)
end

--- The last message of a session whose handler failed here.
---@param code string
---@param message string
---@return string type
---@return table payload
function M.fail(code, message)
  return M.error(code, message)
end

--- What is said in a scope that its opener no longer wants.
---@param id string
---@return string type
---@return table payload
function M.abandon(id)
  return "agent_stop", { session_id = id, reason = "no longer wanted" }
end

--- A user message from what a caller may give: text, or a message table.
---@param message string|table
---@return table
function M.user_message(message)
  if type(message) == "string" then
    return { role = "user", content = message }
  end
  if type(message) ~= "table" then
    misuse.raise("a message is text or a table, not %s",
      misuse.describe(message))
  end
  return message
end

--- Reads `message_json`: a user message, whose content is text or parts.
---@param encoded string
---@return table|nil message
---@return string? message
---@return string? code invalid_request
function M.parse_message(encoded)
  local message, why, code = shape.decode_object(encoded, "message_json")
  if not message then
    return nil, why, code
  end
  local content = message.content
  if type(content) ~= "string" and not json.is_array(content) then
    return nil, "message_json: content: expected string or parts", "invalid_request"
  end
  if message.role ~= nil and message.role ~= "user" then
    return nil, "message_json: role: expected user", "invalid_request"
  end
  message.role = "user"
  return message
end

local MODE = shape.one_of { "all", "one_at_a_time" }

local function model(value)
  if type(value) ~= "string" then
    return object {}(value)
  end
end

local function turns(value)
  if integer(value) or value < 1 then
    return "expected integer of 1 or more"
  end
end

local CONFIG = object {
  "model", optional(model),
  "tools", optional(array_of(shape.any)),
  "options", optional(object {}),
  "max_turns", optional(turns),
  "steering_mode", optional(MODE),
  "follow_up_mode", optional(MODE),
}

--- Reads `config_json`: model, tools, options, max_turns, steering_mode,
--- follow_up_mode. What it does not know is left alone.
---@param encoded string
---@return table|nil config
---@return string? message
---@return string? code invalid_request
function M.parse_config(encoded)
  local config, why, code = shape.decode_object(encoded, "config_json")
  if not config then
    return nil, why, code
  end
  local ok
  ok, why, code = shape.check(CONFIG, config)
  if not ok then
    return nil, "config_json: " .. why, code
  end
  return config
end

--- Reads `options_json`; base peers send members of their own here, which are
--- left alone.
---@param encoded string|nil
---@return string|nil mode prompt, steer or follow_up
---@return string? message
---@return string? code invalid_request
function M.parse_mode(encoded)
  local options, why, code = shape.decode_object(encoded, "options_json")
  if not options then
    return nil, why, code
  end
  local mode = options.mode
  if mode == nil or mode == json.null then
    return "prompt"
  end
  if not M.modes[mode] then
    return nil, "options_json: mode: expected prompt, steer or follow_up", "invalid_request"
  end
  return mode
end

--- The tools that a client offers in its config: metadata with the schema as
--- a string, or embedded as `parameters`.
---@param tools any
---@param limit integer
---@return table[]|nil metadata
---@return string? message
---@return string? code
function M.parse_offered_tools(tools, limit)
  if tools == nil or tools == json.null then
    return {}
  end
  if type(tools) ~= "table" then
    return nil, "config_json: tools: expected array", "invalid_request"
  end
  if #tools > limit then
    return nil, ("config_json: more than %d tools"):format(limit), "rate_limited"
  end
  local list = {}
  for index, tool in ipairs(tools) do
    local where = ("config_json: tools[%d]"):format(index - 1)
    if type(tool) ~= "table" or type(tool.name) ~= "string" then
      return nil, where .. ".name: expected string", "invalid_request"
    end
    local schema = tool.parameters_schema_json or tool.parameters
    if type(schema) == "table" and schema ~= json.null then
      schema = json.encode(canonical.schema(schema))
    end
    list[index] = {
      name = tool.name,
      description = shape.member(tool, "description", "string") or "",
      parameters_schema_json = type(schema) == "string" and schema or "{}",
    }
    local ok, why, code = tool_protocol.check_metadata(list[index])
    if not ok then
      return nil, where .. ": " .. why, code
    end
  end
  return list
end

return M
