-- The one place where the provider specs meet the connection under them.
package.path = "./lua/?.lua;./lua/?/init.lua;" .. package.path

local aw = require("agentwire")
local host = require("agentwire.host")
local server = require("agentwire.provider.server")
local standalone = require("agentwire.host.standalone")
local task = require("agentwire.task")

local support = {}

local reports = {}

--- An event of a block, as an adapter emits it.
function support.block_event(kind, index, fields)
  local event = fields or {}
  event.type, event.content_index = kind, index
  return event
end

--- Runs `fn` as a main task, on a host of its own; what failed tasks were
--- reported with is kept for `reported`.
function support.run(fn)
  reports = {}
  local own = standalone.new()
  own.on_error = function(message)
    reports[#reports + 1] = message
  end
  local before = host.use(own)
  local ok, problem = pcall(own.run, own, fn)
  host.use(before)
  local live = own:live_tasks()
  own:close()
  if not ok then
    error(problem, 0)
  end
  assert(live == 0, "tasks are left: " .. live)
end

--- A connected pair; what is sent in the same turn arrives.
function support.pair()
  local a, b = aw.pair()
  task.yield()
  return a, b
end

--- Runs `fn(client, server, a, b)` in a task, with `adapter` served at b.
function support.with(adapter, options, fn)
  if not fn then
    options, fn = nil, options
  end
  return support.run(function()
    local a, b = support.pair()
    local attached = server.attach(b, adapter, options)
    fn(a:provider(), attached, a, b)
    a:close()
    b:close()
  end)
end

--- As `with`, over a WebSocket, which gives each scope credit of its own: 64
--- messages beyond those that were read.
function support.with_credit(adapter, fn)
  return support.run(function()
    local listener = assert(aw.listen("ws://127.0.0.1:0", function(conn)
      server.attach(conn, adapter)
    end))
    local conn = assert(aw.connect("ws://127.0.0.1:" .. listener.port))
    fn(conn:provider())
    conn:close()
    conn:wait_closed(1000)
    listener:close()
  end)
end

--- What the last failed task of this run was reported with.
function support.reported()
  return reports[#reports]
end

--- Lets everything that can happen now happen, on both sides.
function support.settle()
  for _ = 1, 50 do
    task.yield()
  end
end

return support
