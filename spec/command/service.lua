-- What the command's specs serve: a slow model, an agent, a few tools.
local aw = require("agentwire")

local tools = aw.tool.registry()

tools:add {
  name = "add", description = "Add two numbers",
  parameters = {
    type = "object", required = { "a", "b" },
    properties = { a = { type = "number" }, b = { type = "number" },
      note = { type = "string" } },
  },
  handler = function(args)
    return ("%g"):format(args.a + args.b)
  end,
}

tools:add {
  name = "fail", description = "Fails",
  handler = function()
    return nil, "there is no more of it"
  end,
}

tools:add {
  name = "wait", description = "Waits until it is told not to",
  handler = function(_, call)
    for percent = 1, 99 do
      call:progress(percent, "so far")
      aw.sleep(100)
    end
  end,
}

tools:add {
  name = "paint", description = "Gives a text that would repaint the screen, and a picture",
  handler = function()
    return { { type = "text", text = "red\27[31m\7 \194\155 alert" },
      { type = "image", mime_type = "image/png", data = "AAAA" } }
  end,
}

local words = {}
for index = 1, 200 do
  words[index] = "word" .. index
end

-- Says what it was asked; counts for a long time when it is asked to.
local model = aw.providers.scripted.new {
  word_delay_ms = 15,
  decide = function(request)
    local messages = request.context.messages
    local last = messages[#messages]
    if last.role ~= "user" then
      return { text = "The tool has spoken." }
    elseif last.content == "count" then
      return { text = table.concat(words, " ") }
    elseif last.content == "use a tool" then
      return { text = "I will.",
        calls = { { name = "add", arguments_json = '{"a":1,"b":2}' } } }
    elseif last.content == "break" then
      error("on purpose")
    elseif last.content == "paint" then
      return { text = "red\27[31m\7 alert" }
    end
    return { text = "You said: " .. tostring(last.content) }
  end,
}

return function(which)
  if which == "tools" then
    return { tools = tools }
  end
  return {
    provider = model, tools = tools,
    agent = { provider = model, model = "scripted/scripted", tools = tools },
  }
end
