-- A prompt to an agent, and what it does as server-sent events: the handler of
-- /ask in nginx.conf. A client that goes away cancels the run.
local aw = require("agentwire")
local ngx = rawget(_G, "ngx")

local M = {}

--- One event of the text/event-stream, on its way at once. nginx looks for a
--- client that goes away by itself, but no more once a body was read; then the
--- next event finds that out.
local function send(name, value)
  ngx.print("event: ", name, "\ndata: ", assert(aw.json.encode(value)), "\n\n")
  if not ngx.flush(true) and aw.task.current() then
    aw.task.current():cancel("the client has gone")
  end
end

local function tell_end()
  local why, code = aw.task.current():failure()
  if code then
    ngx.log(ngx.NOTICE, "a run has ended: ", why)
  end
end

-- What is deferred runs however this ends: at its end, when the client has gone
-- and nginx has taken the request away, when the worker ends.
local function ask(url, user, prompt)
  aw.task.defer(tell_end)
  local conn, why, code = aw.connect(url, {
    headers = { ["X-Agent-User"] = user }, timeout_ms = 5000,
  })
  if not conn then
    return nil, why, code
  end
  aw.task.defer(function()
    conn:close()
  end)
  local session = assert(conn:agent():start {})
  aw.task.defer(function()
    session:close()
  end)
  for event in session:prompt(prompt) do
    send(event.type, event)
  end
  return session:result()
end

---@param url string of the agents
function M.serve(url)
  ngx.req.read_body()
  local prompt = ngx.req.get_body_data()
  if not prompt then
    return ngx.exit(ngx.HTTP_BAD_REQUEST)
  end
  ngx.header["Content-Type"] = "text/event-stream"
  ngx.header["Cache-Control"] = "no-cache"
  local result, why, code = aw.run(ask, url, ngx.var.agent_user, prompt)
  if result then
    send("result", result)
  elseif code ~= "cancelled" then
    ngx.log(ngx.ERR, "a run has failed: ", why)
    send("failed", { code = code })
  end
end

return M
