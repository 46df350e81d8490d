--- `agentwire chat`: a session with an agent, at a terminal or in a pipe.
local aw = require("agentwire")
local exits = require("agentwire.command._exit")
local files = require("agentwire.command.files")
local locals = require("agentwire.command._local")
local peer = require("agentwire.command._peer")
local screens = require("agentwire.command._screen")
local shows = require("agentwire.command._show")

local M = {
  summary = "Talk to an agent: of a server, or in this process",
  takes = { "[URL]" },
  options = peer.with {
    { "--model REF", "the model to ask, if the agent leaves that open" },
    { "--system TEXT", "the system prompt" },
    { "--files FOLDER", "let the agent look at the files below it; it does "
      .. "that here, in this process" },
    { "--thinking", "show what the model thinks" },
    { "--json", "each event as one JSON value, in a line" },
  },
  more = {
    "At a terminal the answer is shown as it is written. Ctrl-C stops an "
      .. "answer, a second one leaves; so does Ctrl-D.",
    "In a pipe each line of stdin is a question, and stdout has the answers "
      .. "and nothing else. The status is that of the first failure.",
    "Without a URL the scripted model answers, which needs no network and "
      .. "knows little but how to use tools: try --files .",
  },
}

---@class agentwire.command.Chat
local Chat = {}
Chat.__index = Chat

--- An agent of this process, at the other end of a pair.
local function connect_here(screen)
  local near, far = aw.pair()
  local options = locals.agent(screen.out_terminal)
  options.provider = aw.provider.loopback(options.provider)
  aw.agent.attach(far, aw.agent.service(options))
  return near
end

local function start(conn, given)
  local tools, why
  if given.files then
    tools, why = files.new(given.files)
    if not tools then
      return nil, "--files: " .. why, "usage"
    end
  end
  return conn:agent():start {
    model = given.model, system_prompt = given.system, tools = tools,
  }
end

---@param conn agentwire.Connection
---@param given table
---@param screen agentwire.command.Screen
---@return agentwire.command.Chat|nil chat
---@return string? message
---@return string? code
function M.new(conn, given, screen)
  local session, message, code = start(conn, given)
  if not session then
    return nil, message, code
  end
  return setmetatable({
    conn = conn, session = session,
    _screen = screen, _show = shows.new(screen, given.thinking),
    _asking = false, -- whether a run is under way
    _warned = false, -- the next Ctrl-C leaves
    _status = exits.OK, -- of the first failure
    _talker = nil,
    _left = nil, -- the status of who was made to leave
  }, Chat)
end

local function json_event(self, event)
  if self._screen.json then
    self._screen:value(event)
    return true
  end
end

-- A run that failed; the first one decides the status.
local function fail(self, message, code)
  json_event(self, { type = "error", message = message, code = code })
  self._screen:finish_line()
  self._screen:tell("chat: " .. message)
  if self._status == exits.OK then
    self._status = exits.of(message, code)
  end
end

--- One question and its answer.
---@param question string
---@param streamed boolean show the answer as it comes
---@param on_event (fun(event: table))|nil is told each event besides
---@return table|nil result
---@return string? message
---@return string? code
function Chat:ask(question, streamed, on_event)
  self._asking = true
  for event in self.session:prompt(question) do
    if not json_event(self, event) and streamed then
      self._show:event(event)
    end
    if on_event then
      on_event(event)
    end
  end
  local result, message, code = self.session:result()
  self._asking = false
  self._screen:status(nil)
  if not result then
    fail(self, message, code)
  elseif json_event(self, { type = "result", result = result }) then
    return result
  elseif streamed then
    self._show:finish(result)
  else
    self._screen:print(result.text or "")
  end
  return result, message, code
end

local function prompt(self)
  local screen = self._screen
  screen:print()
  screen:prompt(screen:paint("bold", "> "))
end

local function leave(self, status)
  self._left = self._left or status
  self._talker:cancel("leaving")
end

-- The first Ctrl-C stops what runs, or says how to leave; the next one leaves.
local function interrupt(self)
  local screen = self._screen
  screen:line_was_entered() -- the terminal has thrown away what was typed
  if self._warned then
    screen:print()
    return leave(self, exits.INTERRUPTED)
  end
  self._warned = true
  if self._asking then
    self._show:mute()
    screen:status("stopping")
    self.session:cancel("interrupted")
  else
    screen:print()
    screen:print(screen:paint("dim", "Ctrl-C again leaves, and so does Ctrl-D."))
    prompt(self)
  end
end

local function watch_interrupts(self)
  while aw.signal("INT") do
    interrupt(self)
  end
end

local function watch_connection(self)
  local _, code = self.conn:wait_closed()
  if code ~= "timeout" and not self._asking and not self._left then
    local why = self.conn:why_closed()
    self._screen:print()
    self._screen:line_was_entered()
    self._screen:tell("chat: the connection is over: " .. tostring(why))
    leave(self, exits.CONNECTION)
  end
end

-- What the agent is, before the first question.
local function greet(self, given)
  local status = self.session:status(5000) or {}
  local tools = self.session:tools(nil, 5000) or {}
  local screen = self._screen
  screen:print(("%s %s, with %d tool%s"):format(
    screen:paint("bold", screens.one_line(status.model or "An agent")),
    given.URL and "at " .. peer.url(given.URL) or "in this process",
    #tools, #tools == 1 and "" or "s"))
  screen:print(screen:paint("dim",
    "Ctrl-C stops an answer, Ctrl-D leaves."))
end

--- Every line of stdin; one that cannot be read is the last, and a failure.
local function questions(self)
  return function()
    local line, message, code = aw.stdin:line()
    if not line and code ~= "closed" then
      fail(self, "stdin: " .. message, "failed")
    end
    return line
  end
end

local function talk(self)
  prompt(self)
  for question in questions(self) do
    self._warned = false
    self._screen:line_was_entered()
    if question:find("%S") then
      self:ask(question, true)
      if self.session:is_ended() then
        return self._status
      end
    end
    prompt(self)
  end
  self._screen:print()
  return exits.OK -- a person has seen what failed
end

--- At a terminal.
---@param given table
---@return integer status
function Chat:at_terminal(given)
  greet(self, given)
  local watchers = { aw.spawn(watch_interrupts, self),
    aw.spawn(watch_connection, self) }
  self._talker = aw.spawn(talk, self) -- asks when Ctrl-C is watched already
  local status, message, code = self._talker:join()
  for _, watcher in ipairs(watchers) do
    watcher:cancel()
  end
  if not status and code ~= "cancelled" then
    error(message, 0)
  end
  return self._left or status
end

--- Questions from a pipe, answers to stdout.
---@return integer status
function Chat:in_pipe()
  local streamed = self._screen.out_terminal
  for question in questions(self) do
    if question:find("%S") then
      self:ask(question, streamed)
      if self.session:is_ended() then
        break
      end
    end
  end
  return self._status
end

local function say_goodbye(chat, left)
  if not left and chat.conn:is_open() then
    chat.session:stop(nil, 2000)
  end
  chat.conn:close()
end

function M.run(given, screen)
  local conn, message, code
  if given.URL then
    conn, message, code = peer.connect(given, screen)
  else
    conn = connect_here(screen)
  end
  if not conn then
    return nil, message, code
  end
  local chat
  chat, message, code = M.new(conn, given, screen)
  if not chat then
    conn:close()
    return nil, message, code
  end
  local status
  if screen.in_terminal and screen.out_terminal and not screen.json then
    status = chat:at_terminal(given)
  else
    status = chat:in_pipe()
  end
  say_goodbye(chat, chat._left)
  return status
end

return M
