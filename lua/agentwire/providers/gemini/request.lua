--- What Gemini is asked: a request of ours as its body. Pure.
local json = require("agentwire.json")
local schemas = require("agentwire.providers._tool_schema")
local state = require("agentwire.providers._state")
local transcript = require("agentwire.providers._transcript")

local M = {}

local RESERVED = { contents = true }

-- What it takes in place of a signature that another model's call cannot have.
local NO_SIGNATURE = "skip_thought_signature_validator"

local function inline(part)
  return { inlineData = { mimeType = part.mime_type, data = part.data } }
end

local BLOCK = {}

function BLOCK.text(block)
  local kept = state.read(block) or {}
  return { text = block.text, thoughtSignature = kept.signature }
end

function BLOCK.thinking(block)
  local kept = state.read(block)
  if block.opaque then
    return kept
  end
  return kept and { text = block.thinking, thought = true,
    thoughtSignature = kept.signature }
end

function BLOCK.tool_call(block, is_own, takes)
  local kept = state.read(block) or {}
  return {
    functionCall = { id = kept.id, name = block.name,
      args = json.decode(block.arguments_json) },
    thoughtSignature = kept.signature
      or takes.signatures and not is_own and NO_SIGNATURE or nil,
  }
end

-- An error is a result under another name.
local function add_result(parts, entry)
  local kept = state.read(entry.call) or {}
  parts[#parts + 1] = { functionResponse = { id = kept.id,
    name = entry.tool_name, response = {
      [entry.is_error and "error" or "output"] =
        transcript.text_of(entry.content),
    } } }
  for _, part in ipairs(entry.content) do
    parts[#parts + 1] = part.type == "image" and inline(part) or nil
  end
end

local function add_entry(parts, entry, takes)
  if entry.role == "assistant" then
    for _, block in ipairs(entry.content) do
      parts[#parts + 1] = BLOCK[block.type](block, entry.is_own, takes)
    end
  elseif entry.role == "tool" then
    add_result(parts, entry)
  else
    for _, part in ipairs(entry.content) do
      parts[#parts + 1] = part.type == "image" and inline(part)
        or { text = part.text }
    end
  end
end

local function contents_of(request, given)
  local takes = given.settings.takes
  local entries = transcript.repair(request.context.messages, {
    tag = given.tag, images = takes.images, begins_with_user = true,
    ends_with_user = true,
  })
  local contents = json.array {}
  for index, turn in ipairs(transcript.turns(entries)) do
    local parts = json.array {}
    for _, entry in ipairs(turn.entries) do
      add_entry(parts, entry, takes)
    end
    contents[index] = { parts = parts,
      role = turn.role == "assistant" and "model" or "user" }
  end
  return contents
end

local MODE = { auto = "AUTO", none = "NONE", required = "ANY",
  ["function"] = "ANY" }

-- An empty list of functions is refused, and a choice among none.
local function add_tools(body, request, settings)
  local tools, choice = request.context.tools, request.options.tool_choice
  if not tools or #tools == 0 then
    return
  end
  local functions = json.array {}
  for index, tool in ipairs(tools) do
    local made, schema = { name = tool.name, description = tool.description },
      schemas.of(tool)
    if settings.schema == "openapi" then
      made.parameters = next(schema.properties or {}) and schemas.openapi(schema)
        or nil -- an object without properties is refused
    else
      made.parametersJsonSchema = schema
    end
    functions[index] = made
  end
  body.tools = json.array { { functionDeclarations = functions } }
  if choice then
    body.toolConfig = { functionCallingConfig = { mode = MODE[choice.type],
      allowedFunctionNames = choice.type == "function"
        and json.array { choice["function"] } or nil } }
  end
end

local function thinking_of(options, takes)
  local effort = options.thinking_effort or options.reasoning_effort
  local wanted = options.thinking_enabled or options.reasoning_enabled or effort
    or options.thinking_budget_tokens
  if takes.thinking == false or not wanted
    or options.thinking_enabled == false then
    return nil
  end
  local config = { includeThoughts = true }
  if options.thinking_budget_tokens and takes.thinking ~= "level" then
    config.thinkingBudget = options.thinking_budget_tokens
  elseif effort then
    config.thinkingLevel = effort:upper()
  end
  return config
end

local function generation_of(options, settings)
  local takes = settings.takes
  local config = {
    maxOutputTokens = options.max_tokens, seed = options.seed,
    stopSequences = options.stop_sequences and #options.stop_sequences > 0
      and options.stop_sequences or nil,
    thinkingConfig = thinking_of(options, takes),
  }
  if takes.sampling ~= false then
    config.temperature, config.topP = options.temperature, options.top_p
  end
  if options.response_schema then
    config.responseMimeType = "application/json"
    config.responseJsonSchema = options.response_schema
  end
  return next(config) ~= nil and config or nil
end

local function escape(text)
  return (text:gsub("[^%w%-._~]", function(byte)
    return ("%%%02X"):format(byte:byte())
  end))
end

--- The request's path and body.
---@param request table a checked request
---@param given table tag, settings
---@return table|nil built {path, body}
---@return string|nil text
---@return string|nil code
function M.build(request, given)
  local options, settings = request.options, given.settings
  local prompt = request.context.system_prompt
  local body = {
    contents = contents_of(request, given),
    systemInstruction = prompt and prompt:find("%S")
      and { parts = json.array { { text = prompt } } } or nil,
    generationConfig = generation_of(options, settings),
  }
  add_tools(body, request, settings)
  for name, value in pairs(options.extra or {}) do
    if not RESERVED[name] then
      body[name] = value
    end
  end
  return { body = body, path = ("/%s/models/%s:streamGenerateContent?alt=sse")
    :format(escape(settings.api_version), escape(request.model.id)) }
end

return M
