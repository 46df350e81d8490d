--- `agentwire models`: what a provider offers.
local locals = require("agentwire.command._local")
local peer = require("agentwire.command._peer")
local provider = require("agentwire.provider")

local M = {
  summary = "List the models of a server, or of this process",
  takes = { "[URL]" },
  options = peer.with { { "--json", "one JSON list of what is known of each" } },
}

local function client_of(given, screen)
  if not given.URL then
    return provider.loopback(locals.models(false))
  end
  local conn, message, code = peer.connect(given, screen)
  if not conn then
    return nil, message, code
  end
  return conn:provider(), conn
end

local function row(model)
  local window = model.context_window and model.context_window > 0
    and ("%d tokens"):format(model.context_window) or ""
  return { ("%s/%s"):format(model.provider_id, model.model_id), window,
    model.display_name or "" }
end

function M.run(given, screen)
  local client, conn, code = client_of(given, screen)
  if not client then
    return nil, conn, code
  end
  local models, message
  models, message, code = client:models()
  conn:close()
  if not models then
    return nil, message, code
  elseif screen.json then
    screen:value(models)
    return true
  end
  local rows = {}
  for index, model in ipairs(models) do
    rows[index] = row(model)
  end
  screen:rows(rows)
  return true
end

return M
