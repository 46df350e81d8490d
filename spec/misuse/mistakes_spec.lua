-- What beginners do, and what they are told: each mistake raises at their own
-- line, in words that name it.
local aw = require("agentwire")
local host = require("agentwire.host")
local link = require("spec.support.link")

local HERE = "^spec/misuse/mistakes_spec%.lua:%d+: "

-- What a case may need; made anew for each.
local function things()
  local near, far = aw.pair()
  local provider = near:provider()
  return { conn = near, far = far, channel = near:open("tool"), tools = aw.tool.registry(),
    remote = near:tool(), agent = near:agent(), provider = provider,
    loop = aw.agent.loop { provider = provider, model = "a/b" },
    pool = aw.tool.pool(), task = aw.spawn(function() end),
    router = aw.provider.router { { name = "m", api = "m",
      stream = function() end } },
    service = aw.agent.service { provider = provider, model = "a/b" },
    waiter = aw.task.waiter(), signal = aw.task.signal(),
    latch = aw.task.latch(), queue = aw.task.queue(1),
    lines = aw.lines.pair() }
end

local function text_handler()
  return "x"
end

-- what is done, and what the message holds
local INSIDE = {
  -- a dot in place of the colon
  { function(t) t.conn.ping() end, "write conn:ping" },
  { function(t) t.conn.close("x") end, "write conn:close" },
  { function(t) t.conn:on_control("link", "f") end, "on_control: fn: expected" },
  { function(t) t.conn:on_control("lnk", print) end, "on_control: kind: " },
  { function(t) t.conn.serve("tool", print) end, "write conn:serve" },
  { function(t) t.conn.tool() end, "write conn:tool" },
  { function(t) t.tools.add { name = "x" } end, "write registry:add" },
  { function(t) t.tools.list() end, "write registry:list" },
  { function(t) t.remote.execute { name = "x" } end, "write tools:execute" },
  { function(t) t.agent.start {} end, "write agent:start" },
  { function(t) t.provider.models() end, "write client:models" },
  { function(t) t.loop.prompt("x") end, "write loop:prompt" },
  { function(t) t.task.join() end, "write task:join" },
  { function(t) t.pool.list() end, "write pool:list" },
  { function(t) t.conn.open({}) end, "called with a dot" },
  { function(t) t.channel.receive(5000) end, "write channel:receive" },
  { function(t) t.channel.receive() end, "write channel:receive" },
  { function(t) t.channel.send("ack") end, "write channel:send" },
  { function(t) t.channel.try_send({}) end, "write channel:try_send" },
  { function(t) t.channel.next(true) end, "write channel:next" },
  { function(t) t.channel.receive({ t.conn._core }) end, "write channel:receive" },
  { function(t) t.channel.send(t.conn, "ack") end, "write channel:send" },
  { function(t)
    t.channel.send(setmetatable({}, getmetatable(t.channel)), "ack")
  end, "write channel:send" },
  { function(t) t.channel:send({}) end, "send: type: expected a string" },
  { function(t) t.channel:send("ack", {}, "x") end, "in_reply_to: expected a UUID" },
  { function(t) t.lines.receive() end, "write lines:receive" },
  { function(t) t.lines.send("x") end, "write lines:send" },
  { function(t) t.router.models() end, "write router:models" },
  { function(t) t.service.stop() end, "write service:stop" },
  { function(t) t.service.stats() end, "write service:stats" },
  { function(t) t.provider.complete {} end, "write client:complete" },
  { function(t) t.remote.list() end, "write tools:list" },
  { function(t) t.loop.steer("x") end, "write loop:steer" },
  { function(t) t.loop.subscribe(print) end, "write loop:subscribe" },
  { function(t) t.task.cancel("x") end, "write task:cancel" },
  { function(t) t.conn.stats() end, "write conn:stats" },
  { function(t) t.conn.on_state(print) end, "write conn:on_state" },
  { function(t) t.waiter.wait() end, "write waiter:wait" },
  { function(t) t.signal.wait() end, "write signal:wait" },
  { function(t) t.latch.set(1) end, "write latch:set" },
  { function(t) t.queue.push("x") end, "write queue:push" },
  { function(t) t.queue.pop() end, "write queue:pop" },
  -- what is not there
  { function(t) t.lines:read() end, "receive" },
  { function(t) t.lines:recieve() end, "did you mean receive?" },
  { function(t) t.queue:put("x") end, "push" },
  { function(t) t.latch:fire() end, "set" },
  { function(t) t.router:route_to("x") end, "did you mean route?" },
  { function(t) t.service:start() end, "stop" },
  { function() aw.lines.open() end, "there are pair, spawn, stdio" },
  { function(t) t.conn:send("x") end, "did you mean send_control?" },
  { function(t) t.conn:pnig() end, "did you mean ping?" },
  { function(t) t.conn.tools.list() end, "did you mean tool?" },
  { function(t) t.remote:call {} end, "there are close, execute, list" },
  { function(t) t.tools:register {} end, "there are add, execute" },
  { function(t) t.agent:prompt("x") end, "agent has no" },
  { function(t) t.loop:run("x") end, "there are begin, cancel" },
  { function(t) t.task:wait() end, "there are cancel, defer" },
  { function(t) t.provider:streem {} end, "did you mean stream?" },
  { function() aw.conect("ws://127.0.0.1") end, "did you mean connect?" },
  { function() aw.tools.registry() end, "did you mean tool?" },
  { function() aw.tool.regsitry() end, "did you mean registry?" },
  { function() aw.json.stringify({}) end, "there are array, decode" },
  { function() aw.log.info("x") end, "there are set, set_level" },
  { function() aw.task.spwan() end, "did you mean spawn?" },
  { function() aw.agent.run() end, "there are attach, client" },
  { function() aw.provider.loopbak() end, "did you mean loopback?" },
  { function() aw.providers.openai.new {} end, "no such adapter" },
  -- connections
  { function(t) t.conn:ping("5") end, "expected a duration in milliseconds" },
  { function(t) t.conn:serve("tools", print) end, "provider, agent, tool" },
  { function(t) t.conn:serve("tool") end, "handler: expected a function" },
  { function(t) t.conn:open() end, "expected one of provider, agent, tool" },
  { function(t) t.conn:on_state() end, "expected a function, got nothing" },
  { function(t) t.conn:close(5) end, "reason: expected a string" },
  { function() aw.connect(80) end, "option url" },
  { function() aw.connect() end, "connect expects a URL" },
  { function() aw.connect { argv = "ls" } end, "a list, each a string" },
  { function() aw.connect("ws://x", { tokn = "x" }) end,
    "did you mean token?" },
  { function() aw.connect("ws://x", { timeout_ms = "5" }) end,
    "option timeout_ms" },
  { function() aw.connect("ws://x", { reconnect = 3 }) end,
    "option reconnect" },
  { function() aw.connect("ws://x", { cafile = "x" }) end, "unknown option" },
  { function() aw.connect("ws://x", { ca_file = "x" }) end, "tls" },
  { function() aw.pair { window_message = 5 } end, "window_messages" },
  -- servers
  { function() aw.listen("ws://127.0.0.1:0") end, "a function for each" },
  { function() aw.listen({}, print) end, "listen expects a URL" },
  { function() aw.serve("ws://127.0.0.1:0") end, "serve expects listen" },
  { function() aw.serve { listen = "ws://127.0.0.1:0" } end,
    "nothing is served" },
  { function(t) aw.serve { listen = "ws://127.0.0.1:0", tool = t.tools } end,
    "did you mean tools?" },
  { function(t) aw.serve { url = "ws://127.0.0.1:0", tools = t.tools } end,
    "listen" },
  { function(t)
    aw.serve { listen = "ws://127.0.0.1:0", tools = t.tools, token = "x" }
  end, "tokens" },
  -- tools
  { function(t) t.tools:add("x") end, "a tool is a table" },
  { function(t) t.tools:add { handler = text_handler } end, "needs a name" },
  { function(t) t.tools:add { name = "x" } end, "needs a handler" },
  { function(t) t.tools:add { name = "x", handler = "f" } end,
    "option handler: expected a function" },
  { function(t) t.tools:add { name = "x y", handler = text_handler } end,
    "1 to 64" },
  { function(t)
    t.tools:add { name = "x", paramters = {}, handler = text_handler }
  end, "did you mean parameters?" },
  { function(t)
    t.tools:add { name = "x", parameters = { a = { type = "string" } },
      handler = text_handler }
  end, "put it in properties" },
  { function(t)
    t.tools:add { name = "x", parameters = { type = "objct" },
      handler = text_handler }
  end, "type: expected one of" },
  { function(t)
    t.tools:add { name = "x", timeout_ms = "5", handler = text_handler }
  end, "option timeout_ms" },
  { function(t)
    t.tools:add { name = "x", description = 5, handler = text_handler }
  end, "option description" },
  { function(t) t.tools:remove() end, "name: expected a string" },
  { function(t) t.tools:list(5) end, "prefix: expected a string" },
  { function(t) t.tools:execute() end, "call: expected a table" },
  { function(t) t.tools:execute("x") end, "call: expected a table" },
  { function(t) t.tools:execute { args = {} } end, "name: expected" },
  { function(t) t.tools:execute { name = "x", arguments = {} } end,
    "did you mean args?" },
  { function(t) t.remote:execute { name = "x", args = "{}" } end,
    "option args: expected a table" },
  { function(t) t.remote:start("x") end, "call: expected a table" },
  { function(t) t.remote:list(5) end, "prefix: expected a string" },
  { function(t) t.remote:status() end, "execution_id: expected" },
  { function(t) t.pool:execute("x") end, "call: expected a table" },
  { function() aw.tool.registry { timeout = 5 } end,
    "did you mean timeout_ms?" },
  { function() aw.tool.registry { strict = "yes" } end, "option strict" },
  { function() aw.tool:registry() end, "unknown option" },
  { function() aw.tool.pool { max_tool = 1 } end, "did you mean max_tools?" },
  { function() aw.tool.pool(5) end, "options: expected a table" },
  { function(t) aw.tool.attach(t.far) end, "tool source or a pool" },
  { function(t) aw.tool.attach(t.tools, t.far) end, "expected a connection" },
  { function(t) aw.tool.register(t.tools) end, "expected a connection" },
  { function() aw.tool.client() end, "expected a connection" },
  { function() aw.tool.check("x", 1) end, "a JSON Schema" },
  { function() aw.tool.error_result() end, "message: expected a string" },
  -- agents
  { function() aw.agent.loop() end, "a provider client is expected" },
  { function() aw.agent.loop { provider = {}, model = "a/b" } end,
    "expected a provider client" },
  { function(t) aw.agent.loop { provider = t.provider, max_turn = 5 } end,
    "did you mean max_turns?" },
  { function(t) aw.agent.loop { provider = t.provider, max_turns = "5" } end,
    "option max_turns" },
  { function(t) aw.agent.loop { provider = t.provider, tools = print } end,
    "option tools" },
  { function(t) t.loop:prompt() end, "prompt: expected text" },
  { function(t) t.loop:prompt(5) end, "prompt: expected text" },
  { function(t) t.loop:subscribe() end, "listener: expected a function" },
  { function(t) t.loop:steer() end, "a message is text or a table" },
  { function() aw.agent.service() end, "a provider client is expected" },
  { function(t) aw.agent.service { provider = t.provider, modell = "x" } end,
    "did you mean model?" },
  { function(t) aw.agent.attach(t.far) end, "service: expected" },
  { function(t) t.agent:start("x") end, "options: expected a table" },
  { function(t) t.agent:start { tool = {} } end, "did you mean tools?" },
  -- models
  { function(t) t.provider:start_stream() end, "model must be" },
  { function(t) t.provider:start_stream { model = "a/b" } end,
    "expected a list of messages" },
  { function(t)
    t.provider:start_stream { model = "a/b", messages = "hi" }
  end, "option messages: expected a table" },
  { function(t)
    t.provider:start_stream { model = "a/b", messages = {}, prompt = "hi" }
  end, "unknown option prompt" },
  { function(t) t.provider:models("x") end, "options: expected a table" },
  { function(t) t.provider:stream() end, "request: expected a table" },
  { function(t) aw.provider.attach(t.far, {}) end, "expected an adapter" },
  { function() aw.provider.loopback() end, "expected an adapter" },
  { function() aw.provider.router {} end, "the list is empty" },
  -- tasks, JSON, the log
  { function() aw.sleep() end, "duration in milliseconds" },
  { function() aw.sleep("5") end, "duration in milliseconds" },
  { function() aw.timeout(5) end, "function" },
  { function() aw.task.all() end, "a list of tasks" },
  { function() aw.task.first {} end, "a list of tasks" },
  { function() aw.task.defer() end, "expected a function" },
  { function(t) t.task:join("x") end, "duration in milliseconds" },
  { function() aw.task.queue() end, "limit" },
  { function() aw.task.queue("5") end, "limit" },
  { function() aw.task.queue(0) end, "limit" },
  { function() aw.task.latch(5) end, "name: expected a string" },
  { function() aw.task.signal({}) end, "name: expected a string" },
  { function() aw.task.waiter(5) end, "name: expected a string" },
  { function(t) t.queue:pop("5") end, "duration in milliseconds" },
  { function(t) t.latch:wait("5") end, "duration in milliseconds" },
  { function(t) t.waiter:wait({}) end, "duration in milliseconds" },
  { function() aw.await() end, "fn: expected a function" },
  { function() aw.await("x") end, "fn: expected a function" },
  { function() aw.spawn() end, "expected a function" },
  { function() aw.spawn("main") end, "expected a function" },
  { function() aw.task.spawn(print()) end, "expected a function" },
  { function() aw.task.shield() end, "expected a function" },
  { function() aw.timeout("5", print) end, "duration in milliseconds" },
  { function() aw.timeout(print, 5) end, "expected a function" },
  { function() aw.task.all("x") end, "a list of tasks" },
  { function() aw.task.all { 5 } end, "a list of tasks" },
  { function() aw.task.first { "x" } end, "a list of tasks" },
  { function() aw.task.first(5) end, "a list of tasks" },
  { function(t) t.task:join(0 / 0) end, "duration in milliseconds" },
  { function() aw.sleep(0 / 0) end, "duration in milliseconds" },
  { function() aw.sleep(aw.null) end, "got null" },
  { function(t) t.conn:ping(aw.null) end, "got null" },
  { function(t) t.tools:add(aw.null) end, "a tool is a table" },
  { function(t) t.loop:prompt(aw.null) end, "prompt: expected text" },
  { function() aw.connect(aw.null) end, "connect" },
  { function() aw.lines.spawn("cat") end, "expected a table" },
  { function() aw.lines.spawn {} end, "argv" },
  { function() aw.lines.spawn { argv = {} } end, "argv" },
  { function(t) t.lines:send() end, "expected a string" },
  { function(t) t.lines:send(5) end, "expected a string" },
  { function(t) t.lines:receive("5") end, "duration in milliseconds" },
  { function() aw.signal() end, "signal" },
  { function() aw.signal("NOPE") end, "NOPE" },
  { function() aw.signal("USR1", "5") end, "duration in milliseconds" },
  { function() aw.stdin:line("5") end, "duration in milliseconds" },
  { function() aw.stdin.line() end, "write stdin:line" },
  { function() aw.log.write("loud", "x", "y") end, "debug, info, warn" },
  { function() aw.run(print) end, "run" },
  { function(t) t.agent:start { model = 5 } end, "option model" },
  { function(t) t.agent:start { id = "mine" } end, "a UUID" },
  { function(t) t.conn:open("tool", "mine") end, "a UUID" },
  { function() coroutine.wrap(function() aw.sleep(1) end)() end,
    "spawn a task" },
  { function() table.sort({ 1, 2 }, function() aw.sleep(1) end) end,
    "cannot wait" },
  -- whose loop it is
  { function() aw.run(print) end, "a run inside a run" },
  { function() host.current():turn() end, "a turn inside a run" },
  { function() host.current():close() end, "end its tasks instead" },
  { function() aw.json.decode({}) end, "string expected" },
  { function() aw.json.array("x") end, "table expected" },
  { function() aw.log.set("x") end, "log.set: expected a function" },
  { function() aw.log.set_level("verbose") end, "debug, info, warn" },
}

local OUTSIDE = {
  { function() aw.connect("ws://127.0.0.1:1") end, "inside agentwire.run" },
  { function() aw.sleep(5) end, "inside agentwire.run" },
  { function() aw.task.yield() end, "inside agentwire.run" },
  { function() host.use(5) end, "expected a host" },
  { function() host.use("luv") end, "expected a host" },
  { function() host.embed() end, "driver: expected a table" },
  { function() host.embed {} end, "driver.name: expected" },
  { function() host.embed { name = "x", arm = 5, disarm = print } end,
    "arm: expected a function" },
  { function() host.embed { name = "x", arn = print, disarm = print } end,
    "did you mean arm?" },
  { function() require("agentwire.host.luv").new(5) end, "expected luv" },
  { function() host.current():run() end, "fn: expected a function" },
  { function() aw.run() end, "function" },
  { function() aw.run("main.lua") end, "function" },
  { function() aw.spawn() end, "" },
  { function() aw.timeout(5, print) end, "inside agentwire.run" },
  { function() aw.await(print) end, "inside agentwire.run" },
  { function() aw.signal("USR1") end, "inside agentwire.run" },
  { function() aw.stdin:line() end, "inside agentwire.run" },
  { function() aw.task.checkpoint() end, "inside agentwire.run" },
  { function() aw.task.defer(print) end, "task" },
  { function() aw.task.shield(print) end, "task" },
  { function() aw.task.spawn(print) end, "task" },
  { function() aw.task.all {} end, "inside agentwire.run" },
  { function() aw.task.latch():wait() end, "inside agentwire.run" },
  { function() aw.task.queue(1):pop() end, "inside agentwire.run" },
  { function() aw.task.waiter():wait() end, "inside agentwire.run" },
  { function() aw.pair():ping() end, "inside agentwire.run" },
  { function() aw.pair():wait_closed() end, "inside agentwire.run" },
  { function() aw.pair():tool():list() end, "inside agentwire.run" },
  { function() aw.pair():agent():start() end, "inside agentwire.run" },
  { function() aw.run({ signal = false }, print) end, "did you mean signals?" },
}

local function check(case, given)
  local ok, why = pcall(case[1], given)
  assert.is_false(ok, case[2])
  why = tostring(why)
  assert.truthy(why:find(case[2], 1, true), why)
  assert.truthy(why:find(HERE), why)
  assert.is_nil(why:find("attempt to", 1, true), why)
end

describe("a beginner's mistake", function()
  for index, case in ipairs(INSIDE) do
    it(("number %d is told: %s"):format(index, case[2]), function()
      link.run(function()
        local given = things()
        check(case, given)
        given.conn:close()
      end)
    end)
  end

  for index, case in ipairs(OUTSIDE) do
    it(("outside of a task, number %d, is told: %s"):format(index, case[2]),
      function()
        check(case)
      end)
  end

  it("is not asking whether something is there", function()
    link.run(function()
      local given = things()
      local conn, registry = given.conn, given.tools
      assert.is_nil(conn.send)
      if registry.register then registry:register {} end
      local found = conn.publish and conn:publish("x")
      assert.is_nil(found)
      for _, name in ipairs { "send", "nothing" } do
        assert.is_nil(conn[name])
        assert.is_nil(aw.tool[name])
      end
      assert.is_nil(aw.nothing)
      conn:close()
    end)
  end)
end)
