-- Every entry point of a client names what is wrong with its options, at the
-- line that called it.
local aw = require("agentwire")
local link = require("spec.support.link")

local ID = "00000000-0000-4000-8000-000000000000"

-- Each call is made inside of a pair; the text is part of the complaint.
local CASES = {
  { "connect: unknown option tokne; did you mean token?", function()
    aw.connect("ws://127.0.0.1:1", { tokne = "x" })
  end },
  { "connect: unknown option ca_file; it belongs in tls = { … }", function()
    aw.connect("wss://127.0.0.1:1", { ca_file = "x" })
  end },
  { "connect: option tls: unknown option cafile; did you mean ca_file?",
    function()
      aw.connect("wss://127.0.0.1:1", { tls = { cafile = "x" } })
    end },
  { "connect: option reconnect: unknown option min; did you mean min_ms?",
    function()
      aw.connect("ws://127.0.0.1:1", { reconnect = { min = 5 } })
    end },
  { "connect: option timeout_ms: expected a duration in milliseconds, got a"
    .. " string", function()
    aw.connect("ws://127.0.0.1:1", { timeout_ms = "50" })
  end },
  { "connect: option log_bytes: expected an integer from 0 to", function()
    aw.connect("ws://127.0.0.1:1", { log_bytes = -1 })
  end },
  { "connect: unknown option tokne", function()
    aw.connect { url = "ws://127.0.0.1:1", tokne = "x" }
  end },
  { "connect { argv }: unknown option comand", function()
    aw.connect { argv = { "true" }, comand = "x" }
  end },
  { "connect { argv }: option reconnect: expected false", function()
    aw.connect { argv = { "true" }, reconnect = true }
  end },
  { "connect: url and argv", function()
    aw.connect { argv = { "true" }, url = "ws://127.0.0.1:1" }
  end },
  { "pair: unknown option windowms; did you mean window_ms?", function()
    aw.pair { windowms = 5 }
  end },
  { "open: kind: expected one of provider, agent, tool, got a string",
    function(conn)
      conn:open("link")
    end },
  { "open: id: expected a UUID, got a string", function(conn)
    conn:open("tool", "mine")
  end },
  { "send_control: type: expected a string that is not empty", function(conn)
    conn:send_control("tool", ID, {})
  end },
  { "send_control: id: expected a UUID, got nothing", function(conn)
    conn:send_control("tool", nil, "ping")
  end },
  { "ping: timeout_ms: expected a duration in milliseconds, got a table",
    function(conn)
      conn:ping({})
    end },
  { "close: reason: expected a string, got the number 1000", function(conn)
    conn:close(1000)
  end },
  { "trace: to: expected true or false, or a function", function(conn)
    conn:trace("stderr")
  end },
  { "send: type: expected a string, got nothing", function(conn)
    conn:open("tool"):send()
  end },
  { "send: in_reply_to: expected a UUID, got a string", function(conn)
    conn:open("tool"):send("x", {}, "y")
  end },
  { "receive: timeout_ms: expected a duration", function(conn)
    conn:open("tool"):receive("soon")
  end },
  { "provider.client: unknown option max_end; did you mean max_ended?",
    function(conn)
      aw.provider.client(conn, { max_end = 5 })
    end },
  { "start_stream: unknown option mesages; did you mean messages?",
    function(conn)
      conn:provider():start_stream { model = "a/b", mesages = {} }
    end },
  { "start_stream: unknown option timeout_ms", function(conn)
    conn:provider():start_stream { model = "a/b", messages = {},
      timeout_ms = 5 }
  end },
  { "start_stream: option model: expected a string, or a table", function(conn)
    conn:provider():start_stream { model = 5, messages = {} }
  end },
  { "start_stream: options: expected a table, got a string", function(conn)
    conn:provider():start_stream("hello")
  end },
  { "complete: option timeout_ms: expected a duration", function(conn)
    conn:provider():complete { model = "a/b", messages = {},
      timeout_ms = "5" }
  end },
  { "models: unknown option provider; did you mean provider_id?",
    function(conn)
      conn:provider():models { provider = "x" }
    end },
  { "stream:events: unknown option coalese; did you mean coalesce?",
    function(conn)
      conn:provider():start_stream { model = "a/b", messages = {} }
        :events { coalese = true }
    end },
  { "stream:result: timeout_ms", function(conn)
    conn:provider():start_stream { model = "a/b", messages = {} }
      :result { timeout_ms = 5 }
  end },
  { "agent.client: unknown option timeout; did you mean timeout_ms?",
    function(conn)
      aw.agent.client(conn, { timeout = 5 })
    end },
  { "agent:start: unknown option sytem_prompt; did you mean system_prompt?",
    function(conn)
      conn:agent():start { sytem_prompt = "x" }
    end },
  { "tool.client: unknown option grace; did you mean grace_ms?",
    function(conn)
      aw.tool.client(conn, { grace = 5 })
    end },
  { "a tool call: unknown option arguments; did you mean args?", function(conn)
    conn:tool():execute { name = "x", arguments = {} }
  end },
  { "tool:execute: name: expected a string that is not empty, got nothing",
    function(conn)
      conn:tool():execute {}
    end },
  { "tool:start: call: expected a table, got a string", function(conn)
    conn:tool():start("x")
  end },
}

describe("a client's options", function()
  for index, case in ipairs(CASES) do
    it("complain: " .. index .. " " .. case[1], function()
      local ok, message
      link.run(function()
        local near, far = aw.pair()
        ok, message = pcall(case[2], near)
        near:close()
        far:wait_closed(1000)
      end)
      assert.is_false(ok)
      message = tostring(message)
      assert.truthy(message:find(case[1], 1, true), message)
      assert.truthy(message:find("^[^:]*client_options_spec%.lua:%d+: "),
        "blamed elsewhere: " .. message)
    end)
  end

  it("of every kind are taken", function()
    link.run(function()
      local near, far = aw.pair { window_ms = 50, trace = function() end,
        on_state = function() end, log_messages = 8 }
      local client = aw.provider.client(near, { max_ended = 0,
        max_message_bytes = 1024, on_goodbye = print })
      local stream = assert(client:start_stream { model = "a/b",
        messages = {}, system_prompt = "x", options = { temperature = 1 },
        include_partial = true, reconstruct = false, id = ID, tools = {} })
      for _ in stream:events { coalesce = true } do
        assert.fail("nothing is served here")
      end
      assert.equal("not_implemented", select(3, stream:result(-5)))
      local _, _, code = aw.connect({ url = "ws://127.0.0.1:1" }, {
        reconnect = { attempts = math.huge, min_ms = 1, max_ms = 2.5 },
        follow = true, protocols = "agentwire.v1", handshake_ms = 100,
        message_max = 1024, timeout_ms = 1000, token = "x" })
      assert.equal("refused", code)
      near:close()
      far:wait_closed(1000)
    end)
  end)
end)
