--- The provider protocol as data: message types, checks of what a peer sent,
--- builders of what we send, answers to refused envelopes. Pure: no connection,
--- no tasks.
local canonical = require("agentwire._canonical")
local clock = require("agentwire._clock")
local json = require("agentwire.json")
local model_ref = require("agentwire.provider.model_ref")
local schema = require("agentwire.provider._schema")
local shape = require("agentwire._shape")
local tables = require("agentwire._tables")

local M = { kind = "provider", key = "stream_id", restart = false }

local function set(list)
  local members = {}
  for _, name in ipairs(list) do
    members[name] = true
  end
  return members
end

--- Types by which a peer opens a scope. `abort_request` is one of them because
--- it may come in a scope of its own and name another as its target.
M.opens = set {
  "stream_request", "complete_request", "models_request", "abort_request",
}

--- Types after which a scope is over. `nack` is not here: the one that answers
--- the opening request ends the scope, a later one does not.
M.ends = set { "result", "stream_error", "models_response" }

--- Types that stand for all that was sent before them, if they are numbered.
M.states = set { "sync" }

--- Types that may go outside the credit, so that a stalled stream can always
--- be aborted.
M.urgent = set { "abort_request" }

--- What each message's payload has to look like.
M.messages = schema.payloads

--- Events of a stream, in the order in which a stream may show them.
M.events = set {
  "start", "text_start", "text_delta", "text_end", "thinking_start",
  "thinking_delta", "thinking_end", "toolcall_start", "toolcall_delta",
  "toolcall_end", "done", "error", "keepalive", "warning",
}

--- Those that carry a piece of a block, in `delta`. What other events have by
--- that name means nothing.
M.deltas = set { "text_delta", "thinking_delta", "toolcall_delta" }

--- Types that are never answered when refused, so that two peers cannot
--- answer each other's errors for ever.
M.replies = set {
  "ack", "nack", "result", "stream_error", "models_response", "pong", "sync",
  "goodbye",
}
for name in pairs(M.events) do
  M.replies[name] = true
end

M.codes = set {
  "invalid_request", "model_not_found", "provider_error", "rate_limited",
  "internal_error", "stream_not_found", "stream_already_exists",
  "version_mismatch", "invalid_sequence", "duplicate_sequence",
  "sequence_gap", "not_implemented", "aborted", "timeout", "overloaded",
  "unauthenticated", "limit", "context_overflow", "billing", "refused",
  "truncated",
  -- What failed on the way to the model, when this server is a client itself.
  "closed", "lost", "undeliverable",
}

M.stop_reasons = set {
  "stop", "length", "tool_use", "content_filter", "error", "aborted",
  "pause", "refusal", "steered",
}

--- Why no call of a message is executed that ended so.
M.cut_reasons = {
  length = "the message was cut at its length limit",
  content_filter = "the message was cut by a content filter",
  refusal = "the model refused",
  error = "the message failed",
  aborted = "the message was aborted",
}

-- What base peers are told in place of a stop reason of ours.
local BASE_STOP = { pause = "stop", steered = "stop", refusal = "content_filter" }

-- Members of an assistant message that only we write; a `result` has them too.
local OWN_MEMBERS = { "stop_raw", "stop_details", "provider_state", "state_of" }

--- Whether a peer may know the base protocol alone; what is linked in one
--- process is ours.
---@param connection agentwire.Connection
---@return boolean
function M.is_base(connection)
  local info = connection:info()
  return not info.extended and info.transport ~= "memory"
end

--- A message as a base peer is told it.
---@param message table stays as it is
---@return table message
function M.base_message(message)
  if not BASE_STOP[message.stop_reason] then
    return message
  end
  local told = tables.copy(message)
  told.stop_reason = BASE_STOP[message.stop_reason]
  return told
end

--- A peer's error code; one that is unknown reads as `internal_error`.
---@param code any
---@return string
function M.read_code(code)
  return M.codes[code] and code or "internal_error"
end

local REFUSALS = {
  unknown_scope = "stream_not_found",
  exists = "stream_already_exists",
}

--- What to answer to an envelope that the core refused. The refusal has
--- `code`, `message`, `id` of the scope, whether the scope is `known`, and as
--- far as they could be read `field`, `type` and `message_id`.
---@param refusal table
---@return string|nil type nil when the message must not be answered
---@return table|nil payload
function M.refuse(refusal)
  local kind, code = refusal.type, refusal.code
  if kind and M.replies[kind] then
    return nil
  end
  local about = refusal.message_id or refusal.id
  local late = not refusal.known or code == "ended"
  if kind == "abort_request" and late and code ~= "version_mismatch"
    and code ~= "invalid_request" then
    return "ack", { acknowledged_id = about }
  end
  local reason = refusal.message or code
  if refusal.field and not reason:find(refusal.field, 1, true) then
    reason = refusal.field .. ": " .. reason
  end
  code = REFUSALS[code] or code
  return "nack", {
    rejected_id = about,
    reason = reason,
    error_code = M.codes[code] and code or "invalid_request",
    supported_versions = code == "version_mismatch" and json.array { "1" }
      or nil,
  }
end

--- The terminal error message of a stream whose handler failed.
---@param code string
---@param message string
---@return string type
---@return table payload
function M.fail(code, message)
  return "stream_error", {
    code = M.read_code(code), message = tostring(message),
  }
end

--- What is said in a scope that its opener no longer wants.
---@param id string
---@return string type
---@return table payload
function M.abandon(id)
  return "abort_request", { target_stream_id = id, reason = "no longer wanted" }
end

--- Checks a payload that a peer sent.
---@param kind string message type
---@param payload table
---@return boolean|nil ok
---@return string|nil message names the field
---@return string|nil code invalid_request or not_implemented
---@return string|nil field path of the field, JSON style (`messages[0].role`)
function M.check(kind, payload)
  if not M.messages[kind] then
    return nil, "unknown message type " .. tostring(kind), "not_implemented"
  end
  return shape.check(M.messages[kind], payload)
end

--- Checks one message in its wire form.
---@param message table
---@return boolean|nil ok
---@return string|nil problem names the field
function M.check_message(message)
  return shape.check(schema.message, message)
end

--- Checks a `stream_request` or `complete_request` and brings it into one
--- form, in place: nulls dropped, a bare `tool_choice` widened, defaults set.
---@param kind string
---@param payload table
---@return table|nil request
---@return string|nil message
---@return string|nil code
---@return string|nil field
function M.read_request(kind, payload)
  local ok, message, code, field = M.check(kind, payload)
  if not ok then
    return nil, message, code, field
  end
  local model, context = shape.drop_nulls(payload.model), shape.drop_nulls(payload.context)
  local options = shape.drop_nulls(payload.options) or {}
  model.name = model.name or model.id
  model.base_url = model.base_url or ""
  for _, entry in ipairs(context.messages) do
    shape.drop_nulls(entry)
  end
  for _, tool in ipairs(context.tools or {}) do
    shape.drop_nulls(tool)
    local parameters = tool.parameters_schema_json
    if type(parameters) == "table" and not json.is_array(parameters) then
      json.sorted(parameters) -- an adapter writes it the same each time
    end
  end
  if type(options.tool_choice) == "string" then
    options.tool_choice = { type = options.tool_choice }
  end
  payload.options = options
  payload.include_partial = payload.include_partial == true
  return payload
end

--- A `models_request` in one form, with its defaults: what else the message
--- holds is not handed on.
---@param payload table one that was checked
---@return table query
function M.read_query(payload)
  return {
    provider_id = payload.provider_id,
    api = payload.api,
    model_id = payload.model_id,
    include_deprecated = payload.include_deprecated == true,
    include_login_required = payload.include_login_required ~= false,
  }
end

--- Token counts with every member present.
---@param usage table|nil
---@return table usage input, output, cache_read, cache_write; `reasoning` and
--- `total` where they are known
function M.usage(usage)
  if type(usage) ~= "table" then
    usage = {}
  end
  return {
    input = tonumber(usage.input) or 0,
    output = tonumber(usage.output) or 0,
    cache_read = tonumber(usage.cache_read) or 0,
    cache_write = tonumber(usage.cache_write) or 0,
    reasoning = tonumber(usage.reasoning),
    total = tonumber(usage.total),
  }
end

local function take_own(from, to)
  for _, name in ipairs(OWN_MEMBERS) do
    to[name] = from[name]
  end
  return to
end

--- The assistant message of a `result` payload (or of a `sync`'s partial).
---@param result table
---@return table message
function M.message_from_result(result)
  local nested = type(result.usage) == "table" and result.usage
  return take_own(result, {
    role = "assistant",
    model = result.model,
    api = result.api,
    provider = result.provider,
    timestamp = result.timestamp,
    stop_reason = result.stop_reason,
    usage = M.usage(nested or result),
    content = shape.is_list(result.content) and result.content
      or json.array {},
  })
end

--- The `result` payload of an assistant message.
---@param message table
---@return table result
function M.result_from_message(message)
  local usage = M.usage(message.usage)
  return take_own(message, {
    type = "result",
    stop_reason = message.stop_reason or "stop",
    model = message.model or "",
    api = message.api or "",
    provider = message.provider or "",
    timestamp = message.timestamp or clock.now_ms(),
    input = usage.input,
    output = usage.output,
    cache_read = usage.cache_read,
    cache_write = usage.cache_write,
    reasoning = usage.reasoning,
    total = usage.total,
    content = json.array(message.content or {}),
  })
end

--- All text blocks of a message, or its string content, as one string.
---@param message table
---@return string
function M.text_of(message)
  local content = message.content
  if type(content) ~= "table" then
    return type(content) == "string" and content or ""
  end
  local pieces = {}
  for _, block in ipairs(content) do
    if block.type == "text" then
      pieces[#pieces + 1] = block.text
    end
  end
  return table.concat(pieces)
end

--- Whether a text is what a call's arguments are: a JSON object.
---@param text string
---@return boolean
function M.is_arguments(text)
  local value = json.decode(text)
  return type(value) == "table" and value ~= json.null
    and not json.is_array(value)
end

--- The tool calls of an assistant message, in order.
---@param message table
---@return table[] calls blocks with `id`, `name`, `arguments_json`
function M.tool_calls(message)
  local calls = {}
  for _, block in ipairs(message.content or {}) do
    if block.type == "tool_call" then
      calls[#calls + 1] = block
    end
  end
  return calls
end

local function block_events(emit, index, block)
  if block.type == "text" then
    emit { type = "text_start", content_index = index }
    emit { type = "text_delta", content_index = index, delta = block.text }
    emit {
      type = "text_end", content_index = index,
      provider_state = block.provider_state,
    }
  elseif block.type == "thinking" then
    emit { type = "thinking_start", content_index = index }
    emit {
      type = "thinking_delta", content_index = index, delta = block.thinking,
    }
    emit {
      type = "thinking_end", content_index = index,
      provider_state = block.provider_state, opaque = block.opaque,
    }
  elseif block.type == "tool_call" then
    emit {
      type = "toolcall_start", content_index = index,
      id = block.id, name = block.name,
    }
    emit {
      type = "toolcall_delta", content_index = index,
      delta = block.arguments_json,
    }
    emit {
      type = "toolcall_end", content_index = index, id = block.id,
      name = block.name, arguments_json = block.arguments_json,
      thought_signature = block.thought_signature,
      provider_state = block.provider_state, incomplete = block.incomplete,
    }
  end
end

--- Emits the block events of a whole message: for an upstream that does not
--- stream. Image blocks have no events; they travel in the result.
---@param message table
---@param emit fun(event: table)
function M.emit_message(message, emit)
  for index, block in ipairs(message.content or {}) do
    block_events(emit, index - 1, block)
  end
end

local function text_part(text)
  return { type = "text", text = text }
end

local function build_parts(content)
  if type(content) == "string" then
    return json.array { text_part(content) }
  end
  local parts = {}
  for index, part in ipairs(content) do
    if type(part) == "string" then
      part = text_part(part)
    elseif type(part) == "table" and not part.type and part.text then
      part = tables.copy(part)
      part.type = "text"
    end
    parts[index] = part
  end
  return json.array(parts)
end

local BUILD = {}

function BUILD.user(message)
  if type(message.content) ~= "string" then
    message.content = build_parts(message.content)
  end
end

function BUILD.assistant(message)
  message.content = build_parts(message.content)
  message.model = message.model or ""
  message.api = message.api or ""
  message.provider = message.provider or ""
  message.stop_reason = message.stop_reason or "stop"
  message.usage = M.usage(message.usage)
end

function BUILD.tool(message)
  message.content = build_parts(message.content)
  message.tool_name = message.tool_name or ""
  message.is_error = message.is_error == true
end

--- A message in its wire form: string content and missing bookkeeping fields
--- are filled in. The argument stays as it is.
---@param message table
---@return table|nil built
---@return string|nil problem
function M.build_message(message)
  if type(message) ~= "table" then
    return nil, "a message must be a table"
  end
  local build = BUILD[message.role]
  if not build then
    return nil, "unknown message role " .. tostring(message.role)
  end
  local content = message.content
  if type(content) ~= "string" and type(content) ~= "table" then
    return nil, "a message needs content"
  end
  local built = tables.copy(message)
  built.timestamp = built.timestamp or clock.now_ms()
  build(built)
  return built
end

--- A model in its wire form. A string is `provider/model`, or a model
--- reference `provider/api@model`, or a bare model id; the parts that it does
--- not name are empty, and the server chooses by the others.
---@param model string|table
---@return table|nil built
---@return string|nil problem
function M.build_model(model)
  if type(model) == "string" and model ~= "" then
    local parts = model_ref.parse(model)
    if parts then
      model = {
        id = parts.model_id, api = parts.api, provider = parts.provider,
      }
    else
      local provider, id = model:match("^([^/]+)/(.+)$")
      model = { id = id or model, provider = provider }
    end
  end
  if type(model) ~= "table" then
    return nil, "model must be a string or a table"
  end
  local id = model.id or model.model_id
  if type(id) ~= "string" or id == "" then
    return nil, "model.id is missing"
  end
  return {
    id = id,
    name = model.name or model.display_name or id,
    api = model.api or "",
    provider = model.provider or model.provider_id or "",
    base_url = model.base_url or "",
  }
end

-- An embedded JSON value is this protocol's form of a schema.
local function build_schema(value)
  if type(value) == "string" then
    value = json.decode(value) or value
  end
  return canonical.schema(value or { type = "object" })
end

local function build_tools(tools)
  local built = {}
  for index, tool in ipairs(tools) do
    if type(tool) ~= "table" or type(tool.name) ~= "string" then
      return nil, "tools[" .. index .. "] needs a name"
    end
    built[index] = {
      name = tool.name,
      description = tool.description or "",
      parameters_schema_json =
        build_schema(tool.parameters_schema_json or tool.parameters),
    }
  end
  return json.array(built)
end

-- Lua 5.4 keeps 64.0 and 64 apart and the wire does; whole floats become
-- integers here, once for each request.
local function whole(value)
  if type(value) == "number" and value % 1 == 0 then
    return math.floor(value)
  end
  return value
end

local INTEGER_OPTIONS = {
  "max_tokens", "thinking_budget_tokens", "http_timeout_ms",
  "ping_interval_ms", "seed",
}

local function build_options(options)
  local built = tables.copy(options)
  for _, name in ipairs(INTEGER_OPTIONS) do
    built[name] = whole(built[name])
  end
  if type(built.tool_choice) == "string" then
    built.tool_choice = { type = built.tool_choice }
  end
  for _, name in ipairs { "headers", "stop_sequences" } do
    built[name] = built[name] and json.array(built[name])
  end
  if built.response_schema then
    built.response_schema = build_schema(built.response_schema)
  end
  return next(built) ~= nil and built or nil
end

-- A system message among the messages moves to where the wire has it.
local function build_messages(messages, system_prompt)
  local built = {}
  for _, message in ipairs(messages) do
    if type(message) == "table" and message.role == "system" then
      system_prompt = (system_prompt and system_prompt .. "\n\n" or "")
        .. M.text_of(message)
    else
      local one, problem = M.build_message(message)
      if not one then
        return nil, problem
      end
      built[#built + 1] = one
    end
  end
  return json.array(built), nil, system_prompt
end

--- The payload of a `stream_request` or `complete_request` from what a caller
--- wrote: `model`, `messages` or `context`, `system_prompt`, `tools`,
--- `options`, `include_partial`.
---@param request table
---@return table|nil payload
---@return string|nil problem
function M.build_request(request)
  local model, problem = M.build_model(request.model)
  if not model then
    return nil, problem
  end
  local context = request.context or request
  local list = context.messages
  if type(list) ~= "table" or next(list) ~= nil and list[1] == nil then
    return nil, "messages: expected a list of messages" .. (
      type(list) == "table" and list.role
      and "; this is one message, put it in { }" or "")
  end
  local messages, system_prompt
  messages, problem, system_prompt =
    build_messages(context.messages, context.system_prompt)
  if not messages then
    return nil, problem
  end
  local tools
  if context.tools and next(context.tools) then
    tools, problem = build_tools(context.tools)
    if not tools then
      return nil, problem
    end
  end
  return {
    model = model,
    context = {
      system_prompt = system_prompt, messages = messages, tools = tools,
    },
    options = request.options and build_options(request.options) or nil,
    include_partial = request.include_partial and true or nil,
  }
end

--- A model descriptor with the members that it lacks filled in.
---@param model table needs `model_id` (or `id`), `provider_id`, `api`
---@return table descriptor
function M.build_descriptor(model)
  local built = tables.copy(model)
  built.id = nil
  built.model_id = model.model_id or model.id
  built.provider_id = model.provider_id or model.provider
  built.provider = nil
  built.display_name = model.display_name or model.name or built.model_id
  built.name = nil
  built.auth_status = model.auth_status or "unknown"
  built.lifecycle = model.lifecycle or "stable"
  built.source = model.source or "static_fallback"
  built.capabilities = json.array(model.capabilities or { "chat", "streaming" })
  built.model_ref = model.model_ref or model_ref.format {
    provider = built.provider_id, api = built.api, model_id = built.model_id,
  } or ""
  return built
end

local function wanted(model, query)
  return (not query.provider_id or model.provider_id == query.provider_id)
    and (not query.api or model.api == query.api)
    and (not query.model_id or model.model_id == query.model_id)
    and (query.include_deprecated or model.lifecycle ~= "deprecated")
    and (query.include_login_required ~= false
      or model.auth_status ~= "login_required")
end

--- The descriptors that a `models_request` asks for.
---@param models table[]
---@param query table payload of the request
---@return table[] descriptors
function M.filter_models(models, query)
  local found = {}
  for _, model in ipairs(models) do
    if wanted(model, query) then
      found[#found + 1] = model
    end
  end
  return json.array(found)
end

return M
