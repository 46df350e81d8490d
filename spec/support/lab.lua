-- What the specs of faults share: checked streams, the failing network, and
-- what a server process has open.
local aw = require("agentwire")
local process = require("spec.support.process")
local task = require("agentwire.task")
local wait = require("agentwire._wait")

local M = {}

local SMALL, FULL = os.getenv("AW_SMALL") == "1", os.getenv("AW_FULL") == "1"

--- A size by mode: AW_SMALL=1 (a look), normal, AW_FULL=1 (all of it).
function M.by_mode(small, normal, full)
  return SMALL and small or FULL and full or normal
end

--- Text number n of a stream: nothing else looks like it.
function M.delta(who, n, size)
  local text = ("%s.%d "):format(who, n)
  return text .. ("x"):rep(size - #text)
end

--- Starts the stream of a plan: `who`, `count`, `size`, `hold`; `reconstruct`.
function M.start(conn, plan)
  return conn:provider():start_stream {
    model = "lab/lab", reconstruct = plan.reconstruct == true,
    messages = { { role = "user", content = assert(aw.json.encode {
      who = plan.who, count = plan.count, size = plan.size,
      hold = plan.hold,
    }) } },
  }
end

--- Reads a stream to its end; every event has to be the next one. True, or
--- nil, message, code as the stream says; raises when it is not what was sent.
function M.follow(stream, plan)
  local n, sequence = 0, 1 -- 1 is the ack
  for event in stream:events() do
    sequence = sequence + 1
    if event.sequence ~= sequence then
      error(("stream %s: number %d after %d"):format(plan.who, event.sequence,
        sequence - 1))
    elseif event.type == "text_delta" then
      n = n + 1
      if event.delta ~= M.delta(plan.who, n, plan.size) then
        error(("stream %s: text %d is %q"):format(plan.who, n, event.delta))
      end
      if plan.on_event then
        plan.on_event(n)
      end
    end
  end
  local message, why, code = stream:result(30000)
  if not message then
    return nil, why, code
  elseif n ~= plan.count then
    error(("stream %s: %d of %d texts"):format(plan.who, n, plan.count))
  end
  return true
end

--- Reads a stream to its end, however its deltas are merged: together they are
--- what was sent, and so is the result. Raises when they are not.
function M.check_whole(stream, who, count, size)
  local sent, got = {}, {}
  for n = 1, count do
    sent[n] = M.delta(who, n, size)
  end
  for event in stream:events() do
    got[#got + 1] = event.delta
  end
  local message = assert(stream:result(30000))
  local text = table.concat(sent)
  if table.concat(got) ~= text or message.content[1].text ~= text then
    error(("stream %s: %d deltas make another text"):format(who, #got))
  end
  return true
end

function M.read(conn, plan)
  local stream, why, code = M.start(conn, plan)
  if not stream then
    return nil, why, code
  end
  return M.follow(stream, plan)
end

--- Reads `streams` of them at once, each in a task; they are returned, and a
--- latch that is set when delta number `plan.mark` (1) of each was read.
function M.read_all(conn, streams, plan)
  local tasks, behind = {}, streams
  local begun = wait.latch("the beginning of every stream")
  local function on_event(n)
    if n == (plan.mark or 1) then
      behind = behind - 1
      if behind == 0 then
        begun:set(true)
      end
    end
  end
  for number = 1, streams do
    local own = { who = number, on_event = on_event }
    for key, value in pairs(plan) do
      own[key] = value
    end
    tasks[number] = task.spawn(M.read, conn, own)
  end
  return tasks, begun
end

-- What takes this long hangs.
local PATIENCE_MS = FULL and 300000 or 60000

function M.join_all(tasks)
  for _, each in ipairs(tasks) do
    assert(each:join(PATIENCE_MS))
  end
end

function M.url(port)
  return "ws://127.0.0.1:" .. port
end

--- A server process; `options` as for aw.serve, `process` for the process.
function M.server(options, more)
  local server = process.lua("spec/faults/server.lua",
    assert(aw.json.encode(options or {})), more or {})
  server.port = tonumber(server:expect("^port (%d+)$"))
  return server
end

local function proxy_path()
  local given = os.getenv("AW_FAULT_PROXY")
  if given then
    return given
  end
  for template in package.cpath:gmatch("[^;]+") do
    local build = template:match("^(.*)/lib/lua/")
    local path = build and build .. "/tests/faults/aw_fault_proxy"
    local file = path and io.open(path)
    if file then
      file:close()
      return path
    end
  end
  error("aw_fault_proxy is not built (cmake -DAW_TESTS=ON), or name it in "
    .. "AW_FAULT_PROXY", 0)
end

--- A failing network before a server's port. `proxy:order` obeys or raises.
function M.proxy(port)
  local proxy = process.start { proxy_path() }
  proxy.port = tonumber(proxy:expect("^port (%d+)$"))
  function proxy:order(...)
    local text = table.concat({ ... }, " ")
    local answer = self:ask(text)
    assert(answer == "ok", text .. ": " .. tostring(answer))
  end
  function proxy:count()
    self:say("count")
    local open, accepted, cuts, bytes =
      self:expect("^count (%d+) (%d+) (%d+) (%d+)$")
    return {
      open = tonumber(open), accepted = tonumber(accepted),
      cuts = tonumber(cuts), bytes = tonumber(bytes),
    }
  end
  function proxy:rogues()
    self:say("rogues")
    local open, closed = self:expect("^rogues (%d+) (%d+)$")
    return tonumber(open), tonumber(closed)
  end
  proxy:order("target", port)
  return proxy
end

--- A measured figure, in a form that a TAP reader skips.
function M.note(text, ...)
  io.write("# ", text:format(...), "\n")
end

--- Waits until `condition` holds: for what no event tells, in other processes.
function M.eventually(what, timeout_ms, condition)
  local held = task.timeout(timeout_ms, function()
    while not condition() do
      task.sleep(20)
    end
    return true
  end)
  assert(held, what .. " did not come about")
end

--- Watches a server by a connection of its own, past any proxy.
function M.watch(server)
  local conn = assert(aw.connect(M.url(server.port)))
  local channel = assert(conn:open("agent"))
  local watch = {}

  function watch.counters()
    assert(channel:send("agent_status", {}))
    return assert(channel:receive(10000))
  end

  --- Lets every stream go on that waits after its delta `hold`.
  function watch.release()
    assert(channel:send("agent_status", { release = true }))
    assert(channel:receive(10000))
  end

  --- What has to be the same when all is over.
  function watch.state()
    local counters = watch.counters()
    return {
      tasks = counters.tasks, connections = counters.connections,
      sessions = counters.sessions, descriptors = server:descriptors(),
    }
  end

  --- Waits until nothing is left of what came after `watch` was made.
  function watch.check_rest(timeout_ms)
    local seen
    local ok, why = pcall(M.eventually, "rest", timeout_ms or 5000, function()
      seen = watch.state()
      for key, value in pairs(watch.before) do
        if seen[key] ~= value then
          return false
        end
      end
      return true
    end)
    assert(ok, tostring(why) .. ": " .. aw.json.encode(watch.before) .. " / "
      .. aw.json.encode(seen))
  end

  function watch.close()
    channel:close()
    conn:close()
    conn:wait_closed(2000)
  end

  assert(channel:send("agent_start", {}))
  assert(channel:receive(10000))
  watch.before = watch.state()
  return watch
end

M.FAST = { min_ms = 1, max_ms = 10 }

--- Runs `body(env)`: a server, a proxy before it, a watch on it. `env.connect`
--- makes clients by way of the proxy. At the end nothing may be left.
function M.run(options, body)
  local link = require("spec.support.link")
  local server = M.server(options.server, options.process)
  local env = { server = server, proxy = M.proxy(server.port) }
  link.run(function()
    env.watch = M.watch(server)
    local clients = {}
    -- `more`: further options, and `port` for one in place of the proxy's.
    function env.connect(more)
      local merged, port = { reconnect = M.FAST }, env.proxy.port
      for key, value in pairs(more or {}) do
        if key == "port" then
          port = value
        else
          merged[key] = value
        end
      end
      local conn = assert(aw.connect(M.url(port), merged))
      clients[#clients + 1] = conn
      return conn
    end
    body(env)
    for _, conn in ipairs(clients) do
      -- One that is cut cannot tell the server that it goes.
      M.eventually("an open client", 20000, function()
        return conn:state() ~= "resuming"
      end)
      conn:close()
      conn:wait_closed(5000)
    end
    env.watch.check_rest(options.rest_ms)
    env.watch.close()
  end)
end

return M
