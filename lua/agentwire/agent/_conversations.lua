--- Conversations that outlive their session: whose they are, reading and
--- writing them. A store is asked by keys that hold the owner's identity and
--- the id, so that one which knows nothing of owners keeps them apart as well.
local history = require("agentwire.agent._history")
local identity = require("agentwire._identity")
local log = require("agentwire.log")
local shares = require("agentwire._shares")
local tables = require("agentwire._tables")
local task = require("agentwire.task")
local wait = require("agentwire._wait")

local M = {}

-- How long a store may take for one answer.
local TIMEOUT_MS = 30000

-- How long a session whose client has gone may take to end for its successor.
local HANDOVER_MS = 5000

---@class agentwire.Conversations of one service
local Conversations = {}
Conversations.__index = Conversations

---@param store agentwire.AgentStore?
---@param timeout_ms number?
---@return agentwire.Conversations
function M.new(store, timeout_ms)
  return setmetatable({
    _store = store,
    _timeout_ms = timeout_ms or TIMEOUT_MS,
    _open = {}, -- by key
  }, Conversations)
end

--- An id in the one form that a store is asked for; nil for what is no UUID.
---@param id any
---@return string?
function M.read_id(id)
  local hex = ("%x"):rep(4)
  local pattern = "^" .. hex .. hex .. "%-" .. hex .. "%-" .. hex .. "%-" .. hex
    .. "%-" .. hex .. hex .. hex .. "$"
  return type(id) == "string" and id:match(pattern) and id:lower() or nil
end

--- The key is a file's name if need be: an owner's id may hold anything.
local function key_of(owner, id)
  if owner == "" then
    return id
  end
  return owner:gsub("[^%w_-]", function(char)
    return ("%%%02X"):format(char:byte())
  end) .. "." .. id
end

local function ask(self, method, ...)
  local store = self._store
  local results = { pcall(task.timeout, self._timeout_ms, store[method], store,
    ...) }
  if results[1] then
    return results[2], results[3]
  elseif task.is_cancelled(results[2]) then
    error(results[2], 0)
  end
  return false, wait.error_text(results[2])
end

local function report(key, what, why)
  log.write("error", "store_failed", ("a conversation cannot be %s: %s")
    :format(what, tostring(why)), { key = key })
end

---@class agentwire.Conversation
---@field id string
---@field messages table[] as loaded
local Conversation = {}
Conversation.__index = Conversation

--- A session whose client has gone gives its conversation to the client's next
--- one; a session whose client is there keeps it.
local function take_over(other)
  if other.connection:is_open() then
    return nil
  end
  other.task:cancel("its client has started it again")
  return other.closed:wait(HANDOVER_MS)
end

local function load(self, made)
  local messages, why = ask(self, "load", made.key, made.connection.identity)
  if messages == nil and why == nil then
    return nil
  end
  local problem = messages and history.problem(messages)
  if problem or not messages then
    report(made.key, "loaded", problem or why or "the store gave false")
    return nil, "the conversation cannot be loaded: the store has failed",
      "internal_error"
  end
  return tables.copy(messages)
end

--- Opens a conversation for the current task's session: the one that the store
--- knows by this id, else a new one.
---@async
---@param connection agentwire.Connection its owner's
---@param id string as `read_id` gave it
---@param known boolean refuse (`session_expired`) one that the store does not know
---@return agentwire.Conversation? conversation
---@return string? message
---@return string? code
function Conversations:open(connection, id, known)
  local made = setmetatable({
    id = id,
    key = key_of(identity.owner(connection), id),
    messages = {},
    connection = connection,
    task = task.current(),
    closed = wait.latch("the end of a conversation"),
    _conversations = self,
    _changed = false,
    _bytes = 0,
  }, Conversation)
  if not self._store then
    if known then
      return nil, "there is nothing to resume from " .. id, "session_expired"
    end
    return made
  end
  local other = self._open[made.key]
  if other and not take_over(other) or self._open[made.key] then
    return nil, "this conversation is open in another session", "agent_busy"
  end
  self._open[made.key] = made
  return self:_load(made, known)
end

function Conversations:_load(made, known)
  local returned, messages, why, code = pcall(load, self, made)
  if returned and not code and (messages or not known) then
    made.messages = messages or {}
    return made
  end
  made:close()
  if not returned then
    error(messages, 0)
  elseif code then
    return nil, why, code
  end
  return nil, "there is nothing to resume from " .. made.id, "session_expired"
end

--- What the strings in a value take.
local function size_of(value)
  if type(value) == "string" then
    return #value
  elseif type(value) ~= "table" then
    return 0
  end
  local size = 0
  for _, member in pairs(value) do
    size = size + size_of(member)
  end
  return size
end

--- Counts what a session holds of it, for the shares of its owner.
---@param held table
function Conversation:measure(held)
  local bytes = size_of(held)
  shares.hold(self.connection, bytes - self._bytes)
  self._bytes = bytes
end

--- Notes that it has changed.
function Conversation:touch()
  self._changed = true
end

--- Saves it, if it has changed.
---@async
---@param messages table[]
---@return true|nil ok
---@return string? message
function Conversation:save(messages)
  local conversations = self._conversations
  if not self._changed or not conversations._store then
    return true
  end
  self._changed = false
  local ok, why = ask(conversations, "save", self.key, tables.copy(messages),
    self.connection.identity)
  if ok == false or not ok and why ~= nil then
    self._changed = true
    report(self.key, "saved", why or "the store gave false")
    return nil, "the conversation cannot be saved: the store has failed"
  end
  return true
end

--- Lets go of it. Idempotent.
function Conversation:close()
  local open = self._conversations._open
  if open[self.key] == self then
    open[self.key] = nil
  end
  self:measure({})
  self.closed:set(true)
end

return M
