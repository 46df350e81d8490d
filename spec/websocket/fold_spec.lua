-- A stream goes on while its client is away, further than any log reaches.
local aw = require("agentwire")
local link = require("spec.support.link")
local provider_server = require("agentwire.provider.server")
local server = require("spec.support.server")
local wait = require("agentwire._wait")

local LOG = 100

-- An adapter that goes on alone once the stage has been set: it says what it
-- has streamed so far, and waits for nobody.
local function new_model(stage)
  local model = { name = "m", api = "m" }
  function model:stream(_, emit)
    local function put(event)
      emit(event)
      if event.delta then
        stage.text = (stage.text or "") .. event.delta
      end
    end
    put { type = "thinking_start", content_index = 0 }
    put { type = "thinking_delta", content_index = 0, delta = "hm" }
    stage.begun:set(true)
    stage.away:wait()
    for n = 1, stage.count do
      put { type = "thinking_delta", content_index = 0, delta = " " .. n }
    end
    put { type = "thinking_end", content_index = 0 }
    put { type = "text_start", content_index = 1 }
    for n = 1, stage.count do
      put { type = "text_delta", content_index = 1, delta = n .. "," }
    end
    stage.streamed:set(true)
    stage.back:wait()
    for n = 1, 10 do
      put { type = "text_delta", content_index = 1, delta = n .. ";" }
    end
    put { type = "text_end", content_index = 1 }
  end
  return model
end

local function new_stage(count)
  return {
    count = count, begun = wait.latch("the beginning"),
    away = wait.latch("the client's leaving"),
    streamed = wait.latch("the end of the absence"),
    back = wait.latch("the client's return"),
  }
end

-- Runs `body(client, stage, connection)`; a client that was cut comes back when
-- `stage.door` opens.
local function with_stage(options, body)
  local stage = new_stage(options.count or 10 * LOG)
  stage.door = wait.latch("the door")
  stage.door:set(true)
  server.run({
    client = { reconnect = { min_ms = 1, max_ms = 5 } },
    server = {
      log_messages = LOG,
      authenticate = function()
        stage.door:wait()
        return true
      end,
    },
  }, function(conn)
    provider_server.attach(conn, new_model(stage), options.server)
  end, function(client, conn)
    body(client, stage, conn)
  end)
end

local function leave(client, stage, conn)
  stage.begun:wait()
  stage.door = wait.latch("the door")
  client:cut("by the spec")
  link.eventually(function()
    return conn:state() == "resuming"
  end)
  stage.away:set(true)
end

local function come_back(stage)
  stage.door:set(true)
  stage.back:set(true)
end

-- Away until all has been streamed that does not wait for the client.
local function stay_away(client, stage, conn)
  leave(client, stage, conn)
  assert(stage.streamed:wait(10000))
end

local REQUEST = {
  model = "m/m", messages = { { role = "user", content = "go" } },
}

local function started(client, fields)
  local request = {}
  for key, value in pairs(REQUEST) do
    request[key] = value
  end
  for key, value in pairs(fields or {}) do
    request[key] = value
  end
  return assert(client:provider():start_stream(request))
end

-- All deltas of a block as one text, and the types that came, runs shortened.
local function read(stream)
  local texts, types = {}, {}
  for event in stream:events() do
    local index = event.content_index
    if event.delta then
      texts[index] = (texts[index] or "") .. event.delta
    end
    if event.type ~= types[#types] then
      types[#types + 1] = event.type
    end
  end
  return texts, table.concat(types, " ")
end

local WHOLE = "start thinking_start thinking_delta thinking_end text_start "
  .. "text_delta text_end done"

describe("a stream whose client is away for longer than its log", function()
  it("goes on, and tells each thing once", function()
    with_stage({}, function(client, stage, conn)
      local stream = started(client)
      stay_away(client, stage, conn)
      assert.is_true(conn:stats().folded > 0)
      assert.is_true(conn:stats().log_high < 100000)
      come_back(stage)
      local texts, types = read(stream)
      local message = assert(stream:result(5000))
      assert.equal(WHOLE, types)
      assert.equal(stage.text, texts[0] .. texts[1])
      assert.equal(texts[0], message.content[1].thinking)
      assert.equal(texts[1], message.content[2].text)
      link.eventually(function()
        return conn:stats().log_bytes == 0
      end)
    end)
  end)

  it("has what was read before the absence, and no more, once", function()
    with_stage({}, function(client, stage, conn)
      local stream = started(client)
      local before = {}
      repeat
        before[#before + 1] = assert(stream:next(5000))
      until before[#before].delta
      assert.equal("hm", before[#before].delta)
      stay_away(client, stage, conn)
      come_back(stage)
      local texts, types = read(stream)
      assert.equal((WHOLE:gsub("^start thinking_start ", "")), types)
      assert.equal(stage.text, "hm" .. texts[0] .. texts[1])
    end)
  end)

  for what, coalesce in pairs { each = false, merged = true } do
    it("is read the same with its deltas " .. what, function()
      with_stage({}, function(client, stage, conn)
        local stream = started(client)
        stay_away(client, stage, conn)
        come_back(stage)
        local text = ""
        for event in stream:events { coalesce = coalesce } do
          text = text .. (event.delta or "")
        end
        assert.equal(stage.text, text)
      end)
    end)
  end

  it("survives several absences", function()
    with_stage({}, function(client, stage, conn)
      local stream = started(client)
      for _ = 1, 3 do
        stay_away(client, stage, conn)
        stage.door:set(true)
        link.eventually(function()
          return client:is_open() and conn:is_open()
        end)
      end
      stage.back:set(true)
      local texts = read(stream)
      assert.equal(stage.text, texts[0] .. texts[1])
    end)
  end)

  it("gives its state itself to who reconstructs nothing", function()
    with_stage({}, function(client, stage, conn)
      local stream = started(client, { reconstruct = false })
      stay_away(client, stage, conn)
      come_back(stage)
      local state, tail = nil, ""
      for event in stream:events() do
        if event.type == "sync" then
          state, tail = event, ""
        else
          tail = tail .. (event.delta or "")
        end
      end
      local text = {}
      for position, block in ipairs(state.partial.content) do
        text[position] = block.thinking or block.text
      end
      assert.equal(stage.text, table.concat(text) .. tail)
      assert(stream:result(5000))
    end)
  end)

  it("waits where it is told to", function()
    with_stage({ server = { overflow = "pause" } },
      function(client, stage, conn)
        local stream = started(client)
        leave(client, stage, conn)
        link.eventually(function()
          return #(stage.text or "") > LOG
        end)
        link.settle() -- enough for all that it has to say
        assert.is_false(stage.streamed:is_set())
        assert.equal(0, conn:stats().folded)
        come_back(stage)
        local texts = read(stream)
        assert.equal(stage.text, texts[0] .. texts[1])
      end)
  end)

  it("ends as lost where it is told to", function()
    with_stage({ server = { overflow = "fail" } },
      function(client, stage, conn)
        local stream = started(client)
        leave(client, stage, conn)
        link.eventually(function()
          return conn:stats().open_scopes == 0
        end)
        stage.door:set(true)
        local message, _, code = stream:result(5000)
        assert.is_nil(message)
        assert.equal("lost", code)
        stage.back:set(true)
      end)
  end)

  it("is relayed without its reader's noticing", function()
    with_stage({}, function(upstream, stage, conn)
      local relay = assert(aw.listen("ws://127.0.0.1:0", function(accepted)
        provider_server.attach(accepted, upstream:provider())
      end))
      local client = assert(aw.connect(relay.url))
      local stream = started(client)
      stay_away(upstream, stage, conn)
      come_back(stage)
      local texts, types = read(stream)
      assert.equal(WHOLE, types)
      assert.equal(stage.text, texts[0] .. texts[1])
      client:close()
      client:wait_closed(2000)
      relay:close()
    end)
  end)

  for what, state in pairs {
    ["malformed"] = { partial = { content = "no list" } },
    ["contradictory"] = { partial = { content = {
      { type = "thinking", thinking = "something else" },
    } } },
  } do
    it("ends alone if its state is " .. what, function()
      local door, away = wait.latch("the door"), wait.latch("an absence")
      door:set(true)
      server.run({
        client = { reconnect = { min_ms = 1, max_ms = 5 } },
        server = { log_messages = LOG, authenticate = function()
          door:wait()
          return true
        end },
      }, function(conn)
        conn:serve("provider", function(channel)
          assert(channel:receive())
          channel:on_overflow(function()
            away:set(true)
            state.target_stream_id = channel.id
            return "sync", state, true
          end)
          for _ = 1, 2 * LOG do
            channel:send("text_delta", { content_index = 0, delta = "x" })
          end
          channel:receive()
        end)
      end, function(client)
        local stream, other = started(client), assert(client:open("provider"))
        assert(stream:next(5000))
        door = wait.latch("the door")
        client:cut("by the spec")
        away:wait()
        door:set(true)
        local message, _, code = stream:result(5000)
        assert.is_nil(message)
        assert.equal("invalid_response", code)
        assert(other:send("stream_request", {}))
        assert.equal("text_delta", assert(other:receive(5000)).type)
      end)
    end)
  end

  it("is told at once of a way that does not exist", function()
    server.run({}, function() end, function(client, conn)
      assert.has_error(function()
        provider_server.attach(conn, new_model(new_stage(1)),
          { overflow = "drop" })
      end, "provider.attach: option overflow: expected one of fold, pause, fail, "
        .. "got a string")
      local channel = assert(client:open("provider"))
      assert.has_error(function()
        channel:on_overflow("fold")
      end, 'on_overflow takes "pause", "fail" or a function, got a string')
    end)
  end)
end)
