-- A JSON-RPC server on stdin and stdout, with aw.lines alone: each request is
-- answered by its params, after its `delay_ms`, whatever comes in between.
local aw = require("agentwire")

local function answer(lines, text)
  local request = assert(aw.json.decode(text))
  local params = request.params
  if params.delay_ms then
    aw.sleep(params.delay_ms)
  end
  assert(lines:send(aw.json.encode {
    jsonrpc = "2.0", id = request.id, result = params,
  }))
end

aw.run(function()
  local lines = assert(aw.lines.stdio())
  print("a print is no message")
  io.stdout:write("nor is what is written\n")
  local answers = {}
  for text in lines:each() do
    table.insert(answers, aw.spawn(answer, lines, text))
  end
  assert(aw.task.all(answers)) -- after the end of stdin as well
  lines:close()
  lines:wait_closed(5000)
end)
