-- A peer whose messages are well numbered and hold anything: whatever they say,
-- they are answered, no handler breaks, and others are served.
local aw = require("agentwire")
local link = require("spec.support.link")
local server = require("spec.support.server")

local TYPES = {
  provider = {
    "stream_request", "complete_request", "models_request", "abort_request",
    "sync_request", "sync", "ping", "pong", "goodbye", "nack", "ack", "result",
    "stream_error", "text_delta", "weird",
  },
  agent = {
    "agent_start", "agent_message", "agent_cancel", "agent_stop",
    "agent_status", "tool_list", "tool_result", "tool_streaming", "agent_event",
    "agent_error", "ping", "goodbye", "weird",
  },
  tool = {
    "tool_register", "tool_unregister", "tool_list", "tool_execute",
    "tool_cancel", "tool_status", "tool_result", "tool_stream", "tool_error",
    "tool_registered", "tool_list_response", "ping", "goodbye", "weird",
  },
}

local KINDS = { "provider", "agent", "tool" }

local MEMBERS = {
  "args_json", "blocks", "code", "config_json", "content", "content_index",
  "context", "delta", "description", "event_json", "execution_id", "headers",
  "id", "is_error", "max_turns", "message", "message_json", "messages",
  "metadata", "model", "name", "options", "options_json",
  "parameters_schema_json", "partial", "partial_json", "prefix", "provider",
  "reason", "result_json", "retry", "role", "session_id", "system_prompt",
  "target_stream_id", "text", "timeout_ms", "tool", "tool_call_id",
  "tool_choice", "tool_id", "tool_name", "tools", "type",
}

local PLAIN = {
  aw.json.null, 0, -1, 7, 1.5, 2 ^ 53, true, false, "", "x", "[", "scripted",
  "scripted/scripted", "user", "assistant", "text",
  '{"model":"scripted/scripted","role":"user","content":"hi","tools":[{}]}',
}

local function pick(list)
  return list[math.random(#list)]
end

local function anything(ids, depth)
  local dice = depth > 3 and 1 or math.random(6)
  if dice <= 3 then
    return pick(PLAIN)
  elseif dice == 4 then
    return pick(ids)
  end
  local value = dice == 5 and aw.json.array {} or {}
  for index = 1, math.random(3) do
    value[dice == 5 and index or pick(MEMBERS)] = anything(ids, depth + 1)
  end
  return value
end

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
  local payload = GOOD[type] and math.random(2) == 1 and GOOD[type](ids) or {}
  for _ = 1, math.random(0, 4) do
    payload[pick(MEMBERS)] = anything(ids, 0)
  end
  return payload
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
    local type = pick(TYPES[channel.kind])
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

local function serve_all(conn)
  local tools = aw.tool.registry()
  tools:add { name = "echo", description = "", handler = function(args)
    return args
  end }
  local model = aw.providers.scripted.new {}
  require("agentwire.provider.server").attach(conn, model)
  local agent = require("agentwire.agent.server")
  agent.attach(conn, agent.new {
    provider = aw.provider.loopback(model), tools = tools,
  })
  require("agentwire.tool.executor").attach(conn, tools, { pool =
    aw.tool.pool and aw.tool.pool() })
end

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
            serve_all(conn)
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
