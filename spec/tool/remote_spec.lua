local executor = require("agentwire.tool.executor")
local json = require("agentwire.json")
local link = require("spec.support.link")
local registry = require("agentwire.tool.registry")
local task = require("agentwire.task")
local tool_client = require("agentwire.tool.client")
local wait = require("agentwire._wait")

--- Tools for these specs; `gate` keeps `slow` until it is set.
local function new_tools(gate, log)
  return registry.new()
    :add {
      name = "add",
      parameters = {
        type = "object",
        properties = { a = { type = "number" }, b = { type = "number" } },
        required = { "a", "b" },
      },
      handler = function(args)
        return args.a + args.b
      end,
    }
    :add {
      name = "slow",
      handler = function(args, call)
        log[#log + 1] = "start"
        task.defer(function()
          log[#log + 1] = "end"
        end)
        call:update { step = 1 }
        call:progress(50, "half")
        gate:wait()
        return args.text or "slow"
      end,
    }
    :add {
      name = "raise",
      handler = function()
        error("broken", 0)
      end,
    }
end

--- Runs `body(client, env)` against an executor over a pair.
local function with_tools(body, options)
  options = options or {}
  local client_options = options.client
  options.client = nil
  link.run(function()
    local near, far = link.pair()
    local env = { near = near, far = far, log = {}, gate = wait.latch() }
    env.tools = new_tools(env.gate, env.log)
    env.runs = executor.attach(far, env.tools, options)
    body(tool_client.new(near, client_options), env)
    near:close()
  end)
end

--- The payload of one tool_execute, for specs that speak the wire themselves.
local function request(id, name, args_json)
  return {
    execution_id = id,
    tool_call_id = "c",
    tool_name = name,
    args_json = args_json or "{}",
  }
end

describe("a tool client and an executor", function()
  it("list, execute and answer", function()
    with_tools(function(client)
      assert.equal(3, #client:list())
      assert.equal("slow", client:list("sl")[1].name)
      local result = assert(client:execute {
        name = "add",
        args = { a = 2, b = 3 },
        tool_call_id = "call_1",
      })
      assert.equal("5", result.parts[1].text)
      assert.is_false(result.is_error)
    end)
  end)

  local failures = {
    { { name = "none" }, "tool_not_found" },
    { { name = "add", args_json = "{" }, "invalid_arguments" },
    { { name = "add", args = { a = "1", b = 2 } }, "invalid_arguments" },
    { { name = "raise" }, "tool_execution_error" },
    { { name = "slow", timeout_ms = 20 }, "tool_timeout" },
  }
  for _, case in ipairs(failures) do
    it("end a call with " .. case[2] .. " and go on", function()
      with_tools(function(client)
        local result, _, code = client:execute(case[1])
        assert.is_nil(result)
        assert.equal(case[2], code)
        assert.is_truthy(client:execute {
          name = "add", args = { a = 1, b = 1 },
        })
      end)
    end)
  end

  it("interleave executions, each with its own updates and result", function()
    with_tools(function(client, env)
      local a = assert(client:start { name = "slow", args = { text = "a" } })
      local b = assert(client:start { name = "slow", args = { text = "b" } })
      local quick = assert(client:execute {
        name = "add", args = { a = 1, b = 1 },
      })
      assert.equal("2", quick.parts[1].text)
      local status = assert(client:status(a.id))
      assert.equal("slow", status.tool_name)
      assert.equal("streaming", status.status)
      env.gate:set(true)
      for _, execution in ipairs { b, a } do
        local seen = {}
        for update in execution:updates() do
          seen[#seen + 1] = update.progress or update.partial.step
        end
        assert.same({ 1, 50 }, seen)
      end
      assert.equal("a", a:result().parts[1].text)
      assert.equal("b", b:result().parts[1].text)
      assert.equal("completed", client:status(a.id).status)
    end)
  end)

  it("hand updates to on_update in order, before the result", function()
    with_tools(function(client, env)
      local seen = {}
      env.gate:set(true)
      assert(client:execute {
        name = "slow",
        on_update = function(update)
          seen[#seen + 1] = update.partial_json
        end,
      })
      assert.same({ '{"step":1}', "{}" }, seen)
    end)
  end)

  it("cancel an execution: one cancelled outcome, the handler is ended",
    function()
      with_tools(function(client, env)
        local execution = assert(client:start { name = "slow" })
        execution:next_update()
        assert.is_true(execution:cancel("not needed"))
        assert.is_true(execution:cancel("again"))
        local result, _, code = execution:result()
        assert.is_nil(result)
        assert.equal("cancelled", code)
        env.gate:set(true)
        assert.equal("cancelled", client:status(execution.id).status)
        assert.same({ "start", "end" }, env.log)
        assert.equal(0, env.runs:running())
      end)
    end)

  it("cancel the remote execution when the caller is cancelled", function()
    with_tools(function(client, env)
      local caller = task.spawn(client.execute, client, { name = "slow" })
      link.eventually(function()
        return #env.log == 1
      end)
      caller:cancel("enough")
      caller:join()
      link.eventually(function()
        return #env.log == 2
      end)
      assert.same({ "start", "end" }, env.log)
    end)
  end)

  it("end every open execution when the connection ends", function()
    with_tools(function(client, env)
      local a = assert(client:start { name = "slow" })
      local b = assert(client:start { name = "slow" })
      a:next_update()
      b:next_update()
      env.far:close()
      for _, execution in ipairs { a, b } do
        local result, _, code = execution:result()
        assert.is_nil(result)
        assert.equal("closed", code)
        assert.is_true(execution:is_done())
        assert.equal(50, execution:next_update().progress)
        assert.is_nil(execution:next_update())
      end
      link.eventually(function()
        return #env.log == 4
      end)
      assert.equal(0, env.runs:running())
      assert.same({ "start", "start", "end", "end" }, env.log)
      local again, _, code = client:start { name = "add" }
      assert.is_nil(again)
      assert.equal("closed", code)
    end)
  end)

  it("end open executions when the client is closed, and can go on", function()
    with_tools(function(client, env)
      local execution = assert(client:start { name = "slow" })
      execution:next_update()
      client:close("enough")
      client:close()
      local _, message, code = execution:result()
      assert.equal("closed", code)
      assert.equal("enough", message)
      assert.equal(3, #client:list())
      link.eventually(function()
        return #env.log == 2
      end)
      assert.same({ "start", "end" }, env.log)
    end)
  end)

  it("wait for a result only as long as asked", function()
    with_tools(function(client, env)
      local execution = assert(client:start { name = "slow" })
      local _, _, code = execution:result(5)
      assert.equal("timeout", code)
      env.gate:set(true)
      assert.equal("slow", execution:result().parts[1].text)
    end)
  end)

  it("give up on an executor that never answers", function()
    link.run(function()
      local near, far = link.pair()
      local got = {}
      far:serve("tool", function(channel)
        for _ = 1, 2 do
          got[#got + 1] = channel:receive().type
        end
      end)
      local client = tool_client.new(near, { grace_ms = 10 })
      local result, _, code = client:execute { name = "x", timeout_ms = 20 }
      assert.is_nil(result)
      assert.equal("tool_timeout", code)
      link.eventually(function()
        return #got == 2
      end)
      assert.same({ "tool_execute", "tool_cancel" }, got)
      near:close()
    end)
  end)

  it("ask for a cancellation once", function()
    link.run(function()
      local near, far = link.pair()
      local got = {}
      far:serve("tool", function(channel)
        local event = channel:receive()
        while event do
          got[#got + 1] = event.type
          event = channel:receive()
        end
      end)
      local client = tool_client.new(near)
      local execution = assert(client:start { name = "x" })
      execution:cancel()
      execution:cancel()
      client:close()
      link.eventually(function()
        return got[#got] == "goodbye"
      end)
      assert.same({ "tool_execute", "tool_cancel", "goodbye" }, got)
      near:close()
    end)
  end)

  it("keep the newest updates for a reader that is behind", function()
    with_tools(function(client, env)
      env.tools:add {
        name = "chatty",
        handler = function(_, call)
          for i = 1, 10 do
            call:update(i)
          end
        end,
      }
      local execution = assert(client:start { name = "chatty" })
      execution:result()
      local seen = {}
      for update in execution:updates() do
        seen[#seen + 1] = update.partial
      end
      assert.same({ 8, 9, 10 }, seen)
      assert.equal(7, execution.dropped_updates)
    end, { client = { max_updates = 3 } })
  end)

  it("never run a repeated execution twice", function()
    with_tools(function(_, env)
      local channel = assert(env.near:open("tool"))
      local execute = request("e1", "slow")
      local types = {}
      assert(channel:send("tool_execute", execute))
      assert(channel:send("tool_execute", execute))
      local function take()
        local event = assert(channel:receive(1000))
        types[#types + 1] = event.type
        return event
      end
      take()
      take()
      env.gate:set(true)
      local first = take()
      assert(channel:send("tool_execute", execute))
      local second = take()
      assert.same({ "tool_stream", "tool_stream", "tool_result",
        "tool_result" }, types)
      assert.equal(first.result_json, second.result_json)
      assert.equal(channel:sent_id(), channel:reply_to())
      assert.same({ "start", "end" }, env.log)
    end)
  end)

  it("remember a bounded number of ended executions", function()
    with_tools(function(_, env)
      local channel = assert(env.near:open("tool"))
      for i = 1, 5 do
        assert(channel:send("tool_execute",
          request("e" .. i, "add", '{"a":1,"b":1}')))
        assert.equal("tool_result", channel:receive(1000).type)
      end
      assert.equal(3, env.runs:finished())
      channel:send("tool_status", { execution_id = "e1" })
      assert.equal("tool_error", channel:receive(1000).type)
      channel:send("tool_status", { execution_id = "e5" })
      assert.equal("completed", channel:receive(1000).status)
    end, { max_finished = 3 })
  end)

  it("keep the status of a result that is too large to be kept", function()
    with_tools(function(_, env)
      env.gate:set(true)
      local channel = assert(env.near:open("tool"))
      assert(channel:send("tool_execute", request("e", "slow")))
      repeat
        local event = assert(channel:receive(1000))
      until event.type == "tool_result"
      assert(channel:send("tool_execute", request("e", "slow")))
      local event = assert(channel:receive(1000))
      assert.equal("tool_error", event.type)
      assert.equal("internal_error", event.code)
      assert.same({ "start", "end" }, env.log)
    end, { max_finished_bytes = 4 })
  end)

  it("refuse more executions than allowed at once", function()
    with_tools(function(client)
      local a = assert(client:start { name = "slow" })
      a:next_update()
      local result, _, code = client:execute { name = "slow" }
      assert.is_nil(result)
      assert.equal("rate_limited", code)
      assert.is_false(a:is_done())
    end, { max_executions = 1 })
  end)

  local odd = {
    { "tool_dance", {}, "unknown message type" },
    { "tool_execute", { execution_id = "e" }, "missing field" },
    { "tool_cancel", { execution_id = "e" }, "no such execution" },
    { "tool_status", { execution_id = "e" }, "no such execution" },
    { "tool_register", { tool = {} }, "cannot be registered" },
    { "tool_unregister", { tool_id = "x" }, "not registered" },
  }
  for _, case in ipairs(odd) do
    it("answer " .. case[1] .. ": " .. case[3], function()
      with_tools(function(_, env)
        local channel = assert(env.near:open("tool"))
        -- The scope is open, so that unknown types reach the executor.
        assert(channel:send("tool_list", {}))
        assert(channel:receive(1000))
        assert(channel:send(case[1], case[2]))
        local event = assert(channel:receive(1000))
        assert.equal("tool_error", event.type)
        assert.matches(case[3], event.message, 1, true)
        assert.equal(channel:sent_id(), channel:reply_to())
        assert.equal(case[2].execution_id or channel:sent_id(),
          event.execution_id)
        assert(channel:send("tool_list", {}))
        assert.equal("tool_list_response", channel:receive(1000).type)
      end)
    end)
  end
end)

describe("a tool server that dials out", function()
  --- An agent side with a pool, and a tool server that has registered.
  local function with_pool(body, options)
    link.run(function()
      local server, agent = link.pair()
      local env = { server = server, agent = agent, log = {},
        gate = wait.latch() }
      env.pool = executor.pool(options)
      executor.attach(agent, nil, { pool = env.pool })
      env.tools = new_tools(env.gate, env.log)
      body(env)
      server:close()
    end)
  end

  it("registers its tools and executes what the agent asks for", function()
    with_pool(function(env)
      local registration = assert(executor.register(env.server, env.tools))
      assert.matches("^add#", registration.tool_ids.add)
      assert.equal(3, #env.pool:list())
      local result = assert(env.pool:execute {
        name = "add", args_json = '{"a":20,"b":22}', tool_call_id = "c",
      })
      assert.equal("42", result.parts[1].text)
      local _, _, code = env.pool:execute { name = "none" }
      assert.equal("tool_not_found", code)
    end)
  end)

  it("streams updates to the agent", function()
    with_pool(function(env)
      assert(executor.register(env.server, env.tools))
      env.gate:set(true)
      local seen = 0
      assert(env.pool:execute {
        name = "slow",
        on_update = function()
          seen = seen + 1
        end,
      })
      assert.equal(2, seen)
    end)
  end)

  it("takes back one tool, and all when it leaves", function()
    with_pool(function(env)
      local registration = assert(executor.register(env.server, env.tools))
      assert.is_true(registration:unregister("add"))
      local _, _, code = registration:unregister("add")
      assert.equal("tool_not_found", code)
      assert.equal(2, #env.pool:list())
      local _, _, early = registration:wait_ended(1)
      assert.equal("timeout", early)
      registration:close()
      registration:close()
      assert.is_true(registration:wait_ended(1000))
      link.eventually(function()
        return #env.pool:list() == 0
      end)
    end)
  end)

  it("ends what runs at it when its connection ends", function()
    with_pool(function(env)
      assert(executor.register(env.server, env.tools))
      local running = task.spawn(env.pool.execute, env.pool, { name = "slow" })
      link.eventually(function()
        return #env.log == 1
      end)
      env.server:close()
      local result, _, code = running:join()
      assert.is_nil(result)
      assert.equal("tool_unavailable", code)
      link.eventually(function()
        return #env.pool:list() == 0
      end)
    end)
  end)

  it("overlays a tool of the same name and uncovers it again", function()
    with_pool(function(env)
      local function offer(text)
        return assert(executor.register(env.server, registry.new():add {
          name = "who",
          handler = function()
            return text
          end,
        }))
      end
      offer("first")
      local second = offer("second")
      assert.equal(1, #env.pool:list())
      assert.equal("second",
        env.pool:execute({ name = "who" }).parts[1].text)
      second:close()
      link.eventually(function()
        local result = env.pool:execute { name = "who" }
        return result and result.parts[1].text == "first"
      end)
    end)
  end)

  it("is refused when the pool is full, and takes nothing half", function()
    with_pool(function(env)
      local registration, why, code = executor.register(env.server, env.tools)
      assert.is_nil(registration)
      assert.equal("rate_limited", code)
      assert.matches("2 tools are registered", why, 1, true)
      link.eventually(function()
        return #env.pool:list() == 0
      end)
    end, { max_tools = 2 })
  end)

  it("is refused where nobody collects tools", function()
    with_tools(function(_, env)
      local registration, _, code = executor.register(env.near, env.tools)
      assert.is_nil(registration)
      assert.equal("permission_denied", code)
    end)
  end)

  it("keeps the metadata that was registered", function()
    with_pool(function(env)
      env.tools:add { name = "x", version = "3.0.0", handler = print,
        is_destructive = true }
      assert(executor.register(env.server, env.tools))
      local tool = env.pool:list("x")[1]
      assert.equal("3.0.0", tool.version)
      assert.is_true(tool.is_destructive)
      assert.equal('{"type":"object"}', tool.parameters_schema_json)
      assert.is_truthy(json.decode(tool.parameters_schema_json))
    end)
  end)
end)
