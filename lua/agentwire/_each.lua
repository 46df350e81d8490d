--- A stream, or a run of a session, as callbacks: for programs that are made of
--- those. Beneath it is a task that belongs to the host, not to whoever calls.
local class = require("agentwire._class")
local compat = require("agentwire._compat")
local host = require("agentwire.host")
local options = require("agentwire._options")
local task = require("agentwire.task")

-- How long a cancelled run of a session is waited for: its session takes no other
-- prompt before it is over.
local CANCEL_WAIT_MS = 5000

---@class agentwire.EachOptions
---@field on_event (fun(event: table))? each event, in order. It may wait, and
--- holds up the sender meanwhile. If it raises, that is the end: "task_error"
---@field on_done (fun(result: table))? the message, or the run's result
---@field on_error (fun(message: string, code: string))? why there is none; without
--- it that is reported by the host, unless it was cancelled here
---@field prompt string|table|nil what a session is asked
---@field coalesce boolean? deltas of a stream that have arrived together come as
--- one, false

local HANDLERS = options.spec("each", {
  on_event = options.func,
  on_done = options.func,
  on_error = options.func,
  prompt = options.either(options.string, options.table),
  coalesce = options.boolean,
})

-- A stream, a session, or what will give one.
local STREAM = options.having("a stream", "abort")
local SESSION = options.having("a session", "prompt")
local SOURCE = options.either(STREAM, SESSION, options.func)

---@class agentwire.Each
local Each = {}
Each.__index = Each

function Each:__tostring()
  return ("callbacks (%s)"):format(self._status)
end

--- Where it stands. `cancelled` is said from `cancel` on.
---@return "pending"|"streaming"|"success"|"error"|"cancelled"
function Each:status()
  return self._status
end

local function is_over(status)
  return status ~= "pending" and status ~= "streaming"
end

--- Ends it, from wherever: no event comes any more, the peer is asked to stop, and
--- `on_error` is called with the code "cancelled" once it is over. Idempotent.
---@param reason string?
---@return boolean whether it was still under way
function Each:cancel(reason)
  options.optional("each:cancel", "reason", options.string, reason)
  if is_over(self._status) then
    return false
  end
  self._status = "cancelled"
  self._reason = reason
  self._task:cancel(reason)
  return true
end

class.seal(Each, "each")

local function open(source)
  if type(source) ~= "function" then
    return source
  end
  local opened, message, code = source()
  if opened ~= nil then
    options.argument("each", "what the function returns",
      options.either(STREAM, SESSION), opened)
  end
  return opened, message, code
end

local function tell(self, on_event, event)
  if self._status == "pending" then
    self._status = "streaming"
  end
  if on_event then
    on_event(event)
  end
end

local function read(self, source, given)
  local opened, message, code = open(source)
  if opened == nil then
    return nil, message or "nothing was opened", code or "closed"
  end
  self._opened = opened
  local on_event = given.on_event
  if STREAM.accepts(opened) then
    for event in opened:events { coalesce = given.coalesce or false } do
      tell(self, on_event, event)
    end
    return opened:result()
  end
  options.argument("each", "prompt", options.any, given.prompt)
  local step, events = opened:prompt(given.prompt)
  for event in step, events do
    tell(self, on_event, event)
  end
  return events:result()
end

-- The peer hears that nobody reads any more.
local function give_up(opened)
  if opened == nil or opened:is_ended() then
    return
  elseif STREAM.accepts(opened) then
    return opened:close()
  elseif not opened:is_complete() then
    task.timeout(CANCEL_WAIT_MS, function()
      opened:cancel()
      opened:result()
    end)
  end
end

local function conclude(self, given)
  local outcome = self._outcome
  local result, message, code
  if outcome then
    result, message, code = compat.unpack(outcome, 1, 3)
  end
  if not outcome or self._status == "cancelled" or result == nil then
    give_up(self._opened)
  end
  if self._status == "cancelled" or not outcome then
    self._status = "cancelled"
    result, code = nil, "cancelled"
    message = self._reason and "cancelled: " .. self._reason or "cancelled"
  else
    self._status = result ~= nil and "success" or "error"
  end
  if result ~= nil then
    return given.on_done and given.on_done(result)
  elseif given.on_error then
    return given.on_error(message, code)
  elseif code ~= "cancelled" then
    self._host:report(message, "each")
  end
end

--- Reads a stream, or prompts a session and reads the run, and calls back.
--- Exactly one of `on_done` and `on_error` is called, once, after the last event;
--- what they raise is reported by the host. May be called from anywhere, as may
--- the handle's methods.
---
---     local handle = aw.each(function() -- or a stream, or a session
---       local conn = assert(aw.connect(url))
---       return conn:provider():start_stream(request)
---     end, {
---       on_event = function(event) ... end,
---       on_done = function(message) ... end,
---       on_error = function(message, code) ... end,
---     })
---@param source agentwire.Stream|agentwire.Session|function a function is called
--- in a task, may wait, and returns either, or nil, message, code
---@param handlers agentwire.EachOptions
---@return agentwire.Each handle
return function(source, handlers)
  options.argument("each", "source", SOURCE, source)
  options.argument("each", "handlers", options.table, handlers)
  HANDLERS:check(handlers)
  if type(source) ~= "function" and not STREAM.accepts(source) then
    options.argument("each", "handlers.prompt", options.any, handlers.prompt)
  end
  local self = setmetatable({
    _host = host.current(),
    _status = "pending",
    _reason = nil,
    _opened = type(source) ~= "function" and source or nil,
    _outcome = nil,
    _task = nil,
  }, Each)
  local function run()
    local reader = task.spawn(read, self, source, handlers)
    self._outcome = compat.pack(reader:join())
  end
  self._task = self._host:spawn(run)
  self._task:defer(function()
    conclude(self, handlers)
  end)
  return self
end
