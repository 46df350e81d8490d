-- A peer whose envelopes are well formed and whose payloads hold anything, in
-- both roles: what fuzz_payload.c calls for each input. The input's bytes take
-- every decision. Nothing may break a handler or a client: whatever comes is
-- answered or refused, and every task has ended when the connection has.
local aw = require("agentwire")
local host = require("agentwire.host")
local json = require("agentwire.json")
local payloads = require("tests.fuzz.payloads")
local standalone = require("agentwire.host.standalone")
local task = require("agentwire.task")

local KINDS = { "provider", "agent", "tool" }
local SCOPES_MAX, STEPS_MAX, WAIT_MS = 12, 60, 20000

-- The input: each byte answers one question; when they are used up, 0 does.
local Choice = {}
Choice.__index = Choice

local function choice(bytes)
  return setmetatable({ bytes = bytes, at = 0 }, Choice)
end

function Choice:left()
  return #self.bytes - self.at
end

function Choice:below(limit)
  self.at = self.at + 1
  return (self.bytes:byte(self.at) or 0) % limit
end

function Choice:pick(list)
  return list[self:below(#list) + 1]
end

function Choice:text()
  local len = self:below(12)
  local text = self.bytes:sub(self.at + 1, self.at + len)
  self.at = self.at + len
  return text
end

local function value(from, ids, depth)
  local what = from:below(depth > 4 and 5 or 8)
  if what < 3 then
    return from:pick(payloads.VALUES)
  elseif what == 3 then
    return from:pick(ids)
  elseif what == 4 then
    local text = from:text()
    return json.encode(text) and text or "?"
  end
  local made = what == 5 and json.array {} or {}
  for index = 1, from:below(4) do
    local key = what == 5 and index or from:pick(payloads.MEMBERS)
    made[key] = value(from, ids, depth + 1)
  end
  return made
end

-- Puts a value somewhere into a payload: at the top, or below it.
local function spoil(from, ids, payload)
  local at = payload
  while from:below(3) == 0 do
    local below = at[from:pick(payloads.MEMBERS)] or at[1]
    if type(below) ~= "table" or below == json.null then
      break
    end
    at = below
  end
  local key = json.is_array(at) and 1 or from:pick(payloads.MEMBERS)
  at[key] = value(from, ids, 0)
end

local function payload_of(from, type, ids)
  local make = payloads.GOOD[type]
  local payload = make and from:below(8) > 0 and make(from, ids) or {}
  for _ = 1, from:below(4) do
    spoil(from, ids, payload)
  end
  return payload
end

-- The peer as a client: any type in any scope, of what a server serves.

local function open_one(from, client, channels, ids)
  local channel = client:open(from:pick(KINDS))
  if channel then
    table.insert(channels, channel)
    table.insert(ids, channel.id)
  end
  return channel
end

local function say_one(from, client, channels, ids)
  local channel = #channels > 0 and from:below(4) > 0 and from:pick(channels)
    or #channels < SCOPES_MAX and open_one(from, client, channels, ids)
    or channels[1]
  local type = from:pick(payloads.ASKED[channel.kind])
  local payload = payload_of(from, type, ids)
  if from:below(16) == 1 then
    client:send_control(channel.kind, channel.id, type, payload)
  else
    channel:try_send(type, payload)
  end
  repeat
    local event = channel:next()
    for _, member in ipairs { "execution_id", "tool_call_id", "tool_id" } do
      if event and event[member] and #ids < 40 then
        table.insert(ids, event[member])
      end
    end
  until not event
end

-- Both ends are open when the loop has turned.
local function open_pair()
  local client, server = aw.pair()
  while not (client:info().up and server:info().up) do
    task.yield()
  end
  return client, server
end

local function be_client(from)
  local client, server = open_pair()
  payloads.serve_all(server)
  local channels, ids = {}, { "00000000-0000-4000-8000-000000000001", "e1" }
  for step = 1, STEPS_MAX do
    if from:left() == 0 then
      break
    end
    say_one(from, client, channels, ids)
    if step % 4 == 0 or from:below(3) == 0 then
      task.yield()
    end
  end
  assert(client:ping(WAIT_MS), "the connection is gone")
  client:close()
  server:close()
end

-- The peer as a server: what clients of each kind are told.

local function answer(from, channel, ids)
  for _ = 1, STEPS_MAX do
    if from:left() == 0 or channel:is_ended() then
      break
    end
    local type = from:pick(payloads.SAID[channel.kind])
    local payload = payload_of(from, type, ids)
    if from:below(16) == 1 then
      channel.connection:send_control(channel.kind, channel.id, type, payload)
    elseif not channel:try_send(type, payload,
      from:below(2) == 1 and channel:message_id() or nil) then
      break
    end
    if from:below(4) == 0 then
      task.yield()
      channel:next()
    end
  end
end

local function lie(from, conn, ids)
  for _, kind in ipairs(KINDS) do
    conn:serve(kind, function(channel)
      local request = channel:receive()
      table.insert(ids, request and request.execution_id or channel.id)
      if kind == "agent" and from:below(8) > 0 then
        channel:try_send("agent_started", { session_id = channel.id },
          channel:message_id())
      end
      answer(from, channel, ids)
      channel:try_send(payloads.LAST[kind], { code = "internal_error",
        message = "enough", session_id = channel.id })
    end)
  end
end

local function be_server(from)
  local client, server = open_pair()
  lie(from, server, { "x" })
  local users = {}
  for n = 1, 1 + from:below(3) do
    users[n] = task.spawn(from:pick(payloads.USES), client)
  end
  for _ = 1, STEPS_MAX do -- all that waits for nothing but its turn
    task.yield()
  end
  client:close()
  server:close()
  for _, user in ipairs(users) do
    local _, message, code = user:join(WAIT_MS)
    assert(code ~= "timeout", "a client's call outlives its connection")
    assert(code ~= "task_error", message)
  end
end

-- One host for all inputs: what is left of one would show in the next.
local mine = standalone.new()
host.use(mine)

---@param bytes string the input
local function play(bytes)
  local from, report = choice(bytes), nil
  mine.on_error = function(message, what)
    report = report or what .. ": " .. message
  end
  mine:run(from:below(2) == 0 and be_client or be_server, from)
  local left = mine:live_tasks()
  assert(left == 0, left .. " tasks are left")
  assert(report == nil, report)
end

return play
