-- agentwire in the workers of a real nginx, with a model, an agent and a tool
-- server as processes of their own.
local aw = require("agentwire")
local link = require("spec.support.link")
local nginx = require("spec.openresty.nginx")
local process = require("spec.support.process")
local worlds = require("spec.openresty.world")

local function words(count)
  local list = {}
  for i = 1, count do
    list[i] = i .. " "
  end
  return table.concat(list)
end

describe("in a worker of nginx", function()
  local world, server

  setup(function()
    world = worlds.new()
    server = world.nginx
    for _ = 1, 20 do -- both workers have their connections
      server:get("/stream?n=1")
      server:get("/cancel?prompt=say%201")
    end
  end)

  teardown(function()
    world:close()
  end)

  it("a stream comes whole, in order, and as it is made", function()
    local text, status = server:get("/stream?n=500")
    assert.equal(words(500) .. "end", text)
    assert.equal(200, status)
    local first = process.shell(("curl -s -N -m 5 '%s/stream?n=100&delay=50' "
      .. "--max-time 1"):format(server.url))
    assert.matches("^1 2 3 4 ", first)
  end)

  it("many requests share a connection", function()
    local answers = process.shell(("curl -s -Z --parallel-max 50 "
      .. "'%s/stream?n=200&i=[1-50]'"):format(server.url))
    local _, count = answers:gsub("end", "")
    assert.equal(50, count)
  end)

  it("a link that is cut comes back, and nothing is lost", function()
    local text = server:get("/stream?n=300&delay=1&cut=50")
    assert.equal(words(300) .. "end", text)
  end)

  it("a tool of the worker waits for nginx itself", function()
    for _ = 1, 4 do
      local text, _, all =
        server:get("/tool?prompt=call%20fact%20{%22name%22:%22water%22}")
      assert.equal("It says: water is known", text, all .. server:errors())
    end
  end)

  it("a run is cancelled through the whole chain", function()
    local before = world:ended("cancelled")
    assert.equal("aborted",
      (server:get("/cancel?prompt=say%2010000%205")))
    server:eventually("the model hears of it", function()
      return world:ended("cancelled") == before + 1
    end)
  end)

  it("a tool server's tool is run and cancelled", function()
    local executor = process.lua("spec/chain/executor.lua", world.folder,
      server.port .. "/agent")
    executor:expect("^registered$")
    assert.equal("aborted", (server:get("/cancel?on=tool_execution_update"
      .. "&prompt=call%20wait%20{%22name%22:%22x%22}")))
    server:eventually("the tool hears of it", function()
      return process.shell("cat " .. world.folder .. "/log")
        == "wait x\ncancelled x"
    end)
    executor:stop()
  end)

  it("a client that goes away cancels", function()
    local before, states = world:ended("cancelled"), world:states()
    assert.matches("waiting", (server:get("/silent", "--max-time 0.3")))
    server:eventually("the model hears of it", function()
      return world:ended("cancelled") == before + 1
    end)
    world:settled(states)
  end)

  for how, told in pairs {
    plain = "", sleep = "", other = "", exec = "",
    ["sleep&told=1"] = ", as the log phase tells",
    ["other&told=1"] = ", as the log phase tells",
  } do
    it("a request that ends itself leaves nothing: " .. how .. told, function()
      local before, states = world:ended("cancelled"), world:states()
      for _ = 1, 20 do
        local _, status = server:get("/exit?how=" .. how)
        assert.equal(how == "exec" and 200 or 403, status)
      end
      server:eventually("the model hears of each", function()
        if told == "" then -- it is found with whatever comes next
          server:get("/stream?n=1")
        end
        return world:ended("cancelled") == before + 20
      end)
      world:settled(states)
    end)
  end

  it("a task that ends its own thread is told, and others go on", function()
    local before = server:logged("must not call ngx.exit")
    local text = server:get("/exit_in_task")
    assert.equal("cancelled: its thread was ended", text)
    assert.is_true(server:logged("must not call ngx.exit") > before)
    for _ = 1, 10 do
      assert.equal("1 2 3 end", (server:get("/stream?n=3")))
    end
  end)

  it("what is spawned in a request outlives it", function()
    server:eventually("it has run", function()
      return server:get("/spawn") ~= "0"
    end)
  end)

  it("run returns, raises and is refused as everywhere", function()
    assert.equal("2 cancelled: enough cancelled false it broke",
      (server:get("/twice")))
    assert.matches("run inside a run", (server:get("/nested")))
    assert.matches("inside agentwire.run", (server:get("/unrun")))
  end)

  it("several run in one request, and end with it", function()
    local text = server:get("/parallel")
    assert.matches("^[1-5][1-5][1-5][1-5][1-5] 15$", text)
  end)

  it("runs wait in the access phase and in timers", function()
    assert.equal("inside", (server:get("/guarded?token=sesame")))
    assert.equal(403, (select(2, server:get("/guarded?token=x"))))
    server:eventually("a timer has run", function()
      return server:get("/timer") == "in a timer"
    end)
  end)

  it("a phase that cannot wait says so", function()
    server:get("/fact?name=x&phase=log")
    assert.equal(1, server:logged("in log: .*nothing can wait in the phase log"))
  end)

  it("a server that dies and comes again is used again", function()
    world.model:stop()
    world.agent:stop()
    world:start_model()
    world:start_agent()
    for _ = 1, 10 do
      server:eventually("a stream works", function()
        return server:get("/stream?n=3") == "1 2 3 end"
      end)
      server:eventually("a session works", function()
        return server:get("/cancel?prompt=say%201") == "stop"
      end)
    end
  end)

  it("a session goes through nginx to the agent", function()
    link.run(function()
      local conn = assert(aw.connect(("ws://127.0.0.1:%d/agent")
        :format(server.port)))
      local session = assert(conn:agent():start {})
      local text = {}
      for event in session:prompt("say 200 1") do
        if event.type == "message_update"
          and event.event.type == "text_delta" then
          table.insert(text, event.event.delta)
        end
      end
      assert.equal(words(200), table.concat(text))
      session:stop()
      conn:close()
    end)
  end)
end)

describe("threads of a worker", function()
  local world

  setup(function()
    world = worlds.new { workers = 1 }
  end)

  teardown(function()
    world:close()
  end)

  it("are as many as there are tasks", function()
    for _, count in ipairs { 256, 2560, 256 } do
      assert.equal(tostring(count), (world.nginx:get("/burst?n=" .. count)))
    end
    assert.equal("1 2 3 end", (world.nginx:get("/stream?n=3")))
  end)

  -- One timer is the host's, the others carry tasks.
  it("are renewed, but not without end where tasks stay", function()
    assert.equal("17", (world.nginx:get("/pin")))
    world.nginx:eventually("the timers have ended", function()
      world.nginx:get("/stream?n=1")
      return tonumber((world.nginx:get("/timers"))) <= 3
    end)
    assert.equal("17", (world.nginx:get("/pin")))
    assert.equal("1 2 3 end", (world.nginx:get("/stream?n=3")))
  end)
end)

describe("nginx without a place for a host", function()
  local world

  after_each(function()
    world:close()
  end)

  it("says so in its master", function()
    world = worlds.new { init = 'init_by_lua_block { '
      .. 'require("spec.openresty.app").init() }' }
    assert.matches("in init: .*nothing of agentwire can run in init_by_lua",
      world.nginx.process:errors())
    assert.equal("1 2 3 end", (world.nginx:get("/stream?n=3")))
  end)

  it("says so where each request has a Lua state of its own", function()
    world = worlds.new { cache = "off", workers = 1 }
    world.nginx:get("/stream?n=3")
    world.nginx:get("/stream?n=3")
    assert.is_true(world.nginx:logged("needs lua_code_cache on") >= 1)
  end)
end)

describe("a reload of nginx", function()
  local world

  after_each(function()
    world:close()
  end)

  it("lets what runs end, and cuts what stays so that it resumes", function()
    world = worlds.new { shutdown = "2s" }
    local server = world.nginx
    local old = server:workers()
    link.run(function()
      local conn = assert(aw.connect(("ws://127.0.0.1:%d/agent")
        :format(server.port)))
      local session = assert(conn:agent():start {})
      local text, reloaded = {}, false
      for event in session:prompt("say 800 5") do
        if event.type == "message_update"
          and event.event.type == "text_delta" then
          table.insert(text, event.event.delta)
          if #text == 50 and not reloaded then
            reloaded = true
            server:reload()
          end
        end
      end
      assert.equal(words(800), table.concat(text))
      session:stop()
      conn:close()
    end)
    server:eventually("the old workers have ended", function()
      for _, pid in ipairs(server:workers()) do
        if pid == old[1] or pid == old[2] then
          return false
        end
      end
      return true
    end)
    assert.equal(0, server:logged("\\[alert\\]|\\[crit\\]|signal 11"))
  end)

  it("has a worker's server say goodbye, and its clients go on", function()
    local port = nginx.free_port()
    world = worlds.new { init = ('init_worker_by_lua_block { '
      .. 'require("spec.openresty.app").listen(%d) }'):format(port) }
    local function say(conn, count)
      return assert(conn:provider():start_stream {
        model = "words/words",
        context = { messages = { { role = "user", content = tostring(count) } } },
      })
    end
    link.run(function()
      local conn = assert(aw.connect("ws://127.0.0.1:" .. port))
      for _ = 1, 3 do
        local stream = say(conn, 200)
        stream:next()
        world.nginx:reload()
        assert.equal(words(200), assert(stream:result()).content[1].text)
        link.eventually(function()
          return conn:is_open()
        end)
      end
      assert.equal(words(3), assert(say(conn, 3):result()).content[1].text)
      conn:close()
    end)
    world.nginx:eventually("the old workers have ended", function()
      return #world.nginx:workers() == 2
    end)
  end)

  it("ends a worker whose requests do not end", function()
    world = worlds.new { shutdown = "1h", init = 'init_worker_by_lua_block { '
      .. 'local h = require("agentwire.host") '
      .. 'h.use(require("agentwire.host.openresty").new { drain_ms = 500 }) }' }
    local server = world.nginx
    local old = server:workers()
    local client = process.start { "curl", "-s", "-N", "-m", "30",
      server.url .. "/silent" }
    client:expect("waiting")
    server:reload()
    server:eventually("the old workers have ended", function()
      for _, pid in ipairs(server:workers()) do
        if pid == old[1] or pid == old[2] then
          return false
        end
      end
      return true
    end)
    assert.equal(0, client:wait())
  end)

  it("takes the workers' sockets with them", function()
    world = worlds.new()
    world.nginx:get("/stream?n=1")
    assert.is_not_equal("", process.shell("ls " .. world.folder
      .. " | grep agentwire-"))
    world.nginx.process:signal("QUIT")
    assert.equal(0, world.nginx.process:wait())
    assert.equal("", process.shell("ls " .. world.folder
      .. " | grep agentwire-"))
  end)
end)
