--- What an upstream's refusal means: its status and its body as a code of the
--- wire protocol, whether asking again may help, and when. Pure.
local json = require("agentwire.json")

local M = {}

-- Of a body that is shown: it may be a page of HTML.
local SHOWN_BYTES = 500

local BY_STATUS = {
  [400] = "invalid_request", [401] = "unauthenticated", [402] = "billing",
  [403] = "unauthenticated", [404] = "model_not_found", [408] = "timeout",
  [413] = "context_overflow", [422] = "invalid_request",
  [429] = "rate_limited", [503] = "overloaded", [504] = "timeout",
  [529] = "overloaded",
}

-- Names that vendors give their errors (`type`, `code` or `status`).
local BY_NAME = {
  context_length_exceeded = "context_overflow",
  insufficient_quota = "billing", billing_error = "billing",
  billing_hard_limit_reached = "billing",
  authentication_error = "unauthenticated", invalid_api_key = "unauthenticated",
  permission_error = "unauthenticated", PERMISSION_DENIED = "unauthenticated",
  UNAUTHENTICATED = "unauthenticated",
  rate_limit_error = "rate_limited", rate_limit_exceeded = "rate_limited",
  too_many_requests = "rate_limited", RESOURCE_EXHAUSTED = "rate_limited",
  overloaded_error = "overloaded", server_is_overloaded = "overloaded",
  UNAVAILABLE = "overloaded", timeout_error = "timeout",
  DEADLINE_EXCEEDED = "timeout", model_not_found = "model_not_found",
  not_found_error = "model_not_found", NOT_FOUND = "model_not_found",
  invalid_request_error = "invalid_request",
  INVALID_ARGUMENT = "invalid_request", content_filter = "refused",
  content_policy_violation = "refused", request_too_large = "context_overflow",
}

local OVERFLOW = {
  "prompt is too long", "maximum context length", "context window",
  "context length", "input token count", "too many tokens", "exceeds the limit of",
}

-- Asking again may help, whatever the status of the answer was.
local PASSING = { rate_limited = true, overloaded = true, timeout = true }

local STATE = { "signature", "encrypted_content", "thought_signature",
  "thoughtsignature", "reasoning_content" }

local function has_any(text, words)
  text = text:lower()
  for _, word in ipairs(words) do
    if text:find(word, 1, true) then
      return true
    end
  end
  return false
end

local function text_or_none(value)
  return type(value) == "string" and value ~= "" and value or nil
end

-- `{"error":{...}}`, `{"error":"text"}`, `[{"error":…}]`, `{"message":…}`.
local function error_of(body)
  local value = type(body) == "table" and body or json.decode(body or "")
  if type(value) ~= "table" or value == json.null then
    return nil
  end
  value = type(value[1]) == "table" and value[1] or value
  local found = value.error or value.detail or value
  if type(found) == "string" then
    return { message = found }
  end
  return type(found) == "table" and found ~= json.null and found or nil
end

local function name_of(problem)
  for _, member in ipairs { "code", "type", "status" } do
    local name = problem[member]
    if BY_NAME[name] and BY_NAME[name] ~= "invalid_request" then
      return BY_NAME[name], name
    end
  end
  return BY_NAME[problem.type] or BY_NAME[problem.status],
    text_or_none(problem.code) or text_or_none(problem.type)
end

local function code_of(problem, status, text)
  local code = name_of(problem) or BY_STATUS[status]
  local number = tonumber(problem.code)
  code = code or BY_STATUS[number]
  if (not code or code == "invalid_request") and has_any(text, OVERFLOW) then
    return "context_overflow"
  elseif code == "model_not_found" and status == 404
    and not has_any(text, { "model" }) then
    return "provider_error"
  end
  return code or "provider_error"
end

local function shown(body)
  body = (body or ""):gsub("%s+", " ")
  return #body > SHOWN_BYTES and body:sub(1, SHOWN_BYTES) .. "…" or body
end

--- What an error object inside a stream, or a refused request, says.
---@param body table|string|nil
---@param status integer? of the answer; nil inside a stream
---@return string text
---@return string code
---@return table details {`is_state`: it is about what was replayed, `may_retry`}
function M.read(body, status)
  local problem = error_of(body) or {}
  local text = text_or_none(problem.message)
    or type(body) == "string" and shown(body) or ""
  local code = code_of(problem, status, text)
  if text == "" then
    text = "the provider gave no reason"
  end
  if status then
    text = ("HTTP %d: %s"):format(status, text)
  end
  return text, code, {
    is_state = status == 400 and has_any(text, STATE),
    may_retry = code ~= "billing" and (PASSING[code] or status ~= nil
      and (status == 408 or status == 409 or status == 429 or status >= 500)
      or status == nil and code == "provider_error"),
  }
end

local MONTHS = { Jan = 1, Feb = 2, Mar = 3, Apr = 4, May = 5, Jun = 6, Jul = 7,
  Aug = 8, Sep = 9, Oct = 10, Nov = 11, Dec = 12 }

-- Days since 1970 of a date of the Gregorian calendar.
local function days_of(year, month, day)
  if month <= 2 then
    year, month = year - 1, month + 12
  end
  return 365 * year + math.floor(year / 4) - math.floor(year / 100)
    + math.floor(year / 400) + math.floor((153 * (month - 3) + 2) / 5) + day
    - 1 - 719468
end

-- RFC 9110 section 5.6.7, the form that is still written.
local function date_ms(text)
  local day, name, year, hour, minute, second = text:match(
    "^%a+, (%d+) (%a+) (%d+) (%d+):(%d+):(%d+) GMT$")
  local month = MONTHS[name]
  if not month then
    return nil
  end
  return ((days_of(tonumber(year), month, tonumber(day)) * 24 + tonumber(hour))
    * 60 + tonumber(minute)) * 60000 + tonumber(second) * 1000
end

--- How long the provider wants to be left alone.
---@param headers table<string, string> names in lower case
---@param now_ms integer wall clock
---@return integer|nil ms
function M.retry_after_ms(headers, now_ms)
  local ms = tonumber(headers["retry-after-ms"])
  local text = headers["retry-after"]
  if not ms and text then
    ms = tonumber(text) and tonumber(text) * 1000
    local date = not ms and date_ms(text)
    ms = ms or date and date - now_ms
  end
  return ms and ms == ms and ms < 2 ^ 31 and math.floor(math.max(ms, 0)) or nil
end

--- What a reader says at the end of an answer that has no end marker: success is
--- said by the provider, or not at all.
---@param usage table|nil what was counted by then
---@return nil, string text, string code, table details
function M.truncated(usage)
  return nil, "the provider's stream ended before its end", "truncated",
    { usage = usage, may_retry = true }
end

return M
