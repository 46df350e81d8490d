--- A host in a loop of luv's: of a script that runs `uv.run()`, or of an editor
--- that has its own (`vim.uv`).
local host = require("agentwire.host")
local options = require("agentwire._options")

local M = {}

--- Its loop runs only if somebody runs it, so nobody gets it without asking.
---@return boolean
function M.fits()
  return false
end

local function run_until(uv, is_done)
  while not is_done() do
    uv.run("once")
  end
end

--- What knows luv's loop.
---@param uv table luv, or vim.uv
---@return agentwire.HostDriver
function M.driver(uv)
  local poll, timer = nil, uv.new_timer()
  local is_over -- what `block` waits for, during one
  local self = { name = "luv's loop" }

  function self.arm(fd, timeout_ms, turn)
    if not poll then
      poll = uv.new_poll(fd)
      poll:start("r", turn)
    end
    timer:stop()
    if timeout_ms >= 0 then
      timer:start(timeout_ms, 0, turn)
    end
    if is_over and is_over() then
      uv.stop() -- it calls timers, and would then wait for more
    end
  end

  function self.disarm()
    poll:close()
    timer:close()
  end

  function self.block(is_done)
    is_over = is_done
    local ok, problem = pcall(run_until, uv, is_done)
    is_over = nil
    if not ok then
      error(problem, 0)
    end
  end

  return self
end

--- A host that `uv`'s loop turns, until it is closed. Put it in use with
--- `agentwire.host.use`.
---@param uv table? default: the module luv
---@param given agentwire.HostOptions?
---@return agentwire.EmbeddedHost
function M.new(uv, given)
  uv = uv or require("luv")
  options.argument("luv.new", "uv", options.having("luv", "new_poll"), uv)
  return host.embed(M.driver(uv), given)
end

return M
