local support = require("spec.support.provider")
local client_module = require("agentwire.provider.client")
local json = require("agentwire.json")
local protocol = require("agentwire.provider.protocol")
local scripted = require("agentwire.providers.scripted")
local task = require("agentwire.task")

local REQUEST = { model = "p/m", messages = { { role = "user", content = "hi" } } }

local function result_of(text)
  return protocol.result_from_message {
    content = json.array { { type = "text", text = text } },
    usage = { input = 1, output = 2 },
  }
end

--- Runs `fn(client, a, b)` against a peer that handles each scope by `serve`.
local function against(serve, fn)
  support.run(function()
    local a, b = support.pair()
    b:serve("provider", serve)
    fn(a:provider(), a, b)
    a:close()
    b:close()
  end)
end

--- Reads a scope until it is over.
local function hold(channel)
  while channel:receive() do
  end
end

local function accept_and_send(channel, messages)
  channel:receive()
  channel:send("ack", { acknowledged_id = channel:message_id() },
    channel:message_id())
  for _, message in ipairs(messages) do
    channel:send(message[1], message[2])
  end
end

--- A peer that accepts, sends the given messages and leaves it at that.
local function sends(messages)
  return function(channel)
    accept_and_send(channel, messages)
    hold(channel)
  end
end

local HELLO = {
  { "start", { model = "m" } },
  { "text_start", { content_index = 0 } },
  { "text_delta", { content_index = 0, delta = "hel" } },
  { "text_delta", { content_index = 0, delta = "lo" } },
  { "text_end", { content_index = 0 } },
}

local function hello_and(...)
  local messages = {}
  for index, message in ipairs(HELLO) do
    messages[index] = message
  end
  for _, message in ipairs { ... } do
    messages[#messages + 1] = message
  end
  return sends(messages)
end

local function types_of(stream, options)
  local types = {}
  for event in stream:events(options) do
    types[#types + 1] = event.type
  end
  return table.concat(types, " ")
end

describe("provider client", function()
  it("numbers each stream from 1 and routes events to their stream", function()
    local requests = {}
    against(function(channel)
      local request = channel:receive()
      requests[#requests + 1] = request.sequence
      local word = request.context.messages[1].content
      for _ = 1, 3 do
        channel:send("text_delta", { content_index = 0, delta = word })
        task.yield()
      end
      channel:send("result", result_of(word))
    end, function(client)
      local function start(word)
        return assert(client:start_stream {
          model = "p/m", messages = { { role = "user", content = word } },
        })
      end
      local one, two = start "one", start "two"
      for expected = 1, 3 do
        local first, second = assert(one:next()), assert(two:next())
        assert.equal("one", first.delta)
        assert.equal("two", second.delta)
        assert.equal(expected, first.sequence)
        assert.equal(expected, second.sequence)
      end
      assert.equal("two", two:result().content[1].text)
      assert.equal("one", one:result().content[1].text)
      assert.same({ 1, 1 }, requests)
    end)
  end)

  it("sends a request that a base peer can read", function()
    against(function(channel)
      local request = channel:receive()
      assert(protocol.check("stream_request", request))
      for _, key in ipairs { "id", "name", "api", "provider", "base_url" } do
        assert(type(request.model[key]) == "string", key)
      end
      channel:send("result", result_of(request.type))
    end, function(client)
      local message = assert(client:start_stream(REQUEST):result())
      assert.equal("stream_request", message.content[1].text)
    end)
  end)

  it("gives events in order and then the server's result", function()
    against(hello_and({ "result", result_of("hello") }), function(client)
      local stream = assert(client:start_stream(REQUEST))
      assert.equal("start text_start text_delta text_delta text_end",
        types_of(stream))
      local message = assert(stream:result())
      assert.equal("hello", message.content[1].text)
      assert.equal(2, message.usage.output)
      assert.equal("assistant", message.role)
    end)
  end)

  it("gives the result alone to who reads no events", function()
    against(hello_and({ "result", result_of("hello") }), function(client)
      assert.equal("hello",
        assert(client:start_stream(REQUEST):result()).content[1].text)
    end)
  end)

  it("explains the end to who asks for one more event", function()
    against(hello_and({ "result", result_of("hello") }), function(client)
      local stream = assert(client:start_stream(REQUEST))
      stream:result()
      local event, _, code = stream:next()
      assert.is_nil(event)
      assert.equal("ended", code)
    end)
  end)

  it("merges waiting deltas for a reader that asks for it", function()
    against(hello_and({ "result", result_of("hello") }), function(client)
      local stream = assert(client:start_stream(REQUEST))
      support.settle()
      local deltas = {}
      for event in stream:events { coalesce = true } do
        if event.delta then
          deltas[#deltas + 1] = event.delta .. event.sequence
        end
      end
      assert.same({ "hello5" }, deltas)
      assert.equal("hello", assert(stream:result()).content[1].text)
    end)
  end)

  it("loses nothing when a merging reader changes its mind", function()
    against(hello_and({ "result", result_of("hello") }), function(client)
      local stream = assert(client:start_stream(REQUEST))
      support.settle()
      for event in stream:events { coalesce = true } do
        if event.delta then
          break
        end
      end
      assert.equal("text_end", types_of(stream))
    end)
  end)

  it("says why a request was refused", function()
    against(function(channel)
      channel:receive()
      channel:send("nack", {
        rejected_id = channel:message_id(), reason = "no such model",
        error_code = "model_not_found",
      }, channel:message_id())
    end, function(client)
      local stream = assert(client:start_stream(REQUEST))
      local event, text, code = stream:next()
      assert.is_nil(event)
      assert.equal("no such model", text)
      assert.equal("model_not_found", code)
      assert.same({ nil, "no such model", "model_not_found" },
        { stream:result() })
      assert.equal("", types_of(stream))
    end)
  end)

  it("goes on when a later message was refused", function()
    against(function(channel)
      channel:receive()
      channel:send("ack", { acknowledged_id = channel:message_id() })
      channel:receive()
      channel:send("nack", {
        rejected_id = channel:message_id(), reason = "too late",
        error_code = "sequence_gap",
      }, channel:message_id())
      channel:send("result", result_of("done"))
    end, function(client)
      local stream = assert(client:start_stream(REQUEST))
      assert.is_true(stream:abort())
      assert.equal("done", assert(stream:result()).content[1].text)
    end)
  end)

  it("ends with the server's error", function()
    against(hello_and(
      { "error", { reason = "error", usage = {} } },
      { "stream_error", { code = "overloaded", message = "busy" } }
    ), function(client)
      local stream = assert(client:start_stream(REQUEST))
      assert.truthy(types_of(stream):find("text_end error$"))
      assert.same({ nil, "busy", "overloaded" }, { stream:result() })
      local text, code = client:last_error_for(stream.id)
      assert.same({ "busy", "overloaded" }, { text, code })
    end)
  end)

  it("reads an unknown error code as internal_error", function()
    against(sends { { "stream_error", { code = "x1", message = "?" } } },
      function(client)
        local stream = assert(client:start_stream(REQUEST))
        assert.equal("internal_error", select(3, stream:result()))
      end)
  end)

  it("ignores and counts messages of types that it does not know", function()
    against(sends { { "teleport", {} }, { "result", result_of("x") } },
      function(client)
        local stream = assert(client:start_stream(REQUEST))
        assert.equal("", types_of(stream))
        assert.equal(1, stream.unknown)
        assert.truthy(stream:result())
      end)
  end)

  for what, options in pairs {
    ["each"] = {}, ["merged"] = { coalesce = true },
    ["without reconstruction"] = { plain = true },
  } do
    it("skips and counts deltas that are no text, " .. what, function()
      against(sends {
        { "text_start", { content_index = 0 } },
        { "text_delta", { content_index = 0, delta = { "x" } } },
        { "text_delta", { content_index = 0, delta = "a" } },
        { "text_delta", { content_index = 0, delta = 5 } },
        { "text_delta", { content_index = 0 } },
        { "text_delta", { content_index = 0, delta = "b" } },
        { "result", result_of("ab") },
      }, function(client)
        local request = { reconstruct = not options.plain }
        local how = { coalesce = options.coalesce }
        for key, value in pairs(REQUEST) do
          request[key] = value
        end
        local stream, text = assert(client:start_stream(request)), ""
        for event in stream:events(how) do
          text = text .. (event.delta or "")
        end
        assert.equal("ab", text)
        assert.equal(3, stream.unknown)
        assert.truthy(stream:result())
      end)
    end)
  end

  for what, how in pairs { each = {}, merged = { coalesce = true } } do
    it("gives an event for what it is, whatever more is in it, " .. what,
      function()
        against(sends {
          { "text_start", { content_index = 0, delta = json.null } },
          { "text_start", { content_index = 0, delta = "x" } },
          { "text_start", { content_index = 0, delta = "y" } },
          { "text_delta", { content_index = 0, delta = "a" } },
          { "text_end", { content_index = 0, delta = "b" } },
          { "done", { reason = "stop", delta = "c" } },
          { "result", result_of("a") },
        }, function(client)
          for _, reconstruct in ipairs { true, false } do
            local stream = assert(client:start_stream {
              model = "p/m", messages = {}, reconstruct = reconstruct,
            })
            local types = {}
            for event in stream:events(how) do
              types[#types + 1] = event.type
            end
            assert.same({ "text_start", "text_start", "text_start",
              "text_delta", "text_end", "done" }, types)
            assert.equal("stop", stream:result().stop_reason)
          end
        end)
      end)
  end

  it("keeps streams apart that fail, finish and are refused", function()
    local modes = { "result", "stream_error", "nack" }
    local count = 0
    against(function(channel)
      channel:receive()
      count = count + 1
      local mode = modes[count]
      task.sleep(10 - count)
      channel:send(mode, mode == "result" and result_of("fine") or {
        code = "provider_error", message = "bad",
        rejected_id = channel:message_id(), reason = "bad",
      }, channel:message_id())
    end, function(client)
      local streams = {}
      for index = 1, 3 do
        streams[index] = assert(client:start_stream(REQUEST))
      end
      assert.equal("fine", assert(streams[1]:result()).content[1].text)
      assert.equal("provider_error", select(3, streams[2]:result()))
      assert.equal("invalid_request", select(3, streams[3]:result()))
    end)
  end)

  describe("when the connection goes", function()
    local function lost(messages, request)
      local outcome
      against(function(channel)
        accept_and_send(channel, messages)
        support.settle()
        channel.connection:close()
      end, function(client)
        local stream = assert(client:start_stream(request or REQUEST))
        outcome = { stream:result() }
      end)
      return outcome
    end

    it("ends with code closed", function()
      assert.equal("closed", lost({ HELLO[1], HELLO[2] })[3])
    end)

    local DONE = { "done", {
      reason = "stop", message = {
        role = "assistant",
        content = json.array { { type = "text", text = "whole" } },
      },
    } }

    it("takes done for the result", function()
      assert.equal("whole", lost({ HELLO[1], DONE })[1].content[1].text)
      assert.equal("whole", lost({ HELLO[1], DONE }, {
        model = "p/m", messages = {}, reconstruct = false,
      })[1].content[1].text)
    end)

    it("takes the error event for the reason", function()
      local outcome = lost {
        { "error", { reason = "error", error_code = "rate_limited",
          error_message = "slow down", usage = {} } },
      }
      assert.same({ nil, "slow down", "rate_limited" }, outcome)
    end)

    it("starts nothing more", function()
      support.run(function()
        local a = support.pair()
        a:close()
        a:wait_closed(1000)
        local stream, text, code = a:provider():start_stream(REQUEST)
        assert.is_nil(stream)
        assert.is_string(text)
        assert.equal("closed", code)
      end)
    end)
  end)

  it("makes the message itself from a malformed result", function()
    against(hello_and({ "result", { content = "no" } }), function(client)
      local message = assert(client:start_stream(REQUEST):result())
      assert.equal("hello", message.content[1].text)
      assert.equal("p", message.provider)
    end)
  end)

  it("cannot do so where reconstruction is off", function()
    against(hello_and({ "result", { content = "no" } }), function(client)
      local stream = assert(client:start_stream {
        model = "p/m", messages = {}, reconstruct = false,
      })
      assert.equal(5, select(2, types_of(stream):gsub("%S+", "")))
      assert.equal("not_reconstructed", select(3, stream:result()))
    end)
  end)

  it("waits no longer than the timeout, and can wait again", function()
    local go = task.waiter()
    against(function(channel)
      channel:receive()
      go:wait()
      channel:send("text_delta", { content_index = 0, delta = "x" })
      channel:send("result", result_of("x"))
    end, function(client)
      local stream = assert(client:start_stream(REQUEST))
      assert.equal("timeout", select(3, stream:next(5)))
      assert.equal("timeout", select(3, stream:result(5)))
      go:wake()
      assert.equal("x", assert(stream:next(1000)).delta)
      assert.equal("x", assert(stream:result(1000)).content[1].text)
    end)
  end)

  it("lets one task read events and another wait for the result", function()
    against(function(channel)
      channel:receive()
      support.settle()
      for _, message in ipairs(HELLO) do
        channel:send(message[1], message[2])
        support.settle()
      end
      channel:send("result", result_of("hello"))
    end, function(client)
      local stream = assert(client:start_stream(REQUEST))
      local reader = task.spawn(function()
        local types = {}
        for event in stream:events() do
          types[#types + 1] = event.type
          task.yield()
        end
        return table.concat(types, " ")
      end)
      task.yield()
      assert.equal("hello", assert(stream:result()).content[1].text)
      assert.equal("start text_start text_delta text_delta text_end",
        (reader:join()))
    end)
  end)

  it("keeps no more of a message than its limit", function()
    support.run(function()
      local a, b = support.pair()
      b:serve("provider", hello_and({ "result", { content = "no" } }))
      for limit, expected in pairs { [4] = "limit", [5] = "hello" } do
        local client = client_module.new(a, { max_message_bytes = limit })
        local stream = assert(client:start_stream(REQUEST))
        assert.truthy(types_of(stream):find("text_end", 1, true))
        local message, _, code = stream:result()
        assert.equal(expected, code or message.content[1].text)
      end
      a:close()
    end)
  end)

  describe("abort", function()
    local function aborts(channel)
      channel:receive()
      channel:send("start", { model = "m" })
      local abort = channel:receive()
      support.settle()
      assert(channel:next() == nil, "a second abort came")
      channel:send("ack", { acknowledged_id = channel:message_id() },
        channel:message_id())
      channel:send("error", { reason = "aborted", usage = { output = 1 } })
      channel:send("stream_error", {
        code = "aborted",
        message = abort.type .. abort.sequence .. abort.reason,
      })
    end

    it("is the stream's next message and ends it by the server", function()
      against(aborts, function(client)
        local stream = assert(client:start_stream(REQUEST))
        assert.equal("start", stream:next().type)
        assert.is_true(stream:abort("enough"))
        assert.equal("error", types_of(stream))
        assert.same({ nil, "abort_request2enough", "aborted" },
          { stream:result() })
      end)
    end)

    it("is sent once, and fine after the end", function()
      against(aborts, function(client)
        local stream = assert(client:start_stream(REQUEST))
        assert.is_true(stream:abort("a"))
        assert.is_true(stream:abort("b"))
        assert.equal("abort_request2a", select(2, stream:result()))
        assert.is_true(stream:abort("c"))
      end)
    end)
  end)

  describe("close", function()
    it("aborts what runs and wakes who waits", function()
      local aborted
      against(function(channel)
        channel:receive()
        local message = channel:receive()
        aborted = message and message.type
        hold(channel)
      end, function(client)
        local stream = assert(client:start_stream(REQUEST))
        local reader = task.spawn(function()
          return { stream:next() }
        end)
        task.yield()
        stream:close()
        stream:close()
        assert.equal("closed", reader:join()[3])
        assert.equal("closed", select(3, stream:result()))
        support.settle()
        assert.equal("abort_request", aborted)
      end)
    end)

    it("does nothing to a stream that has ended", function()
      against(sends { { "result", result_of("x") } }, function(client)
        local stream = assert(client:start_stream(REQUEST))
        stream:result()
        stream:close()
        assert.equal("x", stream:result().content[1].text)
      end)
    end)
  end)

  describe("by id", function()
    it("does what the stream's own methods do", function()
      against(hello_and({ "result", result_of("hello") }), function(client)
        local stream = assert(client:start_stream(REQUEST))
        local id = stream.id
        assert.equal("start", client:event_stream_for(id):next().type)
        assert.equal("hello",
          assert(client:wait_result_for(id, 100)).content[1].text)
        assert.is_nil(client:last_error_for(id))
        assert.is_true(client:remove_stream_state(id))
        assert.is_false(client:remove_stream_state(id))
        assert.equal("stream_not_found",
          select(3, client:wait_result_for(id, 100)))
        assert.is_true(stream:is_ended())
      end)
    end)

    it("knows no error of streams it does not know", function()
      against(sends {}, function(client)
        assert.is_nil(client:last_error_for("x"))
        assert.equal("stream_not_found",
          select(3, client:event_stream_for("x")))
        client:close_stream("x")
      end)
    end)

    it("closes a running stream and remembers that", function()
      against(sends {}, function(client)
        local stream = assert(client:start_stream(REQUEST))
        client:close_stream(stream.id)
        assert.equal("closed", select(2, client:last_error_for(stream.id)))
        assert.equal(0, client:stats().active)
      end)
    end)

    it("forgets the oldest ended stream beyond the limit", function()
      support.run(function()
        local a, b = support.pair()
        b:serve("provider", sends { { "result", result_of("x") } })
        local client = client_module.new(a, { max_ended = 3 })
        local running = assert(client:start_stream(REQUEST))
        local ids = {}
        for index = 1, 5 do
          local stream = assert(client:start_stream(REQUEST))
          stream:result()
          ids[index] = stream.id
        end
        assert.equal(4, client:stats().known)
        assert.is_nil(client:event_stream_for(ids[2]))
        assert.truthy(client:event_stream_for(ids[3]))
        assert.truthy(client:event_stream_for(running.id))
        a:close()
      end)
    end)
  end)

  it("raises on misuse", function()
    against(sends {}, function(client)
      assert.has_error(function() client:start_stream("x") end)
      assert.has_error(function() client:start_stream {} end)
      assert.has_error(function() client:start_stream { model = "m" } end)
      assert.has_error(function() client:complete { messages = {} } end)
    end)
  end)

  it("waits for the whole answer of a completion", function()
    against(function(channel)
      local request = channel:receive()
      channel:send("ack", { acknowledged_id = channel:message_id() })
      channel:send("result", result_of(request.type))
    end, function(client)
      assert.equal("complete_request",
        assert(client:complete(REQUEST)).content[1].text)
    end)
  end)

  it("tells the server when it no longer waits", function()
    local told = {}
    against(function(channel)
      channel:receive()
      local event = channel:receive()
      told[#told + 1] = event and event.type
    end, function(client)
      assert.equal("timeout", select(3, client:complete {
        model = "p/m", messages = {}, timeout_ms = 5,
      }))
      local waiting = task.spawn(client.complete, client, REQUEST)
      task.yield()
      waiting:cancel("no need")
      waiting:join()
      support.settle()
      assert.same({ "abort_request", "abort_request" }, told)
    end)
  end)

  it("lists models and finds the one that is meant", function()
    support.with(scripted.new { models = {
      { model_id = "a" }, { model_id = "b", lifecycle = "deprecated" },
    } }, function(client)
      local models, response = client:models()
      assert.equal(1, #models)
      assert.equal("scripted/scripted@a", models[1].model_ref)
      assert.is_number(response.cache_max_age_ms)
      assert.equal(2, #client:models { include_deprecated = true })
      assert.equal("b", assert(client:resolve {
        model_id = "b", include_deprecated = true,
      }).model_id)
      assert.equal("model_not_found", select(3, client:resolve {
        model_id = "c",
      }))
      assert.equal("ambiguous_model", select(3, client:resolve {
        include_deprecated = true,
      }))
    end)
  end)

  it("refuses a malformed list of models", function()
    against(function(channel)
      channel:receive()
      channel:send("models_response", { models = json.array { {} } })
    end, function(client)
      assert.equal("invalid_response", select(3, client:models()))
    end)
  end)

  it("asks for a stream's state and gets it, also in two tasks", function()
    local go = task.waiter()
    support.with(scripted.new { events = {
      { type = "text_start", content_index = 0 },
      { type = "text_delta", content_index = 0, delta = "so far" },
      { wait = go },
      { type = "text_end", content_index = 0 },
    } }, function(client)
      local stream = assert(client:start_stream({
        model = "scripted/scripted", messages = {},
      }))
      repeat
        local event = stream:next()
      until event.delta
      local other = task.spawn(client.sync, client, stream)
      assert.equal("so far", assert(client:sync(stream)).content[1].text)
      assert.equal("so far", assert(other:join()).content[1].text)
      go:wake()
      assert.equal("so far", assert(stream:result()).content[1].text)
      assert.equal("stream_not_found", select(3, client:sync(stream.id)))
    end)
  end)

  it("does not wait for ever for a base peer's state", function()
    against(sends {}, function(client)
      local stream = assert(client:start_stream(REQUEST))
      assert.equal("timeout", select(3, client:sync(stream, 5)))
    end)
  end)

  it("ends a stream that the server no longer knows", function()
    against(sends {}, function(client, _, b)
      local stream = assert(client:start_stream(REQUEST))
      b:send_control("provider", stream.id, "stream_error", {
        code = "stream_not_found", message = "restarted",
      })
      assert.same({ nil, "restarted", "stream_not_found" },
        { stream:result() })
    end)
  end)

  it("hears the server's goodbye", function()
    support.run(function()
      local a, b = support.pair()
      local heard
      local client = client_module.new(a, {
        on_goodbye = function(goodbye) heard = goodbye.reason end,
      })
      b:send_control("provider", "00000000-0000-0000-0000-000000000000",
        "goodbye", { reason = "draining", after_ms = 50 })
      support.settle()
      assert.equal("draining", heard)
      assert.equal(50, client.goodbye.after_ms)
      a:close()
    end)
  end)

  it("reads a thousand streams at once without mixing them", function()
    local seen = 0
    support.with(scripted.new {
      script = function(request, emit)
        local word = request.context.messages[1].content
        emit { type = "text_start", content_index = 0 }
        for number = 1, 5 do
          emit {
            type = "text_delta", content_index = 0,
            delta = word .. ":" .. number .. " ",
          }
          task.yield()
        end
        emit { type = "text_end", content_index = 0 }
      end,
    }, function(client)
      local tasks = {}
      for number = 1, 1000 do
        tasks[number] = task.spawn(function()
          local stream = assert(client:start_stream {
            model = "scripted/scripted",
            messages = { { role = "user", content = "w" .. number } },
          })
          local text = {}
          for event in stream:events() do
            text[#text + 1] = event.delta
          end
          local w = "w" .. number
          local expected = ("W:1 W:2 W:3 W:4 W:5 "):gsub("W", w)
          assert(table.concat(text) == expected)
          assert(stream:result().content[1].text == expected)
          seen = seen + 1
        end)
      end
      assert(task.all(tasks))
      assert.equal(1000, seen)
      assert.equal(0, client:stats().active)
      assert.equal(256, client:stats().known)
    end)
  end)
end)
