local cjson = require("cjson")
local cqueues = require("cqueues")
local condition = require("cqueues.condition")
local http_server = require("http.server")
local websocket = require("http.websocket")
local job = require("job")

-- One envelope of each stream in turn; lua-http writes each by itself.
local function pump(ws, streams, credit)
  while streams[1] do
    for i = #streams, 1, -1 do
      while credit.left == 0 do
        credit.granted:wait()
      end
      credit.left = credit.left - 1
      local stream = streams[i]
      local sequence = stream.sequence + 1
      stream.sequence = sequence
      if sequence <= stream.count then
        assert(ws:send(job.envelope("text_delta", stream.id, sequence,
          { content_index = 0, delta = job.DELTA })))
      else
        assert(ws:send(job.envelope("result", stream.id, sequence,
          { type = "result" })))
        table.remove(streams, i)
      end
    end
  end
end

local function serve(ws)
  local credit = { left = job.WINDOW, granted = condition.new() }
  local streams, started = {}, nil
  for text in ws:each() do
    started = started or job.cpu_us()
    local request = cjson.decode(text)
    if request.type == "credit" then
      credit.left = credit.left + request.count
      credit.granted:signal()
    elseif request.type == "usage" then
      local cpu_us = job.cpu_us() - started
      assert(ws:send(cjson.encode { type = "usage", cpu_us = cpu_us }))
    else
      streams[#streams + 1] = {
        id = request.stream_id, sequence = 0, count = request.payload.count,
      }
      if #streams == 1 then
        cqueues.running():wrap(pump, ws, streams, credit)
      end
    end
  end
end

local server = assert(http_server.listen {
  host = "127.0.0.1", port = 0, tls = false,
  onstream = function(self, stream)
    local headers = assert(stream:get_headers())
    local ws = assert(websocket.new_from_stream(stream, headers))
    assert(ws:accept())
    serve(ws)
    ws:close()
    self:close()
  end,
  onerror = function(_, context, operation, err)
    io.stderr:write(("%s: %s: %s\n"):format(context, operation, err))
    os.exit(1)
  end,
})
assert(server:listen())
local _, _, port = server:localname()
io.stdout:write(("ws://127.0.0.1:%d\n"):format(port))
io.stdout:flush()
assert(server:loop())
