--- Reads a stream of Gemini's streamGenerateContent. Pure.
local blocks = require("agentwire.providers._blocks")
local errors = require("agentwire.providers._errors")
local fingerprint = require("agentwire.providers._fingerprint")
local json = require("agentwire.json")
local state = require("agentwire.providers._state")
local usages = require("agentwire.providers._usage")
local values = require("agentwire.providers._values")

local M = {}

local filled, object, objects = values.filled, values.object, values.objects

local STOP = { STOP = "stop", MAX_TOKENS = "length", FUNCTION_CALL = "tool_use" }

for name in ([[SAFETY RECITATION BLOCKLIST PROHIBITED_CONTENT SPII IMAGE_SAFETY
  IMAGE_PROHIBITED_CONTENT IMAGE_RECITATION LANGUAGE MODEL_ARMOR]])
  :gmatch("%S+") do
  STOP[name] = "content_filter"
end

-- The model has failed at its own form; asked again it may do better.
local FAILED = {}
for name in ([[MALFORMED_FUNCTION_CALL UNEXPECTED_TOOL_CALL MALFORMED_RESPONSE
  MISSING_THOUGHT_SIGNATURE TOO_MANY_TOOL_CALLS]]):gmatch("%S+") do
  FAILED[name] = true
end

---@class agentwire.GeminiReader
---@field ended boolean
---@field usage table|nil
local Reader = {}
Reader.__index = Reader

---@param given table emit, settings
---@return agentwire.GeminiReader
function M.new(given)
  return setmetatable({
    ended = false, -- counts may come behind the last candidate
    usage = nil,
    _blocks = blocks.new(given.emit, given.settings.max_arguments_bytes),
    _calls = 0,
    _reason = nil,
    _blocked = nil,
    _message = nil,
    _raw_usage = nil,
    _id = nil,
  }, Reader)
end

-- A part that is signed is a block by itself, or its signature would be on what
-- was not signed; the last one may have no text at all.
local function read_text(self, kind, text, signature)
  if not signature then
    if text ~= "" then
      self._blocks:say(kind, text)
    end
    return true
  end
  self._blocks:close_current()
  local block = self._blocks:open(kind)
  block.state = { signature = signature }
  local ok, why, code = self._blocks:add(block, text)
  self._blocks:close(block)
  return ok, why, code
end

-- Some give calls no ids: ours follows from what is called, and where.
local function read_call(self, given, signature)
  self._blocks:close_current()
  local name, id = filled(given.name) or "unnamed", filled(given.id)
  local arguments = json.encode_sorted(object(given.args) or {})
  self._calls = self._calls + 1
  local block = self._blocks:open("tool", id or "call_" .. fingerprint.hex(
    self._calls .. name .. arguments), name)
  block.state = { id = id, signature = signature }
  if next(block.state) == nil then
    block.state = nil
  end
  local ok, why, code = self._blocks:add(block, arguments)
  self._blocks:close(block)
  return ok, why, code
end

local KNOWN = { text = true, thought = true, thoughtSignature = true }

local function read_part(self, part)
  local signature = filled(part.thoughtSignature)
  local call = object(part.functionCall)
  if call then
    return read_call(self, call, signature)
  end
  for name in pairs(part) do
    if not KNOWN[name] then
      self._blocks:close_current()
      self._blocks:opaque(name, part)
      return true
    end
  end
  local text = type(part.text) == "string" and part.text or ""
  return read_text(self, part.thought == true and "thinking" or "text", text,
    signature)
end

-- The prompt's count includes what came from the cache, and the candidates' does
-- not include thinking.
local function read_usage(self, raw)
  self._raw_usage = raw
  local thoughts = tonumber(raw.thoughtsTokenCount)
  self.usage = usages.of_whole {
    prompt = (tonumber(raw.promptTokenCount) or 0)
      + (tonumber(raw.toolUsePromptTokenCount) or 0),
    cache_read = raw.cachedContentTokenCount,
    output = (tonumber(raw.candidatesTokenCount) or 0) + (thoughts or 0),
    reasoning = thoughts,
  }
end

--- Takes one event.
---@param data string
---@return true|nil ok
---@return string|nil text
---@return string|nil code
---@return table|nil details
function Reader:feed(data)
  local chunk = object(json.decode(data))
  if not chunk then
    return nil, "the provider sent an event that is no JSON", "truncated"
  elseif object(chunk.error) then
    local text, code, details = errors.read(chunk)
    return nil, text, code, details
  end
  self._id = filled(chunk.responseId) or self._id
  if object(chunk.usageMetadata) then
    read_usage(self, chunk.usageMetadata)
  end
  self._blocked = filled((object(chunk.promptFeedback) or {}).blockReason)
    or self._blocked
  local candidate = objects(chunk.candidates)[1]
  if not candidate then
    return true
  end
  for _, part in ipairs(objects((object(candidate.content) or {}).parts)) do
    local ok, text, code = read_part(self, part)
    if not ok then
      return nil, text, code
    end
  end
  self._reason = filled(candidate.finishReason) or self._reason
  self._message = filled(candidate.finishMessage) or self._message
  return true
end

local function problem_of(self)
  if not self._reason then
    return "the prompt was blocked: " .. self._blocked, "refused", false
  elseif FAILED[self._reason] then
    return ("the model failed (%s)%s"):format(self._reason,
      self._message and ": " .. self._message or ""), "provider_error", true
  end
end

--- The end of what the upstream sent.
---@return table|nil message
---@return string|nil text
---@return string|nil code
---@return table|nil details
function Reader:finish()
  if not (self._reason or self._blocked) then
    return errors.truncated(self.usage)
  end
  local text, code, may_retry = problem_of(self)
  if text then
    return nil, text, code, { usage = self.usage, may_retry = may_retry }
  end
  self._blocks:close_all()
  local reason = STOP[self._reason]
  if self._blocks.has_call and (not reason or reason == "stop") then
    reason = "tool_use"
  end
  return {
    stop_reason = reason or "stop", stop_raw = self._reason, usage = self.usage,
    stop_details = self._message and { explanation = self._message } or nil,
    provider_state = state.write { id = self._id, usage = self._raw_usage },
  }
end

return M
