-- What runs in the workers of the specs' nginx: handlers, by the path.
local aw = require("agentwire")
local host = require("agentwire.host")
local ngx = rawget(_G, "ngx")

local M = {}

local OPTIONS = { ping_interval_ms = 600000 }
local shared = {} -- connections of this worker, by their URL

-- Many requests ask for the first one at once.
local function connection(folder, name)
  local url = ("ws+unix:%s/%s.sock"):format(folder, name)
  local entry = shared[url]
  if not (entry and (entry.conn == nil or entry.conn:state() ~= "closed")) then
    entry = { latch = aw.task.latch("a connection") }
    shared[url] = entry
    local conn, why = aw.connect(url, OPTIONS)
    entry.conn = conn or false
    if not conn then
      shared[url] = nil
    end
    entry.latch:set(conn, why)
  end
  return assert(entry.latch:wait(10000))
end

local function number(name, otherwise)
  return tonumber(ngx.var["arg_" .. name]) or otherwise
end

-- A stream that is aborted when its task ends, however that does.
local function start_stream(folder, prompt)
  local stream = assert(connection(folder, "model"):provider():start_stream {
    model = "words/words",
    context = { messages = { { role = "user", content = prompt } } },
  })
  aw.task.defer(function()
    stream:abort()
  end)
  return stream
end

local ACTS = {}

--- A model's words as they come.
function ACTS.stream(folder)
  local stream = start_stream(folder, ("say %d %s"):format(number("n", 10),
    ngx.var.arg_delay or ""))
  local seen, cut_at = 0, number("cut")
  for event in stream:events() do
    if event.type == "text_delta" then
      seen = seen + 1
      ngx.print(event.delta)
      ngx.flush()
      if seen == cut_at then
        connection(folder, "model"):cut("a spec")
      end
    end
  end
  local _, why = stream:result()
  ngx.say(why or "end")
end

--- Takes many events and says how long that took.
function ACTS.flood(folder)
  local began, seen = ngx.now(), 0
  for _ in start_stream(folder, "say " .. number("n", 50000)):events() do
    seen = seen + 1
  end
  ngx.update_time()
  ngx.say(ngx.worker.pid(), " ", seen, " ",
    math.floor((ngx.now() - began) * 1000))
end

local function get_fact(port, name)
  local socket = ngx.socket.tcp()
  assert(socket:connect("127.0.0.1", port))
  assert(socket:send("GET /fact?name=" .. name
    .. " HTTP/1.0\r\nHost: localhost\r\n\r\n"))
  local text = assert(socket:receive("*a"))
  socket:close()
  return text:match("\r\n\r\n(.-)%s*$")
end

--- A session whose tool runs here, and asks another server by a cosocket.
function ACTS.tool(folder)
  local port = tonumber(ngx.var.server_port)
  local tools = aw.tool.registry()
  tools:add {
    name = "fact", description = "Knows facts",
    parameters = {
      type = "object", properties = { name = { type = "string" } },
    },
    handler = function(args)
      ngx.sleep(0.01)
      return get_fact(port, args.name)
    end,
  }
  local session = assert(connection(folder, "agent"):agent():start {
    tools = tools,
  })
  for _ in session:prompt(ngx.unescape_uri(ngx.var.arg_prompt)) do
    M.seen = (M.seen or 0) + 1
  end
  local result, why = session:result()
  session:stop()
  ngx.say(result and result.text or why)
end

--- A run that is cancelled in its middle.
function ACTS.cancel(folder)
  local session = assert(connection(folder, "agent"):agent():start {})
  local cancelled
  for event in session:prompt(ngx.unescape_uri(ngx.var.arg_prompt)) do
    if event.type == (ngx.var.arg_on or "message_update") and not cancelled then
      cancelled = true
      session:cancel("by the spec")
    end
  end
  local result, why = session:result()
  session:stop()
  ngx.say(result and result.stop_reason or why)
end

--- Waits for a model that says nothing.
function ACTS.silent(folder)
  ngx.say("waiting")
  ngx.flush(true)
  for _ in start_stream(folder, "wait"):events() do
    M.seen = (M.seen or 0) + 1
  end
end

--- Ends the request in the middle of a task that has children and a stream.
function ACTS.exit(folder)
  local stream = start_stream(folder, "wait")
  aw.spawn(function()
    for _ in stream:events() do
      M.seen = (M.seen or 0) + 1
    end
  end)
  if ngx.var.arg_how == "sleep" then
    ngx.sleep(0.02)
  elseif ngx.var.arg_how == "other" then -- while the task waits
    ngx.thread.spawn(function()
      ngx.sleep(0.02)
      ngx.exit(403)
    end)
    aw.sleep(60000)
  elseif ngx.var.arg_how == "exec" then
    return ngx.exec("/ping")
  else
    aw.sleep(10)
  end
  ngx.exit(403)
end

--- What must not be done: it ends the thread of all tasks without a request.
function ACTS.exit_in_task()
  local t = aw.spawn(function()
    aw.sleep(1)
    ngx.exit(500)
  end)
  local _, why = t:join(3000)
  ngx.say(why)
end

--- Many tasks at once.
function ACTS.burst()
  local tasks = {}
  for i = 1, number("n", 100) do
    tasks[i] = aw.spawn(function()
      aw.sleep(5)
      return i
    end)
  end
  ngx.say(#assert(aw.task.all(tasks, 20000)))
end

--- Tasks that stay among many that do not: what carries them cannot be renewed.
function ACTS.pin()
  local released, most = aw.task.latch("an end"), 0
  for _ = 1, 20 do
    aw.spawn(released.wait, released)
    for _ = 1, 21 do
      local tasks = {}
      for i = 1, 100 do
        tasks[i] = aw.spawn(aw.task.yield)
      end
      assert(aw.task.all(tasks))
    end
    most = math.max(most, ngx.timer.running_count())
  end
  released:set(true)
  ngx.say(most)
end

--- Round trips of a message to the model server and back, in microseconds.
function ACTS.rtt(folder)
  local clock = require("agentwire.core").monotonic_us
  local conn, times = connection(folder, "model"), {}
  for i = 1, number("n", 2000) do
    local began = clock()
    assert(conn:ping(5000))
    times[i] = clock() - began
  end
  table.sort(times)
  ngx.say(times[math.ceil(#times / 2)], " ", times[math.ceil(#times * 0.99)])
end

--- Two at once in one request, and one after the other.
function ACTS.nested()
  local ok, why = pcall(aw.run, function() end)
  ngx.say(ok, " ", why)
end

local function state()
  collectgarbage()
  collectgarbage()
  local rss = io.open("/proc/self/status"):read("*a"):match("VmRSS:%s*(%d+)")
  ngx.say(ngx.worker.pid(), " ", host.current():live_tasks(), " ", rss, " ",
    math.floor(collectgarbage("count")))
end

-- Paths that run outside of `aw.run`.
local PLAIN = { state = state }

function PLAIN.timers()
  ngx.say(ngx.timer.running_count())
end

function PLAIN.fact()
  ngx.say(ngx.var.arg_name, " is known")
end

--- A handler that waits without a task.
function PLAIN.unrun()
  ngx.say(select(2, pcall(aw.sleep, 1)))
end

--- A root task, made in a request that does not wait for it.
function PLAIN.spawn()
  aw.spawn(function()
    ngx.sleep(0.01)
    M.spawned = (M.spawned or 0) + 1
  end)
  ngx.say(M.spawned or 0)
end

--- What a second run in a request does, and arguments and results.
function PLAIN.twice()
  local first = aw.run(function(a, b)
    aw.sleep(1)
    return (a or 0) + b
  end, nil, 2)
  local _, why, code = aw.run(function()
    aw.task.current():cancel("enough")
    aw.sleep(1)
  end)
  local ok, problem = pcall(aw.run, function()
    error("it broke")
  end)
  ngx.say(first, " ", why, " ", code, " ", ok, " ", problem:match("it broke"))
end

--- Runs at once, each in a thread of the request.
function PLAIN.parallel()
  local threads = {}
  for i = 1, 5 do
    threads[i] = ngx.thread.spawn(aw.run, function()
      aw.sleep(10 * (6 - i))
      ngx.print(i)
      return i
    end)
  end
  local sum = 0
  for _, thread in ipairs(threads) do
    sum = sum + select(2, ngx.thread.wait(thread))
  end
  ngx.say(" ", sum)
end

--- A run in a timer.
function PLAIN.timer()
  assert(ngx.timer.at(0, function()
    M.timed = aw.run(function()
      aw.sleep(1)
      return "in a timer"
    end)
  end))
  ngx.say(M.timed or "")
end

--- Lets those in that it has asked about.
function M.guard()
  if aw.run(function()
    aw.sleep(2)
    return ngx.var.arg_token
  end) ~= "sesame" then
    return ngx.exit(403)
  end
end

--- Whatever the phase, it says what is wrong.
function M.log()
  if ngx.var.arg_told then
    require("agentwire.host.openresty").request_ended()
  elseif ngx.var.arg_phase == "log" then
    ngx.log(ngx.NOTICE, "in log: ", select(2, pcall(aw.run, function() end)))
  end
end

local words = { name = "words", api = "words" }

function words.stream(_, request, emit)
  local protocol = require("agentwire.provider.protocol")
  emit { type = "text_start", content_index = 0 }
  for i = 1, tonumber((protocol.text_of(request.context.messages[1]))) do
    emit { type = "text_delta", content_index = 0, delta = i .. " " }
    ngx.sleep(0.005) -- of nginx, in a handler of agentwire's
  end
  emit { type = "text_end", content_index = 0 }
end

--- A model server in each worker, at one port.
function M.listen(port)
  aw.spawn(function()
    M.server = assert(aw.serve {
      listen = "ws://127.0.0.1:" .. port, reuse_port = true, provider = words,
    })
  end)
end

--- What has to be said before nginx starts.
function M.init()
  ngx.log(ngx.NOTICE, "in init: ", select(2, pcall(aw.spawn, print)))
end

function M.serve(folder)
  local name = ngx.var.uri:sub(2)
  if PLAIN[name] then
    return PLAIN[name]()
  elseif not ACTS[name] then
    return ngx.exit(404)
  end
  local _, why, code = aw.run(ACTS[name], folder)
  if code then
    ngx.log(ngx.NOTICE, "ended: ", why)
  end
end

return M
