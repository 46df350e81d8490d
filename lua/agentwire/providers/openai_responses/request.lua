--- What the Responses API is asked: a request of ours as its body. Pure.
local call_ids = require("agentwire.providers._call_ids")
local json = require("agentwire.json")
local schemas = require("agentwire.providers._tool_schema")
local state = require("agentwire.providers._state")
local transcript = require("agentwire.providers._transcript")

local M = {}

local RESERVED = { model = true, input = true, stream = true }

local function part_of(part)
  if part.type == "image" then
    return { type = "input_image", detail = "auto",
      image_url = ("data:%s;base64,%s"):format(part.mime_type, part.data) }
  end
  return { type = "input_text", text = part.text }
end

local function parts_of(content)
  local parts = json.array {}
  for index, part in ipairs(content) do
    parts[index] = part_of(part)
  end
  return parts
end

-- The parts of one message of its own are one item again.
local function add_text(items, block)
  local kept = state.read(block) or {}
  local part = { type = "output_text", text = block.text,
    annotations = json.array {} }
  local last = items[#items]
  if last and last.type == "message" and kept.id and last.id == kept.id then
    table.insert(last.content, part)
    return
  end
  items[#items + 1] = { type = "message", role = "assistant", id = kept.id,
    phase = kept.phase, status = kept.id and "completed" or nil,
    content = json.array { part } }
end

local function add_block(items, block)
  if block.type == "text" then
    add_text(items, block)
  elseif block.opaque then
    items[#items + 1] = state.read(block)
  elseif block.type == "thinking" then
    items[#items + 1] = (state.read(block) or {}).item
  else
    items[#items + 1] = { type = "function_call", call_id = block.id,
      id = (state.read(block) or {}).id, name = block.name,
      arguments = block.arguments_json }
  end
end

-- Reasoning is refused without what it has led to.
local function drop_loose_reasoning(items)
  while #items > 0 and items[#items].type == "reasoning" do
    table.remove(items)
  end
end

local function output_of(content)
  for _, part in ipairs(content) do
    if part.type == "image" then
      return parts_of(content)
    end
  end
  return transcript.text_of(content)
end

local function input_of(request, given)
  local input = json.array {}
  for _, entry in ipairs(transcript.repair(request.context.messages, {
    tag = given.tag, ids = call_ids.rules.responses,
    images = given.settings.takes.images,
  })) do
    if entry.role == "user" then
      input[#input + 1] = { type = "message", role = "user",
        content = parts_of(entry.content) }
    elseif entry.role == "tool" then
      input[#input + 1] = { type = "function_call_output",
        call_id = entry.tool_call_id, output = output_of(entry.content) }
    else
      local items = {}
      for _, block in ipairs(entry.content) do
        add_block(items, block)
      end
      drop_loose_reasoning(items)
      for _, item in ipairs(items) do
        input[#input + 1] = item
      end
    end
  end
  return input
end

local function add_tools(body, request)
  local tools, options = request.context.tools, request.options
  if not tools or #tools == 0 then
    return
  end
  body.tools = json.array {}
  for index, tool in ipairs(tools) do
    body.tools[index] = { type = "function", name = tool.name,
      description = tool.description, parameters = schemas.of(tool),
      strict = false }
  end
  local choice = options.tool_choice
  if choice then
    body.tool_choice = choice.type == "function"
      and { type = "function", name = choice["function"] } or choice.type
  end
  body.parallel_tool_calls = options.parallel_tool_calls
end

-- What is encrypted comes only if it is asked for, and only models that reason
-- may be asked.
local function add_reasoning(body, options, settings)
  local takes = settings.takes.reasoning
  local effort = options.reasoning_effort or options.thinking_effort
  local wanted = options.reasoning_enabled or options.thinking_enabled or effort
    or options.reasoning_summary or options.include_reasoning_encrypted
  if takes == false or options.reasoning_enabled == false
    or options.thinking_enabled == false or not (takes or wanted) then
    return
  end
  if effort or options.reasoning_summary then
    body.reasoning = { effort = effort, summary = options.reasoning_summary }
  end
  if not body.store or options.include_reasoning_encrypted then
    body.include = json.array { "reasoning.encrypted_content" }
  end
end

local function add_output(body, options, settings)
  if settings.takes.sampling ~= false then
    body.temperature, body.top_p = options.temperature, options.top_p
  end
  body.max_output_tokens = options.max_tokens
  if options.response_schema then
    body.text = { format = { type = "json_schema", name = "answer",
      schema = options.response_schema, strict = true } }
  end
end

--- The request's path and body.
---@param request table a checked request
---@param given table tag, settings, base_url
---@return table|nil built {path, body}
---@return string|nil text
---@return string|nil code
function M.build(request, given)
  local options, settings = request.options, given.settings
  local body = {
    model = request.model.id, stream = true, store = settings.store == true,
    input = input_of(request, given),
    instructions = request.context.system_prompt,
    prompt_cache_key = options.prompt_cache_key,
    service_tier = options.service_tier,
    safety_identifier = options.metadata and options.metadata.user_id,
  }
  add_tools(body, request)
  add_reasoning(body, options, settings)
  add_output(body, options, settings)
  if (given.base_url .. "/"):find("^https://api%.openai%.com/") then
    body.stream_options = { include_obfuscation = false }
  end
  for name, value in pairs(options.extra or {}) do
    if not RESERVED[name] then
      body[name] = value
    end
  end
  return { path = "/responses", body = body }
end

return M
