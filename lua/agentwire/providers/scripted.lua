--- The embedded model: deterministic, without network. It plays a given list of
--- events exactly, or answers by rules, calling the tools that it is offered.
local clock = require("agentwire._clock")
local facts = require("agentwire.providers._scripted_facts")
local options_of = require("agentwire._options")
local protocol = require("agentwire.provider.protocol")
local rules = require("agentwire.providers._scripted_rules")
local tables = require("agentwire._tables")
local task = require("agentwire.task")

local M = {}

---@class agentwire.ScriptedProvider
local Scripted = {}
Scripted.__index = Scripted

local CONTEXT_WINDOW = 100000

local function count_words(text)
  return facts.count_words(text)
end

local function input_words(context)
  local count = count_words(context.system_prompt or "")
  for _, message in ipairs(context.messages) do
    count = count + count_words(protocol.text_of(message))
    for _, call in ipairs(message.role == "assistant"
      and protocol.tool_calls(message) or {}) do
      count = count + count_words(call.arguments_json)
    end
  end
  return count
end

-- One step of a playback: an event, a pause, something to wait for, an end.
-- Returns nothing to go on, else true and what the adapter returns.
local function play_step(step, request, emit, call)
  if type(step) == "function" then
    local message, text, code = step(request, emit, call)
    if message ~= nil or text ~= nil then
      return true, message, text, code
    end
  elseif step.delay_ms then
    task.sleep(step.delay_ms)
  elseif step.wait then
    step.wait:wait()
  elseif step.raise then
    error(step.raise, 0)
  elseif step.fail then
    return true, nil, step.fail, step.code or "provider_error", step
  elseif step.message then
    return true, step.message
  else
    emit(step)
  end
end

local function play(steps, request, emit, call)
  for _, step in ipairs(steps) do
    local ended, message, text, code, details =
      play_step(step, request, emit, call)
    if ended then
      return message, text, code, details
    end
  end
  return {} -- the end of the steps is the end of the answer
end

-- Writes blocks piece by piece and counts the words that it wrote.
local function new_writer(emit, options)
  return {
    emit = emit, index = 0, words = 0, content = {},
    delay_ms = options.word_delay_ms, max_words = options.max_words,
    cut = false, usage = options.usage,
  }
end

local function write_words(writer, kind, text)
  local index, written = writer.index, {}
  writer.index = index + 1
  writer.emit { type = kind .. "_start", content_index = index }
  for space, word in text:gmatch("(%s*)(%S+)") do
    if writer.max_words and writer.words >= writer.max_words then
      writer.cut = true
      break
    end
    local delta = space .. word
    if writer.delay_ms > 0 then
      task.sleep(writer.delay_ms)
    end
    writer.emit {
      type = kind .. "_delta", content_index = index, delta = delta,
    }
    writer.words = writer.words + 1
    writer.usage.output = writer.words
    written[#written + 1] = delta
  end
  writer.emit { type = kind .. "_end", content_index = index }
  writer.content[#writer.content + 1] = {
    type = kind, [kind] = table.concat(written),
  }
end

-- Arguments come in pieces as real models send them; cuts fall between
-- characters, never inside one.
local function write_call(writer, id, call)
  local index = writer.index
  writer.index = index + 1
  writer.emit {
    type = "toolcall_start", content_index = index, id = id, name = call.name,
  }
  for piece in call.arguments_json:gmatch("[^,:]*[,:]?") do
    if piece ~= "" then
      writer.emit {
        type = "toolcall_delta", content_index = index, delta = piece,
      }
    end
  end
  writer.emit {
    type = "toolcall_end", content_index = index, id = id, name = call.name,
    arguments_json = call.arguments_json,
  }
  writer.words = writer.words + count_words(call.arguments_json)
  writer.content[#writer.content + 1] = {
    type = "tool_call", id = id, name = call.name,
    arguments_json = call.arguments_json,
  }
end

local function calls_so_far(context)
  local count = 0
  for _, message in ipairs(context.messages) do
    if message.role == "assistant" then
      count = count + #protocol.tool_calls(message)
    end
  end
  return count
end

local function stop_reason(writer, calls)
  if writer.cut then
    return "length"
  end
  return #calls > 0 and "tool_use" or "stop"
end

local function perform(self, request, emit, call)
  local options = request.options or {}
  local plan = self._decide(request)
  local input = input_words(request.context)
  call.usage = { input = input, output = 0 }
  local writer = new_writer(emit, {
    word_delay_ms = self._word_delay_ms, max_words = options.max_tokens,
    usage = call.usage,
  })
  if plan.thinking and options.thinking_enabled ~= false then
    write_words(writer, "thinking", plan.thinking)
  end
  if plan.text and plan.text ~= "" and not writer.cut then
    write_words(writer, "text", plan.text)
  end
  local calls = not writer.cut and plan.calls or {}
  local made = calls_so_far(request.context)
  for number, wanted in ipairs(calls) do
    write_call(writer, "call_" .. (made + number), wanted)
  end
  return {
    role = "assistant",
    model = request.model.id,
    api = self.api,
    provider = self.name,
    timestamp = clock.now_ms(),
    stop_reason = stop_reason(writer, calls),
    usage = { input = input, output = writer.words },
    content = writer.content,
  }
end

--- Part of the adapter port: plays the next turn, or answers.
---@async
---@param request table decoded stream_request
---@param emit fun(event: table)
---@param call table
---@return table|nil message
---@return string|nil text
---@return string|nil code
function Scripted:stream(request, emit, call)
  self.requests = self.requests + 1
  self.last_request = request
  if self._script then
    return self._script(request, emit, call)
  elseif self._events then
    return play(self._events, request, emit, call)
  elseif not self._turns then
    return perform(self, request, emit, call)
  end
  local steps = self._turns[self.requests]
  if not steps then
    return nil, ("the script has %d turns and this is turn %d"):format(
      #self._turns, self.requests), "provider_error"
  end
  return play(steps, request, emit, call)
end

--- Part of the adapter port.
---@param model table
---@return boolean
function Scripted:find(model)
  if model.provider ~= "" and model.provider ~= self.name
    or model.api ~= "" and model.api ~= self.api then
    return false
  end
  for _, known in ipairs(self._models) do
    if (known.model_id or known.id) == model.id then
      return true
    end
  end
  return false
end

--- Part of the adapter port.
---@return table[] descriptors
function Scripted:models()
  local models = {}
  for index, model in ipairs(self._models) do
    models[index] = protocol.build_descriptor(tables.over({
      provider_id = self.name, api = self.api, auth_status = "authenticated",
      context_window = CONTEXT_WINDOW,
      capabilities = { "chat", "streaming", "tools", "reasoning" },
    }, model))
  end
  return models
end

local STEPS = options_of.list_of(options_of.either(options_of.table,
  options_of.func))

local OPTIONS = options_of.spec("scripted.new", {
  events = STEPS,
  turns = options_of.list_of(STEPS),
  script = options_of.func,
  decide = options_of.func,
  models = options_of.list_of(options_of.table),
  name = options_of.filled,
  api = options_of.filled,
  word_delay_ms = options_of.duration_ms,
})

---@class agentwire.ScriptedOptions
---@field events table[]? steps that are played for each request
---@field turns table[][]? a list of such lists, one for each request in turn
---@field script fun(request: table, emit: function, call: table)? the adapter
---@field decide fun(request: table): table|nil {thinking, text, calls}
---@field models table[]? descriptors
---@field name string? "scripted"
---@field api string? "scripted"
---@field word_delay_ms number? pause before each word, 0

local DEFAULT_MODELS = {
  { model_id = "scripted", display_name = "Scripted" },
}

--- A scripted provider. With one of these it plays, else it answers by rules:
---
--- - `events`: a list of steps, played for each request: an event table, or
---   `{ delay_ms = n }`, `{ wait = waiter }`, `{ fail = text, code = code }`,
---   `{ raise = value }`, `{ message = assistant message }` or a function
---   (request, emit, call);
--- - `turns`: a list of such lists, one for each request in turn;
--- - `script`: a function (request, emit, call), the whole adapter port.
---
--- Besides: `decide` (replaces the rules: request -> { thinking, text, calls
--- }), `models`, `name`, `api`, `word_delay_ms` (0).
---@param options? agentwire.ScriptedOptions
---@return agentwire.ScriptedProvider
function M.new(options)
  options = OPTIONS:check(options)
  return setmetatable({
    name = options.name or "scripted",
    api = options.api or "scripted",
    requests = 0,
    last_request = nil,
    _events = options.events,
    _turns = options.turns,
    _script = options.script,
    _decide = options.decide or rules.decide,
    _models = options.models or DEFAULT_MODELS,
    _word_delay_ms = options.word_delay_ms or 0,
  }, Scripted)
end

return M
