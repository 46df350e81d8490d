--- Tools that look at files below one folder and nowhere else.
local aw = require("agentwire")

local M = {}

local MAX_BYTES = 256 * 1024
local MAX_HITS = 100
local MAX_ENTRIES = 1000

local function quote(text)
  return "'" .. text:gsub("'", "'\\''") .. "'"
end

--- The output lines of a command; plain Lua has no other way to a folder.
local function lines_of(command, limit)
  local pipe = assert(io.popen(command .. " 2>/dev/null"))
  local lines = {}
  for line in pipe:lines() do
    if #lines < limit then
      lines[#lines + 1] = line
    end
  end
  pipe:close()
  return lines
end

--- The real path of what exists, links followed.
local function real_path(path)
  return lines_of("realpath -e -- " .. quote(path), 1)[1]
end

local function is_inside(root, path)
  return path == root or path:sub(1, #root + 1) == root .. "/" or root == "/"
end

--- The real path of something below the root, whatever links lead there.
local function resolve(root, path)
  if path:find("[%z\n]") then
    return nil, "a path has neither NUL nor line breaks"
  end
  local wanted = path:sub(1, 1) == "/" and path or root .. "/" .. path
  local real = real_path(wanted)
  if real and is_inside(root, real) then
    return real
  end
  -- The same words for both: what is outside must not be probed.
  return nil, "there is no such file here: " .. path
end

local function read(path)
  local file, why = io.open(path, "rb")
  if not file then
    return nil, why
  end
  local text, problem = file:read(MAX_BYTES + 1)
  if not text and not problem then
    text = ""
  end
  file:close()
  return text, problem
end

local function list_files(root, args)
  local folder, why = resolve(root, args.path or ".")
  if not folder then
    return nil, why
  end
  local names = lines_of("ls -1Ap -- " .. quote(folder), MAX_ENTRIES)
  return #names > 0 and table.concat(names, "\n") or "(empty)"
end

local function read_file(root, args)
  local path, why = resolve(root, args.path)
  local text
  if path then
    text, why = read(path)
  end
  if not text then
    return nil, why
  elseif #text > MAX_BYTES then
    return nil, ("%s is larger than %d bytes"):format(args.path, MAX_BYTES)
  end
  return text
end

local function file_info(root, args)
  local text, why = read_file(root, args)
  if not text then
    return nil, why
  end
  local _, lines = text:gsub("[^\n]*\n", "")
  local _, words = text:gsub("%S+", "")
  if text:find("[^\n]$") then
    lines = lines + 1
  end
  return { path = args.path, bytes = #text, lines = lines, words = words }
end

local function search_file(path, shown, wanted, hits)
  local text = read(path)
  if not text or text:find("%z") then
    return
  end
  local number = 0
  for line in (text .. "\n"):gmatch("([^\n]*)\n") do
    number = number + 1
    if #hits < MAX_HITS and line:lower():find(wanted, 1, true) then
      hits[#hits + 1] = ("%s:%d: %s"):format(shown, number, line:sub(1, 200))
    end
  end
end

local function search_text(root, args, call)
  local folder, why = resolve(root, args.path or ".")
  if not folder then
    return nil, why
  end
  local paths = lines_of("find " .. quote(folder)
    .. " -type f -not -path '*/.*' -size -256k", MAX_ENTRIES)
  local hits = {}
  for index, path in ipairs(paths) do
    search_file(path, path:sub(#root + 2), args.query:lower(), hits)
    if index % 50 == 0 then
      call:progress(100 * index / #paths, index .. " files searched")
      aw.task.yield()
    end
  end
  return #hits > 0 and table.concat(hits, "\n") or "(no match)"
end

local PATH = { type = "string", description = "relative to the root" }

local TOOLS = {
  { "list_files", "List the files of a folder; folders end with a slash",
    { path = PATH }, {}, list_files },
  { "read_file", "Read a text file", { path = PATH }, { "path" }, read_file },
  { "search_text", "Search the files below a folder for a text",
    { query = { type = "string", minLength = 1 }, path = PATH }, { "query" },
    search_text },
  { "file_info", "Count a file's bytes, lines and words", { path = PATH },
    { "path" }, file_info },
}

--- A registry with the four tools.
---@param folder string
---@return agentwire.ToolRegistry|nil tools
---@return string? message
function M.new(folder)
  local root = real_path(folder .. "/.")
  if not root then
    return nil, "no such folder: " .. folder
  end
  local tools = aw.tool.registry { timeout_ms = 20000 }
  for _, tool in ipairs(TOOLS) do
    tools:add {
      name = tool[1],
      description = tool[2],
      parameters = {
        type = "object",
        properties = tool[3],
        required = aw.json.array(tool[4]),
        additionalProperties = false,
      },
      handler = function(args, call)
        return tool[5](root, args, call)
      end,
    }
  end
  return tools
end

return M
