--- References of JSON Schema: RFC 3986 section 5, as far as schemas need it.
local M = {}

local function split(uri)
  local rest, fragment = uri:match("^([^#]*)#?(.*)$")
  local scheme, after = rest:match("^(%a[%w+.-]*):(.*)$")
  rest = after or rest
  local authority, path = rest:match("^//([^/?]*)(.*)$")
  path = path or rest
  local plain, query = path:match("^([^?]*)(.*)$")
  return { scheme = scheme, authority = authority, path = plain, query = query,
    fragment = fragment }
end

local function join(parts)
  return (parts.scheme and parts.scheme:lower() .. ":" or "")
    .. (parts.authority and "//" .. parts.authority or "")
    .. parts.path .. parts.query
end

local function without_dots(path)
  local out = {}
  for segment, slash in path:gmatch("([^/]*)(/?)") do
    if segment == ".." then
      if #out > 1 then
        table.remove(out)
      end
    elseif segment ~= "." and (segment ~= "" or slash ~= "") then
      out[#out + 1] = segment .. slash
    end
  end
  return table.concat(out)
end

local function merge(base, path)
  if base.authority and base.path == "" then
    return "/" .. path
  end
  return base.path:match("^(.*/)[^/]*$") and
    base.path:match("^(.*/)[^/]*$") .. path or path
end

---@param base string without a fragment
---@param reference string
---@return string uri without a fragment
---@return string fragment as written
function M.resolve(base, reference)
  local to, from = split(reference), split(base)
  local fragment = to.fragment
  if to.scheme then
    to.path = to.path:find("^/") and without_dots(to.path) or to.path
  elseif to.authority then
    to.scheme, to.path = from.scheme, without_dots(to.path)
  else
    to.scheme, to.authority = from.scheme, from.authority
    if to.path == "" then
      to.path = from.path
      to.query = to.query ~= "" and to.query or from.query
    else
      to.path = without_dots(to.path:find("^/") and to.path
        or merge(from, to.path))
    end
  end
  return join(to), fragment
end

---@param text string
---@return string
function M.unescape(text)
  return (text:gsub("%%(%x%x)", function(hex)
    return string.char(tonumber(hex, 16))
  end))
end

return M
