--- Lines of text, without envelopes: to and from a child process, over this
--- process's own stdin and stdout, between two ends in this process. What
--- JSON-RPC over stdio stands on (docs/lines.md).
local child = require("agentwire._child")
local class = require("agentwire._class")
local events_of = require("agentwire._events")
local guard = require("agentwire._guard")
local host = require("agentwire.host")
local log = require("agentwire.log")
local misuse = require("agentwire._misuse")
local options = require("agentwire._options")
local tables = require("agentwire._tables")
local wait = require("agentwire._wait")

local M = {}

local has = events_of.has
local READABLE, WRITABLE = events_of.lines.READABLE, events_of.lines.WRITABLE
local SKIPPED, OVER = events_of.lines.SKIPPED, events_of.lines.OVER

local WEAK = { __mode = "v" }

---@class agentwire.LinesOptions
---@field line_bytes_max integer? of one line, both ways; 16 MiB
---@field inbox_lines_max integer? that wait to be received, 1024
---@field inbox_bytes_max integer? the same in bytes, 1 MiB; may be passed by a line
---@field outbox_bytes_max integer? that wait to be written, 1 MiB; as above
---@field long_lines "end"|"skip"|nil what a line above `line_bytes_max` does: it
--- ends everything with code "limit" (the default), or is dropped and logged

---@class agentwire.LinesSpawnOptions: agentwire.Child, agentwire.LinesOptions

---@class agentwire.LinesStdioOptions: agentwire.LinesOptions
---@field in_fd integer? a descriptor to read in place of stdin, owned from now on
---@field out_fd integer? one to write in place of stdout; may be the same socket

local SIZE = options.integer(1, 2 ^ 40)
local FD = options.integer(0, 2 ^ 31 - 1)

local LIMITS = options.spec("lines.pair", {
  line_bytes_max = options.integer(1, 256 * 1024 * 1024),
  inbox_lines_max = options.count,
  inbox_bytes_max = SIZE,
  outbox_bytes_max = SIZE,
  long_lines = options.one_of { "end", "skip" },
})
local SPAWN = options.spec("lines.spawn", {}, child.OPTIONS, LIMITS)
local STDIO = options.spec("lines.stdio", { in_fd = FD, out_fd = FD }, LIMITS)

---@class agentwire.Lines
---@field peer string what is at the other end, for people: "child cat"
local Lines = {}
Lines.__index = Lines

function Lines:__tostring()
  return "lines of " .. self.peer
end

local function tell_skipped(peer, core, told)
  local stats = core:stats()
  local count = stats.skipped - told.skipped
  local bytes = stats.skipped_bytes - told.skipped_bytes
  log.write("warn", "line_skipped",
    ("%d too long from the %s: %d bytes"):format(count, peer, bytes),
    { peer = peer, lines = count, bytes = bytes })
  return stats
end

local function tell_unsent(peer, core)
  local bytes, reason = core:stats().unsent_bytes, core:reason()
  if bytes > 0 then
    log.write("warn", "output_dropped",
      ("%d bytes were not taken by the %s: %s"):format(bytes, peer, reason),
      { peer = peer, bytes = bytes, reason = reason })
  end
end

--- Watches until everything is over, also when nobody holds the lines any more.
local function watch(self, current, core)
  local weak, peer, handle = setmetatable({ self }, WEAK), self.peer,
    core:handle()
  local told = core:stats()
  current:watch(handle, function(_, events)
    if has(events, SKIPPED) then
      told = tell_skipped(peer, core, told)
    end
    if has(events, OVER) then
      tell_unsent(peer, core)
      current:unwatch(handle)
    end
    local lines = weak[1]
    if lines then
      lines:_wake(events)
    end
  end)
end

local function new(core, current, peer)
  local self = setmetatable({
    peer = peer,
    _core = core,
    _host = current,
    _readers = nil,
    _writers = nil,
    _over = nil, -- latch
  }, Lines)
  self._anchor, self._guard = guard.new(function()
    core:close()
  end)
  self._readers = wait.signal("a line of", self)
  self._writers = wait.signal("room to send", self)
  self._over = wait.latch("the end of lines")
  watch(self, current, core)
  return self
end

--- What the core says has happened.
---@param events integer
function Lines:_wake(events)
  local is_over = has(events, OVER)
  if is_over then
    self._guard:dismiss()
    self._over:set(true)
  end
  if is_over or has(events, READABLE) then
    self._readers:wake_all()
  end
  if is_over or has(events, WRITABLE) then
    self._writers:wake_all()
  end
end

--- What is left of a timeout, for a wait that may have to look again.
local function deadline_of(self, timeout_ms)
  return timeout_ms and self._host:now() + timeout_ms
end

---@async
---@return string? message, string? code nil: look again
local function await(self, signal, deadline, timeout_ms)
  local _, message, code = signal:wait(deadline and deadline - self._host:now())
  if code then
    message = select(2, wait.timed_out(timeout_ms))
  end
  return message, code
end

--- Sends a line; waits while too much waits to be written.
---@async
---@param text string without line feeds and zero bytes
---@param timeout_ms number?
---@return boolean|nil ok
---@return string? message
---@return string? code "closed"; "invalid_argument": it is no single line;
--- "limit": it is too long, or lines that came were; "timeout"
function Lines:send(text, timeout_ms)
  options.argument("send", "text", options.string, text)
  options.timeout("send", timeout_ms)
  local core, deadline = self._core, deadline_of(self, timeout_ms)
  while true do
    local ok, message, code = core:send(text)
    if ok or code ~= "would_block" then
      return ok, message, code
    end
    message, code = await(self, self._writers, deadline, timeout_ms)
    if code then
      return nil, message, code
    end
  end
end

--- The next line, without its end. Empty lines are none.
---@async
---@param timeout_ms number?
---@return string|nil line
---@return string? message how it ended, when no line will come
---@return string? code "closed", "timeout"; "limit": a line was too long
function Lines:receive(timeout_ms)
  options.timeout("receive", timeout_ms)
  local core, deadline = self._core, deadline_of(self, timeout_ms)
  while true do
    local line, message, code = core:next()
    if line or code then
      return line, message, code
    end
    message, code = await(self, self._readers, deadline, timeout_ms)
    if code then
      return nil, message, code
    end
  end
end

--- Every line up to the end; `reason` says which that was.
---@return fun(): string?
function Lines:each()
  return function()
    return (self:receive())
  end
end

--- Says that nothing more will be sent: a child finds the end of its stdin. Lines
--- still come.
function Lines:finish()
  self._core:finish()
  self._writers:wake_all()
end

--- Ends in order: what was sent goes out, what was not received is dropped, and
--- a child has `kill_after_ms` to end by itself. Idempotent; does not wait.
function Lines:close()
  self._guard:dismiss()
  self._core:close()
  self._readers:wake_all()
  self._writers:wake_all()
end

local SIGNALS = options.one_of { "KILL", "TERM", "INT", "HUP", "QUIT", "USR1",
  "USR2" }

--- Sends a signal to the child, and to what it has started if it is a group.
---@param signal "KILL"|"TERM"|"INT"|"HUP"|"QUIT"|"USR1"|"USR2"|nil KILL
---@return boolean|nil ok
---@return string? message
---@return string? code "closed": it has ended; "unsupported": there is no child
function Lines:kill(signal)
  options.optional("kill", "signal", SIGNALS, signal)
  return self._core:kill(signal or "KILL")
end

--- Waits until both directions have ended, and a child has.
---@async
---@param timeout_ms number?
---@return boolean|nil ok
---@return string? message
---@return string? code "timeout"
function Lines:wait_closed(timeout_ms)
  options.timeout("wait_closed", timeout_ms)
  return self._over:wait(timeout_ms)
end

--- Why no more lines come, or nil while some may.
---@return string? message
---@return "eof"|"closed"|"exited"|"killed"|"terminated"|"too_long"|"lost"|"stuck"|nil cause
---@return integer? status of a child that has "exited", or the number of the
--- signal by which it was "killed"
function Lines:reason()
  return self._core:reason()
end

--- "open"; "finishing": nothing more can be sent; "failing": nobody reads what is
--- sent, or the child has ended; "closing": it was closed; "ended".
---@return string
function Lines:state()
  return self._core:state()
end

--- Of the child, or nil.
---@return integer? pid
function Lines:pid()
  return self._core:pid()
end

--- Counters (docs/lines.md).
---@return table<string, integer>
function Lines:stats()
  return self._core:stats()
end

local function core_options(given)
  local all = tables.copy(given)
  all.skip_long_lines = given.long_lines == "skip"
  all.environment = child.environment(given.env)
  return all
end

--- Starts a child that speaks on its stdin and stdout; its stderr is ours.
---@param given agentwire.LinesSpawnOptions
---@return agentwire.Lines? lines
---@return string? message
---@return string? code "io_error": it cannot be started
function M.spawn(given)
  local checked = SPAWN:check(given)
  if not checked.argv or #checked.argv == 0 then
    misuse.raise("lines.spawn expects argv = {...}, a command and its arguments")
  end
  local current = host.current()
  local core, message, code = current:loop():lines(core_options(checked))
  if not core then
    return nil, ("%s: %s"):format(checked.argv[1], message), code
  end
  return new(core, current, "child " .. checked.argv[1])
end

--- This process's own stdin and stdout. What the program prints from now on goes
--- to stderr, and it finds nothing to read.
---@param given agentwire.LinesStdioOptions?
---@return agentwire.Lines? lines
---@return string? message
---@return string? code "invalid_argument": they are not open
function M.stdio(given)
  local checked = STDIO:check(given)
  local all = core_options(checked)
  all.in_fd, all.out_fd = checked.in_fd or 0, checked.out_fd or 1
  local current = host.current()
  local core, message, code = current:loop():lines(all)
  if not core then
    return nil, "stdin and stdout: " .. message, code
  end
  return new(core, current, "process at stdin and stdout")
end

--- Two that are each other's other end.
---@param given agentwire.LinesOptions?
---@return agentwire.Lines near
---@return agentwire.Lines far
function M.pair(given)
  local checked = LIMITS:check(given)
  local current = host.current()
  local near, far = current:loop():lines_pair(core_options(checked))
  assert(near, far)
  return new(near, current, "pair"), new(far, current, "pair")
end

class.seal(Lines, "lines")

return class.module(M, "aw.lines")
