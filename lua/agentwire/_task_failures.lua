--- The failures of tasks: each is told to somebody, who joined the task or, when
--- nobody will, the host.
local compat = require("agentwire._compat")

local M = {}

--- Somebody has heard of it.
---@param failure table
local function see(failure)
  if not failure.seen then
    failure.seen = true
    failure.siblings[failure] = nil
    failure.scheduler._unseen = failure.scheduler._unseen - 1
  end
end

M.see = see

local function report_failure(failure)
  if not failure.seen then
    see(failure)
    failure.scheduler:report(failure.message, failure.name)
  end
end

--- Remembers how `t` failed until somebody joins it, its parent ends, or its
--- handle is collected, which is when it is certain that nobody will.
---@param t agentwire.Task
function M.note(t)
  local scheduler, parent = t._scheduler, t._parent
  parent._failures = parent._failures or {}
  local failure = {
    scheduler = scheduler,
    siblings = parent._failures,
    name = tostring(t),
    message = t._message,
    seen = false,
  }
  t._failure = failure
  parent._failures[failure] = true
  scheduler._failed = true
  scheduler._unseen = scheduler._unseen + 1
  t._anchor = compat.on_collect(function()
    if not failure.seen then
      -- Not reported from here: a finalizer may run in the middle of anything.
      scheduler:schedule(report_failure, failure)
    end
  end)
end

--- Tells the host of those of the children's that nobody has seen.
---@param t agentwire.Task
function M.report_all(t)
  for failure in pairs(t._failures) do
    report_failure(failure)
  end
  t._failures = false
end

return M
