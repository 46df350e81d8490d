-- Two connected ends in one process, and a host for each spec that has to be
-- without tasks when the spec is done.
local aw = require("agentwire")
local host = require("agentwire.host")
local standalone = require("agentwire.host.standalone")
local task = require("agentwire.task")

local M = {
  pair = aw.pair,
  host = nil, -- the host of the spec that runs
}

--- Waits until `condition` holds, where no event says so. Raises after a
--- second.
function M.eventually(condition)
  local ok = task.timeout(1000, function()
    while not condition() do
      task.sleep(1)
    end
    return true
  end)
  assert(ok, "it did not come about within a second")
end

--- Lets everything that waits for nothing but its turn have a hundred of them.
function M.settle()
  for _ = 1, 100 do
    task.yield()
  end
end

--- Runs `body` as the main task. No task may be left.
function M.run(body)
  local before = host.use(standalone.new())
  M.host = host.current()
  local ok, problem = pcall(host.run, body)
  local left = M.host:live_tasks()
  M.host:close()
  host.use(before)
  if not ok then
    error(problem, 0)
  end
  assert(left == 0, left .. " tasks are left")
end

return M
