--- Tools that run in this process: their metadata, the check of arguments, and
--- exactly one outcome for each call, whatever the handler does. A registry is
--- a tool source: agents, servers and tests use it through `list` and
--- `execute`.
local canonical = require("agentwire._canonical")
local class = require("agentwire._class")
local clock = require("agentwire._clock")
local json = require("agentwire.json")
local log = require("agentwire.log")
local misuse = require("agentwire._misuse")
local options = require("agentwire._options")
local problems = require("agentwire._problem")
local protocol = require("agentwire.tool.protocol")
local results = require("agentwire.tool._result")
local schema = require("agentwire.tool.schema")
local sources = require("agentwire.tool._source")
local tables = require("agentwire._tables")
local task = require("agentwire.task")
local text = require("agentwire.tool._text")

local M = {}

---@class agentwire.ToolCall
---@field name string
---@field args table? arguments as a table
---@field args_json string? or as JSON
---@field tool_call_id string?
---@field execution_id string? of this execution, for a tool client
---@field timeout_ms integer?
---@field on_update fun(update: table)? {partial_json, progress?, status?}

---@class agentwire.ToolDefinition
---@field name string
---@field description string?
---@field parameters table|string? JSON Schema of the arguments; what of it
--- cannot be checked is logged (`schema_unchecked`)
---@field strict boolean? a schema that cannot be checked whole raises, false
---@field handler fun(args: table, call: agentwire.ToolContext): any, any
---@field timeout_ms integer?
---@field version string? "1.0.0"
---@field supports_streaming boolean? true
---@field estimated_duration_ms integer?
---@field is_destructive boolean? false
---@field required_permissions string[]?

---@class agentwire.ToolContext
---@field name string
---@field tool_call_id string
---@field identity agentwire.Identity? of whoever calls; nil: nobody in particular
---@field timeout_ms integer?
---@field args_json string the arguments as they came: numbers beyond 2^53 keep
--- their digits here
---@field cancelled fun(): boolean whether nobody wants the result any more: the
--- call timed out or was cancelled. Waits raise then: this is for work between
local Context = {}
Context.__index = Context

local function new_context(tool, call, args_json, timeout_ms)
  local context = setmetatable({
    name = tool.metadata.name,
    tool_call_id = call.tool_call_id or "",
    identity = call.identity,
    args_json = args_json,
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
  local encoded, why = text.encode(value)
  if not encoded then
    misuse.raise("this value has no JSON form: %s", why)
  end
  return encoded
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
  if type(percent) ~= "number" or not (percent >= 0 and percent <= 100) then
    misuse.raise("progress is a number from 0 to 100, got %s",
      misuse.describe(percent))
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

--- A result that says why a tool failed, for the model to read.
---@param message string
---@param duration_ms? integer
---@return agentwire.ToolResult
function M.error_result(message, duration_ms)
  options.argument("tool.error_result", "message", options.string, message)
  return results.failure(message, duration_ms)
end

---@class agentwire.ToolRegistry
local Registry = {}
Registry.__index = Registry

---@class agentwire.ToolRegistryOptions
---@field timeout_ms number? of tools that set none
---@field strict boolean? a schema that cannot be checked whole raises, false
---@field max_check_steps integer? of a check of arguments, 1 000 000

local OPTIONS = options.spec("tool.registry", {
  timeout_ms = options.duration_ms,
  strict = options.boolean,
  max_check_steps = options.count,
})

local DEFINITION = options.spec("registry:add", {
  name = options.string,
  description = options.string,
  parameters = options.either(options.kind("a JSON Schema", function(value)
    return type(value) == "table"
  end), options.string),
  handler = options.func,
  timeout_ms = options.duration_ms,
  strict = options.boolean,
  version = options.string,
  supports_streaming = options.boolean,
  estimated_duration_ms = options.integer(0),
  is_destructive = options.boolean,
  required_permissions = options.list_of(options.string),
})

---@param given? agentwire.ToolRegistryOptions
---@return agentwire.ToolRegistry
function M.new(given)
  given = OPTIONS:check(given)
  return setmetatable({
    _tools = {},
    _names = {}, -- in the order of adding
    _timeout_ms = given.timeout_ms,
    _strict = given.strict or false,
    _max_steps = given.max_check_steps,
  }, Registry)
end

local function check_definition(self, definition)
  if type(definition) ~= "table" then
    misuse.raise("registry:add: a tool is a table, got %s",
      misuse.describe(definition))
  elseif definition.name == nil then
    misuse.raise("registry:add: a tool needs a name")
  end
  DEFINITION:check(definition)
  local name = definition.name
  local ok, why = protocol.check_name(name)
  if not ok then
    misuse.raise("registry:add: %s", why)
  elseif definition.handler == nil then
    misuse.raise("registry:add: %s: a tool needs a handler = function(args, call)",
      name)
  elseif self._tools[name] then
    misuse.raise("registry:add: %s: a tool of this name is there already", name)
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
  local copy = canonical.schema(parameters)
  local encoded, why = json.encode(copy)
  if not encoded then
    return nil, why
  end
  return copy, encoded
end

--- The schema of the arguments, looked through: raises for one that has no
--- meaning, tells what of it cannot be checked.
local function compile(self, definition)
  local where = "registry:add: " .. definition.name .. ": parameters"
  local parameters, encoded = read_parameters(definition)
  if parameters == nil then
    misuse.raise("%s: %s", where, tostring(encoded))
  end
  local compiled = schema.new(parameters, { max_steps = self._max_steps })
  local problem = compiled:problem()
  if problem then
    misuse.raise("%s: %s", where, problem)
  end
  local unchecked = compiled.document:find_unchecked()
  if #unchecked > 0 then
    local listed = table.concat(unchecked, "; ")
    if definition.strict or definition.strict == nil and self._strict then
      misuse.raise("%s: strict, and cannot be checked: %s", where, listed)
    end
    log.write("warn", "schema_unchecked",
      ("tool %s: not all of its schema is checked: %s"):format(definition.name,
      listed), { tool = definition.name, unchecked = unchecked })
  end
  return compiled, encoded
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
  check_definition(self, definition)
  local name = definition.name
  local compiled, encoded = compile(self, definition)
  local permissions = definition.required_permissions
  local metadata = {
    name = name,
    description = definition.description or "",
    parameters_schema_json = encoded,
    version = definition.version or "1.0.0",
    supports_streaming = flag(definition.supports_streaming, true),
    estimated_duration_ms = definition.estimated_duration_ms,
    is_destructive = flag(definition.is_destructive, false),
    required_permissions = permissions and json.array(permissions),
  }
  local sendable, why = json.encode(metadata)
  if not sendable then
    misuse.raise("registry:add: %s: %s", name, why)
  end
  self._tools[name] = {
    handler = definition.handler,
    timeout_ms = definition.timeout_ms or self._timeout_ms,
    schema = compiled,
    metadata = metadata,
  }
  self._names[#self._names + 1] = name
  return self
end

--- What of a tool's schema is not checked, and where; empty for nothing.
---@param name string
---@return string[]|nil unchecked nil: no such tool
function Registry:unchecked(name)
  options.argument("registry:unchecked", "name", options.string, name)
  local tool = self._tools[name]
  return tool and tool.schema.document.unchecked
end

--- Takes a tool away; calls that run go on.
---@param name string
---@return boolean removed
function Registry:remove(name)
  options.argument("registry:remove", "name", options.string, name)
  if not self._tools[name] then
    return false
  end
  self._tools[name] = nil
  tables.remove(self._names, name)
  return true
end

--- The tools' metadata, in the order of adding. Not to be changed.
---@param prefix? string only names that begin with it
---@return table[]
function Registry:list(prefix)
  options.optional("registry:list", "prefix", options.string, prefix)
  local list = {}
  for _, name in ipairs(self._names) do
    if not prefix or name:sub(1, #prefix) == prefix then
      list[#list + 1] = self._tools[name].metadata
    end
  end
  return list
end

--- Models leave arguments out in several ways.
local function decode_args(args_json)
  if args_json == nil or not args_json:find("[^ \t\r\n]") then
    return {}
  end
  local args, why = json.decode(args_json)
  if args == nil then
    return nil, "malformed arguments: " .. why
  elseif args == json.null then
    return {}
  end
  return args
end

local function copy(value)
  if type(value) ~= "table" then
    return value
  end
  local out = json.is_array(value) and json.array {} or {}
  for key, each in pairs(value) do
    out[key] = copy(each)
  end
  return out
end

local function is_empty_array(value)
  return json.is_array(value) and #value == 0
end

local function refuse_inexact(inexact)
  local value = inexact[1][3]
  return nil, ("args: %s: the integer %.0f is beyond 2^53, and its last digits"
    .. " would be lost; pass it as a string"):format(
    tostring(inexact[1][2]), value), "invalid_arguments"
end

--- The arguments as a handler gets them, and as they came.
local function read_args(tool, call)
  local args, args_json = call.args, call.args_json
  if args == nil or args == json.null then
    local why
    args, why = decode_args(args_json)
    if args == nil then
      return nil, why, "invalid_arguments"
    end
  else
    local why
    args_json, why = json.encode(args)
    if not args_json then
      return nil, "args: " .. why, "invalid_arguments"
    end
    args = copy(args) -- what is changed here is not the caller's
  end
  local ok, why, code, inexact = tool.schema:accept(args)
  if not ok and is_empty_array(args) then -- as PHP writes an empty object
    args = {}
    ok, why, code, inexact = tool.schema:accept(args)
  end
  if not ok then
    return nil, why, code
  elseif inexact[1] then
    return refuse_inexact(inexact)
  end
  return args, args_json or "{}"
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
    return results.of(outcome.value, outcome.why, context._details_json,
      duration_ms)
  elseif code == "timeout" then
    runner:cancel("tool timeout")
    return nil, ("took longer than %.0f ms"):format(context.timeout_ms), "tool_timeout"
  end
  local brief = text.line(problems.brief(raised or why))
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
  sources.check_call("registry:execute", call)
  local tool = self._tools[call.name]
  if not tool then
    return nil, "no such tool: " .. tostring(call.name), "tool_not_found"
  end
  local args, args_json, code = read_args(tool, call)
  if args == nil then
    return nil, text.line(args_json), code
  end
  local timeout_ms = smaller(tool.timeout_ms, call.timeout_ms)
  return run_handler(tool, args, new_context(tool, call, args_json, timeout_ms))
end

class.seal(Registry, "registry")
class.seal(Context, "call")

return M
