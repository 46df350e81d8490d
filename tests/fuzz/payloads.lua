-- Words and payloads of the three protocols, for a peer that says anything.
local aw = require("agentwire")
local json = require("agentwire.json")

local M = {}

M.VALUES = {
  json.null, 0, -1, 3, 1.5, 2 ^ 53, -2 ^ 53, 1e300, true, false, "", "x", "[",
  "{}", "[]", "null", "echo", "scripted", "scripted/scripted", "user",
  "assistant", "tool", "text", "image", "thinking", "tool_call", "steer",
  "follow_up", "stop", "tool_use", "aborted", "\0", "\u{FEFF}\u{10FFFF}",
  '{"model":"scripted/scripted","role":"user","content":"hi","tools":[{}]}',
  '{"type":"message_update","message":{"content":[{"text":"a"}]},"delta":7}',
  '{"type":"agent_end","messages":5}', '{"mode":"steer"}', '{"mode":5}',
  '[{"type":"text","text":"a"}]', '[{"type":"image"}]', '[[[[]]]]',
  '{"role":"user","content":[{"type":"image","data":"!"}]}',
}

M.MEMBERS = {
  "acknowledged_id", "api", "args_json", "arguments_json", "base_url",
  "blocks", "code", "config_json", "content", "content_index", "context",
  "data", "delta", "description", "details_json", "duration_ms", "error_code",
  "error_message", "event_json", "execution_id", "headers", "id", "input",
  "instance_id", "is_error", "max_turns", "message", "message_count",
  "message_json", "messages", "metadata", "mime_type", "model", "model_ref",
  "models", "name", "open", "options", "options_json", "output",
  "parameters_schema_json", "partial", "partial_json", "partial_result_json",
  "ping_id", "prefix", "progress", "provider", "reason", "rejected_id",
  "result_json", "resume_session_id", "retry", "retry_after_ms", "role",
  "session_id", "status", "stop_reason", "system_prompt", "target_stream_id",
  "text", "thinking", "thought_signature", "timeout_ms", "timestamp", "tool",
  "tool_call_id", "tool_choice", "tool_id", "tool_name", "tools", "type",
  "usage",
}

-- What a client may send, and what a server may.
M.ASKED = {
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

M.SAID = {
  provider = {
    "ack", "nack", "start", "text_start", "text_delta", "text_end",
    "thinking_start", "thinking_delta", "thinking_end", "toolcall_start",
    "toolcall_delta", "toolcall_end", "done", "error", "keepalive", "result",
    "stream_error", "models_response", "sync", "pong", "weird",
  },
  agent = {
    "agent_started", "agent_event", "agent_result", "agent_stopped",
    "agent_error", "session_info", "tool_list_response", "tool_execute",
    "goodbye", "weird",
  },
  tool = {
    "tool_registered", "tool_list_response", "tool_execute", "tool_stream",
    "tool_result", "tool_cancelled", "tool_error", "tool_status_response",
    "tool_list", "goodbye", "weird",
  },
}

M.LAST = {
  provider = "stream_error", agent = "agent_stopped", tool = "goodbye",
}

-- Payloads that get far, by type: function(from, ids).
local GOOD = {}
M.GOOD = GOOD

local function model()
  return { id = "scripted", name = "s", api = "scripted",
    provider = "scripted", base_url = "" }
end

local function assistant()
  return { role = "assistant", model = "m", api = "a", provider = "p",
    timestamp = 1, stop_reason = "stop",
    usage = { input = 1, output = 2, cache_read = 0, cache_write = 0 },
    content = json.array {
      { type = "text", text = "hello" },
      { type = "tool_call", id = "c1", name = "echo", arguments_json = "{}" },
    } }
end

function GOOD.stream_request()
  return { model = model(), context = {
    messages = json.array {
      { role = "user", content = "hi", timestamp = 1 }, assistant(),
      { role = "tool", tool_call_id = "c1", tool_name = "echo", timestamp = 1,
        is_error = false,
        content = json.array { { type = "text", text = "x" } } },
    },
    tools = json.array { { name = "echo", description = "d",
      parameters_schema_json = {} } },
  }, options = { temperature = 1 } }
end

GOOD.complete_request = GOOD.stream_request

function GOOD.abort_request(from, ids)
  return { target_stream_id = from:pick(ids) }
end
GOOD.sync_request = GOOD.abort_request

function GOOD.agent_start(from)
  return { config_json = from:pick { '{"model":"scripted/scripted"}', "{}",
    '{"model":"scripted/scripted","tools":[{"name":"here","description":"",'
      .. '"parameters_schema_json":"{}"}],"max_turns":2}' } }
end

function GOOD.agent_message(from, ids)
  return { session_id = from:pick(ids), message_json = from:pick {
    '{"role":"user","content":"hi"}', '{"role":"user","content":"call echo"}',
    '{"role":"user","content":"call here {}"}', '"hi"' },
    options_json = from:pick { '{"mode":"steer"}', '{"mode":"follow_up"}',
      '{"mode":"prompt"}' } }
end

local function of_session(from, ids)
  return { session_id = from:pick(ids) }
end
GOOD.agent_cancel, GOOD.agent_stop = of_session, of_session
GOOD.agent_status, GOOD.agent_started = of_session, of_session
GOOD.agent_stopped = of_session

function GOOD.tool_register(from)
  return { tool = { name = from:pick { "t1", "t2", "echo" },
    description = "d", parameters_schema_json = from:pick { "{}",
      '{"type":"object","properties":{"a":{"type":"integer"}}}' } } }
end

function GOOD.tool_unregister(from, ids)
  return { tool_id = from:pick(ids) }
end

function GOOD.tool_execute(from)
  return { execution_id = from:pick { "e1", "e2", "e3" },
    tool_call_id = "c1", tool_name = from:pick { "echo", "here", "no" },
    args_json = from:pick { "{}", "[", "5", '{"a":20.0}', "" } }
end

local function of_execution(from, ids)
  return { execution_id = from:pick(ids), tool_call_id = from:pick(ids),
    result_json = from:pick { '[{"type":"text","text":"a"}]', "[]", "{", "5" },
    partial_result_json = "{}", partial_json = "{}", is_error = false,
    duration_ms = 1, code = "internal_error", message = "m", status = "running",
    tool_name = "echo", started_at = 1 }
end
for _, type in ipairs { "tool_cancel", "tool_status", "tool_result",
  "tool_streaming", "tool_stream", "tool_error", "tool_cancelled",
  "tool_status_response" } do
  GOOD[type] = of_execution
end

function GOOD.tool_registered(from, ids)
  return { tool_id = from:pick(ids), registered_at = 1 }
end

function GOOD.tool_list_response()
  return { tools = json.array { { name = "echo", description = "d",
    parameters_schema_json = "{}" } } }
end

for _, type in ipairs { "ack", "nack" } do
  GOOD[type] = function(from, ids)
    return { acknowledged_id = from:pick(ids), rejected_id = from:pick(ids),
      reason = "r", error_code = "overloaded" }
  end
end

function GOOD.start()
  return { model = "m" }
end

for _, block in ipairs { "text", "thinking", "toolcall" } do
  for _, part in ipairs { "start", "delta", "end" } do
    GOOD[block .. "_" .. part] = function(from)
      return { content_index = from:below(4), delta = from:pick { "d", "{", "}" },
        id = from:pick { "c1", "c2" }, name = "echo", arguments_json = "{}" }
    end
  end
end

function GOOD.done()
  return { reason = "stop", message = assistant() }
end

function GOOD.error(from)
  return { reason = from:pick { "error", "aborted" }, error_message = "m",
    usage = { input = 1, output = 1, cache_read = 0, cache_write = 0 } }
end

function GOOD.result()
  local made = assistant()
  made.role, made.type = nil, "result"
  made.input, made.output = 1, 2
  return made
end

function GOOD.stream_error()
  return { code = "provider_error", message = "m" }
end
GOOD.agent_error = GOOD.stream_error

function GOOD.models_response()
  return { fetched_at_ms = 1, cache_max_age_ms = 1, models = json.array { {
    model_ref = "scripted/scripted@scripted", model_id = "scripted",
    display_name = "d", provider_id = "scripted", api = "scripted" } } }
end

function GOOD.sync(from, ids)
  return { target_stream_id = from:pick(ids),
    partial = { content = json.array { { type = "text", text = "so far" } } },
    blocks = json.array { { content_index = 0, open = true } } }
end

function GOOD.agent_event(from)
  return { event_json = from:pick {
    '{"type":"agent_start"}', '{"type":"turn_start"}',
    '{"type":"message_start","message":{"role":"assistant","content":[]}}',
    '{"type":"message_update","event":{"type":"text_delta","delta":"x",'
      .. '"content_index":0}}',
    '{"type":"message_end","message":{"role":"user","content":"x"}}',
    '{"type":"tool_execution_start","tool_call_id":"c1","tool_name":"echo",'
      .. '"args_json":"{}"}',
    '{"type":"tool_execution_end","tool_call_id":"c1","result_json":"[]",'
      .. '"is_error":false}',
    '{"type":"turn_end","tool_results":[]}', '{"type":"agent_end"}', "5" } }
end

function GOOD.agent_result(from)
  return { result_json = from:pick { '{"text":"a","messages":[]}', "{}", "[",
    '{"stop_reason":"stop","usage":{"input":1}}' } }
end

function GOOD.session_info(from, ids)
  return { session_id = from:pick(ids), status = "ready", model = "m",
    message_count = 1, created_at = 1, updated_at = 1 }
end

--- A server of everything, for a client that says anything.
function M.serve_all(conn)
  local tools = aw.tool.registry()
  tools:add { name = "echo", description = "", handler = function(args)
    return args
  end }
  local scripted = aw.providers.scripted.new {}
  require("agentwire.provider.server").attach(conn, scripted)
  local agent = require("agentwire.agent.server")
  agent.attach(conn, agent.new {
    provider = aw.provider.loopback(scripted), tools = tools,
  })
  require("agentwire.tool.executor").attach(conn, tools,
    { pool = aw.tool.pool() })
end

-- What applications do with a connection, as tasks.
local ASK = { model = "a/b", messages = { { role = "user", content = "x" } } }

local function read_stream(client, options)
  local stream = client:provider():start_stream(ASK)
  if stream then
    for _ in stream:events(options) do
      stream:partial()
    end
    stream:result()
  end
end

M.USES = {
  function(client)
    read_stream(client)
  end,
  function(client)
    read_stream(client, { coalesce = true })
  end,
  function(client)
    client:provider():complete(ASK)
  end,
  function(client)
    client:provider():models()
  end,
  function(client)
    local tools = aw.tool.registry()
    tools:add { name = "here", description = "", handler = function(args)
      return args
    end }
    local session = client:agent():start { model = "a/b", tools = tools }
    if session then
      for _ in session:prompt("hi") do
        session:is_ended()
      end
      session:result()
      session:status()
      session:stop()
    end
  end,
  function(client)
    client:tool():list()
  end,
  function(client)
    client:tool():execute { name = "echo", tool_call_id = "c",
      args = {} }
  end,
}

return M
