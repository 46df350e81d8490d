--- What Anthropic's Messages API is asked: a request of ours as its body. Pure.
local call_ids = require("agentwire.providers._call_ids")
local json = require("agentwire.json")
local schemas = require("agentwire.providers._tool_schema")
local state = require("agentwire.providers._state")
local transcript = require("agentwire.providers._transcript")

local M = {}

local RESERVED = { model = true, messages = true, stream = true }

-- It has to be said how long an answer may be.
local MAX_TOKENS = 4096

-- The least budget for thinking that is taken, and what is left for the answer.
local LEAST_BUDGET, ANSWER_TOKENS = 1024, 1024

local BUDGETS = { minimal = 1024, low = 2048, medium = 8192, high = 16384,
  xhigh = 32768, max = 32768 }

local function part_of(part)
  if part.type == "image" then
    return { type = "image", source = { type = "base64",
      media_type = part.mime_type, data = part.data } }
  end
  return { type = "text", text = part.text }
end

local BLOCK = {}

function BLOCK.text(block)
  local kept = state.read(block) or {}
  return { type = "text", text = block.text, citations = kept.citations }
end

function BLOCK.thinking(block)
  local kept = state.read(block)
  if block.opaque then
    return kept
  end
  return kept and { type = "thinking", thinking = block.thinking,
    signature = kept.signature }
end

function BLOCK.tool_call(block)
  return { type = "tool_use", id = block.id, name = block.name,
    input = json.decode(block.arguments_json) }
end

local function add_entry(content, entry)
  if entry.role == "assistant" then
    for _, block in ipairs(entry.content) do
      content[#content + 1] = BLOCK[block.type](block)
    end
    return
  end
  local parts = json.array {}
  for index, part in ipairs(entry.content) do
    parts[index] = part_of(part)
  end
  if entry.role == "tool" then
    content[#content + 1] = { type = "tool_result", content = parts,
      tool_use_id = entry.tool_call_id, is_error = entry.is_error or nil }
    return
  end
  for _, part in ipairs(parts) do
    content[#content + 1] = part
  end
end

local function messages_of(request, given)
  local entries = transcript.repair(request.context.messages, {
    tag = given.tag, images = given.settings.takes.images,
    ids = call_ids.rules.anthropic, begins_with_user = true,
    ends_with_user = true,
  })
  local messages = json.array {}
  for index, turn in ipairs(transcript.turns(entries)) do
    local content = json.array {}
    for _, entry in ipairs(turn.entries) do
      add_entry(content, entry)
    end
    messages[index] = { role = turn.role, content = content }
  end
  return messages
end

local function tools_of(tools)
  local list = json.array {}
  for index, tool in ipairs(tools) do
    list[index] = { name = tool.name, description = tool.description,
      input_schema = schemas.of(tool) }
  end
  return list
end

local CHOICE = { auto = "auto", none = "none", required = "any",
  ["function"] = "tool" }

-- A call cannot be forced on a model that thinks.
local function choice_of(options, takes, thinks)
  local choice = options.tool_choice or { type = "auto" }
  local kind = CHOICE[choice.type]
  if (kind == "any" or kind == "tool")
    and (thinks or takes.forced_tool_choice == false) then
    kind = "auto"
  end
  local made = { type = kind, name = kind == "tool" and choice["function"] or nil }
  if options.parallel_tool_calls == false and kind ~= "none" then
    made.disable_parallel_tool_use = true
  end
  return made
end

local function add_tools(body, request, takes)
  local tools, options = request.context.tools, request.options
  if not tools or #tools == 0 then
    return
  end
  body.tools = tools_of(tools)
  if options.tool_choice or options.parallel_tool_calls == false then
    body.tool_choice = choice_of(options, takes, body.thinking ~= nil)
  end
end

local function wants_thinking(options)
  return options.thinking_enabled ~= false and (options.thinking_enabled
    or options.reasoning_enabled or options.thinking_budget_tokens
    or options.thinking_effort or options.reasoning_effort) and true or false
end

local function is_adaptive(options, settings)
  local takes = settings.takes
  if takes.thinking then
    return takes.thinking == "adaptive"
  end
  return settings.api_version >= "2026"
    or not options.thinking_budget_tokens and not options.thinking_enabled
end

local function add_thinking(body, options, settings)
  if settings.takes.thinking == false or not wants_thinking(options) then
    return
  end
  local effort = options.thinking_effort or options.reasoning_effort
  if is_adaptive(options, settings) then
    body.thinking = { type = "adaptive" }
    body.output_config = effort and { effort = effort } or nil
    return
  end
  local budget = math.max(LEAST_BUDGET, options.thinking_budget_tokens
    or BUDGETS[effort] or BUDGETS.medium)
  body.thinking = { type = "enabled", budget_tokens = budget }
  body.max_tokens = math.max(body.max_tokens, budget + ANSWER_TOKENS)
end

-- What it takes depends on its version, its model, and on whether it thinks.
local function add_sampling(body, options, settings)
  if settings.api_version < "2026" and settings.takes.sampling ~= false
    and not body.thinking then
    body.temperature, body.top_p = options.temperature, options.top_p
  end
end

local function add_system(body, prompt)
  if prompt and prompt:find("%S") then
    body.system = json.array { { type = "text", text = prompt } }
  end
end

-- Three of the marks that it allows: behind what stays the same from one request
-- to the next.
local function add_cache(body, retention)
  if retention ~= "short" and retention ~= "long" then
    return
  end
  local last = body.messages[#body.messages]
  for _, list in ipairs { body.system or {}, body.tools or {},
    last and last.role == "user" and last.content or {} } do
    local marked = list[#list]
    if marked then
      marked.cache_control = { type = "ephemeral",
        ttl = retention == "long" and "1h" or nil }
    end
  end
end

--- The request's path, headers and body.
---@param request table a checked request
---@param given table tag, settings
---@return table|nil built {path, headers, body}
---@return string|nil text
---@return string|nil code
function M.build(request, given)
  local options, settings = request.options, given.settings
  local body = {
    model = request.model.id, stream = true,
    messages = messages_of(request, given),
    max_tokens = options.max_tokens or settings.max_tokens or MAX_TOKENS,
    stop_sequences = options.stop_sequences and #options.stop_sequences > 0
      and options.stop_sequences or nil,
    metadata = options.metadata and options.metadata.user_id
      and { user_id = options.metadata.user_id } or nil,
  }
  add_system(body, request.context.system_prompt)
  add_thinking(body, options, settings)
  add_tools(body, request, settings.takes)
  add_sampling(body, options, settings)
  add_cache(body, options.cache_retention)
  if options.response_schema then
    body.output_config = body.output_config or {}
    body.output_config.format = { type = "json_schema",
      schema = options.response_schema }
  end
  for name, value in pairs(options.extra or {}) do
    if not RESERVED[name] then
      body[name] = value
    end
  end
  return { path = "/v1/messages", body = body,
    headers = { ["anthropic-version"] = settings.api_version } }
end

return M
