--- A host in a loop of luv's, of a script that runs `uv.run()`, and the driver
--- that Neovim's host shares with it (agentwire.host.nvim).
local host = require("agentwire.host")
local options = require("agentwire._options")

local M = {}

--- Its loop runs only if somebody runs it, so nobody gets it without asking.
---@return boolean
function M.fits()
  return false
end

---@class agentwire.LuvDriverOptions
---@field name string? of the loop, for messages
---@field later (fun(turn: fun()))? has `turn` called soon, outside of the loop's
--- callbacks; nil: those call it themselves
---@field block (fun(is_done: fun(): boolean))? runs the loop until `is_done()`

local DRIVER = options.spec("luv.driver", {
  name = options.filled,
  later = options.func,
  block = options.func,
})

local function run_until(uv, is_done)
  while not is_done() do
    uv.run("once")
  end
end

local function run_loop(self)
  return function(is_done)
    self._is_done = is_done
    local ok, problem = pcall(run_until, self._uv, is_done)
    self._is_done = nil
    if not ok then
      error(problem, 0)
    end
  end
end

-- Between the loop's callback and the turn that it has asked for. The descriptor
-- stays readable until the turn, so it is not looked at meanwhile.
local function ask_for_turn(self)
  if self._asked then
    return
  end
  self._asked = true
  self._poll:stop()
  self._timer:stop()
  -- What is scheduled in a callback of a timer or an idle handle runs when the
  -- loop next returns, and it would wait for its descriptors first. Idle it does
  -- not, for two rounds: longer would be a busy loop wherever whoever runs the
  -- loop looks only for something else, as an editor that waits for a process.
  self._rounds = 2
  self._idle:start(self._on_idle)
  self._later(self._on_turn)
end

local function on_ready(self)
  if self._later then
    ask_for_turn(self)
  else
    self._idle:stop()
    self._turn()
  end
end

local function on_idle(self)
  if not self._asked then
    return on_ready(self)
  end
  self._rounds = self._rounds - 1
  if self._rounds == 0 then
    self._idle:stop()
  end
end

local function on_turn(self)
  self._asked = false
  if not self._is_over then
    self._idle:stop()
    self._turn()
  end
end

local function arm(self, fd, timeout_ms, turn)
  if self._asked then
    return -- a turn comes, and asks again
  end
  self._turn = turn
  if not self._poll then
    self._poll = self._uv.new_poll(fd)
  end
  if not self._poll:is_active() then
    self._poll:start("r", self._on_ready)
  end
  self._timer:stop()
  if timeout_ms == 0 then
    self._idle:start(self._on_idle)
  else
    self._idle:stop()
  end
  if timeout_ms > 0 then
    self._timer:start(timeout_ms, 0, self._on_ready)
  end
  if self._is_done and self._is_done() then
    self._uv.stop() -- it calls timers, and would then wait for more
  end
end

--- What knows luv's loop.
---@param uv table luv, or vim.uv
---@param given agentwire.LuvDriverOptions?
---@return agentwire.HostDriver
function M.driver(uv, given)
  given = DRIVER:check(given)
  local self = {
    _uv = uv,
    _later = given.later,
    _poll = nil,
    _timer = uv.new_timer(),
    _idle = uv.new_idle(),
    _turn = nil,
    _asked = false,
    _rounds = 0,
    _is_over = false,
    _is_done = nil, -- what `block` waits for, during one
  }
  self._on_ready = function()
    on_ready(self)
  end
  self._on_idle = function()
    on_idle(self)
  end
  self._on_turn = function()
    on_turn(self)
  end
  return {
    name = given.name or "luv's loop",
    block = given.block or run_loop(self),
    arm = function(fd, timeout_ms, turn)
      arm(self, fd, timeout_ms, turn)
    end,
    disarm = function()
      self._is_over = true
      self._poll:close()
      self._timer:close()
      self._idle:close()
    end,
  }
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
