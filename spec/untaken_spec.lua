-- Messages that an end cannot take: refused by their sender, consumed and
-- answered when they come all the same, given up when they end connections.
-- On each transport: others go on, nobody waits for ever, nothing reconnects.
local aw = require("agentwire")
local link = require("spec.support.link")
local untaken = require("spec.support.untaken")

local MIB = 1024 * 1024
local NIL_ID = "00000000-0000-4000-8000-000000000000"

local function lua_command()
  local at = 0
  while arg[at - 1] do
    at = at - 1
  end
  return arg[at]
end

-- Each gives `body(client, states)`, the client's and the server's limits set.
local WAYS = {}

function WAYS.websocket(client_limits, server_limits, body)
  local states = {}
  local options = untaken.served(server_limits)
  options.listen = "ws://127.0.0.1:0"
  local server = assert(aw.serve(options))
  local given = { reconnect = { min_ms = 5, max_ms = 20 },
    on_state = function(event)
      states[#states + 1] = event.type
    end }
  for name, value in pairs(client_limits) do
    given[name] = value
  end
  local client = assert(aw.connect(server.url, given))
  body(client, states)
  client:close()
  server:close()
end

function WAYS.pair(client_limits, server_limits, body)
  local limits = {}
  for name, value in pairs(client_limits) do
    limits[name] = value
  end
  for name, value in pairs(server_limits) do
    limits[name] = value
  end
  local client, server = aw.pair(limits)
  aw.provider.attach(server, untaken.adapter())
  aw.tool.attach(server, untaken.tools())
  body(client, {})
  client:close()
  server:close()
end

function WAYS.child(client_limits, server_limits, body)
  local given, states = {}, {}
  for name, value in pairs(client_limits) do
    given[name] = value
  end
  given.on_state = function(event)
    states[#states + 1] = event.type
  end
  local client = assert(aw.connect({ argv = { lua_command(),
    "spec/support/untaken.lua", aw.json.encode(server_limits) } },
    given))
  body(client, states)
  client:close()
  client:wait_closed(3000)
end

local function prompt(text)
  return { model = "scripted/scripted",
    messages = { { role = "user", content = text } } }
end

local function check_alive(client)
  local message = assert(client:provider():complete(prompt("hi")))
  assert.equal("small", message.content[1].text)
  local result = assert(client:tool():execute { name = "small", args = {},
    timeout_ms = 3000 })
  assert.equal("s", result.parts[1].text)
  assert.equal("open", client:state())
end

local function check_limit(ok, message, code, name)
  assert.is_nil(ok)
  assert.equal("limit", code)
  assert.truthy(message:find(name, 1, true), message)
end

for name, way in pairs(WAYS) do
  describe("over a " .. name .. ", a message that the peer does not take",
    function()
      it("is refused to who asks with it, at once, also as the first one", function()
        link.run(function()
          way({}, { message_max = MIB }, function(client, states)
            local stream, message, code =
              client:provider():start_stream(prompt(("x"):rep(2 * MIB)))
            check_limit(stream, message, code, "message_max")
            local done, why, how =
              client:provider():complete(prompt(("x"):rep(2 * MIB)))
            check_limit(done, why, how, "message_max")
            done, why, how = client:tool():execute { name = "small",
              args = { text = ("x"):rep(2 * MIB) }, timeout_ms = 3000 }
            check_limit(done, why, how, "message_max")
            check_alive(client)
            assert.is_true(#states <= 1)
          end)
        end)
      end)

      it("ends the stream or the call that it answers, and nothing else", function()
        link.run(function()
          way({ message_max = MIB }, { message_max = name == "pair" and MIB or nil },
            function(client, states)
              local stream =
                assert(client:provider():start_stream(prompt("big")))
              local done, why, how = stream:result(3000)
              check_limit(done, why, how, "message_max")
              done, why, how = client:provider():complete(prompt("big"))
              check_limit(done, why, how, "message_max")
              for _ = 1, 2 do
                done, why, how = client:tool():execute { name = "big",
                  args = {}, timeout_ms = 3000 }
                check_limit(done, why, how, "message_max")
              end
              check_alive(client)
              assert.is_true(#states <= 1)
            end)
        end)
      end)

      it("names the number of values, and the depth", function()
        link.run(function()
          way({}, { values_max = 200, depth_max = 12 }, function(client)
            check_alive(client)
            local channel = assert(client:open("tool"))
            local many, deep = {}, {}
            for index = 1, 200 do
              many[index] = index
            end
            for _ = 1, 11 do
              deep = { deep }
            end
            local ok, why, how = channel:send("tool_list", { a = many })
            check_limit(ok, why, how, "values_max")
            ok, why, how = channel:send("tool_list", { a = deep })
            check_limit(ok, why, how, "depth_max")
            assert(channel:send("tool_list", {}))
            assert.equal("tool_list_response",
              assert(channel:receive(3000)).type)
            channel:close()
            check_alive(client)
          end)
        end)
      end)
    end)
end

local function envelope(type, key, id, sequence, payload)
  return ('{"type":"%s","%s":"%s","message_id":"%s","sequence":%d,'
    .. '"timestamp":1,"version":1,"payload":%s}')
    :format(type, key, id, NIL_ID, sequence, payload)
end

local BAD = {
  ["too deep"] = { '{"a":' .. ("["):rep(200) .. ("]"):rep(200) .. "}", "limit" },
  ["too many values"] = { '{"a":[' .. ("0,"):rep(300000) .. "0]}", "limit" },
  ["too long"] = { '{"a":"' .. ("x"):rep(2 * MIB) .. '"}', "limit" },
  ["no JSON"] = { "{nope}", "invalid_request" },
  ["a number without end"] = { '{"a":1e999}', "invalid_request" },
  ["a payload that is none"] = { "7", "invalid_request" },
}

for what, case in pairs(BAD) do
  for _, name in ipairs { "websocket", "child" } do
    it(("%s over a %s is consumed and answered, and the scope goes on")
      :format(what, name), function()
      link.run(function()
        WAYS[name]({}, { message_max = MIB }, function(client, states)
          check_alive(client)
          -- In an open scope.
          local channel = assert(client:open("tool"))
          assert(channel:send("tool_list", {}))
          assert(channel:receive(3000))
          client._core:inject(envelope("tool_execute", "server_id", channel.id,
            2, case[1]))
          local answer = assert(channel:receive(3000))
          assert.equal("tool_error", answer.type)
          assert.equal(case[2], answer.code)
          assert.equal(NIL_ID, channel:reply_to())
          client._core:inject(envelope("tool_list", "server_id", channel.id, 3,
            "{}"))
          assert.equal("tool_list_response",
            assert(channel:receive(3000)).type)
          -- As the message that opens one: the refusal ends it.
          local id = "a0000000-0000-4000-8000-000000000001"
          local stream = assert(client:open("provider", id))
          client._core:inject(envelope("stream_request", "stream_id", id, 1,
            case[1]))
          answer = assert(stream:receive(3000))
          assert.equal("nack", answer.type)
          assert.equal(case[2], answer.error_code)
          assert.equal(1, answer.sequence)
          stream:close()
          check_alive(client)
          assert.same({ "open" }, states)
          channel:close()
        end)
      end)
    end)
  end
end

describe("answers to what was not taken", function()
  -- Whoever reads nothing has a window of 64 messages; what is answered beyond
  -- waits, up to 64 of them.
  it("wait for room in a scope that nobody reads, in bounded number", function()
    link.run(function()
      local theirs
      local server = assert(aw.listen("ws://127.0.0.1:0", function(conn)
        conn:serve("tool", function(channel)
          theirs = channel
          while channel:receive() do
          end
        end)
      end))
      local client = assert(aw.connect(server.url))
      local channel = assert(client:open("tool"))
      channel:confirm_manually()
      assert(channel:send("tool_list", {}))
      assert(client:ping(5000)) -- it is out
      local sequence = 1
      local function flood(count)
        for _ = 1, count do
          sequence = sequence + 1
          client._core:inject(envelope("tool_execute", "server_id", channel.id,
            sequence, BAD["a payload that is none"][1]))
        end
        for _ = 1, 3 do
          assert(client:ping(5000))
        end
      end
      local function take(count)
        for _ = 1, count do
          assert.equal("tool_error", assert(channel:receive(5000)).type)
          channel:confirm()
        end
        assert.is_nil((channel:receive(50)))
      end
      flood(64 + 64 + 10)
      assert.equal(64, theirs._answers)
      take(64 + 64)
      assert.equal(0, theirs._answers)
      for _ = 1, 3 do -- none of their places is lost
        flood(64 + 10)
        take(64 + 10)
      end
      channel:close()
      client:close()
      client:wait_closed(1000)
      server:close()
    end)
  end)
end)

describe("what a peer sends although we cannot take it", function()
  --- A server that answers each stream with these raw texts.
  local function hostile(texts, body)
    link.run(function()
      local server = assert(aw.listen("ws://127.0.0.1:0", function(conn)
        conn:serve("provider", function(channel)
          channel:receive()
          for _, make in ipairs(texts) do
            conn._core:inject(make(channel.id))
          end
          channel:receive() -- the client's abort, or its end
          channel:receive(1000)
        end)
      end))
      local client = assert(aw.connect(server.url))
      body(client)
      client:close()
      server:close()
    end)
  end

  local function bad(type, sequence)
    return function(id)
      return envelope(type, "stream_id", id, sequence, BAD["too deep"][1])
    end
  end

  it("ends a stream by its name when it was an event", function()
    hostile({ bad("text_delta", 1) }, function(client)
      local stream = assert(client:provider():start_stream(prompt("x")))
      local done, why, how = stream:result(3000)
      check_limit(done, why, how, "text_delta")
      assert.equal("open", client:state())
    end)
  end)

  it("ends a stream and a completion when it was their result", function()
    hostile({ bad("result", 1) }, function(client)
      local stream = assert(client:provider():start_stream(prompt("x")))
      check_limit(stream:result(3000), select(2, stream:result(3000)),
        select(3, stream:result(3000)), "result")
      local done, why, how = client:provider():complete(prompt("x"))
      check_limit(done, why, how, "result")
      assert.equal("open", client:state())
    end)
  end)
end)

describe("a message that ends each connection", function()
  it("is given up after the second time, and the connection goes on", function()
    link.run(function()
      local opens = 0
      local server = assert(aw.listen("ws://127.0.0.1:0", function(conn)
        conn:serve("provider", function(channel)
          local request = channel:receive()
          if request and request.poison then
            conn:close("a proxy that is afraid", 1009)
          else
            channel:send("nack", { rejected_id = NIL_ID, reason = "fine" })
          end
        end)
      end))
      local client = assert(aw.connect(server.url, {
        reconnect = { min_ms = 5, max_ms = 10 },
        on_state = function(event)
          opens = opens + (event.type == "open" and 1 or 0)
        end,
      }))
      local channel = assert(client:open("provider"))
      assert(channel:send("stream_request", { poison = true }))
      local event, message, code = channel:receive(5000)
      assert.is_nil(event)
      assert.equal("undeliverable", code)
      assert.truthy(message:find("ended each connection", 1, true), message)
      local ok, _, how = channel:send("more", {})
      assert.is_nil(ok)
      assert.equal("undeliverable", how)
      assert.equal(3, opens)
      local other = assert(client:open("provider"))
      assert(other:send("stream_request", {}))
      assert.equal("fine", assert(other:receive(3000)).reason)
      assert.equal("open", client:state())
      assert.equal(3, opens)
      assert.equal(1, client:stats().undeliverable)
      channel:close()
      other:close()
      client:close()
      server:close()
    end)
  end)
end)

it("an agent's message that is too long is refused to its caller", function()
  link.run(function()
    local near, far = aw.pair()
    aw.provider.attach(far, untaken.adapter())
    local server = assert(aw.serve { listen = "ws://127.0.0.1:0",
      message_max = MIB, agent = { provider = near:provider(),
        model = "scripted/scripted" } })
    local client = assert(aw.connect(server.url))
    local session = assert(client:agent():start {})
    session:prompt(("x"):rep(2 * MIB))
    check_limit(session:result(3000), select(2, session:result(3000)),
      select(3, session:result(3000)), "message_max")
    local ok, why, how = session:steer(("x"):rep(2 * MIB))
    check_limit(ok, why, how, "message_max")
    session:prompt("hi")
    assert.equal("small", assert(session:result(3000)).text)
    client:close()
    server:close()
    near:close()
    far:close()
  end)
end)
