--- Sessions of the agent at the other end of a connection: starting them, and
--- asking about them by id. A session that has something to tell a listener is
--- kept here (`_pinned`) although nobody holds it.

local class = require("agentwire._class")
local json = require("agentwire.json")
local known = require("agentwire._known")
local misuse = require("agentwire._misuse")
local options = require("agentwire._options")
local sessions = require("agentwire.agent._session")
local sources = require("agentwire.agent._sources")
local tables = require("agentwire._tables")
local undo = require("agentwire._undo")

local M = {}

-- How long a start waits for `agent_started`.
local TIMEOUT_MS = 30000

-- Ended sessions that stay known by id.
local MAX_ENDED = 256

---@class agentwire.AgentClientOptions
---@field timeout_ms number? how long a request waits for its answer, 30 000
---@field max_ended integer? ended sessions that stay known by id, 256
---@field max_queued_events integer? of a run that wait to be iterated, 256

local OPTIONS = options.spec("agent.client", {
  timeout_ms = options.duration_ms,
  max_ended = options.integer(0, 2 ^ 31),
  max_queued_events = options.count,
})

local MODE = options.one_of { "all", "one_at_a_time" }

-- Members of config_json. Other servers than ours may know more.
local CONFIG = options.spec("config", {
  model = options.either(options.string, options.table),
  tools = options.table,
  options = options.table,
  max_turns = options.count,
  steering_mode = MODE,
  follow_up_mode = MODE,
}):open()

local START = options.spec("agent:start", {
  system_prompt = options.string,
  model = options.either(options.string, options.table),
  tools = options.table,
  config = CONFIG,
  resume_session_id = options.filled,
  id = options.uuid,
  on_event = options.func,
  max_executions = options.count,
  timeout_ms = options.duration_ms,
})

---@class agentwire.AgentClient
local Client = {}
Client.__index = Client

function Client:__tostring()
  return "agent client of " .. tostring(self._connection)
end

-- Errors about a session that the server does not know come outside of it.
local function take_control(self, message)
  local session = self._sessions:get(message.id)
  if session and message.type == "agent_error" then
    session:_receive(message, message.in_reply_to)
  end
end

---@param connection agentwire.Connection
---@param given? agentwire.AgentClientOptions
---@return agentwire.AgentClient
function M.new(connection, given)
  given = OPTIONS:check(given)
  local self = setmetatable({
    _connection = connection,
    _options = given,
    _timeout_ms = given.timeout_ms or TIMEOUT_MS,
    _sessions = known.new(given.max_ended or MAX_ENDED),
    _pinned = {}, -- those that have a listener, and something to tell it
  }, Client)
  connection:_listen("agent", self, take_control)
  return self
end

function Client:_pin(kept, pinned)
  self._pinned[kept] = pinned
end

function Client:_retire(ended)
  self._sessions:retire(ended)
end

---@class agentwire.AgentStart
---@field system_prompt string?
---@field model string|table|nil
---@field tools table? a tool source or a list of them; they run here
---@field config table? further members of config_json
---@field resume_session_id string?
---@field id string? a UUID
---@field on_event fun(event: table)? is told every event of every run
---@field max_executions integer? local tools that run at once, 64
---@field timeout_ms integer?

--- The tools to offer, and which source has which.
local function offered_tools(given)
  local list, routes = sources.new(given.tools, given.timeout_ms):list()
  local tools = {}
  for index, tool in ipairs(list) do
    tools[index] = {
      name = tool.name,
      description = tool.description,
      parameters_schema_json = tool.parameters_schema_json,
    }
  end
  return tools, routes
end

local function build_start(given, tools)
  local config = tables.copy(given.config)
  config.model = given.model or config.model
  if #tools > 0 then
    config.tools = json.array(tools)
  end
  local text, why = json.encode(config)
  if not text then
    misuse.raise("agent:start: config has no JSON form: %s", why)
  end
  return {
    config_json = text,
    system_prompt = given.system_prompt,
    resume_session_id = given.resume_session_id,
  }
end

--- Starts a session. One that nobody holds any more is stopped, unless its
--- listener has something to hear.
---@async
---@param given? agentwire.AgentStart
---@return agentwire.Session|nil session
---@return string? message
---@return string? code the agent protocol's; closed; timeout
function Client:start(given)
  given = START:check(given)
  local tools, routes = offered_tools(given)
  local payload = build_start(given, tools)
  -- A conversation keeps its one id.
  local id = given.id or options.uuid.accepts(given.resume_session_id)
    and given.resume_session_id or nil
  local channel, why, code = self._connection:open("agent", id)
  if not channel then
    return nil, why, code
  end
  local started = sessions.new(self, channel, {
    routes = routes,
    on_event = given.on_event,
    max_executions = given.max_executions,
    max_queued_events = self._options.max_queued_events,
    timeout_ms = self._timeout_ms,
  })
  self._sessions:add(started)
  local ok
  ok, why, code = undo.unless_returned(function()
    started:close()
  end, started._start, started, payload, given.timeout_ms)
  if not ok then
    started:close(why, code)
    return nil, why, code
  end
  return started
end

--- A session by its id, also an ended one while it is remembered.
---@param id string
---@return agentwire.Session|nil session
---@return string? message
---@return string? code agent_not_found
function Client:session_for(id)
  local session = self._sessions:get(id)
  if not session then
    return nil, "no session has this id", "agent_not_found"
  end
  return session
end

--- Whether nothing runs in a session any more: its last run has an outcome, or
--- it has ended. Nil for an unknown id.
---@param id string
---@return boolean|nil
function Client:is_session_complete(id)
  local session = self._sessions:get(id)
  return session and session:is_complete()
end

--- Why a session's last run, or the session itself, failed.
---@param id string
---@return string|nil message
---@return string|nil code
function Client:last_error_for_session(id)
  local session = self._sessions:get(id)
  if session then
    return session:last_error()
  end
end

--- The last result that a session's runs have had.
---@param id string
---@return table|nil
function Client:last_result_for_session(id)
  local session = self._sessions:get(id)
  return session and session:last_result()
end

--- Closes a session and forgets it.
---@param id string
---@return boolean known
function Client:remove_session_state(id)
  local session = self._sessions:forget(id)
  if session then
    session:close()
  end
  return session ~= nil
end

--- Counts, for reports and tests.
---@return {known: integer, ended: integer}
function Client:stats()
  local count, ended = self._sessions:counts()
  return { known = count, ended = ended }
end

class.seal(Client, "agent")

return M
