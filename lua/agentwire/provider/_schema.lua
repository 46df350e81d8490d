--- What a peer sends in the provider protocol, as shapes (`_shape`), by which
--- `protocol.check` goes.
local shape = require("agentwire._shape")

local text, filled, flag = shape.text, shape.filled, shape.flag
local number, integer, count = shape.number, shape.integer, shape.count
local object, array_of, by_member =
  shape.object, shape.array_of, shape.by_member
local optional, one_of, any = shape.optional, shape.one_of, shape.any

local M = {}

local model = object {
  "id", filled, "name", optional(text), "api", text, "provider", text,
  "base_url", optional(text),
}

-- Whose `provider_state` a message and its blocks have.
local state_of = object {
  "api", text, "provider", text, "model", text, "scope", text,
}

local text_part = object {
  "text", text, "text_signature", optional(text),
  "provider_state", optional(text),
}
local image_part = object { "data", text, "mime_type", text }
local part = by_member("type", { text = text_part, image = image_part })
local parts = array_of(part)

local block = by_member("type", {
  text = text_part,
  image = image_part,
  thinking = object {
    "thinking", text, "thinking_signature", optional(text),
    "provider_state", optional(text), "opaque", optional(text),
  },
  tool_call = object {
    "id", text, "name", filled, "arguments_json", text,
    "thought_signature", optional(text), "provider_state", optional(text),
    "incomplete", optional(flag),
  },
})
local blocks = array_of(block)

local usage = object {
  "input", optional(count), "output", optional(count),
  "cache_read", optional(count), "cache_write", optional(count),
  "reasoning", optional(count), "total", optional(count),
}

local stop_details = object {
  "category", optional(text), "explanation", optional(text),
}

local function text_or_parts(value)
  if type(value) ~= "string" then
    if type(value) ~= "table" then
      return "expected string or array"
    end
    return parts(value)
  end
end

local message = by_member("role", {
  user = object {
    "content", text_or_parts, "timestamp", optional(integer),
  },
  assistant = object {
    "content", blocks, "model", optional(text), "api", optional(text),
    "provider", optional(text), "timestamp", optional(integer),
    "stop_reason", optional(text), "usage", optional(usage),
    "stop_raw", optional(text), "stop_details", optional(stop_details),
    "provider_state", optional(text), "state_of", optional(state_of),
  },
  tool = object {
    "tool_call_id", text, "tool_name", optional(text), "content", parts,
    "is_error", optional(flag), "timestamp", optional(integer),
    "details_json", optional(text),
  },
})

-- A schema travels as a JSON value here and as a string elsewhere.
local any_object = object {}

local function parameters_schema(value)
  if type(value) ~= "string" and any_object(value) then
    return "expected object or string"
  end
end

local tool = object {
  "name", filled, "description", optional(text),
  "parameters_schema_json", optional(parameters_schema),
}

local context = object {
  "messages", array_of(message), "system_prompt", optional(text),
  "tools", optional(array_of(tool)),
}

local tool_choice_object = object {
  "type", one_of { "auto", "none", "required", "function" },
  "function", optional(text),
}

local function tool_choice(value)
  if type(value) ~= "string" then
    return tool_choice_object(value)
  end
end

local options = object {
  "api_key", optional(text), "temperature", optional(number),
  "max_tokens", optional(count),
  "cache_retention", optional(one_of { "none", "short", "long" }),
  "session_id", optional(text), "thinking_enabled", optional(flag),
  "thinking_budget_tokens", optional(count), "thinking_effort", optional(text),
  "reasoning_effort", optional(text), "reasoning_summary", optional(text),
  "include_reasoning_encrypted", optional(flag),
  "reasoning_enabled", optional(flag),
  "service_tier", optional(one_of { "default", "flex", "priority" }),
  "metadata", optional(object { "user_id", optional(text) }),
  "tool_choice", optional(tool_choice), "http_timeout_ms", optional(count),
  "ping_interval_ms", optional(count),
  "headers", optional(array_of(object { "name", filled, "value", text })),
  "retry", optional(object { "max_retry_delay_ms", optional(count) }),
  "top_p", optional(number), "seed", optional(integer),
  "stop_sequences", optional(array_of(text)),
  "parallel_tool_calls", optional(flag), "response_schema", optional(object {}),
  "prompt_cache_key", optional(text), "extra", optional(object {}),
}

local descriptor = object {
  "model_ref", text, "model_id", filled, "display_name", optional(text),
  "provider_id", text, "api", text, "base_url", optional(text),
  "auth_status", optional(text), "lifecycle", optional(text),
  "source", optional(text), "capabilities", optional(array_of(text)),
  "context_window", optional(count), "max_output_tokens", optional(count),
}

local indexed = { "content_index", count }
local ended = { "content_index", count, "provider_state", optional(text),
  "opaque", optional(text) }
local delta = { "content_index", count, "delta", text }

--- A message of a request, of any role.
M.message = message

--- One check for each message type, over its payload.
M.payloads = {
  stream_request = object {
    "model", model, "context", context, "options", optional(options),
    "include_partial", optional(flag),
  },
  complete_request = object {
    "model", model, "context", context, "options", optional(options),
  },
  abort_request = object { "target_stream_id", text, "reason", optional(text) },
  models_request = object {
    "provider_id", optional(text), "api", optional(text),
    "model_id", optional(text), "include_deprecated", optional(flag),
    "include_login_required", optional(flag),
  },
  ack = object { "acknowledged_id", text },
  nack = object {
    "rejected_id", text, "reason", text, "error_code", optional(text),
    "supported_versions", optional(array_of(text)),
  },
  start = object {
    "model", text, "input_tokens", optional(count),
    "state_of", optional(state_of),
  },
  text_start = object(indexed),
  text_delta = object(delta),
  text_end = object(ended),
  thinking_start = object(indexed),
  thinking_delta = object(delta),
  thinking_end = object(ended),
  toolcall_start = object { "content_index", count, "id", text, "name", text },
  toolcall_delta = object(delta),
  toolcall_end = object {
    "content_index", count, "id", text, "name", text,
    "arguments_json", text, "thought_signature", optional(text),
    "provider_state", optional(text), "incomplete", optional(flag),
  },
  warning = object { "code", text, "message", text },
  done = object { "reason", text, "message", message },
  error = object {
    "reason", text, "error_message", optional(text),
    "error_code", optional(text), "retry_after_ms", optional(count),
    "usage", optional(usage),
  },
  keepalive = object {},
  result = object {
    "content", blocks, "stop_reason", text, "model", optional(text),
    "api", optional(text), "provider", optional(text),
    "timestamp", optional(integer), "input", optional(count),
    "output", optional(count), "cache_read", optional(count),
    "cache_write", optional(count), "usage", optional(usage),
    "reasoning", optional(count), "total", optional(count),
    "stop_raw", optional(text), "stop_details", optional(stop_details),
    "provider_state", optional(text), "state_of", optional(state_of),
  },
  stream_error = object { "code", text, "message", text },
  models_response = object {
    "models", array_of(descriptor), "fetched_at_ms", optional(integer),
    "cache_max_age_ms", optional(integer),
  },
  ping = object {},
  pong = object { "ping_id", any },
  goodbye = object { "reason", optional(text) },
  sync_request = object { "target_stream_id", text },
  sync = object {
    "target_stream_id", text,
    "partial", optional(object { "content", optional(blocks) }),
    "blocks", optional(array_of(object {
      "content_index", count, "open", optional(flag),
    })),
  },
}

return M
