local agent_client = require("agentwire.agent.client")
local agent_server = require("agentwire.agent.server")
local link = require("spec.support.link")
local registry = require("agentwire.tool.registry")
local script = require("spec.support.script")
local task = require("agentwire.task")
local wait = require("agentwire._wait")

local say = script.say

--- Runs `body(client, env)` against a service whose provider plays `turns`.
local function with_service(turns, options, body)
  link.run(function()
    local env = { adapter = script.adapter(turns) }
    options.provider, env.provider_connection = script.client(env.adapter)
    options.model = options.model or "script/tiny"
    local client_options = options.client
    options.client = nil
    env.service = agent_server.new(options)
    env.near, env.far = link.pair()
    agent_server.attach(env.far, env.service)
    body(agent_client.new(env.near, client_options), env)
    env.near:close()
    env.provider_connection:close()
  end)
end

local function collect(iterator, run)
  local names = {}
  for event in iterator, run do
    if event.type ~= "message_update" then
      names[#names + 1] = event.type
    end
  end
  return names
end

--- A turn that waits for `gate`, then says `text`.
local function gated(gate, text)
  return function(_, emit)
    emit { type = "text_start", content_index = 0 }
    emit { type = "text_delta", content_index = 0, delta = text }
    gate:wait()
    emit { type = "text_end", content_index = 0 }
    return say(text)
  end
end

local SINGLE = {
  "agent_start", "message_start", "message_end", "turn_start",
  "message_start", "message_end", "turn_end", "agent_end",
}

describe("an agent session", function()
  it("streams a run's events and then has its result", function()
    with_service({ say("Hello") }, {}, function(client)
      local session = assert(client:start {})
      assert.same(SINGLE, collect(session:prompt("Hi")))
      local result = assert(session:result())
      assert.equal("Hello", result.text)
      assert.equal("stop", result.stop_reason)
      assert.is_true(session:stop("finished"))
    end)
  end)

  it("goes on after a run, with its conversation", function()
    with_service({ say("one"), say("two") }, {}, function(client, env)
      local session = assert(client:start { system_prompt = "Be brief." })
      session:prompt("1")
      assert.equal("one", session:result().text)
      session:prompt("2")
      assert.equal("two", session:result().text)
      local context = env.adapter.seen[2].context
      assert.equal(3, #context.messages)
      assert.equal("Be brief.", context.system_prompt)
      local info = assert(session:status())
      assert.equal("ready", info.status)
      assert.equal(4, info.message_count)
      assert.equal("script/tiny", info.model)
      assert.equal(session.id, info.session_id)
    end)
  end)

  it("runs the client's own tools where the client is", function()
    local turns = {
      say(nil, { "c1", "read", '{"path":"README"}' }), say("It says hi"),
    }
    with_service(turns, {}, function(client, env)
      local tools = registry.new():add {
        name = "read",
        parameters = { type = "object", required = { "path" } },
        handler = function(args, call)
          call:update { text = "opening " .. args.path }
          return "hi"
        end,
      }
      local session = assert(client:start { tools = tools })
      assert.equal("read", session:tools()[1].name)
      local updates, results = {}, {}
      for event in session:prompt("What is in README?") do
        if event.type == "tool_execution_update" then
          updates[#updates + 1] = event.partial_json
        elseif event.type == "tool_execution_end" then
          results[#results + 1] = event.result_json
        end
      end
      assert.equal("It says hi", session:result().text)
      assert.same({ '{"text":"opening README"}' }, updates)
      assert.equal(1, #results)
      assert.matches('"text":"hi"', results[1], 1, true)
      assert.equal("hi", env.adapter.seen[2].context.messages[3].content[1].text)
    end)
  end)

  it("lists the server's tools before the client's", function()
    local function tools(name)
      return registry.new():add { name = name, handler = print }
    end
    with_service({}, { tools = tools("server_side") }, function(client)
      local session = assert(client:start { tools = tools("client_side") })
      local names = {}
      for _, tool in ipairs(assert(session:tools())) do
        names[#names + 1] = tool.name
      end
      assert.same({ "server_side", "client_side" }, names)
      assert.equal(1, #session:tools("client"))
    end)
  end)

  it("cancels a client's tool together with the run", function()
    local ended = wait.latch()
    with_service({ say(nil, { "c1", "slow" }), say("ok") }, {},
      function(client)
        local tools = registry.new():add {
          name = "slow",
          handler = function()
            task.defer(function()
              ended:set(true)
            end)
            task.sleep(600000)
          end,
        }
        local session = assert(client:start { tools = tools })
        local iterator, run = session:prompt("go")
        for event in iterator, run do
          if event.type == "tool_execution_start" then
            assert.equal("waiting_for_tool", session:status().status)
            assert(session:cancel("enough"))
          end
        end
        assert.equal("aborted", session:result().stop_reason)
        assert.is_true(ended:wait(1000))
        session:prompt("again")
        assert.equal("ok", session:result().text)
      end)
  end)

  it("gives up on a client that never answers a tool call", function()
    with_service({ say(nil, { "c1", "t" }), say("ok") },
      { tool_timeout_ms = 30 }, function(client)
        local tools = registry.new():add {
          name = "t",
          handler = function()
            task.sleep(600000)
          end,
        }
        local session = assert(client:start { tools = tools })
        local text
        for event in session:prompt("go") do
          if event.type == "tool_execution_end" then
            text = event.result_json
          end
        end
        assert.matches("did not answer within 30 ms", text, 1, true)
        assert.equal("ok", session:result().text)
      end)
  end)

  it("refuses a prompt while it is busy; the run goes on", function()
    local gate = wait.latch()
    with_service({ gated(gate, "one") }, {}, function(client)
      local session = assert(client:start {})
      local iterator, run = session:prompt("1")
      assert.equal("agent_start", iterator(run).type)
      assert.same({}, collect(session:prompt("2")))
      local result, _, code = session:result()
      assert.is_nil(result)
      assert.equal("agent_busy", code)
      gate:set(true)
      local names = collect(iterator, run)
      assert.equal("agent_end", names[#names])
      assert.equal("one", session:last_result().text)
    end)
  end)

  it("takes steering and follow-ups in mid-run", function()
    local gate = wait.latch()
    local turns = { gated(gate, "one"), say("two"), say("three") }
    with_service(turns, {}, function(client, env)
      local session = assert(client:start {})
      for event in session:prompt("go") do
        if event.type == "message_update" and not gate:is_set() then
          assert(session:follow_up("then this"))
          assert(session:steer("look here"))
          assert(session:status())
          gate:set(true)
        end
      end
      local result = assert(session:result())
      assert.equal("three", result.text)
      assert.equal(3, result.iterations)
      local messages = env.adapter.seen[3].context.messages
      assert.equal("look here", messages[3].content)
      assert.equal("then this", messages[5].content)
    end)
  end)

  it("answers a follow-up that came when nothing ran", function()
    local events = {}
    with_service({ say("one"), say("two") }, {}, function(client)
      local done = wait.latch()
      local session = assert(client:start { on_event = function(event)
        events[#events + 1] = event.type
        if event.type == "agent_end" then
          done:set(true)
        end
      end })
      assert(session:follow_up("hello?"))
      done:wait(1000)
      assert.equal("one", session:result().text)
      assert.equal("agent_start", events[1])
      session:prompt("more")
      assert.equal("two", session:result().text)
    end)
  end)

  it("does not mix an unprompted run with a prompt that is refused",
    function()
      local gate = wait.latch()
      local events = 0
      with_service({ gated(gate, "one") }, {}, function(client)
        local session = assert(client:start { on_event = function()
          events = events + 1
        end })
        assert(session:follow_up("hello?"))
        assert.same({}, collect(session:prompt("and?")))
        local _, _, code = session:result()
        assert.equal("agent_busy", code)
        gate:set(true)
        link.eventually(function()
          return session:last_result() ~= nil
        end)
        assert.equal("one", session:last_result().text)
        assert.is_true(events >= #SINGLE)
      end)
    end)

  it("tells an unprompted run by the message that its first event names",
    function()
      local gate = wait.latch()
      with_service({ gated(gate, "one") }, {}, function(client)
        local session = assert(client:start {})
        local iterator, run = session:prompt("mine")
        -- What a run of an earlier follow-up looks like to this client.
        session:_receive({
          type = "agent_event", event_json = '{"type":"agent_start"}',
        }, "f0000000-0000-4000-8000-000000000001")
        session:_receive({
          type = "agent_result", result_json = '{"text":"other"}',
        }, "f0000000-0000-4000-8000-000000000001")
        assert.equal("other", session:last_result().text)
        gate:set(true)
        assert.same(SINGLE, collect(iterator, run))
        assert.equal("one", session:last_result().text)
      end)
    end)

  it("answers a follow-up that came while a run was ending", function()
    with_service({ say("one"), say("two") }, {}, function(client, env)
      local session = assert(client:start {})
      local served = next(env.service._sessions).loop
      local late = false
      served:subscribe(function(event)
        if event.type == "agent_end" and not late then
          late = true
          assert(served:follow_up("late"))
        end
      end)
      collect(session:prompt("go"))
      link.eventually(function()
        return session:last_result() and session:last_result().text == "two"
      end)
      assert.equal("two", session:result().text)
    end)
  end)

  it("limits what waits in a session", function()
    local gate = wait.latch()
    with_service({ gated(gate, "one"), say("two") },
      { max_pending_messages = 1 }, function(client)
        local session = assert(client:start {})
        local iterator, run = session:prompt("go")
        iterator(run)
        assert(session:follow_up("a"))
        assert(session:follow_up("b"))
        assert(session:status())
        local _, code = client:last_error_for_session(session.id)
        assert.equal("rate_limited", code)
        gate:set(true)
        assert.equal("two", session:result().text)
      end)
  end)

  it("tells a provider's failure and stays usable", function()
    local turns = { function()
      return nil, "quota", "rate_limited"
    end, say("ok") }
    with_service(turns, {}, function(client)
      local session = assert(client:start {})
      assert.same(SINGLE, collect(session:prompt("Hi")))
      local result, why, code = session:result()
      assert.is_nil(result)
      assert.equal("quota", why)
      assert.equal("rate_limited", code)
      session:prompt("again")
      assert.equal("ok", session:result().text)
    end)
  end)

  it("cancels a streaming run and aborts it at the provider", function()
    local aborted, gate = wait.latch(), wait.latch()
    local function turn(_, emit)
      task.defer(function()
        aborted:set(true)
      end)
      emit { type = "text_start", content_index = 0 }
      emit { type = "text_delta", content_index = 0, delta = "Once" }
      gate:wait()
    end
    with_service({ turn, say("ok") }, {}, function(client)
      local session = assert(client:start {})
      local iterator, run = session:prompt("story")
      local ends = 0
      for event in iterator, run do
        if event.type == "message_update" and event.event.delta then
          session:cancel("enough")
        end
        ends = ends + (event.type == "agent_end" and 1 or 0)
      end
      assert.equal(1, ends)
      local result = assert(session:result())
      assert.equal("aborted", result.stop_reason)
      assert.equal("Once", result.text)
      assert.equal("enough", result.cancel_reason)
      assert.is_true(aborted:wait(1000))
      session:prompt("again")
      assert.equal("ok", session:result().text)
    end)
  end)

  it("does nothing for a cancel when nothing runs", function()
    with_service({ say("ok") }, {}, function(client)
      local session = assert(client:start {})
      assert(session:cancel("idle"))
      session:prompt("Hi")
      assert.equal("ok", session:result().text)
    end)
  end)

  it("stops in mid-run: the run ends, then the session", function()
    local gate = wait.latch()
    with_service({ gated(gate, "one") }, {}, function(client, env)
      local session = assert(client:start {})
      local iterator, run = session:prompt("go")
      iterator(run)
      assert.is_true(session:stop("enough"))
      assert.is_true(session:stop())
      session:close()
      assert.is_true(session:is_ended())
      assert.equal("aborted", session:result().stop_reason)
      assert.equal(0, env.service:stats().sessions)
      local names = collect(session:prompt("late"))
      assert.same({}, names)
      local _, _, code = session:result()
      assert.equal("ended", code)
      local ok
      ok, _, code = session:steer("late")
      assert.is_nil(ok)
      assert.equal("ended", code)
    end)
  end)

  it("wakes every waiter when the connection ends", function()
    local gate = wait.latch()
    with_service({ gated(gate, "one") }, {}, function(client, env)
      local session = assert(client:start {})
      local iterator, run = session:prompt("go")
      local reader = task.spawn(collect, iterator, run)
      local waiter = task.spawn(session.status, session)
      task.yield()
      env.far:close()
      reader:join()
      local _, _, code = waiter:join()
      assert.equal("closed", code)
      _, _, code = session:result()
      assert.equal("closed", code)
      link.eventually(function()
        return env.service:stats().sessions == 0
      end)
    end)
  end)

  it("is independent of the other sessions of its connection", function()
    local gate = wait.latch()
    local turns = { gated(gate, "slow"), say("quick") }
    with_service(turns, {}, function(client)
      local a = assert(client:start {})
      local b = assert(client:start {})
      local iterator, run = a:prompt("1")
      iterator(run)
      b:prompt("2")
      assert.equal("quick", b:result().text)
      assert.is_true(client:is_session_complete(b.id))
      assert.is_false(client:is_session_complete(a.id))
      b:stop()
      gate:set(true)
      assert.equal("slow", a:result().text)
    end)
  end)

  it("can be started again under its id after a stop, ten times", function()
    with_service({}, {}, function(client, env)
      local id = "d0000000-0000-4000-8000-000000000001"
      local other = assert(client:start {})
      for _ = 1, 10 do
        local session = assert(client:start { id = id })
        session:prompt("Hi")
        assert.is_truthy(session:result())
        assert.is_true(session:stop())
        assert.equal("ready", other:status().status)
      end
      assert.equal(1, env.service:stats().sessions)
    end)
  end)

  it("is known by id until it is removed", function()
    with_service({ say("one"), function()
      return nil, "quota", "rate_limited"
    end }, {}, function(client)
      local session = assert(client:start {})
      local id = session.id
      assert.is_nil(client:is_session_complete("none"))
      session:prompt("1")
      session:result()
      assert.is_true(client:is_session_complete(id))
      assert.equal("one", client:last_result_for_session(id).text)
      assert.is_nil((client:last_error_for_session(id)))
      session:prompt("2")
      session:result()
      local message, code = client:last_error_for_session(id)
      assert.equal("quota", message)
      assert.equal("rate_limited", code)
      assert.equal(session, client:session_for(id))
      assert.is_true(client:remove_session_state(id))
      assert.is_false(client:remove_session_state(id))
      assert.is_true(session:is_ended())
      local _, _, missing = client:session_for(id)
      assert.equal("agent_not_found", missing)
    end)
  end)

  it("remembers a bounded number of ended sessions", function()
    with_service({}, { client = { max_ended = 2 } }, function(client)
      for _ = 1, 5 do
        assert(client:start {}):stop()
      end
      assert.same({ known = 2, ended = 2 }, client:stats())
    end)
  end)

  it("drops a listener that raises and goes on", function()
    with_service({ say("one") }, {}, function(client)
      link.host.on_error = function() end
      local calls = 0
      local session = assert(client:start { on_event = function()
        calls = calls + 1
        error("listener")
      end })
      assert.same(SINGLE, collect(session:prompt("Hi")))
      assert.equal(1, calls)
    end)
  end)

  it("sends events without contents rather than not at all", function()
    with_service({}, {}, function(client, env)
      local seen = wait.latch()
      local session = assert(client:start { on_event = function(event)
        seen:set(event)
      end })
      local served = next(env.service._sessions)
      served:_tell { type = "turn_start", value = print }
      local event = assert(seen:wait(1000))
      assert.equal("turn_start", event.type)
      assert.is_truthy(event.truncated)
      session:close()
    end)
  end)

  local refusals = {
    { "a config that is no object", { config_json = "[]" },
      "invalid_request", "config_json" },
    { "a config without JSON", { config_json = "{" },
      "invalid_request", "config_json" },
    { "an unknown steering mode",
      { config_json = '{"steering_mode":"some"}' },
      "invalid_request", "steering_mode" },
    { "nothing to resume", { config_json = "{}",
      resume_session_id = "00000000-0000-4000-8000-000000000000" },
      "session_expired", "resume" },
    { "an id that is none", { config_json = "{}", resume_session_id = "x" },
      "invalid_request", "UUID" },
    { "a missing config", {}, "invalid_request", "config_json" },
    { "too many tools",
      { config_json = '{"tools":[{"name":"a"},{"name":"b"}]}' },
      "rate_limited", "tools" },
  }
  for _, case in ipairs(refusals) do
    it("is not started with " .. case[1], function()
      with_service({}, { max_client_tools = 1 }, function(client, env)
        local channel = assert(env.near:open("agent"))
        assert(channel:send("agent_start", case[2]))
        local event = assert(channel:receive(1000))
        assert.equal("agent_error", event.type)
        assert.equal(case[3], event.code)
        assert.matches(case[4], event.message, 1, true)
        assert.equal(0, env.service:stats().sessions)
        assert.is_truthy(client:start {})
      end)
    end)
  end

  local odd = {
    { "agent_dance", {}, "unknown message type" },
    { "agent_start", { config_json = "{}" }, "started already" },
    { "agent_message", { session_id = "other", message_json = "{}" },
      "not this session" },
    { "agent_message", { message_json = 1 },
      "message_json: expected string" },
    { "tool_list", { session_id = 5 }, "not this session" },
    { "tool_list", { session_id = {} }, "not this session" },
  }
  for _, case in ipairs(odd) do
    it("answers " .. case[1] .. ": " .. case[3], function()
      with_service({}, {}, function(_, env)
        local channel = assert(env.near:open("agent"))
        assert(channel:send("agent_start", { config_json = "{}" }))
        assert.equal("agent_started", channel:receive(1000).type)
        assert(channel:send(case[1], case[2]))
        local event = assert(channel:receive(1000))
        assert.equal("agent_error", event.type)
        assert.equal("invalid_request", event.code)
        assert.matches(case[3], event.message, 1, true)
        assert.equal(channel:sent_id(), channel:reply_to())
        assert(channel:send("agent_status", { session_id = channel.id }))
        assert.equal("session_info", channel:receive(1000).type)
      end)
    end)
  end

  it("ignores late tool results", function()
    with_service({}, {}, function(_, env)
      local channel = assert(env.near:open("agent"))
      assert(channel:send("agent_start", { config_json = "{}" }))
      channel:receive(1000)
      assert(channel:send("tool_result", { tool_call_id = "x",
        result_json = "[]", is_error = false }))
      assert(channel:send("tool_result", { tool_call_id = 3 }))
      assert(channel:send("agent_status", { session_id = channel.id }))
      assert.equal("session_info", channel:receive(1000).type)
    end)
  end)

  it("is refused beyond the limit of sessions", function()
    with_service({}, { max_sessions = 1 }, function(client)
      local session = assert(client:start {})
      local second, _, code = client:start {}
      assert.is_nil(second)
      assert.equal("rate_limited", code)
      session:stop()
      assert.is_truthy(client:start {})
    end)
  end)

  it("ends when the server does not know it any more", function()
    local gate = wait.latch()
    with_service({ gated(gate, "one") }, {}, function(client, env)
      local session = assert(client:start {})
      local iterator, run = session:prompt("go")
      iterator(run)
      assert(env.far:send_control("agent", session.id, "agent_error",
        { code = "agent_not_found", message = "no such session" }))
      collect(iterator, run)
      local result, _, code = session:result()
      assert.is_nil(result)
      assert.equal("agent_not_found", code)
      assert.is_true(session:is_ended())
    end)
  end)

  it("still gives the events of a run that is over when its result was asked for",
    function()
      with_service({ say("one") }, {}, function(client)
        local session = assert(client:start {})
        local iterator, run = session:prompt("go")
        link.eventually(function()
          return session:is_complete()
        end)
        assert.equal("one", assert(session:result()).text)
        assert.same(SINGLE, collect(iterator, run))
        session:close()
      end)
    end)

  it("goes on with its run beside a result of none that there is", function()
    local gate = wait.latch()
    with_service({ gated(gate, "one") }, {}, function(client, env)
      local session = assert(client:start {})
      local iterator, run = session:prompt("go")
      iterator(run)
      local served = next(env.service._sessions)
      assert(served.channel:send("agent_result", {
        result_json = '{"text":"strange"}', session_id = session.id,
      }, "11111111-1111-4111-8111-111111111111"))
      gate:set()
      collect(iterator, run)
      assert.equal("one", assert(session:result()).text)
      assert.equal(1, session.unknown)
      session:close()
    end)
  end)

  it("is refused by name when it was never started", function()
    with_service({}, {}, function(_, env)
      local answer = wait.latch()
      env.near:on_control("agent", function(message)
        answer:set(message)
      end)
      local channel = assert(env.near:open("agent"))
      assert(channel:send("agent_status", { session_id = channel.id }))
      local message = assert(answer:wait(1000))
      assert.equal("agent_error", message.type)
      assert.equal("agent_not_found", message.code)
      assert.equal(0, message.sequence)
      assert.equal(channel.id, message.id)
      assert.equal(channel:sent_id(), message.in_reply_to)
    end)
  end)

  it("resumes a stored conversation", function()
    local saved = {}
    local store = {
      load = function(_, id)
        return saved[id]
      end,
      save = function(_, id, messages)
        saved[id] = messages
      end,
    }
    with_service({ say("one"), say("two") }, { store = store },
      function(client, env)
        local first = assert(client:start {})
        first:prompt("1")
        first:result()
        first:stop()
        local second = assert(client:start { resume_session_id = first.id })
        second:prompt("2")
        second:result()
        assert.equal(3, #env.adapter.seen[2].context.messages)
      end)
  end)

  it("uses the model and the options that the client names", function()
    with_service({ say("ok") }, { options = { max_tokens = 9 } },
      function(client, env)
        local session = assert(client:start {
          model = "script/other",
          config = { options = { temperature = 0.5 } },
        })
        session:prompt("Hi")
        session:result()
        local request = env.adapter.seen[1]
        assert.equal("other", request.model.id)
        assert.equal(9, request.options.max_tokens)
        assert.equal(0.5, request.options.temperature)
      end)
  end)

  it("ends with its service", function()
    local gate = wait.latch()
    with_service({ gated(gate, "one") }, {}, function(client, env)
      local session = assert(client:start {})
      local iterator, run = session:prompt("go")
      iterator(run)
      local stopping = task.spawn(env.service.stop, env.service, "closing")
      collect(iterator, run)
      stopping:join()
      link.eventually(function()
        return session:is_ended()
      end)
      local refused, _, code = client:start {}
      assert.is_nil(refused)
      assert.equal("rate_limited", code)
    end)
  end)

  --- A turn of more events than any queue on the way holds.
  local function chatty(_, emit)
    emit { type = "text_start", content_index = 0 }
    for _ = 1, 1000 do
      emit { type = "text_delta", content_index = 0, delta = "x" }
    end
    emit { type = "text_end", content_index = 0 }
    return say(("x"):rep(1000))
  end

  it("has a result although nobody iterates its events", function()
    with_service({ chatty }, {
      coalesce = false, client = { max_queued_events = 4 },
    }, function(client)
      local session = assert(client:start {})
      session:prompt("count")
      assert.equal(1000, #assert(session:result(5000)).text)
    end)
  end)

  it("stops although nobody iterates its events", function()
    with_service({ chatty }, {
      coalesce = false, client = { max_queued_events = 4 },
    }, function(client)
      local session = assert(client:start {})
      session:prompt("count")
      assert.is_true(session:stop("enough", 5000))
    end)
  end)

  it("survives a reader that is slow: nothing is lost", function()
    local text = {}
    local function turn(_, emit)
      emit { type = "text_start", content_index = 0 }
      for i = 1, 2000 do
        text[i] = i .. " "
        emit { type = "text_delta", content_index = 0, delta = text[i] }
      end
      emit { type = "text_end", content_index = 0 }
      return say(table.concat(text))
    end
    with_service({ turn }, { client = { max_queued_events = 4 } },
      function(client)
        local session = assert(client:start {})
        local seen = {}
        for event in session:prompt("count") do
          if event.type == "message_update" and event.event.delta then
            seen[#seen + 1] = event.event.delta
            task.yield()
          end
        end
        assert.equal(table.concat(text), table.concat(seen))
        assert.equal(table.concat(text), session:result().text)
      end)
  end)
end)
