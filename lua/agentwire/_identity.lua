--- Who a peer is. A server's admission makes an identity, the core carries its
--- text with the upgrade, the transport and the session, and whoever serves the
--- connection finds it as `conn.identity`. Peers without one are nobody in
--- particular: no two of them are known to be the same (`proven`).
local json = require("agentwire.json")
local shares = require("agentwire._shares")
local tables = require("agentwire._tables")

local M = {}

-- What the text of an identity may take, and its id.
local MAX_BYTES, MAX_ID = 4096, 1024

---@class agentwire.Identity
---@field id string who: sessions, stores, shares and names of tools go by it
---@field name string for people
---@field rights any what the hook made of it; has a JSON form, as all else
---@field shares table<string, integer>? in place of the server's `per_identity`
local Identity = {}
Identity.__index = Identity

function Identity:__tostring()
  return self.name
end

--- What is wrong with an id, or nil.
local function check_id(id)
  if type(id) ~= "string" or id == "" then
    return "an identity needs an id or a name, a string that is not empty"
  elseif #id > MAX_ID or id:find("%c") then
    return ("an identity's id has at most %d bytes and no control characters")
      :format(MAX_ID)
  end
end

local function make(members)
  members.id = members.id or members.name
  members.name = members.name or members.id
  return setmetatable(members, Identity)
end

--- Reads what a hook or a table of tokens says of a peer: true (then it is who
--- its certificate says, or nobody), a name, or a table with `id` or `name`.
---@param value any
---@param subject string? of the client's certificate
---@return agentwire.Identity? identity nil: nobody in particular
---@return string? problem
function M.read(value, subject)
  if value == true then
    if subject == nil then
      return nil
    end
    value = subject
  end
  local members = make(type(value) == "table" and tables.copy(value)
    or { id = value })
  local problem = check_id(members.id)
  if problem then
    return nil, problem
  elseif type(members.name) ~= "string" then
    return nil, "an identity's name is a string"
  elseif members.shares ~= nil then
    problem = type(members.shares) ~= "table" and "expected a table"
      or shares.IDENTITY:problem(members.shares)
  end
  return not problem and members or nil,
    problem and "an identity's shares: " .. problem
end

---@param identity agentwire.Identity
---@return string? text
---@return string? problem
function M.encode(identity)
  local text, why = json.encode(setmetatable(identity, nil))
  setmetatable(identity, Identity)
  if not text then
    return nil, "an identity has to have a JSON form: " .. why
  elseif #text > MAX_BYTES then
    return nil, ("an identity has %d bytes as JSON, more than %d")
      :format(#text, MAX_BYTES)
  end
  return text
end

---@param text string? as made by `encode`
---@return agentwire.Identity? identity
function M.decode(text)
  return text and make(json.decode(text)) or nil
end

-- No network between: the other end of a pair, of our stdio, a child.
local LOCAL_ID = "local"

local LOCAL = { memory = true, stdio = true, process = true }

--- Who is at the other end of a core connection. A peer that comes back may
--- have other rights than before.
---@param core userdata
---@param before agentwire.Identity?
---@return agentwire.Identity?
function M.of(core, before)
  local text = core:identity()
  if text then
    return M.decode(text)
  end
  return before or LOCAL[core:state().transport] and make { id = LOCAL_ID }
    or nil
end

--- Whose it is by proof. Local peers are several programs under one name, and
--- nobody in particular is anybody.
---@param conn table
---@return string? id
function M.proven(conn)
  local who = conn.identity
  return who and who.id ~= LOCAL_ID and who.id or nil
end

--- What names an owner: peers of the same identity are one, and so are all who
--- are nobody in particular.
---@param conn table
---@return string id "" for nobody
function M.owner(conn)
  return conn.identity and conn.identity.id or ""
end

return M
