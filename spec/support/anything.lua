-- Payloads by chance, of the words that the protocols know.
local json = require("agentwire.json")

local M = {}

local PLAIN = {
  json.null, 0, -1, 3, 1.5, 2 ^ 53, true, false, "", "x", "[", "{}",
  "scripted", "scripted/scripted", "user", "assistant", "text",
  '{"model":"scripted/scripted","role":"user","content":"hi","tools":[{}]}',
  '{"type":"message_update","message":{"content":[{"text":"a"}]},"delta":7}',
}

local MEMBERS = {
  "acknowledged_id", "args_json", "arguments_json", "blocks", "code",
  "config_json", "content", "content_index", "context", "delta", "description",
  "duration_ms", "error_code", "error_message", "event_json", "execution_id",
  "headers", "id", "input", "is_error", "max_turns", "message",
  "message_count", "message_json", "messages", "metadata", "model",
  "model_ref", "models", "name", "open", "options", "options_json", "output",
  "parameters_schema_json", "partial", "partial_json", "partial_result_json",
  "prefix", "progress", "provider", "reason", "rejected_id", "result_json",
  "retry", "role", "session_id", "status", "stop_reason", "system_prompt",
  "target_stream_id", "text", "thinking", "timeout_ms", "timestamp", "tool",
  "tool_call_id", "tool_choice", "tool_id", "tool_name", "tools", "type",
  "usage",
}

function M.pick(list)
  return list[math.random(#list)]
end

local function value(ids, depth)
  local dice = depth > 3 and 1 or math.random(6)
  if dice <= 3 then
    return M.pick(PLAIN)
  elseif dice == 4 then
    return M.pick(ids)
  end
  local made = dice == 5 and json.array {} or {}
  for index = 1, math.random(3) do
    made[dice == 5 and index or M.pick(MEMBERS)] = value(ids, depth + 1)
  end
  return made
end

--- Adds members to a payload, or makes one.
---@param ids string[] ids that may be meant; at least one
---@param payload table?
---@return table
function M.payload(ids, payload)
  payload = payload or {}
  for _ = 1, math.random(0, 4) do
    payload[M.pick(MEMBERS)] = value(ids, 0)
  end
  return payload
end

return M
