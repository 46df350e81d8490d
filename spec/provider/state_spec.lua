-- What an adapter needs back travels untouched, and what was cut is told.
local aw = require("agentwire")
local json = require("agentwire.json")
local protocol = require("agentwire.provider.protocol")
local reconstruct = require("agentwire.provider.reconstruct")
local server = require("agentwire.provider.server")
local support = require("spec.support.provider")

local ev = support.block_event

local TAG = { api = "a", provider = "p", model = "m-2026", scope = "s" }
local STATE = '{"signature":"Eq\\u0000=","n":1.50}'

local function adapter_of(stream)
  return { name = "mine", api = "mine-api", stream = stream }
end

local function emit_all(emit)
  emit { type = "start", input_tokens = 3, state_of = TAG }
  emit(ev("thinking_start", 0))
  emit(ev("thinking_delta", 0, { delta = "hm" }))
  emit(ev("thinking_end", 0, { provider_state = STATE }))
  emit(ev("thinking_start", 1))
  emit(ev("thinking_end", 1, { provider_state = "{}", opaque = "redacted" }))
  emit(ev("text_start", 2))
  emit(ev("text_end", 2, { provider_state = "t" }))
  emit(ev("toolcall_start", 3, { id = "c", name = "n" }))
  emit(ev("toolcall_delta", 3, { delta = '{"a":' }))
  emit(ev("toolcall_end", 3, { provider_state = "c", incomplete = true }))
  return { stop_reason = "length", stop_raw = "max_tokens",
    stop_details = { category = "k" }, provider_state = "raw",
    usage = { input = 1, output = 2, reasoning = 1, total = 3 } }
end

local CONTENT = {
  { type = "thinking", thinking = "hm", provider_state = STATE },
  { type = "thinking", thinking = "", provider_state = "{}",
    opaque = "redacted" },
  { type = "text", text = "", provider_state = "t" },
  { type = "tool_call", id = "c", name = "n", arguments_json = '{"a":',
    provider_state = "c", incomplete = true },
}

local function plain(value)
  return json.decode(json.encode(value))
end

local function check(message)
  assert.same(plain(CONTENT), plain(message.content))
  assert.same(TAG, message.state_of)
  assert.equal("raw", message.provider_state)
  assert.equal("length", message.stop_reason)
  assert.equal("max_tokens", message.stop_raw)
  assert.equal("k", message.stop_details.category)
  assert.same({ input = 1, output = 2, cache_read = 0, cache_write = 0,
    reasoning = 1, total = 3 }, message.usage)
end

local REQUEST = { model = "m", messages = {} }

describe("provider state", function()
  it("comes with a stream's message as it was given, over a relay too",
    function()
      support.with(adapter_of(function(_, _, emit)
        return emit_all(emit)
      end), function(client)
        local near, far = support.pair()
        server.attach(far, client)
        check(assert(assert(near:provider():start_stream(REQUEST)):result(1000)))
        check(assert(near:provider():complete(REQUEST)))
        near:close()
        far:close()
      end)
    end)

  it("is in the events too, which may be all that comes", function()
    support.with(adapter_of(function(_, _, emit)
      return emit_all(emit)
    end), function(client)
      local seen = {}
      for event in assert(client:start_stream(REQUEST)):events() do
        seen[event.type .. (event.content_index or "")] = event
      end
      assert.same(TAG, seen.start.state_of)
      assert.equal(STATE, seen.thinking_end0.provider_state)
      assert.equal("redacted", seen.thinking_end1.opaque)
      assert.equal("t", seen.text_end2.provider_state)
      assert.equal("c", seen.toolcall_end3.provider_state)
      assert.is_true(seen.toolcall_end3.incomplete)
    end)
  end)

  it("goes back to the adapter as it came", function()
    local seen
    support.with(adapter_of(function(_, request, emit)
      seen = request.context.messages[1]
      return emit_all(emit)
    end), function(client)
      local message = assert(client:complete(REQUEST))
      assert(client:complete { model = "m", messages = { message } })
      check(seen)
    end)
  end)

  it("is in the state of a folded stream and in the events that lead there",
    function()
      local whole, late = reconstruct.new(), reconstruct.new()
      emit_all(function(event)
        whole:push(event)
      end)
      local sync = whole:state()
      assert.same(TAG, sync.partial.state_of)
      for _, event in ipairs(assert(late:missing(sync))) do
        assert.is_true(late:push(event))
      end
      assert.same(plain(CONTENT), plain(late:message().content))
    end)

  it("counts as part of the message, which has a limit", function()
    local rec = reconstruct.new { max_bytes = 8 }
    rec:push(ev("text_start", 0))
    assert.is_false(rec:push(ev("text_end", 0, { provider_state = ("x"):rep(80) })))
    assert.is_true(rec.truncated)
  end)

  it("that is no text is refused in a request and left out of an event",
    function()
      assert.is_nil(protocol.check_message { role = "assistant",
        content = { { type = "text", text = "x", provider_state = 7 } } })
      local rec = reconstruct.new()
      rec:push(ev("text_start", 0))
      rec:push(ev("text_end", 0, { provider_state = {}, opaque = 1 }))
      assert.is_nil(rec:message().content[1].provider_state)
    end)
end)

describe("a stream that fails", function()
  it("leaves what had come, with its calls marked as cut", function()
    support.with(adapter_of(function(_, _, emit)
      emit(ev("text_start", 0))
      emit(ev("text_delta", 0, { delta = "Hi" }))
      emit(ev("toolcall_start", 1, { id = "c", name = "n" }))
      emit(ev("toolcall_delta", 1, { delta = '{"a"' }))
      return nil, "the upstream ended early", "truncated"
    end), function(client)
      local stream = assert(client:start_stream(REQUEST))
      assert.equal("truncated", select(3, stream:result(1000)))
      local left = stream:partial()
      assert.equal("error", left.stop_reason)
      assert.equal("Hi", left.content[1].text)
      assert.is_true(left.content[2].incomplete)
    end)
  end)
end)

describe("a base peer", function()
  it("is told a stop reason that it knows", function()
    for own, base in pairs { refusal = "content_filter", pause = "stop",
      steered = "stop", length = "length" } do
      local message = { stop_reason = own, stop_raw = own }
      assert.same({ stop_reason = base, stop_raw = own },
        protocol.base_message(message))
      assert.equal(own, message.stop_reason)
    end
  end)

  it("is sent no warning; who speaks our protocol is", function()
    local function warnings(protocols)
      local seen, reason = 0, nil
      support.run(function()
        local listener = assert(aw.listen("ws://127.0.0.1:0", function(conn)
          server.attach(conn, adapter_of(function(_, _, emit)
            emit { type = "warning", code = "state_dropped", message = "x" }
            emit(ev("text_start", 0))
            emit(ev("text_end", 0))
            return { stop_reason = "refusal" }
          end))
        end))
        local conn = assert(aw.connect("ws://127.0.0.1:" .. listener.port,
          { protocols = protocols }))
        local stream = assert(conn:provider():start_stream(REQUEST))
        for event in stream:events() do
          seen = seen + (event.type == "warning" and 1 or 0)
        end
        reason = stream:result().stop_reason
        conn:close()
        conn:wait_closed(1000)
        listener:close()
      end)
      return seen, reason
    end
    assert.same({ 1, "refusal" }, { warnings() })
    assert.same({ 0, "content_filter" }, { warnings("makai.v1") })
  end)
end)
