-- A peer whose messages are well numbered and hold anything: whatever they say,
-- they are answered, no handler breaks, and others are served.
local anything = require("spec.support.anything")
local aw = require("agentwire")
local link = require("spec.support.link")
local payloads = require("tests.fuzz.payloads")
local server = require("spec.support.server")

local KINDS = { "provider", "agent", "tool" }

local pick = anything.pick

-- Payloads that get far.
local GOOD = {}

function GOOD.stream_request()
  return {
    model = { id = "scripted", name = "s", api = "scripted",
      provider = "scripted", base_url = "" },
    context = { messages = aw.json.array {
      { role = "user", content = "hi", timestamp = 1 },
    } },
  }
end

GOOD.complete_request = GOOD.stream_request

function GOOD.agent_start()
  return { config_json = '{"model":"scripted/scripted"}' }
end

function GOOD.agent_message(ids)
  return { session_id = pick(ids),
    message_json = '{"role":"user","content":"hi"}' }
end

function GOOD.tool_register()
  return { tool = { name = "t" .. math.random(9), description = "d",
    parameters_schema_json = "{}" } }
end

function GOOD.tool_execute()
  return { execution_id = "e" .. math.random(9), tool_call_id = "c",
    tool_name = pick { "echo", "no" }, args_json = pick { "{}", "[", "5" } }
end

local function payload_of(type, ids)
  return anything.payload(ids,
    GOOD[type] and math.random(2) == 1 and GOOD[type](ids) or nil)
end

local OPENERS = {
  provider = { "stream_request", "complete_request" },
  agent = { "agent_start" },
  tool = { "tool_register", "tool_execute", "tool_list" },
}

-- Most scopes begin well, so that what follows is looked at.
local function open_one(client, channels, ids)
  local channel = assert(client:open(pick(KINDS)))
  channels[#channels + 1] = channel
  ids[#ids + 1] = channel.id
  if math.random(4) > 1 then
    local type = pick(OPENERS[channel.kind])
    channel:try_send(type, GOOD[type] and GOOD[type](ids) or {})
  end
  return channel
end

local function assail(client, count)
  local channels, ids = {}, { "00000000-0000-4000-8000-000000000001" }
  for n = 1, count do
    local channel = #channels > 0 and math.random(4) > 1 and pick(channels)
      or open_one(client, channels, ids)
    local type = pick(payloads.ASKED[channel.kind])
    local payload = payload_of(type, ids)
    if math.random(10) == 1 then
      client:send_control(channel.kind, channel.id, type, payload)
    else
      channel:try_send(type, payload)
    end
    repeat
      local event = channel:next()
    until not event or math.random(4) == 1
    if #channels > 30 then
      table.remove(channels, math.random(#channels)):close()
      table.remove(ids, 2)
    end
    if n % 20 == 0 then
      client:ping(5000)
    end
  end
  for _, channel in ipairs(channels) do
    channel:close()
  end
end

local BLOCK = { delta = "d", id = "c", name = "n", arguments_json = "{}" }

local function answer_of(type, channel, request, ids)
  local payload = { session_id = channel.id }
  if type:find("_start$") or type:find("_delta$") or type:find("_end$") then
    payload.content_index = math.random(0, 3)
    for key, value in pairs(BLOCK) do
      payload[key] = value
    end
  end
  if math.random(2) == 1 then
    payload.execution_id = request.execution_id
    payload.tool_call_id = request.tool_call_id
  end
  return anything.payload(ids, payload)
end

local function serve_lies(conn)
  local ids = { "x" }
  for _, kind in ipairs(KINDS) do
    conn:serve(kind, function(channel)
      local request = assert(channel:receive())
      ids[#ids + 1] = request.execution_id or channel.id
      if kind == "agent" and math.random(4) > 1 then
        channel:send("agent_started", { session_id = channel.id },
          channel:message_id())
      end
      for _ = 1, math.random(5, 60) do
        local type = pick(payloads.SAID[kind])
        local payload = answer_of(type, channel, request, ids)
        if math.random(12) == 1 then
          conn:send_control(kind, channel.id, type, payload)
        elseif not channel:try_send(type, payload,
          math.random(2) == 1 and channel:message_id() or nil) then
          break
        end
        if math.random(10) == 1 then
          aw.task.yield()
        end
      end
      channel:send(payloads.LAST[kind], { code = "internal_error", message = "enough",
        session_id = channel.id })
    end)
  end
end

local ASK = { model = "a/b", messages = { { role = "user", content = "x" } } }

local USES = {
  function(client)
    local stream = client:provider():start_stream(ASK)
    for _ in stream:events { coalesce = math.random(2) == 1 } do
      stream:partial()
    end
    stream:result(300)
  end,
  function(client)
    local provider = client:provider()
    aw.timeout(300, provider.complete, provider, ASK)
  end,
  function(client)
    client:provider():models { timeout_ms = 300 }
  end,
  function(client)
    local tools = aw.tool.registry()
    tools:add { name = "echo", description = "", handler = function(args)
      return args
    end }
    aw.timeout(300, function()
      local session = client:agent():start { model = "a/b", tools = tools }
      if session then
        for _ in session:prompt("hi") do
          session:is_ended()
        end
        session:stop()
      end
    end)
  end,
  function(client)
    aw.timeout(300, function()
      client:tool():list()
      client:tool():execute { name = "echo", tool_call_id = "c",
        args = {} }
    end)
  end,
}

describe("a hostile server", function()
  for seed = 1, 4 do
    for _, spoken in ipairs { "agentwire.v1", "makai.v1" } do
      it(("of %s breaks no client, seed %d"):format(spoken, seed), function()
        math.randomseed(seed)
        local reports = {}
        server.run({ client = { protocols = spoken, reconnect = false } },
          serve_lies, function(client)
            link.host.on_error = function(message)
              reports[#reports + 1] = message
            end
            local users = {}
            for n = 1, server.scaled(60) do
              users[n] = aw.spawn(pick(USES), client)
            end
            for _, user in ipairs(users) do
              local _, message = user:join(5000)
              assert.is_nil(message and tostring(message):match(
                "%.lua:%d+: .*"))
            end
            assert.is_nil(reports[1])
          end)
      end)
    end
  end
end)

describe("a hostile peer", function()
  for seed = 1, 4 do
    for _, spoken in ipairs { "agentwire.v1", "makai.v1" } do
      it(("of %s breaks no handler, seed %d"):format(spoken, seed), function()
        math.randomseed(seed)
        local reports = {}
        server.run({ client = { protocols = spoken, reconnect = false } },
          function(conn)
            link.host.on_error = function(message)
              reports[#reports + 1] = message
            end
            payloads.serve_all(conn)
          end, function(client, conn)
            assail(client, server.scaled(2000))
            assert(client:ping(5000))
            assert.is_nil(reports[1])
            local stream = assert(client:provider():start_stream {
              model = "scripted/scripted",
              messages = { { role = "user", content = "still there?" } },
            })
            assert(stream:result(5000))
            assert.is_true(conn:is_open())
          end)
      end)
    end
  end
end)
