-- What is said between two turns of a host in somebody else's loop goes out at
-- once: nobody has to nudge the host, which would otherwise sleep until its
-- next ping.
local aw = require("agentwire")
local core = require("agentwire.core")
local foreign = require("spec.support.foreign")
local host = require("agentwire.host")
local standalone = require("agentwire.host.standalone")
local task = require("agentwire.task")

local SOON_MS = 50
local PATIENCE_MS = 5000

local function now_ms()
  return core.monotonic_us() / 1000
end

--- A model that never says a word, and a client with a stream of it.
local function silent_stream(parts)
  parts.server = assert(aw.serve {
    listen = "ws://127.0.0.1:0",
    provider = {
      name = "silent", api = "silent",
      stream = function()
        task.sleep(math.huge)
      end,
    },
  })
  parts.conn = assert(aw.connect(parts.server.url))
  parts.stream = assert(parts.conn:provider():start_stream {
    model = "silent/silent",
    context = { messages = { { role = "user", content = "x" } } },
  })
end

-- What is done from outside of a turn, and how a task notices.
local DEEDS = {
  {
    "a stream is aborted",
    prepare = silent_stream,
    wait = function(parts)
      parts.stream:result()
    end,
    deed = function(parts)
      parts.stream:abort()
    end,
  },
  {
    "a connection is closed",
    prepare = silent_stream,
    wait = function(parts)
      parts.conn:wait_closed()
    end,
    deed = function(parts)
      parts.conn:close()
    end,
  },
  {
    "a link is cut",
    prepare = function(parts)
      silent_stream(parts)
      parts.down = task.waiter("the cut")
      parts.conn:on_state(function()
        parts.down:wake()
      end)
    end,
    wait = function(parts)
      parts.down:wait()
    end,
    deed = function(parts)
      parts.conn:cut("a test")
    end,
  },
  {
    "a server is closed",
    prepare = silent_stream,
    wait = function(parts)
      parts.server:wait_closed()
    end,
    deed = function(parts)
      parts.server:close()
    end,
  },
  {
    "a task is spawned",
    prepare = function(parts)
      parts.began = task.waiter("the spawned task")
    end,
    wait = function(parts)
      parts.began:wait()
    end,
    deed = function(parts)
      aw.spawn(function()
        parts.began:wake()
      end)
    end,
  },
  {
    "a waiter is woken",
    prepare = function(parts)
      parts.waiter = task.waiter("a callback")
    end,
    wait = function(parts)
      parts.waiter:wait()
    end,
    deed = function(parts)
      parts.waiter:wake()
    end,
  },
  {
    "a task is cancelled",
    prepare = function(parts)
      parts.task = task.spawn(task.sleep, math.huge)
    end,
    wait = function(parts)
      parts.task:join()
    end,
    deed = function(parts)
      parts.task:cancel()
    end,
  },
  {
    "a function is scheduled",
    prepare = function(parts)
      parts.waiter = task.waiter("a scheduled function")
    end,
    wait = function(parts)
      parts.waiter:wait()
    end,
    deed = function(parts)
      host.current():schedule(function()
        parts.waiter:wake()
      end)
    end,
  },
  {
    "a timer is made that is due before all others",
    prepare = function(parts)
      parts.waiter = task.waiter("a timer")
    end,
    wait = function(parts)
      parts.waiter:wait()
    end,
    deed = function(parts)
      host.current():timer(1, function()
        parts.waiter:wake()
      end)
    end,
  },
  {
    "an envelope is sent",
    prepare = function(parts)
      parts.near, parts.far = aw.pair()
      parts.heard = task.waiter("an envelope")
      parts.far:serve("provider", function(channel)
        channel:receive()
        parts.heard:wake()
      end)
      parts.channel = assert(parts.near:open("provider"))
    end,
    wait = function(parts)
      parts.heard:wait()
    end,
    deed = function(parts)
      assert(parts.channel:try_send("stream_request", {}))
    end,
  },
}

--- The deed is done from the foreign loop, when all is quiet.
local function delay_of(new_loop, each)
  local h = standalone.new()
  local before = host.use(h)
  local loop = new_loop(h)
  local parts, done_at, noticed_at = {}, nil, nil
  local main = h:spawn(task.timeout, PATIENCE_MS, function()
    each.prepare(parts)
    loop.after(200, function()
      done_at = now_ms()
      each.deed(parts)
    end)
    each.wait(parts)
    noticed_at = now_ms()
  end)
  loop.run(function()
    return noticed_at or main:is_done()
  end)
  h:close()
  host.use(before)
  assert(noticed_at, select(2, main:join()))
  return noticed_at - done_at
end

for name, new_loop in pairs(foreign.loops) do
  describe("in a loop of " .. name .. ", at once and without a nudge", function()
    for _, each in ipairs(DEEDS) do
      it(each[1], function()
        local ms = delay_of(new_loop, each)
        assert(ms < SOON_MS, ("%.0f ms"):format(ms))
      end)
    end
  end)
end
