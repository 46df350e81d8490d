---What a server gives each of its connections: a provider, an agent, tools.
local M = {}

local Parts = {}
Parts.__index = Parts

local function make_provider(provider)
  if type(provider) == "table" and provider.stream then
    return provider
  end
  error("provider: an adapter, a router or a provider client is expected", 0)
end

local function make_agent(agent)
  if type(agent) ~= "table" then
    error("agent: a service or its options are expected", 0)
  elseif getmetatable(agent) ~= nil then
    return agent -- a service
  end
  local options = {}
  for key, value in pairs(agent) do
    options[key] = value
  end
  if options.provider and not options.provider.start_stream then
    options.provider = require("agentwire.provider").loopback(options.provider)
  end
  return require("agentwire.agent.server").new(options)
end

local function check_tools(tools)
  if type(tools) ~= "table" or not tools.add then
    error("tools: a registry is expected", 0)
  end
  return tools
end

---@param options table `provider`, `agent`, `tools`, and their options
function M.new(options)
  local self = setmetatable({
    _options = options,
    _provider = options.provider and make_provider(options.provider),
    _agent = options.agent and make_agent(options.agent),
    _tools = options.tools and check_tools(options.tools),
  }, Parts)
  return self
end

---@param conn agentwire.Connection
function Parts:attach(conn)
  local options = self._options
  if self._provider then
    require("agentwire.provider.server")
      .attach(conn, self._provider, options.provider_options)
  end
  if self._agent then
    require("agentwire.agent.server").attach(conn, self._agent)
  end
  if self._tools or options.pool then
    local settings = { pool = options.pool }
    for key, value in pairs(options.tool_options or {}) do
      settings[key] = value
    end
    require("agentwire.tool.executor").attach(conn, self._tools, settings)
  end
  if options.on_connection then
    options.on_connection(conn)
  end
end

return M
