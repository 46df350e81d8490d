-- What a server decides for its sessions, whatever their clients ask for, and
-- that nobody touches what is somebody else's.
local agent_server = require("agentwire.agent.server")
local aw = require("agentwire")
local link = require("spec.support.link")
local script = require("spec.support.script")

--- Runs `body(client, env)`: a client's connection to a served agent.
local function with_service(options, body)
  link.run(function()
    local env = { adapter = script.adapter(options.turns or {}) }
    options.turns = nil
    local conn
    options.provider, conn = script.client(env.adapter)
    env.service = agent_server.new(options)
    env.near, env.far = link.pair()
    env.other, env.other_far = link.pair()
    agent_server.attach(env.far, env.service)
    agent_server.attach(env.other_far, env.service)
    body(env.near:agent(), env)
    env.near:close()
    env.other:close()
    conn:close()
  end)
end

local function run(session, text)
  session:prompt(text)
  return assert(session:result(5000))
end

describe("a server of sessions", function()
  it("chooses the model where sessions may not", function()
    with_service({ model = "script/tiny", allow_model = false },
      function(client, env)
        for _, model in ipairs { "script/dear",
          { id = "dear", api = "script", provider = "script" } } do
          local session = assert(client:start { model = model })
          run(session, "hi")
          assert.equal("tiny", env.adapter.seen[#env.adapter.seen].model.id)
          assert.truthy(session:status().model:find("tiny", 1, true))
          session:stop()
        end
      end)
  end)

  it("has a last word on turns", function()
    local again = script.say(nil, { "", "look", "{}" })
    local turns = {}
    for i = 1, 20 do
      turns[i] = again
    end
    local tools = aw.tool.registry()
    tools:add { name = "look", description = "", handler = function()
      return "x"
    end }
    for _, wanted in ipairs { 100, 3, 2, 1 } do
      with_service({ model = "script/tiny", max_turns = 3, turns = turns,
        tools = tools }, function(client)
          local session = assert(client:start {
            config = { max_turns = wanted },
          })
          local result = run(session, "go")
          assert.equal("max_turns", result.stop_reason)
          assert.equal(math.min(3, wanted), result.iterations)
          session:stop()
        end)
    end
  end)

  it("keeps its own tools from being replaced by a client's", function()
    local ran = {}
    local function tools_of(who)
      local tools = aw.tool.registry()
      tools:add { name = "look", description = who, handler = function()
        ran[#ran + 1] = who
        return who
      end }
      return tools
    end
    with_service({ model = "script/tiny", tools = tools_of("the server"),
      turns = { script.say(nil, { "c", "look", "{}" }), script.say("done") },
    }, function(client, env)
      local session = assert(client:start { tools = tools_of("the client") })
      run(session, "go")
      assert.same({ "the server" }, ran)
      local offered = env.adapter.seen[1].context.tools
      assert.equal(1, #offered)
      assert.equal("the server", offered[1].description)
      session:stop()
    end)
  end)

  it("lets nobody act on a session of another connection", function()
    with_service({ model = "script/tiny" }, function(client, env)
      local session = assert(client:start {})
      local before = session:status()
      for type, payload in pairs {
        agent_status = { session_id = session.id },
        agent_cancel = { session_id = session.id },
        agent_stop = { session_id = session.id },
        agent_message = { session_id = session.id,
          message_json = '{"role":"user","content":"mine"}' },
        tool_list = { session_id = session.id },
      } do
        local channel = assert(env.other:open("agent"))
        assert(channel:send("agent_start", { config_json = "{}" }))
        assert.equal("agent_started", assert(channel:receive(1000)).type)
        assert(channel:send(type, payload))
        local event = assert(channel:receive(1000), type)
        assert.equal("agent_error", event.type)
        assert.equal("invalid_request", event.code)
        assert.truthy(event.message:find("not this session", 1, true))
        channel:send("agent_stop", {})
      end
      -- The same id is another session there.
      local theirs = assert(env.other:agent():start { id = session.id })
      assert.equal(0, theirs:status().message_count)
      theirs:stop()
      local after = session:status()
      assert.equal("ready", after.status)
      assert.equal(before.message_count, after.message_count)
      assert.equal(before.updated_at <= after.updated_at, true)
      run(session, "still mine")
      session:stop()
    end)
  end)
end)

describe("a stream", function()
  it("is not aborted, nor told, by another connection", function()
    link.run(function()
      local gate = require("agentwire._wait").latch("the spec")
      local adapter = { name = "script", api = "script" }
      function adapter.stream(_, _, emit)
        emit { type = "text_start", content_index = 0 }
        emit { type = "text_delta", content_index = 0, delta = "secret" }
        gate:wait()
        emit { type = "text_end", content_index = 0 }
      end
      local near, far = link.pair()
      local other, other_far = link.pair()
      aw.provider.attach(far, adapter)
      aw.provider.attach(other_far, adapter)
      local stream = assert(near:provider():start_stream {
        model = "script/tiny", messages = { { role = "user", content = "x" } },
      })
      link.settle()
      local channel = assert(other:open("provider"))
      assert(channel:send("abort_request", { target_stream_id = stream.id }))
      assert.equal("ack", assert(channel:receive(1000)).type)
      local told = {}
      other:on_control("provider", function(message)
        told[#told + 1] = message
      end)
      assert(other:send_control("provider", stream.id, "sync_request",
        { target_stream_id = stream.id }))
      link.eventually(function()
        return told[1]
      end)
      assert.equal("nack", told[1].type)
      assert.equal("stream_not_found", told[1].error_code)
      gate:set(true)
      assert.equal("secret", assert(stream:result(1000)).content[1].text)
      near:close()
      other:close()
    end)
  end)
end)

describe("an execution", function()
  it("is not known, told or cancelled by another connection", function()
    link.run(function()
      local gate = require("agentwire._wait").latch("the spec")
      local tools = aw.tool.registry()
      tools:add { name = "wait", description = "", handler = function()
        gate:wait()
        return "secret"
      end }
      local near, far = link.pair()
      local other, other_far = link.pair()
      aw.tool.attach(far, tools)
      aw.tool.attach(other_far, tools)
      local execution = assert(near:tool():start { name = "wait" })
      link.settle()
      local _, _, code = other:tool():status(execution.id)
      assert.equal("invalid_request", code)
      local channel = assert(other:open("tool"))
      assert(channel:send("tool_cancel", { execution_id = execution.id }))
      local event = assert(channel:receive(1000))
      assert.equal("tool_error", event.type)
      assert.equal("invalid_request", event.code)
      -- The same id starts another execution there, and tells nothing of this.
      assert(channel:send("tool_execute", { execution_id = execution.id,
        tool_call_id = "c", tool_name = "nothing", args_json = "{}" }))
      event = assert(channel:receive(1000))
      assert.equal("tool_error", event.type)
      gate:set(true)
      assert.equal("secret", assert(execution:result(1000)).parts[1].text)
      near:close()
      other:close()
    end)
  end)
end)
