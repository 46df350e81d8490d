local aw = require("agentwire")
local envelopes = require("spec.support.envelope")
local server = require("spec.support.server")

local ID, envelope = envelopes.ID, envelopes.text

-- What is said, the answer's type, its code, and what its text must name.
local CASES = {
  { "text that is no JSON", "hello", "error", "unknown_envelope", "byte 0" },
  { "a cut text", '{"type":"ping"', "error", "unknown_envelope" },
  { "an array", "[]", "error", "unknown_envelope", "object" },
  { "no scope key", envelope { stream_id = aw.null }, "error",
    "unknown_envelope", "scope" },
  { "two scope keys", envelope { session_id = ID .. "02" }, "error",
    "unknown_envelope", "scope" },
  { "a scope that is no UUID", envelope { stream_id = "x" }, "error",
    "unknown_envelope", "stream_id" },
  { "a duplicate key", '{"type":"a","type":"b"}', "error",
    "unknown_envelope", "duplicate" },
  { "a depth bomb", ("["):rep(100000), "error", "unknown_envelope", "deep" },
  { "a wrong version", envelope { version = 7 }, "nack", "version_mismatch" },
  { "a sequence that is a string", envelope { sequence = "1" }, "nack",
    "invalid_request", "sequence" },
  { "a fractional sequence", envelope { sequence = 1.5 }, "nack",
    "invalid_request", "sequence" },
  { "a negative sequence", envelope { sequence = -1 }, "nack",
    "invalid_request", "sequence" },
  { "sequence 0", envelope { sequence = 0 }, "nack", "invalid_sequence" },
  { "an opening with sequence 2", envelope { sequence = 2 }, "nack",
    "sequence_gap" },
  { "a missing message id", envelope { message_id = aw.null }, "nack",
    "invalid_request", "message_id" },
  { "a payload that is no object", envelope { payload = 5 }, "nack",
    "invalid_request", "payload" },
  { "a missing payload", envelope { payload = aw.null }, "nack",
    "invalid_request", "payload" },
  { "a wrong in_reply_to", envelope { in_reply_to = "x" }, "nack",
    "invalid_request", "in_reply_to" },
  { "an unknown type for an unknown scope", envelope { type = "frobnicate" },
    "nack", "stream_not_found" },
}

local function serve(conn)
  conn:serve("provider", function(channel)
    while true do
      local event = channel:receive()
      if not event then
        return
      end
      channel:send("text_delta", { content_index = 0, delta = event.n })
    end
  end)
end

local BASE = { client = { protocols = "makai.v1" } }

--- Sends `text` past the client's own checks; the first answer that came.
local function provoke(client, text)
  local waiter = aw.task.waiter("an answer")
  local function take(message)
    waiter:wake(message)
  end
  client:on_control("provider", take)
  client:on_control("link", take)
  assert(client._core:inject(text))
  return waiter:wait(5000)
end

describe("bad input over a WebSocket", function()
  for _, case in ipairs(CASES) do
    local what, text, kind, code, names = case[1], case[2], case[3], case[4],
      case[5]
    it("answers " .. what .. " and disturbs nothing else", function()
      server.run(BASE, serve, function(client)
        local other = assert(client:open("provider"))
        assert(other:send("stream_request", { n = 1 }))
        assert.equal(1, assert(other:receive(5000)).delta)
        local answer = assert(provoke(client, text))
        assert.equal(kind, answer.type)
        assert.equal(code, answer.error_code or answer.code)
        if names then
          local said = answer.reason or answer.message
          assert.truthy(said:find(names, 1, true), said)
        end
        assert(other:send("more", { n = 2 }))
        local event = assert(other:receive(5000))
        assert.equal(2, event.delta)
        assert.equal(2, event.sequence)
      end)
    end)
  end

  it("refuses duplicates and gaps of a live scope without moving on", function()
    server.run(BASE, serve, function(client, far)
      local channel = assert(client:open("provider", ID .. "01"))
      assert(channel:send("stream_request", { n = 1 }))
      assert.equal(1, assert(channel:receive(5000)).delta)
      client._core:inject(envelope { type = "more", sequence = 5 })
      local answer = assert(channel:receive(5000))
      assert.equal("nack", answer.type)
      assert.equal("sequence_gap", answer.error_code)
      client._core:inject(envelope { type = "more", sequence = 1 })
      assert.equal("duplicate_sequence",
        assert(channel:receive(5000)).error_code)
      client._core:inject(envelope { sequence = 1 })
      assert.equal("stream_already_exists",
        assert(channel:receive(5000)).error_code)
      assert(channel:send("more", { n = 2 }))
      assert.equal(2, assert(channel:receive(5000)).delta)
      assert.equal(3, far:stats().refused.sequence + far:stats().refused.exists)
    end)
  end)

  it("answers a flood with bounded memory", function()
    server.run(BASE, serve, function(client, far)
      for _ = 1, server.scaled(5000) do
        client._core:inject("garbage")
      end
      local channel = assert(client:open("provider"))
      assert(channel:send("stream_request", { n = 1 }))
      assert.equal(1, assert(channel:receive(10000)).delta)
      assert.equal(server.scaled(5000), far:stats().refused.json)
    end)
  end)

  it("closes an extended connection with 4002 on a gap, and resumes", function()
    server.run({ client = { reconnect = { min_ms = 1, max_ms = 5 } } }, serve,
      function(client)
        local channel = assert(client:open("provider", ID .. "01"))
        assert(channel:send("stream_request", { n = 1 }))
        assert.equal(1, assert(channel:receive(5000)).delta)
        local codes = {}
        client:on_state(function(event)
          table.insert(codes, event.code)
        end)
        client._core:inject(envelope { type = "more", sequence = 9 })
        assert(channel:send("more", { n = 2 }))
        assert.equal(2, assert(channel:receive(5000)).delta)
        assert.equal(4002, codes[1])
      end)
  end)
end)
