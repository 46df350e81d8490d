-- A chat with an agent, in a buffer: `:AgentAsk QUESTION`, `:AgentStop`. To be
-- copied and changed; docs/neovim.md says what the parts are.
local aw = require("agentwire")
local nvim = require("agentwire.nvim")

local vim = vim -- luacheck: ignore
local api = vim.api

local M = {}

local settings = { url = "ws://127.0.0.1:7450" }
local conn, session -- to the agent, and the conversation; made when first needed
local handle -- of the answer that is under way
local chat -- the buffer

local function open_chat()
  if not (chat and api.nvim_buf_is_loaded(chat)) then
    chat = api.nvim_create_buf(false, true)
    api.nvim_buf_set_name(chat, "agent://chat/" .. chat)
    vim.bo[chat].filetype = "markdown"
    vim.bo[chat].modifiable = false
  end
  local window = vim.fn.bufwinid(chat)
  if window == -1 then
    local before = api.nvim_get_current_win()
    vim.cmd("botright vertical sbuffer " .. chat)
    vim.wo.wrap, vim.wo.linebreak = true, true
    window = api.nvim_get_current_win()
    api.nvim_set_current_win(before)
  end
  api.nvim_win_set_cursor(window, { api.nvim_buf_line_count(chat), 0 })
end

--- The editor's tools, for the agent to call; it asks before it changes a buffer.
local function editor_tools()
  local registry = aw.tool.registry()
  for _, tool in ipairs(nvim.tools()) do
    registry:add(tool)
  end
  return registry
end

--- The conversation; waits for the connection the first time.
local function open_session()
  if session and not session:is_ended() then
    return session
  end
  if not conn or conn:state() == "closed" then
    local why, code
    conn, why, code = aw.connect(settings.url, { token = settings.token })
    if not conn then
      return nil, why, code
    end
  end
  local why, code
  session, why, code = conn:agent():start { tools = editor_tools() }
  return session, why, code
end

local function shorten(text)
  text = text:gsub("%s+", " ")
  return vim.fn.strchars(text) > 60 and vim.fn.strcharpart(text, 0, 60) .. "…"
    or text
end

--- What the chat shows of an event of the answer.
local show = {}

function show.message_update(event)
  return event.event.type == "text_delta" and event.event.delta or nil
end

function show.tool_execution_start(event)
  return ("\n> %s `%s`\n"):format(event.tool_name, shorten(event.args_json))
end

function show.tool_execution_end(event)
  local parts = aw.json.decode(event.result_json) or {}
  local text = parts[1] and parts[1].text or ""
  return (">   %s %s\n\n"):format(event.is_error and "✗" or "✓", shorten(text))
end

local function on_event_text(event)
  return show[event.type] and show[event.type](event)
end

--- Asks the agent, and shows the answer as it comes.
function M.ask(question)
  if handle then
    return vim.notify("the agent still answers; :AgentStop stops it",
      vim.log.levels.WARN)
  end
  open_chat()
  local sink = nvim.sink { buffer = chat }
  sink:write(("## %s\n\n"):format(question))
  local function finish(note)
    handle = nil
    sink:write("\n" .. (note and "\n*" .. note .. "*\n" or "") .. "\n")
    sink:close()
  end
  handle = sink:read(open_session, {
    prompt = question,
    text = on_event_text,
    on_done = function()
      finish()
    end,
    on_error = function(why, code)
      finish(code == "cancelled" and "stopped" or "failed: " .. why:match("[^\n]*"))
    end,
  })
end

--- Stops the answer that is under way.
function M.stop()
  if handle then
    handle:cancel()
  end
end

--- Questions that this plugin knows, and what buffers they may be about.
function M.complete(lead)
  local found = {}
  for _, buffer in ipairs(api.nvim_list_bufs()) do
    local name = vim.fn.fnamemodify(api.nvim_buf_get_name(buffer), ":.")
    if vim.bo[buffer].buflisted and name ~= "" and vim.startswith(name, lead) then
      found[#found + 1] = name
    end
  end
  return found
end

--- `url` and `token` of the agent.
function M.setup(given)
  settings = vim.tbl_extend("force", settings, given or {})
  api.nvim_create_user_command("AgentAsk", function(command)
    if command.args ~= "" then
      return M.ask(command.args)
    end
    vim.ui.input({ prompt = "Ask the agent: " }, function(question)
      if question and question ~= "" then
        M.ask(question)
      end
    end)
  end, { nargs = "*", complete = M.complete, desc = "Ask the agent" })
  api.nvim_create_user_command("AgentStop", M.stop, { desc = "Stop its answer" })
end

return M
