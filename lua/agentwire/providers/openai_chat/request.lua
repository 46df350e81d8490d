--- What Chat Completions is asked: a request of ours as its body. Pure.
local call_ids = require("agentwire.providers._call_ids")
local json = require("agentwire.json")
local schemas = require("agentwire.providers._tool_schema")
local state = require("agentwire.providers._state")
local transcript = require("agentwire.providers._transcript")
local values = require("agentwire.providers._values")

local M = {}

-- Where reasoning may stand; a state comes from peers, who may write anything.
local FIELDS = { reasoning_content = true, reasoning = true,
  reasoning_text = true }

-- `extra` hands everything on but what would change how the answer is read.
local RESERVED = { model = true, messages = true, stream = true }

local function image_part(part)
  return { type = "image_url", image_url = {
    url = ("data:%s;base64,%s"):format(part.mime_type, part.data),
  } }
end

local function user_content(parts)
  if #parts == 1 and parts[1].type == "text" then
    return parts[1].text
  end
  local content = json.array {}
  for index, part in ipairs(parts) do
    content[index] = part.type == "image" and image_part(part)
      or { type = "text", text = part.text }
  end
  return content
end

-- What a thinking block goes back as, by what its state says it came as.
local function add_thinking(message, block, has_calls)
  local kept = state.read(block) or {}
  if values.object(kept.details) then
    message.reasoning_details = json.array(values.objects(kept.details))
  elseif values.object(kept.chunk) then
    message.thinking_chunks = message.thinking_chunks or json.array {}
    local chunk = kept.chunk
    chunk.type = "thinking"
    chunk.thinking = json.array { { type = "text", text = block.thinking } }
    table.insert(message.thinking_chunks, chunk)
  elseif FIELDS[kept.field] and has_calls then
    message[kept.field] = (message[kept.field] or "") .. block.thinking
  end
end

local function tool_calls(calls)
  local list = json.array {}
  for index, call in ipairs(calls) do
    local kept = call.provider_state and state.read(call) or {}
    list[index] = {
      id = call.id, type = "function", extra_content = kept.extra_content,
      ["function"] = { name = call.name, arguments = call.arguments_json },
    }
  end
  return list
end

local function assistant_message(entry)
  local message = { role = "assistant" }
  for _, block in ipairs(entry.content) do
    if block.type == "thinking" then
      add_thinking(message, block, #entry.calls > 0)
    end
  end
  local text = transcript.text_of(entry.content)
  local chunks = message.thinking_chunks
  if chunks then
    message.thinking_chunks = nil
    if text ~= "" then
      table.insert(chunks, { type = "text", text = text })
    end
    message.content = chunks
  else
    message.content = text ~= "" and text or json.null
  end
  if #entry.calls > 0 then
    message.tool_calls = tool_calls(entry.calls)
  elseif message.content == json.null then
    message.content = ""
  end
  return message
end

local NO_IMAGES = "[images of a tool's result are left out here]"

local function tool_message(entry)
  local text = transcript.text_of(entry.content)
  for _, part in ipairs(entry.content) do
    if part.type == "image" then
      text = text .. (text ~= "" and "\n" or "") .. NO_IMAGES
      break
    end
  end
  return { role = "tool", tool_call_id = entry.tool_call_id, content = text }
end

local function messages_of(request, given)
  local settings = given.settings
  local messages = json.array {}
  local prompt = request.context.system_prompt
  if prompt and prompt:find("%S") then
    messages[1] = { role = settings.system_role or "system", content = prompt }
  end
  for _, entry in ipairs(transcript.repair(request.context.messages, {
    tag = given.tag, images = settings.takes.images,
    ids = call_ids.rules[settings.call_ids or "any"],
  })) do
    if entry.role == "assistant" then
      messages[#messages + 1] = assistant_message(entry)
    elseif entry.role == "tool" then
      messages[#messages + 1] = tool_message(entry)
    else
      messages[#messages + 1] = {
        role = "user", content = user_content(entry.content),
      }
    end
  end
  return messages
end

local function tools_of(tools)
  local list = json.array {}
  for index, tool in ipairs(tools) do
    list[index] = { type = "function", ["function"] = {
      name = tool.name, description = tool.description,
      parameters = schemas.of(tool),
    } }
  end
  return list
end

local function choice_of(choice)
  if choice.type == "function" then
    return { type = "function", ["function"] = { name = choice["function"] } }
  end
  return choice.type
end

-- Without tools a choice of one is refused, and so is an empty list.
local function add_tools(body, request)
  local tools, options = request.context.tools, request.options
  if tools and #tools > 0 then
    body.tools = tools_of(tools)
    body.tool_choice = options.tool_choice and choice_of(options.tool_choice)
    body.parallel_tool_calls = options.parallel_tool_calls
  end
end

local function add_sampling(body, options, takes)
  if takes.sampling ~= false then
    body.temperature, body.top_p = options.temperature, options.top_p
  end
  if takes.reasoning ~= false and options.thinking_enabled ~= false then
    body.reasoning_effort = options.reasoning_effort or options.thinking_effort
  end
end

-- Only its own server is known to take everything.
local function is_own_server(base_url)
  return base_url:find("^https://api%.openai%.com/") ~= nil
end

local function add_output(body, options, settings, is_own)
  local field = settings.max_tokens_field
    or is_own and "max_completion_tokens" or "max_tokens"
  body[field] = options.max_tokens
  body.stop = options.stop_sequences and #options.stop_sequences > 0
    and json.array(options.stop_sequences) or nil
  body.seed = options.seed
  if options.response_schema then
    body.response_format = { type = "json_schema", json_schema = {
      name = "answer", schema = options.response_schema, strict = true,
    } }
  end
  body.stream_options = { include_usage = true }
  if is_own then
    body.stream_options.include_obfuscation = false
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
    model = request.model.id,
    messages = messages_of(request, given),
    stream = true,
    prompt_cache_key = options.prompt_cache_key,
    service_tier = options.service_tier,
    user = options.metadata and options.metadata.user_id,
  }
  add_tools(body, request)
  add_sampling(body, options, settings.takes)
  add_output(body, options, settings, is_own_server(given.base_url .. "/"))
  for name, value in pairs(options.extra or {}) do
    if not RESERVED[name] then
      body[name] = value
    end
  end
  local path = "/chat/completions"
  if settings.api_version then
    path = path .. "?api-version=" .. settings.api_version:gsub("[^%w%-._~]",
      function(byte)
        return ("%%%02X"):format(byte:byte())
      end)
  end
  return { path = path, body = body }
end

return M
