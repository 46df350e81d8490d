--- What Ollama's chat is asked: a request of ours as its body. Pure.
local json = require("agentwire.json")
local schemas = require("agentwire.providers._tool_schema")
local transcript = require("agentwire.providers._transcript")

local M = {}

local RESERVED = { model = true, messages = true, stream = true, options = true }

local function message_of(entry)
  local message = { role = entry.role, content = transcript.text_of(entry.content),
    tool_name = entry.tool_name }
  for _, part in ipairs(entry.content) do
    if part.type == "image" then
      message.images = message.images or json.array {}
      table.insert(message.images, part.data)
    elseif part.type == "thinking" and not part.opaque then
      message.thinking = (message.thinking or "") .. part.thinking
    elseif part.type == "tool_call" then
      message.tool_calls = message.tool_calls or json.array {}
      table.insert(message.tool_calls, { ["function"] = { name = part.name,
        arguments = json.decode(part.arguments_json) } })
    end
  end
  return message
end

local function messages_of(request, given)
  local messages = json.array {}
  local prompt = request.context.system_prompt
  if prompt and prompt:find("%S") then
    messages[1] = { role = "system", content = prompt }
  end
  for _, entry in ipairs(transcript.repair(request.context.messages, {
    tag = given.tag, images = given.settings.takes.images,
  })) do
    messages[#messages + 1] = message_of(entry)
  end
  return messages
end

-- Which one to call cannot be said: `none` is no tools.
local function tools_of(request)
  local tools, choice = request.context.tools, request.options.tool_choice
  if not tools or #tools == 0 or choice and choice.type == "none" then
    return nil
  end
  local list = json.array {}
  for index, tool in ipairs(tools) do
    list[index] = { type = "function", ["function"] = { name = tool.name,
      description = tool.description, parameters = schemas.of(tool) } }
  end
  return list
end

-- `think` is refused by models that cannot.
local function think_of(options, takes)
  if options.thinking_enabled == false and takes.thinking then
    return false
  elseif options.thinking_enabled == false or takes.thinking == false then
    return nil
  end
  return options.thinking_effort or options.reasoning_effort
    or options.thinking_enabled or options.reasoning_enabled or nil
end

--- The request's path and body.
---@param request table a checked request
---@param given table tag, settings
---@return table|nil built {path, headers, format, body}
---@return string|nil text
---@return string|nil code
function M.build(request, given)
  local options, takes = request.options, given.settings.takes
  local own = { num_predict = options.max_tokens, seed = options.seed,
    temperature = options.temperature, top_p = options.top_p,
    stop = options.stop_sequences and #options.stop_sequences > 0
      and options.stop_sequences or nil }
  for name, value in pairs(given.settings.options or {}) do
    own[name] = own[name] == nil and value or own[name]
  end
  local body = {
    model = request.model.id, stream = true,
    messages = messages_of(request, given), tools = tools_of(request),
    think = think_of(options, takes), format = options.response_schema,
    options = next(own) ~= nil and own or nil,
  }
  for name, value in pairs(options.extra or {}) do
    if not RESERVED[name] then
      body[name] = value
    end
  end
  return { path = "/api/chat", format = "lines", body = body,
    headers = { accept = "application/x-ndjson" } }
end

return M
