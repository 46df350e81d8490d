-- A process at the other end of lines that is stopped or stuck is noticed, if
-- that is asked for.
local aw = require("agentwire")
local link = require("spec.support.link")
local process = require("spec.support.process")

-- A child that says which process it is, and can be told to be busy.
local SERVER = [[
  package.path, package.cpath = %q, %q
  local aw = require("agentwire")
  local tools = aw.tool.registry()
  tools:add { name = "pid", handler = function()
    local file = io.open("/proc/self/stat")
    local pid = file:read("*l"):match("^%%d+")
    file:close()
    return pid
  end }
  tools:add { name = "stick", handler = function()
    local busy = os.clock() + 20
    repeat until os.clock() > busy
  end }
  aw.run(function()
    aw.serve { stdio = true, tools = tools, base = %s }:wait_closed()
  end)]]

local function connect(options, base)
  local all = { base = base, kill_after_ms = 100, argv = {
    process.interpreter(), "-e",
    SERVER:format(package.path, package.cpath, tostring(base or false)),
  } }
  for name, value in pairs(options) do
    all[name] = value
  end
  return assert(aw.connect(all))
end

local function call(conn, name)
  return conn:tool():execute { name = name, args = {} }
end

local function pid_of(conn)
  return assert(call(conn, "pid")).parts[1].text
end

local FAST = { ping_interval_ms = 50, ping_deadline_ms = 200 }

local function is_there(pid)
  local file = io.open("/proc/" .. pid .. "/stat")
  local state = file and file:read("*a"):match("%) (%a)")
  if file then
    file:close()
  end
  return state ~= nil and state ~= "Z"
end

local function assert_unanswered(conn)
  assert.is_true(conn:wait_closed(5000))
  local why, code = conn:why_closed()
  assert.truthy(why:find("no answer to a ping for 200 ms", 1, true), why)
  assert.equal(1006, code)
end

describe("a child process with pings", function()
  for _, base in ipairs { false, true } do
    local kind = base and " (base)" or ""

    it("that is stopped ends its connection, and goes" .. kind, function()
      link.run(function()
        local conn = connect(FAST, base)
        local pid = pid_of(conn)
        process.shell("kill -STOP " .. pid)
        assert_unanswered(conn)
        link.eventually(function()
          return not is_there(pid)
        end)
      end)
    end)

    it("that is stuck ends what was asked of it" .. kind, function()
      link.run(function()
        local conn = connect(FAST, base)
        assert.is_nil((call(conn, "stick")))
        assert_unanswered(conn)
      end)
    end)

    it("that has nothing to say lives" .. kind, function()
      link.run(function()
        local conn = connect({ ping_interval_ms = 20, ping_deadline_ms = 2000 },
          base)
        link.eventually(function()
          return conn:stats().messages_in >= 3
        end)
        assert.truthy(pid_of(conn))
        conn:close()
      end)
    end)
  end

  it("lives when it is we who stood still", function()
    link.run(function()
      local conn = connect { ping_interval_ms = 50, ping_deadline_ms = 1000 }
      local before = conn:stats().messages_out
      link.eventually(function()
        return conn:stats().messages_out > before -- a ping is out
      end)
      local busy = os.clock() + 1.2
      repeat until os.clock() > busy
      aw.sleep(50)
      assert.is_true(conn:is_open())
      assert.truthy(pid_of(conn))
      conn:close()
    end)
  end)

  it("is not pinged unless that is asked for", function()
    link.run(function()
      local conn = connect {}
      local before = conn:stats().messages_out
      aw.sleep(300)
      assert.equal(before, conn:stats().messages_out)
      conn:close()
    end)
  end)
end)

-- Says something all the time, but answers nothing: a long line is on its way.
local DRIPS = [[printf '{"type":"ready","protocol_version":"1"}\n{"x":"'
  i=0; while [ $i -lt 40 ]; do printf y; sleep 0.05; i=$((i+1)); done]]

describe("a child process with pings", function()
  it("lives while a long message comes in", function()
    link.run(function()
      local conn = assert(aw.connect { argv = { "sh", "-c", DRIPS },
        ping_interval_ms = 150, ping_deadline_ms = 300, kill_after_ms = 100 })
      aw.sleep(1200)
      assert.is_true(conn:is_open())
      conn:cut()
    end)
  end)

  -- A base peer's link is not read while nobody takes what came.
  it("lives while it is we who do not read", function()
    link.run(function()
      local conn = assert(aw.connect { base = true, kill_after_ms = 100,
        ping_interval_ms = 50, ping_deadline_ms = 200, window_bytes = 1024,
        inbound_bytes = 1024, argv = { process.interpreter(), "-e", ([[
        package.path, package.cpath = %q, %q
        local aw = require("agentwire")
        aw.run(function()
          aw.listen({ stdio = true, base = true }, function(conn)
            conn:serve("provider", function(channel)
              channel:receive()
              for _ = 1, 200 do
                channel:send("text_delta", { delta = ("x"):rep(1000) })
              end
              channel:send("result", {})
            end)
          end):wait_closed()
        end)]]):format(package.path, package.cpath) } })
      local channel = assert(conn:open("provider"))
      assert(channel:send("stream_request", {}))
      aw.sleep(1000)
      local count = 0
      repeat
        local message = assert(channel:receive(5000))
        count = count + 1
      until message.type == "result"
      assert.equal(201, count)
      conn:close()
    end)
  end)
end)

describe("a server on stdin and stdout with pings", function()
  after_each(process.stop_all)

  it("ends when nobody answers, although its input is open", function()
    local server = process.lua("spec/support/stdio_server.lua",
      '{"ping_interval_ms":50,"ping_deadline_ms":200,"base":true}')
    server:expect("ready")
    assert.truthy(server:line():find('"ping"', 1, true))
    assert.equal(0, server:wait())
  end)

  -- It has a session, which a peer on a network could come back to.
  it("ends when its parent is stopped", function()
    local parent = process.run_text(([[
      local aw = require("agentwire")
      aw.run(function()
        local conn = assert(aw.connect { argv = { %q, "-e", %q } })
        print(conn:tool():execute { name = "pid", args = {} }.parts[1].text)
        io.stdout:flush()
        conn:wait_closed()
      end)]]):format(process.interpreter(), SERVER:format(package.path,
        package.cpath, "false, ping_interval_ms = 50, ping_deadline_ms = 200")))
    local pid = parent:expect("(%d+)")
    parent:signal("STOP")
    link.run(function()
      link.eventually(function()
        return not is_there(pid)
      end)
    end)
  end)

  it("goes on while it hears anything", function()
    local server = process.lua("spec/support/stdio_server.lua",
      '{"ping_interval_ms":100,"ping_deadline_ms":400,"base":true}')
    server:expect("ready")
    for _ = 1, 12 do
      process.shell("sleep 0.1")
      assert.is_true(is_there(server.pid), "it has ended")
      server:say("{}")
    end
    repeat
      local line = assert(server:line())
    until line:find('"error"', 1, true)
  end)
end)
