--- Coming back after a loss: how often, how soon, where to, and when what was
--- open is given up. `keep` is the task of a connection's life, from its first
--- opening to `farewell`; it alone dials again. The functions take the
--- connection that they are about. Each attempt is an event, and the last of
--- them says why.
local core = require("agentwire.core")
local log = require("agentwire.log")
local task = require("agentwire.task")
local wait = require("agentwire._wait")

local M = {}

-- Close codes after which coming back is useless: a farewell, a newer twin of
-- this connection, a refusal of what we are (docs/wire.md section 7).
local FINAL_CODES = { [1000] = true, [1008] = true, [4001] = true, [4003] = true }

-- A peer cannot send us away for longer than this.
local MAX_AFTER_MS = 60000

-- Failures at the URL that a goodbye named before the first one has its turn.
local MAX_MOVED_FAILURES = 2

-- How long the end of a program waits for what was sent last to go out.
local FAREWELL_MS = 3000

---@param policy agentwire.ReconnectPolicy|boolean|nil
---@return table|false
function M.policy(policy)
  if policy == false then
    return false
  elseif policy == nil or policy == true then
    policy = {}
  end
  return {
    attempts = policy.attempts or math.huge,
    min_ms = policy.min_ms or 100,
    max_ms = policy.max_ms or 10000,
  }
end

--- What of a URL may be shown: what follows the path may be a secret.
---@param url string
---@return string
function M.shown(url)
  return (url:gsub("[?#].*$", ""):gsub("//[^/]*@", "//"))
end

---@return string? scheme, string? host, string? port
local function split(url)
  local scheme, authority = url:match("^([Ww][Ss][Ss]?)://([^/?#]+)")
  if not scheme or url:find("[%c%s\127-\255]") or authority:find("@", 1, true)
  then
    return nil
  end
  local host, port = authority:match("^(%[[^%]]*%]):?(%d*)$")
  if not host then
    host, port = authority:match("^([^:]+):?(%d*)$")
  end
  return scheme:lower(), host and host:lower(), port
end

local function is_listed(hosts, host, port)
  for _, each in ipairs(hosts) do
    each = each:lower()
    if each == host or each == host .. ":" .. port then
      return true
    end
  end
  return false
end

--- Why the URL of a goodbye is not followed, or nil: whoever is there gets our
--- credentials, so following is for those who said so, and never leads to less
--- security than there is.
local function objection(self, url)
  local follow = self._options.follow
  local scheme, host, port = split(url)
  local own_scheme, own_host = split(self._options.dialer.url or "")
  if not follow then
    return "following was not asked for"
  elseif not host then
    return "it is no URL"
  elseif scheme == "ws" and own_scheme ~= "ws" then
    return "it is less secure"
  elseif follow == "same_host" and host ~= own_host then
    return "it is on another host"
  elseif type(follow) == "table" and not is_listed(follow, host, port) then
    return "its host is not in the list"
  end
end

local function tell(self, level, event, text, fields)
  fields = fields or {}
  fields.peer = self.peer
  log.write(level, event, ("%s: %s"):format(tostring(self), text), fields)
end

--- The peer says goodbye: it wants us back later, perhaps elsewhere, or never.
---@param self agentwire.Connection
---@param message table
function M.heed_goodbye(self, message)
  if message.resume == false then
    self:close("the peer said goodbye")
    return
  end
  if type(message.after_ms) == "number" then
    self._after_ms = math.max(0, math.min(message.after_ms, MAX_AFTER_MS))
  end
  if type(message.url) == "string" and self._options.dialer then
    local why = objection(self, message.url)
    if not why then
      self._moved_to, self._moved_failures = message.url, 0
    elseif self._options.follow then
      tell(self, "warn", "not_followed",
        "the peer names another URL, which is not followed: " .. why)
    end
  end
end

local function window_ms(self)
  local own = self._options.window_ms or 0 -- 0: only the peer's
  return math.min(self._core:state().window_ms, own > 0 and own or math.huge)
end

--- The peer has forgotten by now what was open, whether it comes back or not.
local function lose_scopes(self)
  self._absence_timer = nil
  if self._state ~= "resuming" then
    return
  end
  if self._core:state().up then
    self._core:cut("no welcome came")
  end
  self._core:lose_scopes()
  self:_lose_questions("the peer did not come back in time", "lost")
  tell(self, "warn", "lost", "what was open is lost: the peer did not come"
    .. " back in time")
  M.begin_absence(self) -- what is begun from now on gets as long
end

---@param self agentwire.Connection
function M.begin_absence(self)
  if not self._absence_timer and self._options.dialer and self._options.reconnect then
    self._absence_timer = self._host:timer(window_ms(self), lose_scopes, self)
  end
end

---@param self agentwire.Connection
function M.end_absence(self)
  if self._absence_timer then
    self._host:cancel_timer(self._absence_timer)
    self._absence_timer = nil
  end
end

--- The session is back, or a new one is there.
---@param self agentwire.Connection
---@param resumed boolean
function M.came_back(self, resumed)
  M.end_absence(self)
  self._has_refreshed, self._moved_failures = false, 0
  if self._options.dialer and self._attempt > 0 then
    tell(self, "info", "reconnected", resumed and "it is back"
      or "it is back, with a new session",
      { attempts = self._attempt, resumed = resumed })
  end
  self._attempt = 0
end

--- Full jitter (0.1 s to 10 s): a server that comes back is not met by all of
--- its clients at once.
local function backoff_ms(policy, attempt)
  local most = math.min(policy.max_ms, policy.min_ms * 2 ^ math.min(attempt, 16))
  return policy.min_ms + core.random() * (most - policy.min_ms)
end

local function refusal_status(self)
  return self._error == "refused"
    and tonumber((self._why or ""):match("HTTP (4%d%d)"))
end

--- A refusal of what we are or ask for is final; a server that is too busy is
--- not. Credentials that were asked for may have expired on the way: those are
--- asked for once more.
local function is_final(self)
  local status = refusal_status(self)
  if status == 401 and self._options.dialer.refreshes and not self._has_refreshed then
    self._has_refreshed = true
    return false
  end
  return FINAL_CODES[self._code]
    or (status and status ~= 408 and status ~= 429 and not self._moved_to)
end

local function may_return(self)
  local policy = self._options.reconnect
  return policy and not self._is_leaving and self._attempt < policy.attempts
    and not is_final(self)
end

--- The URL of the next attempt: nil for the one that was given.
local function destination(self)
  if self._moved_to and self._moved_failures >= MAX_MOVED_FAILURES then
    tell(self, "warn", "moved_back", "the URL that the peer named does not"
      .. " answer; back to the first one")
    self._moved_to = nil
  end
  return self._moved_to
end

--- One attempt. What fails here, as a token's function may, has failed like
--- what the network refuses.
local function dial(self, url)
  local dialer = self._options.dialer
  local returned, asked, message, code = pcall(dialer.ask, dialer, url,
    refusal_status(self) == 401)
  if not returned and task.is_cancelled(asked) then
    error(asked, 0)
  elseif not returned then
    return nil, wait.error_text(asked), "invalid_argument"
  elseif not asked then
    return nil, message, code
  end
  return dialer:dial(self._core, asked)
end

--- Comes back after a loss. Every try is an event.
local function try_again(self)
  self._attempt = self._attempt + 1
  local delay = self._after_ms
    or backoff_ms(self._options.reconnect, self._attempt)
  self._after_ms = nil
  self:_set_state("resuming", {
    reason = self._why, code = self._code, attempt = self._attempt,
    delay_ms = math.floor(delay),
  })
  tell(self, "warn", "reconnecting",
    ("%s; attempt %d in %.0f ms"):format(self._why, self._attempt, delay), {
      attempt = self._attempt, delay_ms = math.floor(delay),
      reason = self._why, code = self._code,
    })
  if self._closed:wait(delay) then
    return
  end
  local url = destination(self)
  self._is_dialling = true
  local ok, message, code = dial(self, url)
  self._is_dialling = false
  if url then
    self._moved_failures = self._moved_failures + 1 -- until it is open
  end
  if not ok and self._state ~= "closed" then
    self._why, self._error, self._code = message, code, nil
    self._is_down = true
  end
end

--- A server waits for its client to come back: the hub resumes the session, or
--- ends it when its window has passed.
local function await_return(self)
  if not (self._options.is_server and self._core:state().extended) then
    return false
  end
  if not self._core:state().up then
    self:_set_state("resuming", { reason = self._why, code = self._code })
  end
  return true
end

local function give_up(self)
  if self._options.reconnect and not self._is_leaving then
    tell(self, "warn", "gone", ("%s; not tried again"):format(self._why),
      { reason = self._why, code = self._code })
  end
  local why = self._why
  self:_finish()
  self._core:abandon(why)
end

--- What the end of a connection's task does, however that came.
---@async
---@param self agentwire.Connection
function M.farewell(self)
  if self._state ~= "closed" then
    self:close("the program has ended")
    self._closed:wait(FAREWELL_MS)
  end
  self._core:abandon("the program has ended")
  self:_finish()
end

--- The task of a connection.
---@async
---@param self agentwire.Connection
function M.keep(self)
  while self._state ~= "closed" do
    if self._is_down then
      self._is_down = false
      if may_return(self) then
        M.begin_absence(self)
        try_again(self)
      elseif not await_return(self) then
        give_up(self)
      end
    else
      self._changed:wait()
    end
  end
end

return M
