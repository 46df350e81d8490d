--- Tools that run in this process: their metadata, the check of arguments, and
--- exactly one outcome for each call, whatever the handler does.

local clock = require("agentwire._clock")
local json = require("agentwire.json")
local log = require("agentwire.log")
local problems = require("agentwire._problem")
local protocol = require("agentwire.tool.protocol")
local schema = require("agentwire.tool.schema")
local task = require("agentwire.task")

local M = {}

---@class agentwire.ToolResult
---@field parts table[] text and image parts
---@field result_json string the parts as JSON
---@field is_error boolean the tool says that it failed; the model sees why
---@field error_message string?
---@field details_json string? for people and programs, not for the model
---@field duration_ms integer

---@class agentwire.ToolCall
---@field name string
---@field args table? arguments as a table
---@field args_json string? or as JSON
---@field tool_call_id string?
---@field timeout_ms integer?
---@field on_update fun(update: table)? {partial_json, progress?, status?}

---@class agentwire.ToolDefinition
---@field name string
---@field description string?
---@field parameters table|string? JSON Schema of the arguments
---@field handler fun(args: table, call: agentwire.ToolContext): any, any
---@field timeout_ms integer?
---@field version string? "1.0.0"
---@field supports_streaming boolean? true
---@field estimated_duration_ms integer?
---@field is_destructive boolean? false
---@field required_permissions string[]?

-- Context: what a handler gets ------------------------------------------------

---@class agentwire.ToolContext
---@field name string
---@field tool_call_id string
---@field identity agentwire.Identity? of whoever calls; nil: nobody in particular
---@field timeout_ms integer?
---@field cancelled fun(): boolean whether nobody wants the result any more: the
--- call timed out or was cancelled. Waits raise then: this is for work between
local Context = {}
Context.__index = Context

local function new_context(tool, call, timeout_ms)
  local context = setmetatable({
    name = tool.metadata.name,
    tool_call_id = call.tool_call_id or "",
    identity = call.identity,
    timeout_ms = timeout_ms,
    _on_update = call.on_update,
    _details_json = nil,
    _ended = false,
  }, Context)
  -- A function of its own, so that `call.cancelled()` is right as well.
  context.cancelled = function()
    return context._ended
  end
  return context
end

local function encode(value)
  local text, why = json.encode(value)
  if not text then
    error("this value has no JSON form: " .. why, 3)
  end
  return text
end

--- Streams a partial result to whoever called the tool. May wait for a slow
--- reader; does nothing once the call has ended.
---@async
---@param value any anything that has a JSON form
function Context:update(value)
  local partial_json = encode(value)
  if self._on_update and not self._ended then
    self._on_update { partial_json = partial_json }
  end
end

--- Streams how far the work is.
---@async
---@param percent number 0 to 100
---@param status? string
function Context:progress(percent, status)
  if type(percent) ~= "number" or percent < 0 or percent > 100 then
    error("progress is a number from 0 to 100", 2)
  end
  if self._on_update and not self._ended then
    self._on_update {
      partial_json = "{}",
      progress = math.floor(percent),
      status = status,
    }
  end
end

--- Sets what goes beside the result, for programs and not for the model.
---@param value any anything that has a JSON form
function Context:details(value)
  self._details_json = encode(value)
end

-- Results ---------------------------------------------------------------------

local PARTS = { text = true, image = true }

local function is_part(value)
  return type(value) == "table" and PARTS[value.type] == true
end

local function is_part_list(value)
  if not json.is_array(value) then
    return false
  end
  for _, item in ipairs(value) do
    if not is_part(item) then
      return false
    end
  end
  return true
end

--- What a handler returned, as parts.
local function to_parts(value)
  if value == nil then
    return json.array {}
  elseif type(value) == "string" then
    return json.array { { type = "text", text = value } }
  elseif is_part(value) then
    return json.array { value }
  elseif is_part_list(value) then
    return json.array(value)
  end
  local text, why = json.encode(value)
  if not text then
    return nil, why
  end
  return json.array { { type = "text", text = text } }
end

--- A result that says why a tool failed, for the model to read.
---@param message string
---@param duration_ms? integer
---@return agentwire.ToolResult
function M.error_result(message, duration_ms)
  local parts = json.array { { type = "text", text = message } }
  local result_json = json.encode(parts)
  if not result_json then -- not UTF-8: what an OS says in some locales
    message = message:gsub("[\128-\255]", "?")
    parts[1].text = message
    result_json = json.encode(parts)
  end
  return {
    parts = parts,
    result_json = result_json,
    is_error = true,
    error_message = message,
    duration_ms = duration_ms or 0,
  }
end

local function build_result(value, why, context, duration_ms)
  if value == nil and why ~= nil then
    local result = M.error_result(tostring(why), duration_ms)
    result.details_json = context._details_json
    return result
  end
  local parts, problem = to_parts(value)
  local result_json
  if parts then
    result_json, problem = json.encode(parts)
  end
  if not result_json then
    return nil, "the result has no JSON form: " .. problem, "tool_execution_error"
  end
  return {
    parts = parts,
    result_json = result_json,
    is_error = false,
    details_json = context._details_json,
    duration_ms = duration_ms,
  }
end

-- Registry --------------------------------------------------------------------

---@class agentwire.ToolRegistry
local Registry = {}
Registry.__index = Registry

---@param options? table {timeout_ms: for tools that set none}
---@return agentwire.ToolRegistry
function M.new(options)
  return setmetatable({
    _tools = {},
    _names = {}, -- in the order of adding
    _timeout_ms = options and options.timeout_ms,
  }, Registry)
end

local function misuse(condition, message)
  if not condition then
    error(message, 3)
  end
end

local function check_definition(definition)
  if type(definition) ~= "table" then
    return "a tool is a table"
  elseif type(definition.name) ~= "string" or definition.name == "" then
    return "a tool needs a name"
  elseif type(definition.handler) ~= "function" then
    return definition.name .. ": a tool needs a handler"
  end
  local ok, why = protocol.check_metadata {
    name = definition.name,
    description = definition.description or "",
    parameters_schema_json = "{}",
    version = definition.version,
    supports_streaming = definition.supports_streaming,
    estimated_duration_ms = definition.estimated_duration_ms,
    is_destructive = definition.is_destructive,
    required_permissions = definition.required_permissions,
  }
  if not ok then
    return definition.name .. ": " .. why
  end
end

local function read_parameters(definition)
  local parameters = definition.parameters
  if parameters == nil then
    return { type = "object" }, '{"type":"object"}'
  elseif type(parameters) == "string" then
    local decoded, why = json.decode(parameters)
    if decoded == nil then
      return nil, why
    end
    return decoded, parameters
  end
  local text, why = json.encode(parameters)
  if not text then
    return nil, why
  end
  return parameters, text
end

local function flag(value, default)
  if value == nil then
    return default
  end
  return value
end

--- Adds a tool. The handler gets the decoded arguments and the call's context;
--- it returns a string, a part, a list of parts or any value with a JSON form,
--- or `nil, why` for a failure that the model shall see. Misuse raises.
---@param definition agentwire.ToolDefinition
---@return agentwire.ToolRegistry self
function Registry:add(definition)
  local problem = check_definition(definition)
  misuse(not problem, problem)
  local name = definition.name
  misuse(not self._tools[name], name .. ": a tool of this name is there already")
  local parameters, text = read_parameters(definition)
  misuse(parameters ~= nil, name .. ": parameters: " .. tostring(text))
  local permissions = definition.required_permissions
  self._tools[name] = {
    handler = definition.handler,
    timeout_ms = definition.timeout_ms or self._timeout_ms,
    parameters = parameters,
    metadata = {
      name = name,
      description = definition.description or "",
      parameters_schema_json = text,
      version = definition.version or "1.0.0",
      supports_streaming = flag(definition.supports_streaming, true),
      estimated_duration_ms = definition.estimated_duration_ms,
      is_destructive = flag(definition.is_destructive, false),
      required_permissions = permissions and json.array(permissions),
    },
  }
  self._names[#self._names + 1] = name
  return self
end

--- Takes a tool away; calls that run go on.
---@param name string
---@return boolean removed
function Registry:remove(name)
  if not self._tools[name] then
    return false
  end
  self._tools[name] = nil
  for i, other in ipairs(self._names) do
    if other == name then
      table.remove(self._names, i)
      break
    end
  end
  return true
end

--- The tools' metadata, in the order of adding. Not to be changed.
---@param prefix? string only names that begin with it
---@return table[]
function Registry:list(prefix)
  local list = {}
  for _, name in ipairs(self._names) do
    if not prefix or name:sub(1, #prefix) == prefix then
      list[#list + 1] = self._tools[name].metadata
    end
  end
  return list
end

local function read_args(tool, call)
  local args = call.args
  if args == nil then
    local text = call.args_json
    local why
    args, why = json.decode((text == nil or text == "") and "{}" or text)
    if args == nil then
      return nil, "malformed arguments: " .. why, "invalid_arguments"
    end
  end
  local ok, why, code = schema.check(tool.parameters, args)
  if not ok then
    return nil, why, code
  end
  return args
end

local function smaller(a, b)
  if a and b then
    return math.min(a, b)
  end
  return a or b
end

--- Joins the handler's task. From here on nothing it says is passed on, also
--- when it was the caller that was cancelled.
local function await(runner, context, timeout_ms)
  local waited, value, why, code, raised =
    pcall(runner.join, runner, timeout_ms)
  context._ended = true
  if not waited then
    error(value, 0)
  end
  return value, why, code, raised
end

local function run_handler(tool, args, context)
  local started, outcome = clock.now_ms(), nil
  local runner = task.spawn(function()
    local value, why = tool.handler(args, context)
    outcome = { value = value, why = why }
  end)
  local _, why, code, raised = await(runner, context, context.timeout_ms)
  local duration_ms = clock.now_ms() - started
  if outcome then
    return build_result(outcome.value, outcome.why, context, duration_ms)
  elseif code == "timeout" then
    runner:cancel("tool timeout")
    return nil, ("took longer than %.0f ms"):format(context.timeout_ms), "tool_timeout"
  end
  local brief = problems.brief(raised or why)
  log.write("warn", "tool_failed", ("tool %s raised: %s"):format(context.name,
    brief), { tool = context.name, traceback = why })
  return nil, brief, "tool_execution_error"
end

--- Runs a tool. Whatever the handler does there is one outcome: a result, or a
--- failure with one of the codes tool_not_found, invalid_arguments,
--- tool_execution_error (the handler raised), tool_timeout.
---@async
---@param call agentwire.ToolCall
---@return agentwire.ToolResult|nil result
---@return string? message
---@return string? code
function Registry:execute(call)
  local tool = self._tools[call.name]
  if not tool then
    return nil, "no such tool: " .. tostring(call.name), "tool_not_found"
  end
  local args, why, code = read_args(tool, call)
  if args == nil then
    return nil, why, code
  end
  local timeout_ms = smaller(tool.timeout_ms, call.timeout_ms)
  return run_handler(tool, args, new_context(tool, call, timeout_ms))
end

return M
