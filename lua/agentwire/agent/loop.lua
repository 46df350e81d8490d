--- The agent loop: asks the model, runs the tools it calls, asks again, until
--- the model is done. What happens is told as events, in the order of the wire
--- protocol's section 5; every run ends with one `agent_end` and one outcome.

local class = require("agentwire._class")
local history = require("agentwire.agent._history")
local host = require("agentwire.host")
local listeners = require("agentwire._listeners")
local misuse = require("agentwire._misuse")
local options_of = require("agentwire._options")
local runs = require("agentwire.agent._run")
local sources = require("agentwire.agent._sources")
local task = require("agentwire.task")
local tool_source = require("agentwire.tool._source")
local wait = require("agentwire._wait")

local M = {}

-- Turns of one run. A model that calls tools for ever costs money.
local MAX_TURNS = 50

-- Queued steering and follow-up messages, each.
local MAX_PENDING = 64

-- Tool calls of one message that run at the same time.
local MAX_PARALLEL = 8

local SOURCE = tool_source.kind
local MODE = options_of.one_of { "all", "one_at_a_time" }

--- What a service's options say of each of its loops, by the same names.
M.LIMITS = options_of.spec("agent.loop", {
  max_pending_messages = options_of.count,
  max_parallel_tools = options_of.count,
  tool_timeout_ms = options_of.duration_ms,
  tools_timeout_ms = options_of.duration_ms,
})

M.OPTIONS = options_of.spec("agent.loop", {
  provider = options_of.having("a provider client", "start_stream"),
  model = options_of.either(options_of.string, options_of.table),
  system_prompt = options_of.string,
  tools = options_of.either(SOURCE, options_of.list_of(SOURCE)),
  options = options_of.table,
  messages = options_of.table,
  on_event = options_of.func,
  max_turns = options_of.count,
  steering_mode = MODE,
  follow_up_mode = MODE,
  coalesce = options_of.boolean,
}, M.LIMITS)

---@class agentwire.AgentLoop
---@field messages table[] the conversation so far
local Loop = {}
Loop.__index = Loop

---@class agentwire.AgentLoopOptions
---@field provider table a provider client: start_stream
---@field model string|table
---@field system_prompt string?
---@field tools table? a tool source or a list of them
---@field options table? handed to the provider as they are
---@field messages table[]? a conversation to go on with; it grows, and is mended
--- where calls have no results and blocks are empty
---@field on_event fun(event: table)? the first listener
---@field max_turns integer? 50
---@field max_pending_messages integer? 64 in each queue
---@field max_parallel_tools integer? 8
---@field tool_timeout_ms number?
---@field tools_timeout_ms number? what a source may take to list its tools, 5000
---@field steering_mode "all"|"one_at_a_time"|nil one_at_a_time
---@field follow_up_mode "all"|"one_at_a_time"|nil one_at_a_time
---@field coalesce boolean? merge deltas that wait already

--- A list of tool sources from one, several or none.
M.sources = sources.list_of

--- Whether a conversation can be gone on with.
---@param messages any
---@return string|nil problem
M.problem_of = history.problem

---@param options agentwire.AgentLoopOptions
---@return agentwire.AgentLoop
function M.new(options)
  options = M.OPTIONS:check(options)
  if not options.provider then
    misuse.raise("agent.loop: option provider: a provider client is expected")
  end
  local problem = options.messages and history.problem(options.messages)
  if problem then
    misuse.raise("agent.loop: option messages: %s", problem)
  elseif options.messages then
    history.mend(options.messages)
  end
  local self = setmetatable({
    messages = options.messages or {},
    model = options.model,
    _provider = options.provider,
    _system_prompt = options.system_prompt,
    _sources = sources.new(options.tools, options.tools_timeout_ms),
    _options = options.options,
    _max_turns = options.max_turns or MAX_TURNS,
    _max_pending = options.max_pending_messages or MAX_PENDING,
    _max_parallel = options.max_parallel_tools or MAX_PARALLEL,
    _tool_timeout_ms = options.tool_timeout_ms,
    _coalesce = options.coalesce,
    _queues = { steering = {}, follow_up = {} },
    _modes = {
      steering = options.steering_mode, follow_up = options.follow_up_mode,
    },
    _listeners = listeners.new(),
    _telling = {}, -- the listener that each task is in
    _run = nil,
  }, Loop)
  if options.on_event then
    self._listeners:add(options.on_event)
  end
  return self
end

--- The model's name, for people.
---@return string
function Loop:model_name()
  local model = self.model
  if type(model) == "table" then
    model = model.id or model.model_id
  end
  return model or "unknown"
end

--- The tools of all sources, as far as they are known; of two with one name
--- the earlier source's counts.
---@async
---@param on_change? fun(event: table) told of a source that is out, or is back
---@return table[] tools metadata
---@return table routes source by name
function Loop:list_tools(on_change)
  return self._sources:list(on_change)
end

--- Drops a listener that failed; that goes to the host like the error of a task
--- that nobody joins.
local function drop_listener(self, listener, message)
  self._listeners:drop(listener)
  host.current():report(message, "a listener of an agent")
end

--- Tells the listeners.
function Loop:_tell(event)
  local current = task.current()
  for _, listener in self._listeners:each() do
    self._telling[current] = listener
    local ok, problem = xpcall(listener, debug.traceback, event)
    if not ok then
      drop_listener(self, listener, wait.error_text(problem))
    end
  end
  self._telling[current] = nil
end

--- Drops the listeners that have ended the tasks they were called in.
function Loop:_drop_fallen()
  for teller, listener in pairs(self._telling) do
    if teller:failure() then
      self._telling[teller] = nil
      drop_listener(self, listener, (teller:failure()))
    end
  end
end

--- Calls `listener` with every event, after the listeners that are there. One
--- that raises is dropped.
---@param listener fun(event: table)
---@return fun() unsubscribe
function Loop:subscribe(listener)
  options_of.argument("subscribe", "listener", options_of.func, listener)
  return self._listeners:add(listener)
end

--- Makes the next run without starting it, so that it can be cancelled from
--- now on. One run at a time.
---@param prompts string|table text, a message or a list of them
---@return agentwire.AgentRun|nil run
---@return string? message
---@return string? code agent_busy, or invalid_request: a prompt that is empty or
--- could not be sent to a provider
function Loop:begin(prompts)
  if self._run then
    return nil, "the agent is busy", "agent_busy"
  end
  local messages, why, code = history.read_prompts(prompts)
  if not messages then
    return nil, why, code
  end
  self._run = runs.new(self, messages)
  return self._run
end

--- Runs the prompts to the end.
---@async
---@param prompts string|table
---@return table|nil result
---@return string? message
---@return string? code agent_busy or the provider's
function Loop:prompt(prompts)
  local run, why, code = self:begin(prompts)
  if not run then
    return nil, why, code
  end
  return run:execute()
end

local function enqueue(self, name, prompt)
  local queue = self._queues[name]
  if #queue >= self._max_pending then
    return nil, ("%d messages are waiting (max_pending_messages)"):format(
      #queue), "rate_limited"
  end
  local message, why, code = history.read_prompt(prompt)
  if not message then
    return nil, why, code
  end
  queue[#queue + 1] = message
  return true
end

--- Queues a message for the end of the current turn: it comes before the next
--- question to the model.
---@param message string|table
---@return true|nil ok
---@return string? message
---@return string? code rate_limited, invalid_request
function Loop:steer(message)
  return enqueue(self, "steering", message)
end

--- Queues a message for when the agent would otherwise stop.
---@param message string|table
---@return true|nil ok
---@return string? message
---@return string? code rate_limited, invalid_request
function Loop:follow_up(message)
  return enqueue(self, "follow_up", message)
end

--- Takes as many messages from a queue as its mode says.
---@param name "steering"|"follow_up"
---@return table[]
function Loop:_take(name)
  local queue, taken = self._queues[name], {}
  local count = self._modes[name] == "all" and #queue or math.min(1, #queue)
  for index = 1, count do
    taken[index] = table.remove(queue, 1)
  end
  return taken
end

--- Takes what would begin the next run: messages that came too late for the
--- last one.
---@return table[]
function Loop:take_queued()
  local taken = self:_take("steering")
  if #taken == 0 then
    taken = self:_take("follow_up")
  end
  return taken
end

--- Forgets queued messages.
---@return integer dropped
function Loop:clear_queues()
  local queues = self._queues
  self._queues = { steering = {}, follow_up = {} }
  return #queues.steering + #queues.follow_up
end

--- Ends the current run.
---@param reason? string
---@return boolean cancelled
function Loop:cancel(reason)
  return self._run ~= nil and self._run:cancel(reason)
end

---@return boolean
function Loop:is_running()
  return self._run ~= nil
end

--- Forgets the conversation and the queues. Misuse while it runs.
function Loop:reset()
  if self._run then
    misuse.raise("reset while the agent runs")
  end
  self.messages = {}
  self:clear_queues()
end

class.seal(Loop, "loop")

return M
