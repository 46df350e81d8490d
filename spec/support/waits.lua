-- A process that waits in one way, says on stderr how much processor time that
-- took, and ends: `waits.lua WAY LOOP`. LOOP is `own`, or one of foreign.lua's.
-- What a way begins has come to rest before the clock runs, and its wait goes
-- on until the process ends.
local aw = require("agentwire")
local foreign = require("spec.support.foreign")
local host = require("agentwire.host")
local standalone = require("agentwire.host.standalone")
local wait = require("agentwire._wait")

local REST_MS, MEASURED_MS = 500, 1000
local PYTHON_MS = 2000 -- until a server in Python has started, and has spoken

local ways = {}

function ways.sleep()
  aw.sleep(math.huge)
end

function ways.timer()
  aw.timeout(60000, aw.sleep, math.huge)
end

function ways.join()
  aw.spawn(aw.sleep, math.huge):join()
end

function ways.queue()
  wait.queue(1):pop()
end

function ways.latch()
  wait.latch():wait()
end

function ways.line_of_tasks()
  wait.signal("a test"):wait()
end

function ways.waiter()
  aw.task.waiter("a test"):wait()
end

function ways.signal()
  aw.signal("USR1")
end

function ways.stdin()
  aw.stdin:line()
end

--- A model and a tool that take for ever, at the other end of a WebSocket.
local function connected(options)
  local tools = aw.tool.registry()
  tools:add {
    name = "slow", description = "takes for ever",
    parameters = { type = "object" },
    handler = function()
      aw.sleep(math.huge)
    end,
  }
  local server = assert(aw.serve {
    listen = "ws://127.0.0.1:0", tools = tools,
    provider = {
      name = "silent", api = "silent",
      stream = function()
        aw.sleep(math.huge)
      end,
    },
  })
  return assert(aw.connect(server.url, options)), server
end

local function silent_stream(conn)
  return assert(conn:provider():start_stream {
    model = "silent/silent",
    context = { messages = { { role = "user", content = "x" } } },
  })
end

function ways.websocket()
  connected():wait_closed()
end

function ways.pair()
  aw.pair():wait_closed()
end

function ways.lines()
  assert(aw.lines.spawn { argv = { "cat" } }):receive()
end

local function http_server()
  local server = assert(aw.lines.spawn {
    argv = { "python3", "spec/support/http_server.py" },
  })
  return "http://127.0.0.1:" .. assert(server:receive(10000))
end

function ways.http_answer()
  aw.http.request { url = http_server() .. "/silent", proxy = "" }
end

function ways.http_body()
  for _ in assert(aw.http.stream { url = http_server() .. "/stall",
    proxy = "" }):events() do -- one, and then nothing
  end
end

--- A kept connection, and a stream that nobody reads.
function ways.http_idle()
  local url = http_server()
  assert(aw.http.request { url = url .. "/hello", proxy = "" })
  local stream = assert(aw.http.stream { url = url .. "/big?n=100000000",
    proxy = "" })
  aw.sleep(math.huge)
  stream:close()
end

function ways.child()
  assert(aw.connect { argv = { "cat" } }):wait_closed()
end

function ways.stdio()
  assert(aw.serve {
    stdio = true, provider = aw.providers.scripted.new(),
  }):wait_closed()
end

function ways.reconnecting()
  local conn, server = connected { reconnect = { min_ms = 5000,
    max_ms = 5000 } }
  server:close()
  conn:wait_closed()
end

--- A session whose client is gone for good waits for it.
function ways.detached()
  local conn, server = connected { reconnect = false }
  local stream = silent_stream(conn)
  conn:ping() -- it has begun there
  conn:cut("a test")
  stream:result()
  server:wait_closed()
end

function ways.no_credit()
  -- Little, so that it is used up long before the clock runs.
  local near, far = aw.pair { inbound_bytes = 65536 }
  far:serve("provider", function()
    aw.sleep(math.huge)
  end)
  local channel = assert(near:open("provider"))
  while assert(channel:send("stream_request", { text = "x" })) do
  end
end

function ways.stream()
  for _ in silent_stream(connected()):events() do
  end
end

function ways.tool()
  connected():tool():execute { name = "slow", args = {} }
end

function ways.drain()
  local conn, server = connected()
  silent_stream(conn)
  conn:ping() -- it has begun there
  server:drain { timeout_ms = 60000 }
end

local function main()
  local waiting = aw.spawn(assert(ways[arg[1]], "no such way"))
  aw.sleep(arg[1]:find("^http_") and PYTHON_MS or REST_MS)
  local before = os.clock()
  aw.sleep(MEASURED_MS)
  local spent_ms = (os.clock() - before) * 1000
  if waiting:is_done() then
    io.stderr:write("it did not wait: ", tostring(select(2, waiting:join())),
      "\n")
  end
  io.stderr:write(("processor time: %.3f ms\n"):format(spent_ms))
  os.exit(0)
end

if arg[2] == "own" then
  aw.run(main)
else
  local h = standalone.new()
  host.use(h)
  local loop = foreign.loops[arg[2]](h)
  h:spawn(main)
  loop.run(function()
    return false
  end)
end
