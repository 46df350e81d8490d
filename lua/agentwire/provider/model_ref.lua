--- Model references, `provider/api@percent-encoded-model-id`: written, and read
--- with a code for each way in which one can be wrong. Pure.
local M = {}

-- RFC 3986 section 2.3; every other byte of a model id is escaped.
local RESERVED = "[^A-Za-z0-9%-._~]"
local NAME = "^[A-Za-z0-9%-._~]+$"

local function escape_byte(char)
  return ("%%%02X"):format(char:byte())
end

-- Byte ranges of RFC 3629: overlong forms, surrogates and values above
-- U+10FFFF have no row here.
local SEQUENCES = {
  "^[%z\1-\127]",
  "^[\194-\223][\128-\191]",
  "^\224[\160-\191][\128-\191]",
  "^[\225-\236\238\239][\128-\191][\128-\191]",
  "^\237[\128-\159][\128-\191]",
  "^\240[\144-\191][\128-\191][\128-\191]",
  "^[\241-\243][\128-\191][\128-\191][\128-\191]",
  "^\244[\128-\143][\128-\191][\128-\191]",
}

local function is_utf8(text)
  local at = 1
  while at <= #text do
    local last
    for _, pattern in ipairs(SEQUENCES) do
      local _, stop = text:find(pattern, at)
      if stop then
        last = stop
        break
      end
    end
    if not last then
      return false
    end
    at = last + 1
  end
  return true
end

local function fail(code, message)
  return nil, "model reference: " .. message, code
end

local function check_names(provider, api)
  if provider == "" then
    return fail("empty_provider", "the provider is empty")
  elseif not provider:find(NAME) then
    return fail("invalid_provider", "the provider has a reserved character")
  elseif api == "" then
    return fail("empty_api", "the API is empty")
  elseif not api:find(NAME) then
    return fail("invalid_api", "the API has a reserved character")
  end
  return true
end

local function check_model_id(id)
  if id == "" then
    return fail("empty_model_id", "the model id is empty")
  elseif not is_utf8(id) then
    return fail("invalid_utf8", "the model id is not UTF-8")
  elseif id:find("[%z\1-\31\127]") then
    return fail("control_character", "the model id has a control character")
  end
  return true
end

local function unescape(encoded)
  local plain = encoded:gsub("%%%x%x", "")
  if plain:find("%%%x?$") then
    return fail("truncated_escape", "an escape ends too early")
  elseif plain:find("%", 1, true) then
    return fail("invalid_escape", "an escape is not two hexadecimal digits")
  elseif plain:find(RESERVED) then
    return fail("unescaped_character", "the model id has a raw character")
  end
  return (encoded:gsub("%%(%x%x)", function(hex)
    return string.char(tonumber(hex, 16))
  end))
end

--- Writes a reference. Escapes are written in upper case (RFC 3986 2.1).
---@param parts { provider: string, api: string, model_id: string }
---@return string|nil ref
---@return string|nil message
---@return string|nil code as for `parse`
function M.format(parts)
  local ok, message, code = check_names(parts.provider, parts.api)
  if not ok then
    return nil, message, code
  end
  ok, message, code = check_model_id(parts.model_id)
  if not ok then
    return nil, message, code
  end
  local id = parts.model_id:gsub(RESERVED, escape_byte)
  return parts.provider .. "/" .. parts.api .. "@" .. id
end

--- Reads a reference. Escapes may be in either case.
--- Codes: not_a_string, empty_ref, missing_slash, missing_at, empty_provider,
--- invalid_provider, empty_api, invalid_api, empty_model_id, truncated_escape,
--- invalid_escape, unescaped_character, invalid_utf8, control_character.
---@param ref string
---@return { provider: string, api: string, model_id: string }|nil parts
---@return string|nil message
---@return string|nil code
function M.parse(ref)
  if type(ref) ~= "string" then
    return fail("not_a_string", "must be a string")
  elseif ref == "" then
    return fail("empty_ref", "is empty")
  end
  local provider, rest = ref:match("^([^/]*)/(.*)$")
  if not provider then
    return fail("missing_slash", "no '/' after the provider")
  end
  local api, encoded = rest:match("^([^@]*)@(.*)$")
  if not api then
    return fail("missing_at", "no '@' after the API")
  end
  local ok, message, code = check_names(provider, api)
  if not ok then
    return nil, message, code
  end
  local id
  id, message, code = unescape(encoded)
  if not id then
    return nil, message, code
  end
  ok, message, code = check_model_id(id)
  if not ok then
    return nil, message, code
  end
  return { provider = provider, api = api, model_id = id }
end

return M
