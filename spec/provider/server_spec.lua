local support = require("spec.support.provider")
local json = require("agentwire.json")
local scripted = require("agentwire.providers.scripted")
local server_module = require("agentwire.provider.server")
local task = require("agentwire.task")

local MODEL = {
  id = "scripted", name = "s", api = "scripted", provider = "scripted",
  base_url = "",
}

local function request(fields)
  local made = {
    model = MODEL, context = { messages = json.array {} },
  }
  for key, value in pairs(fields or {}) do
    made[key] = value
  end
  return made
end

local ev = support.block_event

local HELLO = {
  ev("text_start", 0),
  ev("text_delta", 0, { delta = "hel" }),
  ev("text_delta", 0, { delta = "lo" }),
  ev("text_end", 0),
}

local function steps(...)
  local list = {}
  for index, event in ipairs(HELLO) do
    list[index] = event
  end
  for _, step in ipairs { ... } do
    list[#list + 1] = step
  end
  return list
end

--- Opens a scope by hand and sends its first message.
local function open(connection, kind, payload)
  local channel = assert(connection:open("provider"))
  assert(channel:send(kind, payload))
  return channel
end

--- All messages of a scope until it ends.
local function all(channel)
  local messages = {}
  while true do
    local event, _, code = channel:receive(1000)
    if not event then
      assert(code ~= "timeout", "the scope did not end")
      return messages
    end
    event.replies_to = channel:reply_to()
    messages[#messages + 1] = event
  end
end

local function types(messages)
  local names = {}
  for index, message in ipairs(messages) do
    names[index] = message.type
  end
  return table.concat(names, " ")
end

local function last(messages)
  return messages[#messages]
end

describe("provider server", function()
  it("answers ack, start, blocks, done, result, numbered from 1", function()
    support.with(scripted.new { events = HELLO }, function(_, server, a)
      local channel = open(a, "stream_request", request())
      local asked = channel:sent_id()
      local messages = all(channel)
      assert.equal("ack start text_start text_delta text_delta text_end done"
        .. " result", types(messages))
      for number, message in ipairs(messages) do
        assert.equal(number, message.sequence)
      end
      assert.equal(asked, messages[1].acknowledged_id)
      assert.equal(asked, messages[1].replies_to)
      assert.equal("scripted", messages[2].model)
      local done, result = messages[7], messages[8]
      assert.equal("stop", done.reason)
      assert.equal("hello", done.message.content[1].text)
      assert.equal("hello", result.content[1].text)
      assert.equal("scripted", result.provider)
      assert.equal(0, result.output)
      assert.equal(0, server:stats().active)
    end)
  end)

  it("carries what the adapter says of the message", function()
    local message = {
      stop_reason = "length", usage = { input = 3, output = 4 },
      content = json.array {
        { type = "text", text = "hello", text_signature = "sig" },
      },
    }
    support.with(scripted.new { events = steps { message = message } },
      function(client)
        local got = assert(client:start_stream {
          model = "scripted", messages = {},
        }:result())
        assert.equal("length", got.stop_reason)
        assert.equal(4, got.usage.output)
        assert.equal("sig", got.content[1].text_signature)
      end)
  end)

  it("streams the message of an adapter that does not stream", function()
    support.with(scripted.new { events = { { message = {
      content = json.array {
        { type = "thinking", thinking = "hm" },
        { type = "tool_call", id = "c", name = "n", arguments_json = "{}" },
      },
    } } } }, function(_, _, a)
      local messages = all(open(a, "stream_request", request()))
      assert.equal("ack start thinking_start thinking_delta thinking_end"
        .. " toolcall_start toolcall_delta toolcall_end done result",
        types(messages))
      assert.equal("tool_use", last(messages).stop_reason)
    end)
  end)

  it("takes start and done from an adapter that says them itself", function()
    local events = { { type = "start", input_tokens = 7 } }
    for _, event in ipairs(steps { type = "done", reason = "length" }) do
      events[#events + 1] = event
    end
    support.with(scripted.new { events = events }, function(_, _, a)
      local messages = all(open(a, "stream_request", request()))
      assert.equal(7, messages[2].input_tokens)
      assert.equal("length", last(messages).stop_reason)
      assert.equal(7, last(messages).input)
      assert.equal(8, #messages)
    end)
  end)

  it("adds the partial state where it was asked for", function()
    support.with(scripted.new { events = {
      ev("thinking_start", 0), ev("thinking_delta", 0, { delta = "a" }),
      ev("thinking_delta", 0, { delta = "b" }), ev("thinking_end", 0),
      ev("toolcall_start", 1, { id = "c", name = "n" }),
      ev("toolcall_delta", 1, { delta = "{}" }),
      ev("toolcall_end", 1, { id = "c", name = "n", arguments_json = "{}" }),
    } }, function(_, _, a)
      local seen = {}
      for _, message in ipairs(all(open(a, "stream_request",
        request { include_partial = true }))) do
        local partial = message.partial
        seen[#seen + 1] = partial
          and (partial.current_thinking or partial.current_arguments_json)
      end
      assert.same({ "", "a", "ab", "ab", "", "{}", "{}" }, seen)
      for _, message in ipairs(all(open(a, "stream_request", request()))) do
        assert.is_nil(message.partial)
      end
    end)
  end)

  describe("refuses", function()
    local function refused(kind, payload, options)
      local nack
      support.with(scripted.new { events = HELLO }, options,
        function(_, server, a)
          local channel = open(a, kind, payload)
          nack = assert(channel:receive(1000))
          assert.equal("nack", nack.type)
          assert.equal(1, nack.sequence)
          assert.equal(channel:sent_id(), nack.rejected_id)
          assert.equal(channel:sent_id(), channel:reply_to())
          assert.same({ active = 0, refused = 1 }, server:stats())
        end)
      return nack
    end

    it("a malformed request, naming the field", function()
      local nack = refused("stream_request", request { model = { id = "m" } })
      assert.equal("invalid_request", nack.error_code)
      assert.truthy(nack.reason:find("model.api", 1, true))
      nack = refused("complete_request", { model = MODEL })
      assert.truthy(nack.reason:find("context", 1, true))
    end)

    it("a provider and a model that it does not have", function()
      for _, change in ipairs { { "provider", "x" }, { "id", "x" },
        { "api", "x" } } do
        local model = {}
        for key, value in pairs(MODEL) do
          model[key] = value
        end
        model[change[1]] = change[2]
        local nack = refused("stream_request", request { model = model })
        assert.equal("model_not_found", nack.error_code)
      end
    end)

    it("a malformed query for models", function()
      local nack = refused("models_request", { provider_id = 7 })
      assert.truthy(nack.reason:find("provider_id", 1, true))
    end)

    it("a stream beyond its limit, until one has ended", function()
      local go = task.waiter()
      support.with(scripted.new { events = { { wait = go } } },
        { max_streams = 1 }, function(client, server)
          local function start()
            return assert(client:start_stream {
              model = "scripted", messages = {},
            })
          end
          local first, second = start(), start()
          local _, _, code = second:result()
          assert.equal("rate_limited", code)
          assert.equal(1, server:stats().active)
          go:wake()
          assert(first:result())
          local third = start()
          support.settle()
          go:wake()
          assert(third:result())
        end)
    end)
  end)

  describe("when an adapter fails", function()
    local function outcome(list)
      local messages
      support.with(scripted.new { events = list }, function(_, server, a)
        messages = all(open(a, "stream_request", request()))
        assert.equal(0, server:stats().active)
        messages.others = "nothing"
      end)
      local failure, terminal = messages[#messages - 1], last(messages)
      assert.equal("error", failure.type)
      assert.equal("stream_error", terminal.type)
      return failure, terminal, messages
    end

    it("tells its reason, code, usage and when to try again", function()
      local failure, terminal = outcome(steps {
        fail = "slow down", code = "rate_limited", retry_after_ms = 1500,
        usage = { input = 9 },
      })
      assert.equal("error", failure.reason)
      assert.equal("slow down", failure.error_message)
      assert.equal("rate_limited", failure.error_code)
      assert.equal(1500, failure.retry_after_ms)
      assert.equal(9, failure.usage.input)
      assert.equal("rate_limited", terminal.code)
      assert.equal("slow down", terminal.message)
    end)

    it("passes a code that peers don't know as provider_error", function()
      local failure, terminal = outcome { { fail = "x", code = "weird" } }
      assert.equal("weird", failure.error_code)
      assert.equal("provider_error", terminal.code)
    end)

    it("ends the stream of one that raises, without its traceback", function()
      local failure, terminal = outcome(steps { raise = "boom\ndetails" })
      assert.equal("boom", failure.error_message)
      assert.equal("internal_error", terminal.code)
      assert.truthy(support.reported():find("boom", 1, true))
    end)

    it("takes its error event for the end", function()
      local failure = outcome { { type = "error", reason = "error",
        error_message = "down", error_code = "overloaded" } }
      assert.equal("overloaded", failure.error_code)
    end)

    local out_of_order = {
      { ev("text_delta", 0, { delta = "x" }) },
      { ev("text_end", 0) },
      { ev("text_start", 0) },
      { ev("text_start", 0), ev("text_start", 0) },
      { ev("text_start", 1), ev("text_end", 1), ev("text_start", 0),
        ev("text_end", 0) },
      { ev("text_start", 0), ev("thinking_delta", 0, { delta = "x" }) },
      { ev("text_start", 0), ev("text_end", 0), ev("text_end", 0) },
      { ev("text_start", 0), ev("text_delta", 0, { delta = 7 }) },
      { ev("toolcall_start", 0, { id = "c" }) },
      { ev("text_start", "0") },
      { { type = "teleport" } },
      { {} },
      { ev("text_start", 0), { type = "start" } },
      { { type = "done", reason = "stop" }, ev("text_start", 0) },
    }

    it("ends the stream of one that breaks the order", function()
      for number, list in ipairs(out_of_order) do
        local failure, terminal = outcome(list)
        assert.equal("internal_error", terminal.code, "case " .. number)
        assert.is_string(failure.error_message)
      end
    end)

    it("does so even if the adapter goes on", function()
      local _, terminal = outcome { function(_, emit)
        pcall(emit, ev("text_delta", 0, { delta = "x" }))
        for _, event in ipairs(HELLO) do
          pcall(emit, event)
        end
      end }
      assert.equal("internal_error", terminal.code)
    end)

    it("refuses a message that is none", function()
      local _, terminal = outcome { { message = { content = 7 } } }
      assert.equal("internal_error", terminal.code)
    end)

    it("ends that stream and no other", function()
      support.with(scripted.new { script = function(r, emit)
        task.yield()
        if r.options.session_id == "bad" then
          error("boom")
        end
        for _, event in ipairs(HELLO) do
          emit(event)
          task.yield()
        end
      end }, function(client)
        local streams = {}
        for index = 1, 20 do
          streams[index] = assert(client:start_stream {
            model = "scripted", messages = {},
            options = { session_id = index % 2 == 0 and "bad" or "good" },
          })
        end
        for index, stream in ipairs(streams) do
          local message, _, code = stream:result()
          assert.equal(index % 2 == 0, message == nil)
          assert.equal(index % 2 == 0 and "internal_error" or nil, code)
        end
      end)
    end)
  end)

  describe("abort", function()
    it("really cancels the adapter and ends with usage", function()
      local never, cleaned = task.waiter(), false
      support.with(scripted.new { events = steps(function(_, _, call)
        call.usage = { input = 5, output = 2 }
        task.defer(function() cleaned = true end)
        never:wait()
        error("must not come here")
      end) }, function(client, server, a)
        local channel = open(a, "stream_request", request())
        repeat
          local event = channel:receive(1000)
        until event.type == "text_end"
        assert(channel:send("abort_request", {
          target_stream_id = channel.id, reason = "enough",
        }))
        local asked = channel:sent_id()
        local messages = all(channel)
        assert.equal("ack error stream_error", types(messages))
        assert.equal(asked, messages[1].acknowledged_id)
        assert.equal("aborted", messages[2].reason)
        assert.equal("enough", messages[2].error_message)
        assert.equal(2, messages[2].usage.output)
        assert.equal("aborted", messages[3].code)
        assert.is_true(cleaned)
        assert.equal(0, server:stats().active)
        assert.equal(0, client:stats().active)
      end)
    end)

    it("stops an adapter that emits without ever waiting", function()
      local emitted = 0
      support.with(scripted.new { script = function(_, emit)
        emit(ev("text_start", 0))
        while true do
          emit(ev("text_delta", 0, { delta = "x" }))
          emitted = emitted + 1
        end
      end }, function(client)
        local stream = assert(client:start_stream {
          model = "scripted", messages = {},
        })
        stream:next()
        stream:abort()
        assert.equal("aborted", select(3, stream:result()))
        local before = emitted
        support.settle()
        assert.equal(before, emitted)
        assert.is_true(emitted < 5000)
      end)
    end)

    it("may come in a scope of its own", function()
      local never = task.waiter()
      support.with(scripted.new { events = { { wait = never } } },
        function(_, _, a)
          local stream = open(a, "stream_request", request())
          support.settle()
          local channel = open(a, "abort_request", {
            target_stream_id = stream.id:upper(),
          })
          assert.equal("ack", channel:receive(1000).type)
          assert.equal("ack start error stream_error", types(all(stream)))
        end)
    end)

    it("is acknowledged for a target that is unknown or ended", function()
      support.with(scripted.new { events = HELLO }, function(_, _, a)
        local stream = open(a, "stream_request", request())
        all(stream)
        for _, id in ipairs { stream.id,
          "00000000-0000-4000-8000-00000000abcd" } do
          local channel = open(a, "abort_request", { target_stream_id = id })
          assert.equal("ack", channel:receive(1000).type)
        end
      end)
    end)

    it("without a target is refused and changes nothing", function()
      local go = task.waiter()
      support.with(scripted.new { events = { { wait = go } } },
        function(_, _, a)
          local channel = open(a, "stream_request", request())
          assert(channel:send("abort_request", {}))
          assert.equal("ack", channel:receive(1000).type)
          local nack = channel:receive(1000)
          assert.equal("nack", nack.type)
          assert.truthy(nack.reason:find("target_stream_id", 1, true))
          go:wake()
          assert.equal("start done result", types(all(channel)))
        end)
    end)

    it("reaches a completion as well", function()
      local never = task.waiter()
      support.with(scripted.new { events = { { wait = never } } },
        function(_, _, a)
          local channel = open(a, "complete_request", request())
          assert(channel:send("abort_request", {
            target_stream_id = channel.id,
          }))
          assert.equal("ack stream_error", types(all(channel)))
        end)
    end)
  end)

  it("cancels what runs when the connection goes", function()
    local never, ended = task.waiter(), false
    support.with(scripted.new { script = function()
      task.defer(function() ended = true end)
      never:wait()
    end }, function(client, server, a)
      local stream = assert(client:start_stream { model = "scripted",
        messages = {} })
      support.settle()
      assert.equal(1, server:stats().active)
      a:close()
      support.settle()
      assert.is_true(ended)
      assert.equal(0, server:stats().active)
      assert.equal("closed", select(3, stream:result()))
    end)
  end)

  it("answers a completion by one result", function()
    support.with(scripted.new { events = HELLO }, function(_, _, a)
      local messages = all(open(a, "complete_request", request()))
      assert.equal("result", types(messages))
      assert.equal("hello", messages[1].content[1].text)
    end)
  end)

  it("answers a failed completion by one stream_error", function()
    support.with(scripted.new { events = { { fail = "no" } } },
      function(_, _, a)
        local messages = all(open(a, "complete_request", request()))
        assert.equal("stream_error", types(messages))
        assert.equal("provider_error", messages[1].code)
      end)
  end)

  it("answers what it does not know, in an open stream too", function()
    local go = task.waiter()
    support.with(scripted.new { events = { { wait = go } } },
      function(_, _, a)
        local channel = open(a, "stream_request", request())
        assert(channel:send("teleport", {}))
        assert(channel:send("stream_request", request()))
        assert(channel:send("ack", { acknowledged_id = "x" }))
        go:wake()
        local messages = all(channel)
        assert.equal("ack nack nack start done result", types(messages))
        assert.equal("not_implemented", messages[2].error_code)
        assert.equal("stream_already_exists", messages[3].error_code)
      end)
  end)

  it("tells a stream's state so far, and names what it cannot tell", function()
    local go = task.waiter()
    support.with(scripted.new { events = { { wait = go } } },
      function(_, _, a)
        local answers = {}
        a:on_control("provider", function(message)
          answers[#answers + 1] = message
        end)
        local channel = open(a, "stream_request", request())
        for _, payload in ipairs {
          { target_stream_id = channel.id }, {},
          { target_stream_id = "00000000-0000-4000-8000-00000000abcd" },
        } do
          support.settle()
          a:send_control("provider", channel.id, "sync_request", payload)
        end
        support.settle()
        go:wake()
        all(channel)
        assert.equal("sync nack nack", types(answers))
        assert.equal("scripted", answers[1].partial.model)
        assert.truthy(answers[2].reason:find("target_stream_id", 1, true))
        assert.equal("stream_not_found", answers[3].error_code)
      end)
  end)

  it("sends keepalive in a pause and not otherwise", function()
    support.with(scripted.new { events = {
      { delay_ms = 150 }, ev("text_start", 0), { delay_ms = 150 },
      ev("text_end", 0),
    } }, { keepalive_ms = 10 }, function(_, _, a)
      local seen = types(all(open(a, "stream_request", request())))
      assert.truthy(seen:find("^ack start keepalive [ %a_]*text_start"
        .. " keepalive [ %a_]*text_end done result$"), seen)
    end)
    support.with(scripted.new { events = { { delay_ms = 50 } } },
      function(_, _, a)
        assert.equal("ack start done result",
          types(all(open(a, "stream_request", request()))))
      end)
  end)

  it("sends no keepalive while events come", function()
    local events = { ev("text_start", 0) }
    for _ = 1, 12 do
      events[#events + 1] = { delay_ms = 20 }
      events[#events + 1] = ev("text_delta", 0, { delta = "x" })
    end
    events[#events + 1] = ev("text_end", 0)
    support.with(scripted.new { events = events }, { keepalive_ms = 100 },
      function(_, _, a)
        local seen = types(all(open(a, "stream_request", request())))
        assert.is_nil(seen:find("keepalive", 1, true))
      end)
  end)

  it("takes turns between completions whose adapters never wait", function()
    local order = {}
    support.with(scripted.new { script = function(r, emit)
      emit(ev("text_start", 0))
      for _ = 1, 200 do
        emit(ev("text_delta", 0, { delta = "x" }))
        order[#order + 1] = r.options.session_id
      end
      emit(ev("text_end", 0))
    end }, function(client)
      local tasks = {}
      for index, name in ipairs { "a", "b" } do
        tasks[index] = task.spawn(client.complete, client, {
          model = "scripted", messages = {}, options = { session_id = name },
        })
      end
      assert(task.all(tasks))
      assert.truthy(table.concat(order):find("ab.*a"))
    end)
  end)

  it("tells a model list that fails by its code", function()
    support.with({
      stream = function() end,
      models = function() return nil, "down", "timeout" end,
    }, function(client)
      assert.same({ nil, "down", "timeout" }, { client:models() })
    end)
  end)

  it("refuses to serve what is no adapter", function()
    support.run(function()
      local a, b = support.pair()
      assert.has_error(function() server_module.attach(b, {}) end)
      assert.has_error(function() server_module.router {} end)
      assert.has_error(function() server_module.router { {} } end)
      a:close()
    end)
  end)

  describe("router", function()
    local function adapter(name, model)
      return scripted.new {
        name = name, api = name .. "-api", models = { { model_id = model } },
        decide = function() return { text = name, calls = {} } end,
      }
    end

    local function with_two(fn)
      support.with(server_module.router {
        adapter("red", "m1"), adapter("blue", "m2"),
      }, fn)
    end

    it("chooses by provider, API or model", function()
      with_two(function(client)
        for model, expected in pairs {
          ["red/m1"] = "red", ["blue/m2"] = "blue", ["m2"] = "blue",
          ["blue/blue-api@m2"] = "blue",
        } do
          local message = assert(client:complete {
            model = model, messages = {},
          })
          assert.equal(expected, message.content[1].text)
          assert.equal(expected, message.provider)
        end
        assert.equal("model_not_found", select(3, client:complete {
          model = "red/m2", messages = {},
        }))
      end)
    end)

    it("prefers the adapter that lists the model", function()
      local function plain(name, model)
        return {
          name = name,
          models = function()
            return { { model_id = model, provider_id = name, api = "x" } }
          end,
          stream = function(_, _, emit)
            emit(ev("text_start", 0))
            emit(ev("text_delta", 0, { delta = name }))
            emit(ev("text_end", 0))
          end,
        }
      end
      support.with(server_module.router {
        plain("red", "m1"), plain("blue", "m2"),
      }, function(client)
        for model, expected in pairs { m1 = "red", m2 = "blue", m3 = "red" } do
          local message = assert(client:complete {
            model = model, messages = {},
          })
          assert.equal(expected, message.content[1].text)
        end
      end)
    end)

    it("lists the models of all, filtered", function()
      with_two(function(client)
        assert.equal(2, #client:models())
        local models = client:models { provider_id = "blue" }
        assert.equal(1, #models)
        assert.equal("blue/blue-api@m2", models[1].model_ref)
        assert.equal(0, #client:models { provider_id = "green" })
      end)
    end)

    it("leaves out an adapter whose list fails", function()
      local broken = adapter("red", "m1")
      broken.models = function() return nil, "down", "timeout" end
      support.with(server_module.router { broken, adapter("blue", "m2") },
        function(client)
          assert.equal(1, #client:models())
        end)
    end)
  end)

  it("serves another connection's provider as its own", function()
    local never = task.waiter()
    support.run(function()
      local a, b = support.pair()
      local c, d = support.pair()
      server_module.attach(b, scripted.new { events = HELLO })
      server_module.attach(d, a:provider())
      local stream = assert(c:provider():start_stream {
        model = "scripted/scripted", messages = {},
      })
      local types_seen = {}
      for event in stream:events() do
        types_seen[#types_seen + 1] = event.type
      end
      assert.equal("start text_start text_delta text_delta text_end done",
        table.concat(types_seen, " "))
      assert.equal("hello", assert(stream:result()).content[1].text)
      assert.equal(1, #c:provider():models())
      a:close()
      c:close()
      never:wake()
    end)
  end)

  it("is used the same way where the adapter is local", function()
    support.run(function()
      local aw = require("agentwire")
      local client, connection = aw.provider.loopback(
        aw.providers.scripted.new { events = HELLO }, { max_streams = 1 })
      local message = assert(client:start_stream {
        model = "scripted/scripted", messages = {},
      }:result())
      assert.equal("hello", message.content[1].text)
      connection:close()
    end)
  end)

  it("passes an abort through to where the model runs", function()
    local never, cancelled = task.waiter(), false
    support.run(function()
      local a, b = support.pair()
      local c, d = support.pair()
      server_module.attach(b, scripted.new { script = function()
        task.defer(function() cancelled = true end)
        never:wait()
      end })
      server_module.attach(d, a:provider())
      local stream = assert(c:provider():start_stream {
        model = "scripted/scripted", messages = {},
      })
      support.settle()
      stream:abort("enough")
      assert.equal("aborted", select(3, stream:result()))
      support.settle()
      assert.is_true(cancelled)
      a:close()
      c:close()
    end)
  end)

  it("keeps a slow reader's stream within its credit", function()
    local emitted = 0
    support.with_credit(scripted.new { script = function(_, emit)
      emit(ev("text_start", 0))
      for _ = 1, 1000 do
        emit(ev("text_delta", 0, { delta = "x" }))
        emitted = emitted + 1
      end
      emit(ev("text_end", 0))
    end }, function(client)
      local slow = {}
      for index = 1, 2 do
        slow[index] = assert(client:start_stream {
          model = "scripted", messages = {},
        })
      end
      local quick = client:complete { model = "scripted", messages = {} }
      assert.equal(1000, #assert(quick).content[1].text)
      assert.is_true(emitted <= 1000 + 2 * 64)
      for index = 1, 2 do
        assert.equal(1000, #assert(slow[index]:result()).content[1].text)
      end
    end)
  end)

  it("aborts a stream that stands still for want of credit", function()
    local cancelled = false
    support.with_credit(scripted.new { script = function(_, emit)
      task.defer(function() cancelled = true end)
      emit(ev("text_start", 0))
      while true do
        emit(ev("text_delta", 0, { delta = "x" }))
      end
    end }, function(client)
      local stream = assert(client:start_stream {
        model = "scripted", messages = {},
      })
      repeat
        support.settle()
      until #assert(client:models()) == 1
      stream:abort("enough")
      while not cancelled do
        assert(client:models())
      end
      assert.equal("aborted", select(3, stream:result(1000)))
    end)
  end)
end)
