--- What may stand in a conversation. One message that a provider cannot be sent
--- would make every later question fail, so each is looked at when it comes in.
--- Pure: no I/O, no tasks.

local json = require("agentwire.json")
local misuse = require("agentwire._misuse")
local protocol = require("agentwire.agent.protocol")
local provider_protocol = require("agentwire.provider.protocol")
local tables = require("agentwire._tables")

local M = {}

-- A tool result below this is not worth leaving out.
local LEAST_BYTES = 1024

-- What a model is shown of arguments that are no JSON.
local SHOWN_BYTES = 200

local function is_blank(text)
  return type(text) == "string" and not text:find("%S")
end

--- Providers refuse blocks without content when they are sent back. A thinking
--- block that is all signature has some, and so has what carries a state.
local function is_empty(block)
  if type(block) ~= "table" then
    return is_blank(block)
  elseif block.provider_state then
    return false
  elseif block.type == "thinking" then
    return is_blank(block.thinking) and not block.thinking_signature
  end
  return (block.type == "text" or block.type == nil) and is_blank(block.text)
end

---@param content table[]
---@return table[] content without empty blocks
local function without_empty(content)
  local kept = json.array {}
  for _, block in ipairs(content) do
    if not is_empty(block) then
      kept[#kept + 1] = block
    end
  end
  return kept
end

--- Whether a message can be sent to a provider, whose check this is.
---@param message any
---@return string|nil problem
local function problem_of(message)
  if type(message) == "table" and message.role == "system" then
    local ok, why = json.encode(message)
    return not ok and why or nil
  end
  local built, why = provider_protocol.build_message(message)
  local ok = built ~= nil
  if ok then
    ok, why = provider_protocol.check_message(built)
  end
  if ok then
    ok, why = json.encode(built)
  end
  return not ok and why or nil
end

--- Looks through a conversation to go on with.
---@param messages any
---@return string|nil problem
function M.problem(messages)
  if type(messages) ~= "table"
    or next(messages) ~= nil and messages[1] == nil then
    return "expected a list of messages"
      .. (type(messages) == "table" and messages.role
        and "; this is one message, put it in { }" or "")
  end
  for index, message in ipairs(messages) do
    local problem = problem_of(message)
    if problem then
      return ("message %d: %s"):format(index, problem)
    end
  end
end

local function answered_after(messages, index)
  local answered = {}
  local message = messages[index + 1]
  while message and message.role == "tool" do
    answered[message.tool_call_id] = true
    index = index + 1
    message = messages[index + 1]
  end
  return answered, index
end

local INTERRUPTED = "cancelled: the conversation was interrupted here"

--- Mends a conversation that was cut off where it stood, or kept by somebody
--- who did not look: empty blocks go, and calls without a result get one. In
--- place.
---@param messages table[] one without a problem
function M.mend(messages)
  local index = 1
  while index <= #messages do
    local message = messages[index]
    if message.role == "assistant" and type(message.content) == "table" then
      message.content = without_empty(message.content)
      local answered, last = answered_after(messages, index)
      for _, call in ipairs(provider_protocol.tool_calls(message)) do
        if not answered[call.id] then
          last = last + 1
          table.insert(messages, last, {
            role = "tool", tool_call_id = call.id, tool_name = call.name,
            is_error = true,
            content = json.array { { type = "text", text = INTERRUPTED } },
          })
        end
      end
      if #message.content == 0 then
        table.remove(messages, index)
        index = index - 1
      end
    end
    index = index + 1
  end
end

---@param prompt string|table text or a user message
---@return table|nil message
---@return string? message
---@return string? code invalid_request
function M.read_prompt(prompt)
  local message = protocol.user_message(prompt)
  if message.role ~= nil and message.role ~= "user" then
    return nil, "a prompt is a user's message, not of role "
      .. tostring(message.role), "invalid_request"
  end
  message.role = "user"
  if type(message.content) == "table" then
    message.content = without_empty(message.content)
  end
  if is_blank(message.content) or type(message.content) == "table"
    and #message.content == 0 then
    return nil, "the message is empty", "invalid_request"
  end
  local problem = problem_of(message)
  if problem then
    return nil, "the message cannot be sent: " .. problem, "invalid_request"
  end
  return message
end

---@param prompts string|table text, a message or a list of them
---@return table[]|nil messages
---@return string? message
---@return string? code
function M.read_prompts(prompts)
  if type(prompts) ~= "string" and type(prompts) ~= "table" then
    misuse.raise("prompt: expected text, a message or a list of them, got %s",
      misuse.describe(prompts))
  elseif type(prompts) == "string" or prompts.role or prompts.content then
    prompts = { prompts }
  end
  local messages = {}
  for index, prompt in ipairs(prompts) do
    local message, why, code = M.read_prompt(prompt)
    if not message then
      return nil, why, code
    end
    messages[index] = message
  end
  return messages
end

--- A call's arguments as they are executed. Models write nothing, blanks, null
--- or an empty list where there are none.
---@param text any
---@return string|nil arguments_json
---@return string? problem
local function read_arguments(text)
  if text == nil or text == json.null or is_blank(text) then
    return "{}"
  elseif type(text) ~= "string" then
    return nil, "expected a string of JSON"
  end
  local value, why = json.decode(text)
  if value == nil then
    return nil, ("%s: %s"):format(why, text:sub(1, SHOWN_BYTES))
  elseif value == json.null or type(value) == "table" and next(value) == nil then
    return "{}"
  end
  return text
end

local function used_ids(messages)
  local used, count = {}, 0
  for _, message in ipairs(messages) do
    for _, call in ipairs(type(message) == "table"
      and message.role == "assistant" and type(message.content) == "table"
      and provider_protocol.tool_calls(message) or {}) do
      used[call.id or ""] = true
      count = count + 1
    end
  end
  return used, count
end

--- Gives each call an id that no other of the conversation has: results are
--- told apart by them. Of ids that repeat the first keeps its own.
local function name_calls(blocks, used, count)
  local own, given = {}, {}
  for index, block in ipairs(blocks) do
    local id = block.id
    if type(id) == "string" and id ~= "" and not used[id] and not given[id] then
      own[index], given[id] = true, true
    end
  end
  for index, block in ipairs(blocks) do
    while not own[index] do
      count = count + 1
      local id = "call_" .. count
      own[index] = not used[id] and not given[id]
      if own[index] then
        block.id, given[id] = id, true
      end
    end
  end
end

-- Half a call is none, whatever its arguments read as.
local function not_executed(block, cut)
  local why = cut or block.incomplete and "its arguments are not complete"
  return why and "not executed: " .. why
end

--- Makes a model's message one that can stay in the conversation, in place, and
--- says what is to be executed. Arguments that are no object stay out of the
--- conversation, since a provider could not be sent them: the call's result
--- says what they were.
---@param message table
---@param messages table[] the conversation before it
---@return table[] calls {id, name, args_json, problem?}
function M.take_calls(message, messages)
  message.content = without_empty(message.content)
  local blocks = provider_protocol.tool_calls(message)
  name_calls(blocks, used_ids(messages))
  local calls, cut = {}, provider_protocol.cut_reasons[message.stop_reason]
  for index, block in ipairs(blocks) do
    local arguments, problem = read_arguments(block.arguments_json)
    if type(block.name) ~= "string" or block.name == "" then
      block.name = "unnamed"
    end
    block.arguments_json = arguments
      and provider_protocol.is_arguments(arguments) and arguments or "{}"
    calls[index] = {
      id = block.id,
      name = block.name,
      args_json = arguments or block.arguments_json,
      problem = not_executed(block, cut)
        or problem and "malformed arguments: " .. problem,
    }
    block.incomplete = nil -- it has its result now
  end
  return calls
end

--- What is left of a message that was not finished. Its tool calls never ran:
--- they are not kept.
---@param message table
function M.drop_calls(message)
  local content = json.array {}
  for _, block in ipairs(message.content) do
    if block.type ~= "tool_call" then
      content[#content + 1] = block
    end
  end
  message.content = without_empty(content)
end

--- Whether a message has text to be kept for.
---@param message table
---@return boolean
function M.has_text(message)
  return not is_blank(provider_protocol.text_of(message))
end

--- A tool source's result if it is one that can be sent, else what is wrong.
---@param result any
---@return string|nil problem
function M.result_problem(result)
  if type(result) ~= "table" or type(result.parts) ~= "table" then
    return "the tool's source returned no result"
  end
  local problem = problem_of {
    role = "tool", tool_call_id = "", content = result.parts,
    details_json = result.details_json,
  }
  return problem and "the tool's result cannot be sent: " .. problem
end

local function size_of(message)
  local size = #(message.details_json or "")
  for _, part in ipairs(message.content) do
    size = size + #(part.text or part.data or "")
  end
  return size
end

local NOTE = "[%d bytes were left out here: the conversation is larger than "
  .. "what can be sent to the model]"

local function shortened(message, size)
  local note = tables.copy(message)
  note.details_json = nil
  note.content = json.array { { type = "text", text = NOTE:format(size) } }
  return note
end

--- A conversation whose `count` largest tool results are notes.
---@param messages table[] stays as it is
---@param count integer
---@return table[]|nil shorter nil when there are none to leave out
---@return string[] ids of the calls whose results went
function M.shorten(messages, count)
  local large = {}
  for index, message in ipairs(messages) do
    local size = message.role == "tool" and size_of(message) or 0
    if size >= LEAST_BYTES then
      large[#large + 1] = { index = index, size = size }
    end
  end
  table.sort(large, function(a, b)
    return a.size > b.size or a.size == b.size and a.index < b.index
  end)
  local shorter, ids = tables.copy(messages), {}
  for rank = 1, math.min(count, #large) do
    local index = large[rank].index
    shorter[index] = shortened(messages[index], large[rank].size)
    ids[rank] = messages[index].tool_call_id
  end
  return #ids > 0 and shorter or nil, ids
end

return M
