--- What `aw.serve` takes, and gives to each connection of a server: a provider,
--- an agent, tools. Everything is checked before a socket is opened; what all
--- connections share is made once.
local agent_server = require("agentwire.agent.server")
local executor = require("agentwire.tool.executor")
local misuse = require("agentwire._misuse")
local options_of = require("agentwire._options")
local provider_server = require("agentwire.provider.server")
local server = require("agentwire.server")
local tables = require("agentwire._tables")

local M = {}

local Served = {}
Served.__index = Served

-- As of a service, whose provider has to be a client; here it may be local.
local AGENT = options_of.spec("agent", {
  provider = provider_server.PROVIDER,
}, agent_server.OPTIONS)

local ATTACHED = {
  provider = provider_server.PROVIDER,
  provider_options = provider_server.OPTIONS,
  agent = options_of.either(agent_server.SERVICE, AGENT),
  tools = executor.SOURCE,
  pool = executor.POOL,
  tool_options = executor.OPTIONS,
  on_connection = options_of.func,
}

local OPTIONS = options_of.spec("serve", ATTACHED, server.OPTIONS, options_of.spec(
  "serve", { listen = options_of.string }))

--- The options of `listen` among those of `serve`.
local function listen_options(options)
  local listen = tables.copy(options)
  for name in pairs(ATTACHED) do
    listen[name] = nil
  end
  listen.url, listen.listen = options.listen, nil
  return listen
end

local function check_served(options)
  for _, name in ipairs { "provider", "agent", "tools", "pool",
    "on_connection" } do
    if options[name] then
      return
    end
  end
  misuse.raise("serve: nothing is served: give provider, agent, tools, pool or "
    .. "on_connection")
end

local function check_companions(options)
  if options.provider_options and not options.provider then
    misuse.raise("serve: option provider_options: there is no provider")
  elseif options.tool_options and not (options.tools or options.pool) then
    misuse.raise("serve: option tool_options: there are no tools and no pool")
  end
end

---@class agentwire.ServeOptions: agentwire.ListenOptions
---@field listen string? URL
---@field provider table? an adapter, a router or a provider client
---@field provider_options agentwire.ProviderServerOptions?
---@field agent agentwire.AgentService|agentwire.AgentServiceOptions|nil
---@field tools table? a tool source
---@field pool agentwire.ToolPool? takes the tools that peers register
---@field tool_options agentwire.ExecutorOptions?
---@field on_connection fun(conn: agentwire.Connection)|nil after the others

--- Checks the options of `serve` and takes them apart.
---@param options agentwire.ServeOptions
---@return table served `make` it, then `attach` it to each connection
---@return table listen options of `listen`
function M.read(options)
  if type(options) ~= "table"
    or options.listen == nil and not options.stdio then
    misuse.raise("serve expects listen = URL, or stdio = true")
  end
  OPTIONS:check(options)
  if options.url ~= nil then
    misuse.raise("serve: unknown option url; did you mean listen?")
  end
  check_served(options)
  check_companions(options)
  local listen = listen_options(options)
  server.check("serve", listen)
  return setmetatable({ _options = options, _agent = nil }, Served), listen
end

local function make_agent(given)
  if agent_server.SERVICE.accepts(given) then
    return given
  end
  local options = tables.copy(given)
  if options.provider and not options.provider.start_stream then
    options.provider = require("agentwire.provider").loopback(options.provider)
  end
  return agent_server.new(options)
end

--- Makes what all connections share; needs a running host.
function Served:make()
  self._agent = self._options.agent and make_agent(self._options.agent)
end

---@param conn agentwire.Connection
function Served:attach(conn)
  local options = self._options
  if options.provider then
    provider_server.attach(conn, options.provider, options.provider_options)
  end
  if self._agent then
    agent_server.attach(conn, self._agent)
  end
  if options.tools or options.pool then
    executor.attach(conn, options.tools,
      tables.over(options.tool_options, { pool = options.pool }))
  end
  if options.on_connection then
    options.on_connection(conn)
  end
end

return M
