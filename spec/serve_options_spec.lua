-- What aw.serve, aw.listen and what they pass on make of their options.
local aw = require("agentwire")
local link = require("spec.support.link")
local scripted = require("agentwire.providers.scripted")

local function listen(more)
  return function()
    local options = { url = "ws://127.0.0.1:0" }
    for name, value in pairs(more) do
      options[name] = value
    end
    return aw.listen(options, print)
  end
end

local function serve(more)
  return function()
    local options = { listen = "ws://127.0.0.1:0", provider = scripted.new() }
    for name, value in pairs(more) do
      options[name] = value
    end
    return aw.serve(options)
  end
end

local function stdio(more)
  return function()
    local options = { stdio = true, on_connection = print }
    for name, value in pairs(more) do
      options[name] = value
    end
    return aw.serve(options)
  end
end

local function service(more)
  return function()
    local options = { provider = aw.provider.loopback(scripted.new()) }
    for name, value in pairs(more) do
      options[name] = value
    end
    return aw.agent.service(options)
  end
end

local COMPLAINTS = {
  { "a token for tokens", serve { token = "x" },
    "serve: unknown option token; did you mean tokens?" },
  { "a token for tokens of listen", listen { token = "x" },
    "listen: unknown option token; did you mean tokens?" },
  { "an unknown option", serve { porvider = {} },
    "unknown option porvider; did you mean provider?" },
  { "url for listen", serve { url = "ws://127.0.0.1:0" },
    "unknown option url; did you mean listen?" },
  { "an option of the provider above it", serve { max_streams = 5 },
    "unknown option max_streams; it belongs in provider_options" },
  { "an option of the agent above it", serve { max_sessions = 5 },
    "unknown option max_sessions; it belongs in agent" },
  { "an option of the agent that is near to none", serve { coalesce = true },
    "unknown option coalesce; it belongs in agent" },
  { "an option of the tools above it", serve { max_executions = 5 },
    "unknown option max_executions; it belongs in tool_options" },
  { "a wrong option of the provider",
    serve { provider_options = { max_stream = 5 } },
    "option provider_options: unknown option max_stream; did you mean" },
  { "a way that is none", serve { provider_options = { overflow = "burst" } },
    "option overflow: expected one of fold, pause, fail" },
  { "a number as text", listen { sessions_max = "5" },
    "option sessions_max: expected an integer" },
  { "a number that is none", listen { log_bytes = 0 / 0 },
    "option log_bytes: expected an integer" },
  { "a misspelt file", listen { tls = { cafile = "x" } },
    "option tls: unknown option cafile; did you mean ca_file?" },
  { "a file one table too high", listen { cert_file = "x" },
    "unknown option cert_file; it belongs in tls" },
  { "a token that is a number", listen { tokens = { 12345 } },
    "option tokens: expected" },
  { "an empty token", listen { tokens = "" }, "option tokens: expected" },
  { "a token of nobody", listen { tokens = { x = true } },
    "option tokens: expected" },
  { "a token of a table without a name", listen { tokens = { x = {} } },
    "a table of tokens with whom each is for" },
  { "names beside bare tokens", listen { tokens = { "x", y = "ann" } },
    "option tokens: expected" },
  { "a hook that is none", listen { authenticate = true },
    "option authenticate: expected a function" },
  { "access that is true", listen { access = true },
    "option access: expected false" },
  { "tools that are none", serve { tools = "all" },
    "option tools: expected a tool source" },
  { "an agent that is none", serve { agent = "me" },
    "option agent: expected an agent service, or a table" },
  { "an agent with a wrong option",
    serve { agent = { provider = scripted.new(), max_turn = 3 } },
    "option agent: unknown option max_turn; did you mean max_turns?" },
  { "an agent without a provider", serve { agent = {} },
    "option provider: a provider client is expected" },
  { "a pool that is a registry", serve { pool = aw.tool.registry() },
    "option pool: expected a pool made by tool.pool" },
  { "nothing to serve", serve { provider = false }, "option provider" },
  { "options of a provider that is not there", function()
    aw.serve { listen = "ws://127.0.0.1:0", on_connection = print,
      provider_options = {} }
  end, "there is no provider" },
  { "a server that serves nothing", function()
    aw.serve { listen = "ws://127.0.0.1:0", tokens = "x" }
  end, "serve: nothing is served" },
  { "tokens beside a hook", listen { tokens = "x", authenticate = print },
    "listen: options tokens and authenticate contradict each other" },
  { "tokens and no access", serve { tokens = "x", access = false },
    "serve: options access and tokens contradict each other" },
  { "a hook and no access", listen { authenticate = print, access = false },
    "options access and authenticate contradict" },
  { "origins and no access", listen { origins = { "*" }, access = false },
    "options access and origins contradict" },
  { "stdio and a URL", stdio { listen = "ws://127.0.0.1:0" },
    "a URL and stdio contradict each other" },
  { "stdio and tokens", stdio { tokens = "x" },
    "options stdio and tokens contradict" },
  { "stdio and a hook", stdio { authenticate = print },
    "options stdio and authenticate contradict" },
  { "stdio and TLS", stdio { tls = {} }, "options stdio and tls contradict" },
  { "stdio and origins", stdio { origins = {} },
    "options stdio and origins contradict" },
  { "stdio and access", stdio { access = false },
    "options stdio and access contradict" },
  { "stdio and a limit of sockets", stdio { connections_max = 5 },
    "option connections_max: not with stdio" },
  { "a descriptor without stdio", listen { in_fd = 0 },
    "option in_fd: only with stdio" },
  { "a service with a wrong option", service { max_sesions = 5 },
    "agent.service: unknown option max_sesions; did you mean max_sessions?" },
  { "a service whose provider is an adapter",
    service { provider = scripted.new() },
    "option provider: expected a provider client" },
  { "a pool with a wrong option", function()
    aw.tool.pool { max_tool = 5 }
  end, "tool.pool: unknown option max_tool; did you mean max_tools?" },
  { "an executor with a wrong option", function()
    aw.tool.attach(aw.pair(), aw.tool.registry(), { max_execution = 5 })
  end, "tool.attach: unknown option max_execution; did you mean" },
  { "an executor of nothing", function()
    aw.tool.attach(aw.pair(), nil)
  end, "tool.attach: a tool source or a pool is expected" },
  { "a registration with a wrong option", function()
    aw.tool.register(aw.pair(), aw.tool.registry(), { timeout = 5 })
  end, "tool.register: unknown option timeout; did you mean timeout_ms?" },
  { "options where a service belongs", function()
    aw.agent.attach(aw.pair(), { provider = scripted.new() })
  end, "agent.attach: service: expected an agent service" },
  { "sessions for no connection", function()
    aw.agent.attach(nil, {})
  end, "agent.attach: connection: expected a connection" },
  { "tools for no connection", function()
    aw.tool.attach({}, aw.tool.registry())
  end, "tool.attach: connection: expected a connection" },
  { "tools offered to no connection", function()
    aw.tool.register("ws://127.0.0.1:1", aw.tool.registry())
  end, "tool.register: connection: expected a connection" },
  { "a provider for no connection", function()
    aw.provider.attach(scripted.new(), scripted.new())
  end, "provider.attach: connection: expected a connection" },
  { "contradictions, wherever access is made", function()
    require("agentwire.access").new { url = "ws://127.0.0.1:0", tokens = "x",
      authenticate = print }
  end, "options tokens and authenticate contradict" },
  { "a provider that is none", function()
    aw.provider.attach(aw.pair(), {})
  end, "provider.attach: provider: expected an adapter" },
}

describe("a server's options", function()
  for _, case in ipairs(COMPLAINTS) do
    it("tell of " .. case[1], function()
      local ok, message
      link.run(function()
        ok, message = pcall(case[2])
      end)
      assert.is_false(ok)
      message = tostring(message)
      assert.truthy(message:find(case[3], 1, true), message)
      assert.truthy(message:find("serve_options_spec.lua:%d+: "), message)
    end)
  end

  it("do not repeat a secret", function()
    link.run(function()
      local _, message = pcall(serve { tokens = { "s3cret", 5 } })
      assert.is_nil(tostring(message):find("s3cret", 1, true))
    end)
  end)

  it("are all taken when they fit", function()
    link.run(function()
      local server = assert(aw.serve {
        listen = "ws://127.0.0.1:0/a", provider = scripted.new(),
        provider_options = {
          max_streams = 5, keepalive_ms = 0, max_message_bytes = 5000,
          cache_max_age_ms = 5, overflow = "pause",
        },
        agent = {
          provider = scripted.new(), model = "scripted/scripted",
          allow_model = false, system_prompt = "x", options = {}, max_turns = 1,
          max_sessions = 1, max_pending_messages = 1, max_client_tools = 0,
          max_parallel_tools = 1, tool_timeout_ms = 1000, coalesce = false,
          store = { load = print, save = print },
        },
        tools = aw.tool.registry(), pool = aw.tool.pool { max_tools = 3 },
        tool_options = {
          max_executions = 1, max_finished = 1, max_finished_bytes = 1,
          timeout_ms = 1, max_open = 1, max_updates = 1, grace_ms = 1,
        },
        on_connection = function() end,
        protocols = "makai.v1", tokens = "x", origins = {}, quiet = true,
        handshake_ms = 1000, ping_interval_ms = 1000, ping_deadline_ms = 1000,
        backlog = 5, connections_max = 5, per_address_max = 5, sessions_max = 5,
        head_max = 8192, process_bytes = 2 ^ 20, trace = false, depth_max = 64,
        scopes_max = 50, tombs_max = 5, window_messages = 64,
        window_bytes = 2 ^ 18, inbound_bytes = 2 ^ 22, log_messages = 100,
        log_bytes = 2 ^ 20, session_bytes = 2 ^ 22, control_bytes = 2 ^ 16,
        window_ms = 1000, message_max = 2 ^ 20,
      })
      server:close()
    end)
  end)
end)
