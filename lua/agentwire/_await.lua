--- A function with a callback, as a call that waits.
local compat = require("agentwire._compat")
local options = require("agentwire._options")
local wait = require("agentwire._wait")

--- Calls `fn(done)` and waits until `done(...)` is called, from wherever that is:
--- a callback of the editor, of another library, of another task. The first call
--- counts. If the wait ends before, by its time or a cancellation, what `fn` has
--- returned is called, to take back what it began.
---
---     local choice = aw.await(function(done)
---       vim.ui.select({ "yes", "no" }, { prompt = "Run it?" }, done)
---     end)
---@async
---@param fn fun(done: fun(...: any)): fun()? may return what undoes it
---@param timeout_ms number?
---@return any ... what `done` was given, or nil, message, "timeout"
return function(fn, timeout_ms)
  options.argument("await", "fn", options.func, fn)
  wait.waiting_task()
  timeout_ms = wait.check_timeout(timeout_ms)
  local waiter, results, is_late = wait.waiter("a callback"), nil, false
  local undo = fn(function(...)
    if not (results or is_late) then
      results = compat.pack(...)
      waiter:wake()
    end
  end)
  options.optional("await", "what fn returns", options.func, undo)
  if not results then
    local ok, problem, message, code = pcall(waiter.wait, waiter, timeout_ms)
    is_late = true
    if not results and undo then
      undo()
    end
    if not ok then
      error(problem, 0)
    elseif not results then
      return nil, message, code
    end
  end
  return compat.unpack(results, 1, results.n)
end
