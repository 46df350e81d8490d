-- A model's answer over HTTP, as server-sent events: read word by word, beside a
-- task that does not notice. Without a URL it asks a small server of its own.
--
--   lua examples/05_http.lua [URL]
local aw = require("agentwire")

local SERVER = [[
import http.server, time

class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        for word in ("It ", "comes ", "as ", "it ", "is ", "said."):
            self.wfile.write(b'data: {"text": "%s"}\n\n' % word.encode())
            time.sleep(0.02)
        self.wfile.write(b"data: [DONE]\n\n")

    def log_message(self, *_):
        pass

server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_address[1], flush=True)
server.serve_forever()
]]

--- The URL of a server of our own, and what ends it.
local function start_server()
  local lines = assert(aw.lines.spawn { argv = { "python3", "-c", SERVER } })
  local port = assert(lines:receive(10000))
  return "http://127.0.0.1:" .. port .. "/", lines
end

local function tell(url)
  local stream = assert(aw.http.stream {
    url = url,
    json = { stream = true, messages = { { role = "user", content = "Hi" } } },
    connect_timeout_ms = 5000,
  })
  for event in stream:events() do
    if event.data == "[DONE]" then
      print()
      return
    end
    io.write(assert(aw.json.decode(event.data)).text)
  end
  print("broken off: " .. stream:reason())
end

aw.run(function()
  local url, server = arg[1], nil
  if not url then
    url, server = start_server()
  end
  local ticks = 0
  local ticker = aw.spawn(function()
    while true do
      aw.sleep(10)
      ticks = ticks + 1
    end
  end)
  tell(url)
  ticker:cancel("done")
  print(("another task had its turn meanwhile: %s"):format(ticks > 0))
  if server then
    server:kill("TERM")
    server:close()
  end
end)
