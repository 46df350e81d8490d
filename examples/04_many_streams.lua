-- Many model streams over one connection, each in a task of its own, each in
-- strict order; one of them is aborted, the others do not notice.
--
--   lua examples/04_many_streams.lua [COUNT]
local aw = require("agentwire")

local COUNT = tonumber(arg[1]) or 20

--- A model that counts: each delta says which number of which stream it is.
local counting = {
  name = "counting",
  stream = function(_, request, emit)
    local who = request.context.messages[1].content
    emit { type = "text_start", content_index = 0 }
    for i = 1, 50 do
      emit {
        type = "text_delta", content_index = 0, delta = who .. "." .. i .. " ",
      }
      aw.task.yield() -- so that the streams interleave
    end
    emit { type = "text_end", content_index = 0 }
  end,
}

local function follow(client, number, log)
  local stream = assert(client:start_stream {
    model = "counting/any",
    messages = { { role = "user", content = tostring(number) } },
  })
  local last = 0
  for event in stream:events() do
    if event.type == "text_delta" then
      last = last + 1
      assert(event.delta == number .. "." .. last .. " ", "out of order")
      log[#log + 1] = number
      if number == 1 and last == 10 then
        stream:abort("seen enough")
      end
    end
  end
  local message, _, code = stream:result()
  return message and "complete" or code
end

aw.run(function()
  local conn, far = aw.pair()
  require("agentwire.provider.server").attach(far, counting)
  local tasks, log = {}, {}
  for number = 1, COUNT do
    tasks[number] = aw.spawn(follow, conn:provider(), number, log)
  end
  local ends = {}
  for number, outcome in ipairs(assert(aw.task.all(tasks))) do
    ends[outcome] = (ends[outcome] or 0) + 1
    if outcome ~= "complete" then
      print("stream " .. number .. ": " .. outcome)
    end
  end
  local switches = 0
  for i = 2, #log do
    switches = switches + (log[i] ~= log[i - 1] and 1 or 0)
  end
  print(("%d streams complete, %d deltas, %d changes of stream"):format(
    ends.complete or 0, #log, switches))
  conn:close()
end)
