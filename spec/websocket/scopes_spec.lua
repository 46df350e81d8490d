-- Scopes that end without a terminal message leave nothing behind.
local aw = require("agentwire")
local link = require("spec.support.link")
local server = require("spec.support.server")

local function refuse(conn)
  conn:serve("provider", function(channel)
    channel:receive()
    channel:send("nack", { rejected_id = channel:message_id(), reason = "no" },
      channel:message_id())
    channel:close()
  end)
end

local function ask(client)
  local channel = assert(client:open("provider"))
  assert(channel:send("stream_request", {}))
  local event = assert(channel:receive(5000))
  channel:close()
  return event.type
end

for _, protocol in ipairs { "agentwire.v1", "makai.v1" } do
  describe("refused scopes with " .. protocol, function()
    it("are forgotten at both ends", function()
      server.run({ client = { protocols = protocol } }, refuse,
        function(client, far)
          for _ = 1, 20 do
            assert.equal("nack", ask(client))
          end
          link.eventually(function()
            return client:stats().open_scopes == 0
              and far:stats().open_scopes == 0
          end)
        end)
    end)
  end)
end

describe("refused scopes", function()
  it("are forgotten across cuts", function()
    server.run({ client = { reconnect = { min_ms = 1, max_ms = 3 } } }, refuse,
      function(client, far)
        for _ = 1, 20 do
          assert.equal("nack", ask(client))
          client:cut("by the spec")
        end
        link.eventually(function()
          return client:stats().open_scopes == 0
            and far:stats().open_scopes == 0
        end)
      end)
  end)

  it("leave room for the next ones", function()
    server.run({ server = { scopes_max = 5 } }, refuse, function(client, far)
      for _ = 1, 5 do
        ask(client)
      end
      link.eventually(function()
        return far:stats().open_scopes == 0
      end)
      assert.equal("nack", ask(client))
    end)
  end)

  it("that nothing was sent in cost nothing", function()
    server.run({}, refuse, function(client)
      for _ = 1, 10 do
        assert(client:open("provider")):close()
      end
      assert.equal(0, client:stats().open_scopes)
    end)
  end)
end)

describe("what is not served", function()
  it("is said to a stream, a completion, a session and a tool call", function()
    server.run({}, function() end, function(client)
      local provider = client:provider()
      local stream = assert(provider:start_stream { model = "a/b",
        messages = { { role = "user", content = "hi" } } })
      local none, message = stream:result(5000)
      assert.is_nil(none)
      assert.truthy(message:find("served", 1, true), message)
      none, message = provider:complete { model = "a/b",
        messages = { { role = "user", content = "hi" } } }
      assert.is_nil(none)
      assert.truthy(message:find("served", 1, true), message)
      none, message = client:tool():list()
      assert.is_nil(none)
      assert.truthy(message:find("served", 1, true), message)
      local result = client:tool():execute { name = "x", args = {} }
      assert.truthy(result == nil or result.is_error, aw.json.encode(result))
    end)
  end)
end)

describe("a refusal outside the numbering", function()
  it("ends a completion and a model list as well", function()
    server.run({ server = { scopes_max = 1 } }, function(conn)
      conn:serve("agent", function(channel)
        while channel:receive() do end
      end)
    end, function(client)
      local session = assert(client:open("agent"))
      assert(session:send("agent_start", {}))
      local none, _, code = client:provider():complete { model = "a/b",
        messages = { { role = "user", content = "hi" } } }
      assert.is_nil(none)
      assert.truthy(code)
      none, _, code = client:provider():models()
      assert.is_nil(none)
      assert.truthy(code)
    end)
  end)
end)

describe("a goodbye that ends the session", function()
  it("closes the connection at the other end", function()
    server.run({}, function() end, function(client, far)
      client:send_control("link", nil, "goodbye", { resume = false })
      assert.is_true(far:wait_closed(5000))
      assert.is_true(client:wait_closed(5000))
    end)
  end)
end)
