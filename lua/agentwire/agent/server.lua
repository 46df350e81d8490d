--- A service of agent sessions, for the peers of any number of connections: its
--- options, and the places that sessions take in it, which are given back
--- however they end. A session is one scope (`_served_session`): it is started,
--- takes prompts, runs one at a time, and lives until it is stopped or its
--- connection ends.
local class = require("agentwire._class")
local conversations = require("agentwire.agent._conversations")
local loop = require("agentwire.agent.loop")
local misuse = require("agentwire._misuse")
local options_of = require("agentwire._options")
local protocol = require("agentwire.agent.protocol")
local served = require("agentwire.agent._served_session")
local shares = require("agentwire._shares")
local task = require("agentwire.task")
local tool_source = require("agentwire.tool._source")

local M = {}

-- Sessions of one service, over all connections.
local MAX_SESSIONS = 256

local SOURCE = tool_source.kind

M.OPTIONS = options_of.spec("agent.service", {
  provider = options_of.having("a provider client", "start_stream"),
  tools = options_of.either(SOURCE, options_of.list_of(SOURCE)),
  model = options_of.either(options_of.filled, options_of.table),
  allow_model = options_of.boolean,
  system_prompt = options_of.string,
  options = options_of.table,
  max_turns = options_of.count,
  max_sessions = options_of.count,
  max_client_tools = options_of.integer(0, 2 ^ 31 - 1),
  coalesce = options_of.boolean,
  store = options_of.kind("a store with load and save", function(value)
    local has = options_of.having
    return has("", "load").accepts(value) and has("", "save").accepts(value)
  end),
  store_timeout_ms = options_of.duration_ms,
  authorize = options_of.func,
}, loop.LIMITS)

--- What `new` returns, for options that take one.
M.SERVICE = options_of.kind("an agent service", function(value)
  return type(value) == "table" and rawget(value, "_sessions") ~= nil
    and type(value.stop) == "function"
end)

---@class agentwire.AgentServiceOptions
---@field provider table a provider client
---@field tools table? a tool source or a list of them
---@field model string|table|nil for sessions that name none
---@field allow_model boolean? whether a session may name its own, true
---@field system_prompt string? for sessions that bring none
---@field options table? provider options; a session's own are laid over them
---@field max_turns integer? 50; a session may ask for less
---@field max_sessions integer? 256
---@field max_pending_messages integer? queued messages of a session, 64
---@field max_client_tools integer? 128
---@field max_parallel_tools integer? 8
---@field tool_timeout_ms integer? for each tool call; of a client's tools
--- 300 000
---@field tools_timeout_ms number? what a source may take to list its tools, 5000
---@field coalesce boolean? merge deltas that wait for a slow client, true
---@field store agentwire.AgentStore? conversations that outlive their session
---@field store_timeout_ms number? for one answer of the store, 30000
---@field authorize (fun(connection: agentwire.Connection, tool: table): any, string?)|nil
--- whether the peer's sessions may use one of `tools`: `tool` has its `name`,
--- in a list also its metadata, in a call its `args_json`; may wait

--- Both may wait. A failure is raised, or returned as nil or false and a
--- message: it is logged, and the client hears that there was one. `key` holds
--- the owner's identity and the session's id, in characters that a file's name
--- may have.
---@class agentwire.AgentStore
---@field load fun(self, key: string, owner: agentwire.Identity?): table[]|nil, string?
---@field save fun(self, key: string, messages: table[], owner: agentwire.Identity?)

---@class agentwire.AgentService
local Service = {}
Service.__index = Service

---@param options agentwire.AgentServiceOptions
---@return agentwire.AgentService
function M.new(options)
  options = M.OPTIONS:check(options)
  if not options.provider then
    misuse.raise("agent.service: option provider: a provider client is expected")
  end
  return setmetatable({
    _options = options,
    _tools = loop.sources(options.tools),
    _conversations = conversations.new(options.store,
      options.store_timeout_ms),
    _sessions = {}, -- set of those that were started
    _count = 0, -- places taken, by those that start as well
    _stopped = false,
    _max_sessions = options.max_sessions or MAX_SESSIONS,
  }, Service)
end

---@return {sessions: integer}
function Service:stats()
  return { sessions = self._count }
end

--- Whether another session may begin.
local function check_start(service, event)
  local ok, why, code = protocol.check(event)
  if not ok then
    return nil, why, code
  elseif service._stopped then
    return nil, "the service is stopping", "rate_limited"
  elseif service._count >= service._max_sessions then
    return nil, ("%d sessions are open, all that max_sessions allows")
      :format(service._count), "rate_limited"
  end
  return true
end

--- Takes a place for as long as the current task runs.
local function take_place(service, channel, event)
  local ok, why, code = check_start(service, event)
  if not ok then
    return nil, why, code
  end
  local release
  release, why, code = shares.take(channel.connection, "sessions")
  if not release then
    return nil, why, code
  end
  service._count = service._count + 1
  task.defer(function()
    service._count = service._count - 1
    release()
  end)
  return true
end

local function serve_session(service, channel)
  local event = channel:receive()
  if not event then
    return
  end
  local message_id = channel:message_id()
  if event.type == "refused" then
    return channel:close() -- it was answered when it came
  end
  local session
  local ok, why, code = take_place(service, channel, event)
  if ok then
    session, why, code = served.start(service, channel, event)
  end
  if not session then
    local kind, payload = protocol.error(code, why)
    channel:send(kind, payload, message_id)
    return channel:close()
  end
  service._sessions[session] = true
  task.defer(function()
    service._sessions[session] = nil
  end)
  session:serve(message_id)
end

--- Serves the sessions that the peer starts on this connection.
---@param connection agentwire.Connection
---@param service agentwire.AgentService
function M.attach(connection, service)
  options_of.argument("agent.attach", "connection", options_of.connection,
    connection)
  options_of.argument("agent.attach", "service", M.SERVICE, service)
  connection:serve("agent", function(channel)
    serve_session(service, channel)
  end)
end

--- Takes no more sessions and stops the ones there are. Idempotent.
---@async
---@param reason? string
function Service:stop(reason)
  self._stopped = true
  local sessions = {}
  for session in pairs(self._sessions) do
    sessions[#sessions + 1] = session
  end
  for _, session in ipairs(sessions) do
    session:stop(reason or "the service has stopped")
    session.channel:close()
  end
end

class.seal(Service, "service")

return M
