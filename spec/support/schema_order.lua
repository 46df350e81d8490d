-- Prints a tool's schema as an adapter would write it for its model, and a
-- table that a tool has returned.
local aw = require("agentwire")

-- Filled in an order of its own, so that the tables differ inside.
local names = {}
for index = 1, 40 do
  names[index] = "member_" .. index
end
math.randomseed(os.time() + tonumber(arg[1]) * 7919)
for index = #names, 2, -1 do
  local other = math.random(index)
  names[index], names[other] = names[other], names[index]
end
local properties, result = {}, {}
for _, name in ipairs(names) do
  properties[name] = { type = "string", description = name, maxLength = 5 }
  result[name] = { a = 1, b = name, c = { d = true, e = false } }
end

local tools = aw.tool.registry():add {
  name = "t", parameters = { type = "object", properties = properties },
  handler = function()
    return result
  end,
}

aw.run(function()
  local text
  local client, conn = aw.provider.loopback(aw.providers.scripted.new {
    script = function(request)
      text = aw.json.encode(request.context.tools[1].parameters_schema_json)
      return { stop_reason = "stop" }
    end,
  })
  client:complete { model = "scripted/scripted", messages = {},
    tools = tools:list() }
  conn:close()
  print(text)
  print(tools:execute({ name = "t" }).parts[1].text)
end)
