-- Limits on things at once, each held to all that spec/support/limit.lua asks,
-- over a pair; those that need sockets are in spec/websocket/limits_spec.lua,
-- shares in spec/websocket/shares_spec.lua, the core's own in tests/core.
local aw = require("agentwire")
local limit = require("spec.support.limit")
local link = require("spec.support.link")
local local_tools = require("agentwire.agent._local_tools")
local wait = require("agentwire._wait")

--- Runs `body(near, far)`.
local function with_pair(body)
  link.run(function()
    local near, far = aw.pair()
    body(near, far)
    near:close()
    far:wait_closed(1000)
  end)
end

--- A model whose streams last until they are aborted.
local function endless()
  return { name = "m", api = "m", stream = function()
    wait.latch():wait()
  end }
end

--- Tools of which `wait` lasts until it is cancelled.
local function waiting_tools()
  return aw.tool.registry():add { name = "wait", handler = function()
    wait.latch():wait()
  end }
end

--- What `outcome` says of something that was begun; nothing: it goes on.
local function refused(outcome, thing)
  local result, why, code = outcome(thing, 20)
  if not result and code ~= "timeout" then
    return why, code
  end
end

local function stream_of(client)
  return function()
    local stream = assert(client:start_stream { model = "m/m", messages = {} })
    local why, code = refused(stream.result, stream)
    if code then
      return nil, why, code
    end
    return function()
      stream:abort()
      stream:result(1000)
    end
  end
end

local function execution_of(client)
  return function()
    local execution, why, code = client:start { name = "wait" }
    if execution then
      why, code = refused(execution.result, execution)
    end
    if code then
      return nil, why, code
    end
    return function()
      execution:cancel()
      execution:result(1000)
    end
  end
end

local function session_of(client)
  return function()
    local session, why, code = client:start {}
    return session and function()
      session:stop()
    end, why, code
  end
end

local serial = 0

local function tool_of(conn)
  return function()
    serial = serial + 1
    local tools = aw.tool.registry():add { name = "t" .. serial,
      handler = print }
    local registration, why, code = aw.tool.register(conn, tools)
    return registration and function()
      registration:close()
    end, why, code
  end
end

local function service_of(options)
  options.model = "m/m"
  options.provider = aw.provider.loopback(endless())
  return aw.agent.service(options)
end

describe("a limit on things at once", function()
  it("holds for the streams of a provider", function()
    with_pair(function(near, far)
      local served = aw.provider.attach(far, endless(), { max_streams = 3 })
      limit.check { most = 3, begin = stream_of(near:provider()),
        counts = function()
          return { served:stats().active }
        end }
    end)
  end)

  it("holds for the sessions of a service, over all of its connections",
    function()
      with_pair(function(near, far)
        local service = service_of { max_sessions = 3 }
        local other, its_far = aw.pair()
        aw.agent.attach(far, service)
        aw.agent.attach(its_far, service)
        local turn = 0
        limit.check { most = 3, begin = function()
          turn = turn + 1
          return session_of((turn % 2 == 0 and near or other):agent())()
        end, counts = function()
          return { service._count, next(service._sessions) }
        end }
        other:close()
      end)
    end)

  it("holds for the executions of a connection", function()
    with_pair(function(near, far)
      local runs = aw.tool.attach(far, waiting_tools(), { max_executions = 3 })
      limit.check { most = 3, begin = execution_of(near:tool()),
        counts = function()
          return { runs._running, runs._live }
        end }
    end)
  end)

  it("holds for what a client has asked of a tool server", function()
    with_pair(function(near, far)
      aw.tool.attach(far, waiting_tools())
      local client = aw.tool.client(near, { max_open = 3 })
      limit.check { most = 3, begin = execution_of(client),
        says = "3 executions are open" }
    end)
  end)

  it("holds for the tools of a pool", function()
    with_pair(function(near, far)
      local pool = aw.tool.pool { max_tools = 3 }
      aw.tool.attach(far, nil, { pool = pool })
      limit.check { most = 3, begin = tool_of(near), says = "max_tools",
        counts = function()
          return { pool._count, #pool:list() }
        end }
    end)
  end)

  it("holds for open scopes, whoever opens them", function()
    link.run(function()
      local near, far = aw.pair { scopes_max = 3 }
      far:serve("provider", function(channel)
        while channel:receive() do
        end
      end)
      limit.check { most = 3, code = "limit", begin = function()
        local channel, why, code = near:open("provider")
        return channel and function()
          channel:close()
        end, why, code
      end, counts = function()
        return { near:stats().open_scopes }
      end }
      near:close()
    end)
  end)

  it("holds for the tools of a session, those that were given up included",
    function()
      link.run(function()
        local said
        local tools = local_tools.new({ send = function(_, _, payload)
          said = payload.result_json
          return true
        end }, { wait = waiting_tools() }, 3)
        limit.check { most = 3, says = "3 tools are running",
          begin = function()
            serial, said = serial + 1, nil
            local id = "c" .. serial
            tools:execute { tool_call_id = id, tool_name = "wait",
              args_json = "{}" }
            if said then
              return nil, said, "rate_limited"
            end
            return function()
              tools:give_up(id)
              link.settle()
            end
          end,
          counts = function()
            return { tools:count() }
          end }
      end)
    end)
end)
