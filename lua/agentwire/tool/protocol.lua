--- The tool protocol as data: message types, what each must hold, and what to
--- answer to an envelope that was refused. Pure: no I/O, no tasks.

local json = require("agentwire.json")
local schema = require("agentwire.tool.schema")
local shape = require("agentwire._shape")

local object, array_of, optional = shape.object, shape.array_of, shape.optional
local text, flag, integer = shape.text, shape.flag, shape.integer

local M = {
  kind = "tool",
  key = "server_id",
  --- A stopped scope's id may be used again, from sequence 1.
  restart = true,
}

M.NIL_ID = "00000000-0000-0000-0000-000000000000"

M.opens = {
  tool_register = true,
  tool_unregister = true,
  tool_list = true,
  tool_execute = true,
  tool_cancel = true,
  tool_status = true,
}

--- A tool scope lives as long as both want it; a sequenced goodbye ends it.
M.ends = { goodbye = true }

M.replies = {
  tool_registered = true,
  tool_unregistered = true,
  tool_list_response = true,
  tool_stream = true,
  tool_result = true,
  tool_cancelled = true,
  tool_error = true,
  tool_status_response = true,
  pong = true,
  goodbye = true,
}

--- Sent even while the window is full.
M.urgent = { tool_cancel = true, goodbye = true }

--- The messages that end an execution.
M.outcomes = { tool_result = true, tool_error = true, tool_cancelled = true }

M.codes = {
  invalid_request = true,
  tool_not_found = true,
  tool_execution_error = true,
  tool_timeout = true,
  rate_limited = true,
  limit = true,
  internal_error = true,
  tool_unavailable = true,
  invalid_arguments = true,
  permission_denied = true,
  restarted = true,
  -- What failed on the way to the tool, when this end is a caller itself.
  cancelled = true,
  closed = true,
  lost = true,
  undeliverable = true,
}

local METADATA = object {
  "name", text,
  "description", text,
  "parameters_schema_json", text,
  "version", optional(text),
  "supports_streaming", optional(flag),
  "estimated_duration_ms", optional(integer),
  "is_destructive", optional(flag),
  "required_permissions", optional(array_of(text)),
}

M.messages = {
  tool_register = object {
    "tool", object {},
    "callback_url", optional(text),
    "server_name", optional(text),
    "instance", optional(text),
  },
  tool_registered = object { "tool_id", text, "registered_at", integer },
  tool_unregister = object { "tool_id", text },
  tool_unregistered = object { "tool_id", text },
  tool_list = object { "prefix", optional(text), "supports_streaming", optional(flag) },
  tool_list_response = object { "tools", array_of(object {}) },
  tool_execute = object {
    "execution_id", text,
    "tool_call_id", text,
    "tool_name", text,
    "args_json", text,
    "timeout_ms", optional(integer),
    "stream_callback_url", optional(text),
  },
  tool_stream = object {
    "execution_id", text,
    "tool_call_id", text,
    "partial_result_json", text,
    "progress", optional(integer),
    "status", optional(text),
  },
  tool_result = object {
    "execution_id", text,
    "tool_call_id", text,
    "result_json", text,
    "is_error", flag,
    "error_message", optional(text),
    "details_json", optional(text),
    "duration_ms", integer,
  },
  tool_cancel = object { "execution_id", text, "reason", optional(text) },
  tool_cancelled = object { "execution_id", text },
  tool_error = object {
    "execution_id", text,
    "code", text,
    "message", text,
  },
  tool_status = object { "execution_id", text },
  tool_status_response = object {
    "execution_id", text,
    "tool_name", text,
    "status", text,
    "started_at", integer,
    "completed_at", optional(integer),
  },
  ping = object {},
  pong = object { "ping_id", text },
  goodbye = object { "reason", optional(text) },
}

--- Checks a received message against its type.
---@param event table flat: payload members and `type`
---@return true|nil ok
---@return string? message names the field
---@return string? code invalid_request
function M.check(event)
  return shape.check_message(M.messages, event)
end

--- What a model can call: the names that all providers take.
---@param name string
---@return true|nil ok
---@return string? message
---@return string? code invalid_request
function M.check_name(name)
  if name:find("^[%w_-]+$") and #name <= 64 then
    return true
  end
  local shown = #name > 70 and name:sub(1, 60) .. "..." or name
  return nil, ("a tool's name has 1 to 64 of a-z, A-Z, 0-9, _ and -, got %q")
    :format(shown), "invalid_request"
end

local function check_schema(parameters_schema_json)
  local decoded, why = json.decode(parameters_schema_json)
  if decoded ~= nil then
    why = schema.new(decoded):problem()
  end
  if why then
    return nil, "parameters_schema_json: " .. why, "invalid_request"
  end
  return true
end

--- Checks a tool's metadata: its name and schema, too, since a provider that is
--- given one bad tool refuses them all.
---@param tool table
---@return true|nil ok
---@return string? message
---@return string? code invalid_request
function M.check_metadata(tool)
  local ok, why, code = shape.check(METADATA, tool)
  if ok then
    ok, why, code = M.check_name(tool.name)
  end
  if ok then
    ok, why, code = check_schema(tool.parameters_schema_json)
  end
  return ok, why, code
end

-- base64, RFC 4648 section 4.
local function base64(value)
  if type(value) ~= "string" then
    return text(value)
  elseif #value % 4 ~= 0 or not value:find("^[%w+/]+=?=?$") then
    return "expected base64"
  end
end

local function mime_type(value)
  if type(value) ~= "string" then
    return text(value)
  elseif not value:find("^[%w!#$&^_.+-]+/[%w!#$&^_.+-]+$") then
    return "expected a media type, as image/png"
  end
end

local PART = shape.by_member("type", {
  text = object { "text", text },
  image = object { "data", base64, "mime_type", mime_type },
})
local PARTS = array_of(PART)

--- The kinds of parts that a result is made of.
M.parts = { text = true, image = true }

--- Checks a result's parts: one that a provider cannot read would stay in the
--- conversation.
---@param parts any
---@return true|nil ok
---@return string? message "[0].data: missing"
function M.check_parts(parts)
  local problem, where = PARTS(parts)
  if problem then
    return nil, (where and where .. ": " or "") .. problem
  end
  return true
end

--- A code that may stand in a `tool_error`; an unknown one reads as
--- internal_error.
---@param code string|nil
---@return string
function M.wire_code(code)
  return M.codes[code] and code or "internal_error"
end

--- The execution id number `count` of a scope: unique because the scope's own
--- random id is its prefix.
---@param scope_id string UUID
---@param count integer
---@return string
function M.execution_id(scope_id, count)
  return ("%s%012x"):format(scope_id:sub(1, 24), count)
end

---@param execution_id string
---@param code string
---@param message string
---@return string type
---@return table payload
function M.error(execution_id, code, message)
  return "tool_error", {
    execution_id = execution_id,
    code = M.wire_code(code),
    message = message,
  }
end

--- What to answer to an envelope that was refused; nil for none.
---@param refusal table {code, message, field?, type?, message_id?, id, sequence?, known}
---@return string? type
---@return table? payload
function M.refuse(refusal)
  if M.replies[refusal.type] then
    return nil
  end
  local message = refusal.code .. ": " .. tostring(refusal.message)
  if refusal.field then
    message = message .. " (" .. refusal.field .. ")"
  end
  local id = refusal.execution_id or refusal.message_id or M.NIL_ID
  return M.error(id, refusal.code == "limit" and "limit" or "invalid_request",
    message)
end

--- The last message of a scope whose handler failed here.
---@param code string
---@param message string
---@return string type
---@return table payload
function M.fail(code, message)
  return M.error(M.NIL_ID, code, message)
end

--- What is said in a scope that its opener no longer wants.
---@return string type
---@return table payload
function M.abandon()
  return "goodbye", { reason = "no longer wanted" }
end

return M
