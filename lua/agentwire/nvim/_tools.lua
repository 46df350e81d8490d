--- What an agent may do in the editor, as tool definitions for a registry: see the
--- buffers and their diagnostics, and change one if the user agrees.
local confirm = require("agentwire.nvim._confirm")
local json = require("agentwire.json")
local options = require("agentwire._options")

local M = {}

-- Of one buffer, for one answer.
local MAX_BYTES = 256 * 1024
local MAX_DIAGNOSTICS = 200

local OPTIONS = options.spec("nvim.tools", {
  confirm = options.func,
  is_visible = options.func,
  max_bytes = options.bytes,
})

---@class agentwire.EditorToolsOptions
---@field confirm (fun(question: string, details: string): boolean)? asked before a
--- change, may wait; default: agentwire.nvim.confirm
---@field is_visible (fun(buffer: integer): boolean)? which buffers there are for
--- the agent; default: those that are listed and hold a file's text
---@field max_bytes integer? that a buffer may have to be read whole, 262 144

local function editor()
  return rawget(_G, "vim")
end

local function is_text(buffer)
  local vim = editor()
  return vim.bo[buffer].buflisted and vim.bo[buffer].buftype == ""
end

local function name_of(buffer)
  local vim = editor()
  local name = vim.api.nvim_buf_get_name(buffer)
  return name == "" and ("[buffer %d]"):format(buffer)
    or vim.fn.fnamemodify(name, ":.")
end

local function each_buffer(self)
  local found = {}
  for _, buffer in ipairs(editor().api.nvim_list_bufs()) do
    if editor().api.nvim_buf_is_loaded(buffer) and self.is_visible(buffer) then
      found[#found + 1] = buffer
    end
  end
  return found
end

local function find(self, name)
  for _, buffer in ipairs(each_buffer(self)) do
    if name_of(buffer) == name or editor().api.nvim_buf_get_name(buffer) == name
    then
      return buffer
    end
  end
  return nil, ("there is no buffer %s; list_buffers has their paths"):format(name)
end

-- A list without anything in it would be a result without anything in it.
local function listed(list)
  return #list > 0 and json.array(list) or "(none)"
end

local function list_buffers(self)
  local vim, list = editor(), {}
  for index, buffer in ipairs(each_buffer(self)) do
    list[index] = {
      path = name_of(buffer),
      lines = vim.api.nvim_buf_line_count(buffer),
      filetype = vim.bo[buffer].filetype,
      modified = vim.bo[buffer].modified,
      current = buffer == vim.api.nvim_get_current_buf(),
    }
  end
  return listed(list)
end

local function read_buffer(self, args)
  local buffer, why = find(self, args.path)
  if not buffer then
    return nil, why
  end
  local lines = editor().api.nvim_buf_get_lines(buffer,
    (args.first_line or 1) - 1, args.last_line or -1, false)
  local text = table.concat(lines, "\n")
  if #text > self.max_bytes then
    return nil, ("%s has %d bytes there, %d are the most; ask for fewer lines")
      :format(args.path, #text, self.max_bytes)
  end
  return text
end

local function diagnostics(self, args)
  local vim, list = editor(), {}
  local buffers, why = each_buffer(self), nil
  if args.path then
    local buffer
    buffer, why = find(self, args.path)
    buffers = { buffer }
  end
  if why then
    return nil, why
  end
  for _, buffer in ipairs(buffers) do
    for _, each in ipairs(vim.diagnostic.get(buffer)) do
      if #list < MAX_DIAGNOSTICS then
        list[#list + 1] = {
          path = name_of(buffer),
          line = each.lnum + 1,
          column = each.col + 1,
          severity = vim.diagnostic.severity[each.severity],
          source = each.source,
          message = each.message,
        }
      end
    end
  end
  return listed(list)
end

-- Where the one place with this text is: rows and columns as the editor's
-- interface counts them.
local function locate(buffer, wanted)
  local text = table.concat(editor().api.nvim_buf_get_lines(buffer, 0, -1, false),
    "\n") .. "\n"
  local first, last = text:find(wanted, 1, true)
  if not first then
    return nil, "old_text does not occur in the buffer"
  elseif text:find(wanted, first + 1, true) then
    return nil, "old_text occurs more than once: give more of what is around it"
  end
  local function place(offset) -- of the byte after it
    local before = text:sub(1, offset)
    local _, row = before:gsub("\n", "")
    return row, #before:match("[^\n]*$")
  end
  local start_row, start_column = place(first - 1)
  local end_row, end_column = place(last)
  local count = editor().api.nvim_buf_line_count(buffer)
  if end_row >= count then -- the last line's end, which is no place to change
    return nil, "old_text goes on to the buffer's last line break: leave that out"
  end
  return { start_row, start_column, end_row, end_column }
end

local function marked(text, mark)
  return (text:gsub("\n$", "") .. "\n"):gsub("([^\n]*)\n", mark .. "%1\n")
end

local function edit_buffer(self, args)
  local buffer, why = find(self, args.path)
  local place
  if buffer then
    place, why = locate(buffer, args.old_text)
  end
  if not place then
    return nil, why
  end
  local question = ("Let the agent change %s, line %d?"):format(args.path,
    place[1] + 1)
  local details = marked(args.old_text, "-") .. marked(args.new_text, "+")
  if not self.confirm(question, details) then
    return nil, "the user declined this change"
  end
  -- The user may have typed meanwhile, or closed it.
  buffer, why = find(self, args.path)
  place = nil
  if buffer then
    place, why = locate(buffer, args.old_text)
  end
  if not place then
    return nil, why
  end
  editor().api.nvim_buf_set_text(buffer, place[1], place[2], place[3], place[4],
    editor().split(args.new_text, "\n", { plain = true }))
  return ("changed line %d of %s; it is not written to the file"):format(
    place[1] + 1, args.path)
end

local PATH = {
  type = "string", description = "as list_buffers gives it",
}
local LINE = { type = "integer", minimum = 1, description = "counted from 1" }

-- Name, description, properties, what is required, handler.
local TOOLS = {
  { "list_buffers", "List the files that are open in the user's editor",
    {}, {}, list_buffers },
  { "read_buffer", "Read a file that is open in the editor, as the user sees it "
    .. "now", { path = PATH, first_line = LINE, last_line = LINE },
    { "path" }, read_buffer },
  { "diagnostics", "What the editor's language servers and linters complain of, "
    .. "in one buffer or in all", { path = PATH }, {}, diagnostics },
  { "edit_buffer", "Replace text in an open file. The user is asked first. The "
    .. "old text must occur there exactly once", {
      path = PATH,
      old_text = { type = "string", minLength = 1 },
      new_text = { type = "string" },
    }, { "path", "old_text", "new_text" }, edit_buffer },
}

--- The editor's tools, a list of definitions: for a registry, as they are or with
--- some left out or changed.
---@param given agentwire.EditorToolsOptions?
---@return agentwire.ToolDefinition[]
function M.list(given)
  given = OPTIONS:check(given)
  local self = {
    confirm = given.confirm or confirm.ask,
    is_visible = given.is_visible or is_text,
    max_bytes = given.max_bytes or MAX_BYTES,
  }
  local list = {}
  for index, tool in ipairs(TOOLS) do
    list[index] = {
      name = tool[1],
      description = tool[2],
      parameters = {
        type = "object", properties = tool[3], required = json.array(tool[4]),
        additionalProperties = false,
      },
      is_destructive = tool[5] == edit_buffer,
      handler = function(args)
        return tool[5](self, args)
      end,
    }
  end
  return list
end

return M
