--- Several provider adapters behind one adapter port, chosen by model.
local log = require "agentwire.log"
local misuse = require "agentwire._misuse"
local options_of = require "agentwire._options"
local problems = require "agentwire._problem"
local task = require "agentwire.task"

local M = {}

local ADAPTERS = options_of.list_of(options_of.having(
  "an adapter, which has a stream function", "stream"))

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

local function lists(adapter, model)
  local models = adapter.models and adapter:models {
    model_id = model.id, include_deprecated = true,
    include_login_required = true,
  }
  for _, descriptor in ipairs(models or {}) do
    if (descriptor.model_id or descriptor.id) == model.id then
      return true
    end
  end
  return false
end

--- The adapter that serves a model. Among several, the first that lists the
-- model wins, then the first that would take it.
---@async
---@param model table wire form; empty `provider` or `api` fits any
---@return table|nil adapter
---@return string|nil message
---@return string|nil code model_not_found
function Router:route(model)
  local candidates = {}
  for _, adapter in ipairs(self._adapters) do
    if serves(adapter, model) then
      candidates[#candidates + 1] = adapter
    end
  end
  if #candidates > 1 then
    for _, adapter in ipairs(candidates) do
      if lists(adapter, model) then
        return adapter
      end
    end
  end
  if candidates[1] then
    return candidates[1]
  end
  return nil, ("no provider serves model %q (provider %q, API %q)"):format(
    model.id, model.provider, model.api), "model_not_found"
end

local function filled_in(adapter, model)
  local descriptor = {
    provider_id = not model.provider and adapter.name or nil, api = adapter.api,
  }
  for name, value in pairs(model) do
    descriptor[name] = value
  end
  return descriptor
end

-- What one adapter lists, with the members that it shares with its models.
local function list_models(adapter, query)
  if not adapter.models then
    return {}
  end
  local ok, models, text, code = pcall(adapter.models, adapter, query)
  if not ok then
    if task.is_cancelled(models) then
      error(models, 0)
    end
    return nil, problems.brief(models), "internal_error"
  elseif type(models) ~= "table" then
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

--- All adapters' models. An adapter that fails is left out, unless all fail.
---@async
---@param query? table
---@return table[]|nil models
---@return string|nil message
---@return string|nil code
function Router:models(query)
  local all, failure, text, code = {}, true, nil, nil
  for _, adapter in ipairs(self._adapters) do
    local models, problem, problem_code = list_models(adapter, query or {})
    if models then
      failure = false
      for _, model in ipairs(models) do
        all[#all + 1] = model
      end
    else
      log.write("warn", "models_failed", ("provider %s lists no models: %s")
        :format(tostring(adapter.name), problem), { provider = adapter.name })
      text, code = problem, problem_code
    end
  end
  if failure and text then
    return nil, text, code
  end
  return all
end

--- Part of the adapter port.
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
---@return agentwire.ProviderRouter
function M.new(adapters)
  options_of.argument("provider.router", "adapters", ADAPTERS, adapters)
  if #adapters == 0 then
    misuse.raise("provider.router: adapters: the list is empty")
  end
  return setmetatable({ name = "router", _adapters = adapters }, Router)
end

return M
