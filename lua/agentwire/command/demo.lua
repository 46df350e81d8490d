--- `agentwire demo`: an agent that looks at the files of this folder, over a
--- socket of this machine. The link is cut in the middle of an answer.
local aw = require("agentwire")
local compat = require("agentwire._compat")
local chat = require("agentwire.command.chat")
local exits = require("agentwire.command._exit")
local locals = require("agentwire.command._local")
local tables = require("agentwire._tables")

-- Pieces of the second answer that come before the link is cut.
local PIECES = 4

local M = {
  summary = "Show it: a model, an agent, tools, and a link that is cut",
  takes = {},
  options = {
    { "--chat", "ask yourself, as with chat --files" },
    { "--json", "each event as one JSON value, in a line" },
  },
  more = { "The scripted model answers, from the files of the current folder; "
    .. "nothing leaves this machine." },
}

local function questions()
  local file = io.open("README.md")
  if file then
    file:close()
  end
  return { "Which files are here?",
    file and "What is README.md about?" or "Which file is the largest?" }
end

--- Follows a run: cuts the link when its answer has begun, once, and knows what
--- of the answer came.
local function follow(conn, screen)
  local seen = { text = "", came_back = false }
  local pieces, is_cut = 0, false
  conn:on_state(function(event)
    seen.came_back = seen.came_back or event.type == "open" and event.resumed
  end)
  return seen, function(event)
    local inner = event.event or {}
    if event.type == "message_start" then
      seen.text, pieces = "", 0
    elseif inner.type == "text_delta" then
      seen.text, pieces = seen.text .. inner.delta, pieces + 1
    end
    if pieces >= PIECES and not is_cut then
      is_cut = true
      if not screen.json then
        screen:tell("demo: the link is cut now")
      end
      conn:cut("the demo cuts it")
    end
  end
end

local function ask(talk, screen, question, on_event)
  if not screen.json then
    screen:print()
    screen:print(screen:paint("bold", "> " .. question))
  end
  return talk:ask(question, true, on_event)
end

local function conclude(conn, screen, seen, result)
  local whole = seen.text == result.text
  local stats = conn:stats()
  if screen.json then
    screen:value { type = "demo", messages_in = stats.messages_in,
      messages_out = stats.messages_out, cut = seen.came_back, whole = whole }
  else
    screen:print()
    screen:print(screen:paint("dim", ("%d messages came, %d went; the link was "
      .. "%s, the answer is %s."):format(stats.messages_in, stats.messages_out,
      seen.came_back and "cut once" or "not cut", whole and "whole" or "NOT whole")))
  end
  return whole or exits.FAILED
end

local function show(conn, screen)
  local talk, message, code = chat.new(conn, { files = "." }, screen)
  if not talk then
    return nil, message, code
  end
  local first, second = compat.unpack(questions())
  if not ask(talk, screen, first) then
    return exits.FAILED
  end
  local seen, on_event = follow(conn, screen)
  local result = ask(talk, screen, second, on_event)
  talk.session:stop(nil, 2000)
  return result and conclude(conn, screen, seen, result) or exits.FAILED
end

function M.run(given, screen)
  local server, message, code = aw.serve {
    listen = "ws://127.0.0.1:0", agent = locals.agent(true),
  }
  if not server then
    return nil, message, code
  end
  if given.chat then
    return chat.run(tables.over(given, { URL = server.url, files = "." }), screen)
  end
  local conn
  conn, message, code = aw.connect(server.url, { reconnect = { min_ms = 50 } })
  if not conn then
    return nil, message, code
  end
  local status
  status, message, code = show(conn, screen)
  conn:close()
  server:close()
  return status, message, code
end

return M
