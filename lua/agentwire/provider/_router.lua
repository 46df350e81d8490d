--- Several provider adapters behind one adapter port, chosen by model: the
--- first that names it, else the first that would take it. A provider server
--- has one, also for a single adapter.
local class = require("agentwire._class")
local log = require("agentwire.log")
local misuse = require("agentwire._misuse")
local options_of = require("agentwire._options")
local survey = require("agentwire._survey")
local tables = require("agentwire._tables")

local M = {}

local ADAPTERS = options_of.list_of(options_of.having(
  "an adapter, which has a stream function", "stream"))

-- How long an adapter may take to list its models.
local MODELS_TIMEOUT_MS = 5000

local OPTIONS = options_of.spec("provider.router", {
  models_timeout_ms = options_of.duration_ms,
})

---@class agentwire.RouterOptions
---@field models_timeout_ms number? what an adapter may take to list its models, 5000

---@class agentwire.ProviderRouter
local Router = {}
Router.__index = Router

local function serves(adapter, model)
  if adapter.find then
    return adapter:find(model)
  end
  return (model.provider == "" or adapter.name == model.provider)
    and (model.api == "" or not adapter.api or adapter.api == model.api)
end

local function filled_in(adapter, model)
  return tables.over({
    provider_id = not model.provider and adapter.name or nil, api = adapter.api,
  }, model)
end

-- What one adapter lists, with the members that it shares with its models.
local function list_models(adapter, query)
  if not adapter.models then
    return {}
  end
  local models, text, code = adapter:models(query)
  if type(models) ~= "table" then
    return nil, text or "the adapter returned no list of models",
      code or "internal_error"
  end
  local list = {}
  for index, model in ipairs(models) do
    local id = type(model) == "table" and (model.model_id or model.id)
    if type(id) ~= "string" or id == "" then
      return nil, ("models: entry %d has no model_id"):format(index),
        "internal_error"
    end
    list[index] = filled_in(adapter, model)
  end
  return list
end

-- Asks several adapters for their models, at the same time.
local function ask_all(self, entries, query, told)
  survey.ask(entries, function(entry)
    return list_models(entry.adapter, query)
  end, #entries > 1 and self._models_timeout_ms or nil, function(entry, models, text, code)
    if not models and not entry.out then
      log.write("warn", "models_failed", ("provider %s lists no models: %s")
        :format(tostring(entry.adapter.name), text),
        { provider = entry.adapter.name, code = code })
    end
    told(entry, models, text, code)
  end)
end

local function first_listing(self, entries, model)
  local found
  ask_all(self, entries, {
    model_id = model.id, include_deprecated = true,
    include_login_required = true,
  }, function(entry, models)
    for _, descriptor in ipairs(models or {}) do
      if (descriptor.model_id or descriptor.id) == model.id then
        found = found or entry
      end
    end
  end)
  return found
end

--- The adapter that serves a model. Among several, the first that lists the
--- model wins, then the first that would take it.
---@async
---@param model table wire form; empty `provider` or `api` fits any
---@return table|nil adapter
---@return string|nil message
---@return string|nil code model_not_found
function Router:route(model)
  local candidates = {}
  for _, entry in ipairs(self._entries) do
    if serves(entry.adapter, model) then
      candidates[#candidates + 1] = entry
    end
  end
  local chosen = #candidates > 1 and first_listing(self, candidates, model)
    or candidates[1]
  if chosen then
    return chosen.adapter
  end
  return nil, ("no provider serves model %q (provider %q, API %q)"):format(
    model.id, model.provider, model.api), "model_not_found"
end

--- All adapters' models. An adapter that fails is left out, unless all fail.
---@async
---@param query? table
---@return table[]|nil models
---@return string|nil message
---@return string|nil code
function Router:models(query)
  local all, failure, text, code = {}, true, nil, nil
  ask_all(self, self._entries, query or {},
    function(_, models, problem, problem_code)
      if not models then
        text, code = problem, problem_code
        return
      end
      failure = false
      for _, model in ipairs(models) do
        all[#all + 1] = model
      end
    end)
  if failure and text then
    return nil, text, code
  end
  return all
end

--- Part of the adapter port.
---@async
---@param model table
---@return boolean
function Router:find(model)
  return self:route(model) ~= nil
end

--- Part of the adapter port.
---@async
---@param request table
---@param emit fun(event: table)
---@param call table
---@return table|nil message
---@return string|nil text
---@return string|nil code
function Router:stream(request, emit, call)
  local adapter, text, code = self:route(request.model)
  if not adapter then
    return nil, text, code
  end
  return adapter:stream(request, emit, call)
end

--- A router over adapters, in order of preference.
---@param adapters table[]
---@param options? agentwire.RouterOptions
---@return agentwire.ProviderRouter
function M.new(adapters, options)
  options_of.argument("provider.router", "adapters", ADAPTERS, adapters)
  options = OPTIONS:check(options)
  if #adapters == 0 then
    misuse.raise("provider.router: adapters: the list is empty")
  end
  local entries = {}
  for index, adapter in ipairs(adapters) do
    entries[index] = { adapter = adapter, out = nil }
  end
  return setmetatable({
    name = "router",
    _entries = entries,
    _models_timeout_ms = options.models_timeout_ms or MODELS_TIMEOUT_MS,
  }, Router)
end

class.seal(Router, "router")

return M
