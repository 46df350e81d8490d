-- How adapters ask: what is asked again, what is waited for, what is told of it
-- all. The upstream is a fake that plays answers; its time is the host's.
local helper = require("spec.helper")
local aw = require("agentwire")
local host = require("agentwire.host")
local json = require("agentwire.json")
local openai_chat = require("agentwire.providers.openai_chat")
local task = require("agentwire.task")
local upstream = require("spec.support.upstream")

local KEY = "sk-very-secret-0123456789"

local function event(value)
  return "data: " .. json.encode(value) .. "\n\n"
end

local function chunk(delta, reason)
  return event { choices = json.array { { index = 0, delta = delta,
    finish_reason = reason } } }
end

local GOOD = { steps = { chunk({ content = "Hi" }, "stop"), "data: [DONE]\n\n" } }

local function refused(status, headers, message)
  return { status = status, headers = headers,
    steps = { json.encode { error = { message = message or "no" } } } }
end

--- Asks an adapter once, on a host whose time jumps.
local function ask(answers, options, request, module)
  local port = upstream.new(answers)
  options = options or {}
  options.http, options.api_key = port, options.api_key or KEY
  options.random = options.random or function()
    return 1
  end
  local adapter = (module or openai_chat).new(options)
  request = request or {}
  request.model = { id = "m", api = "", provider = "" }
  request.options = request.options or {}
  request.context = request.context
    or { messages = { { role = "user", content = "x" } } }
  local fake, loop = helper.fake_host()
  local before = host.use(fake)
  local got = { port = port, adapter = adapter, events = {}, call = {} }
  local began = loop.time
  fake:run(function()
    got.message, got.text, got.code, got.details = adapter:stream(request,
      function(each)
        got.events[#got.events + 1] = each
      end, got.call)
  end)
  got.took_ms = loop.time - began
  host.use(before)
  fake:close()
  return got
end

local function types(events)
  local list = {}
  for index, each in ipairs(events) do
    list[index] = each.type
  end
  return list
end

describe("an adapter's request", function()
  it("has the key in its header and is told whose the answer is", function()
    local got = ask { GOOD }
    assert.equal("stop", got.message.stop_reason)
    local request = got.port.requests[1]
    assert.equal("Bearer " .. KEY, request.headers.authorization)
    assert.equal("https://api.openai.com/v1/chat/completions", request.url)
    assert.equal("start", got.events[1].type)
    assert.equal("openai_chat", got.events[1].state_of.api)
    assert.is_true(got.port.is_fake)
    assert.is_true(got.port.responses[1].closed)
  end)

  it("has a request's headers but those that say who asks", function()
    local got = ask({ GOOD }, nil, { options = { headers = {
      { name = "X-Trace", value = "1" },
      { name = "Authorization", value = "Bearer stolen" },
      { name = "Host", value = "elsewhere" },
      { name = "X-Split", value = "a\r\nX-More: b" },
      { name = "X Space", value = "c" } } } })
    local headers = got.port.requests[1].headers
    assert.is_nil(headers["x-split"])
    assert.is_nil(headers["x space"])
    assert.equal("1", headers["x-trace"])
    assert.equal("Bearer " .. KEY, headers.authorization)
    assert.is_nil(headers.host)
  end)

  it("never goes where a request's base_url points", function()
    local request = { options = {} }
    local port_url
    request.context = { messages = {} }
    local got = ask({ GOOD }, { base_url = "https://mine.example/v1/" }, request)
    port_url = got.port.requests[1].url
    assert.equal("https://mine.example/v1/chat/completions", port_url)
  end)
end)

describe("a request is asked again", function()
  for _, status in ipairs { 408, 409, 429, 500, 502, 503, 529 } do
    it("after status " .. status, function()
      local got = ask { refused(status), GOOD }
      assert.truthy(got.message)
      assert.equal(2, #got.port.requests)
    end)
  end

  for _, status in ipairs { 400, 401, 402, 403, 404, 413, 422 } do
    it("never after status " .. status, function()
      local got = ask { refused(status), GOOD }
      assert.is_nil(got.message)
      assert.equal(1, #got.port.requests)
    end)
  end

  it("as the provider says: x-should-retry, retry-after, retry-after-ms (bug 14)",
    function()
      assert.equal(1, #ask({ refused(500, { ["x-should-retry"] = "false" }),
        GOOD }).port.requests)
      assert.equal(2, #ask({ refused(400, { ["x-should-retry"] = "true" }),
        GOOD }).port.requests)
      assert.equal(7000, ask({ refused(429, { ["retry-after"] = "7" }),
        GOOD }).took_ms)
      assert.equal(250, ask({ refused(429, { ["retry-after"] = "7",
        ["retry-after-ms"] = "250" }), GOOD }).took_ms)
    end)

  it("not at all when it would have to wait too long, and the time is told",
    function()
      local got = ask({ refused(429, { ["retry-after"] = "3600" }), GOOD })
      assert.equal(1, #got.port.requests)
      assert.equal("rate_limited", got.code)
      assert.equal(3600000, got.details.retry_after_ms)
      assert.equal(0, got.took_ms)
      local asked = ask({ refused(429, { ["retry-after"] = "7" }), GOOD }, nil,
        { options = { retry = { max_retry_delay_ms = 1000 } } })
      assert.equal(1, #asked.port.requests)
    end)

  it("at a date", function()
    local errors = require("agentwire.providers._errors")
    assert.equal(90000, errors.retry_after_ms(
      { ["retry-after"] = "Sun, 06 Nov 1994 08:51:07 GMT" }, 784111777000))
    assert.is_nil(errors.retry_after_ms({ ["retry-after"] = "soon" }, 0))
  end)

  it("after pauses that grow and are drawn, three times in all (bug 14)", function()
    local drawn = 0
    local got = ask({ refused(500), refused(500), refused(500), GOOD }, {
      random = function()
        drawn = drawn + 1
        return 0.5
      end })
    assert.equal(3, #got.port.requests)
    assert.equal(2, drawn)
    assert.equal(750, got.took_ms)
    assert.equal("provider_error", got.code)
  end)

  it("when there was no connection, or an error came before the first delta",
    function()
      assert.truthy(ask({ { fail = "refused" }, GOOD }).message)
      assert.truthy(ask({ { steps = { event { error = { message = "busy",
        type = "overloaded_error" } } } }, GOOD }).message)
    end)

  it("never after the first delta (bug 2)", function()
    local got = ask { { steps = { chunk { content = "Hi" } } }, GOOD }
    assert.equal(1, #got.port.requests)
    assert.equal("truncated", got.code)
    local cut = ask { { steps = { chunk { content = "Hi" },
      { fail = "connection reset" } } }, GOOD }
    assert.equal("truncated", cut.code)
    assert.equal(1, #cut.port.requests)
  end)

  it("not when something is too large, or there is no client", function()
    for _, code in ipairs { "limit", "unsupported" } do
      local got = ask { { fail = "x", code = code }, GOOD }
      assert.equal(1, #got.port.requests)
      got = ask { { steps = { { fail = "x", code = code } } }, GOOD }
      assert.equal(1, #got.port.requests)
    end
  end)

  it("not for want of money", function()
    local got = ask { { status = 429, steps = { json.encode { error = {
      message = "You exceeded your current quota",
      code = "insufficient_quota" } } } }, GOOD }
    assert.equal("billing", got.code)
    assert.equal(1, #got.port.requests)
  end)
end)

describe("silence", function()
  it("before the first byte has a limit of its own", function()
    local got = ask({ { steps = { { delay_ms = 400000 }, "" } } },
      { retry = { attempts = 1 } })
    assert.equal("timeout", got.code)
    assert.equal(300000, got.took_ms)
  end)

  it("ends a stream, and pings and comments break it (bug 13)", function()
    local got = ask({ { steps = { chunk { content = "Hi" }, { delay_ms = 200000 },
      GOOD.steps[1] } } })
    assert.equal("timeout", got.code)
    assert.equal(120000, got.took_ms)
    assert.is_true(got.port.responses[1].closed)
    local pinged = ask { { steps = { chunk { content = "Hi" },
      { delay_ms = 100000 }, ": ping\n\n", { delay_ms = 100000 }, ":\n",
      { delay_ms = 100000 }, GOOD.steps[1] } } }
    assert.truthy(pinged.message)
  end)

  it("counts from the start only if that is asked for", function()
    local got = ask({ { steps = { chunk { content = "Hi" }, { delay_ms = 90000 },
      ":\n", { delay_ms = 90000 }, GOOD.steps[1] } } },
      { timeouts = { call_ms = 100000 } })
    assert.equal("timeout", got.code)
    assert.equal(100000, got.took_ms)
    assert.is_true(got.port.responses[1].closed)
  end)
end)

describe("state that the provider does not take", function()
  it("goes, once, with a warning", function()
    local first = ask { { steps = { chunk { reasoning_content = "Hm" },
      chunk({ tool_calls = json.array { { index = 0, id = "a",
        ["function"] = { name = "f", arguments = "{}" } } } }, "tool_calls") } } }
    local tag = first.events[1].state_of
    local thinking
    for _, each in ipairs(first.events) do
      thinking = thinking or each.type == "thinking_end" and each.provider_state
    end
    local context = { messages = { { role = "assistant", state_of = tag,
      content = { { type = "thinking", thinking = "Hm",
        provider_state = thinking }, { type = "tool_call", id = "a", name = "f",
        arguments_json = "{}" } } } } }
    local got = ask({ refused(400, nil, "Invalid thought_signature"), GOOD }, nil,
      { context = context })
    assert.truthy(got.port.requests[1].body:find("reasoning_content", 1, true))
    assert.is_nil(got.port.requests[2].body:find("reasoning_content", 1, true))
    assert.same({ "start", "warning", "text_start", "text_delta", "text_end" },
      types(got.events))
    assert.truthy(got.message)
    local again = ask({ refused(400, nil, "bad signature"),
      refused(400, nil, "bad signature"), GOOD }, nil, { context = context })
    assert.equal("invalid_request", again.code)
    assert.equal(2, #again.port.requests)
  end)
end)

describe("the key", function()
  it("is in no error, log, event or text of the adapter", function()
    local logged = {}
    aw.log.set(function(...)
      for _, each in ipairs { ... } do
        logged[#logged + 1] = type(each) == "table" and json.encode(each)
          or tostring(each)
      end
    end)
    local shown = {}
    for _, answers in ipairs {
      { refused(401, nil, "Incorrect API key provided: " .. KEY) },
      { { fail = "cannot reach https://x/?key=" .. KEY } },
      { { steps = { event { error = KEY } } } },
      { { steps = { "data: " .. KEY .. "\n\n" } } },
    } do
      local got = ask(answers, { retry = { attempts = 1 } })
      assert.is_nil(got.message)
      shown[#shown + 1] = got.text
      shown[#shown + 1] = json.encode(got.events)
      shown[#shown + 1] = json.encode(got.details)
      shown[#shown + 1] = tostring(got.adapter)
      for name, value in pairs(got.adapter) do
        shown[#shown + 1] = tostring(name) .. tostring(value)
      end
    end
    aw.log.set(nil)
    local good = ask { GOOD }
    shown[#shown + 1] = json.encode(good.events)
    local all = table.concat(shown, "\n") .. table.concat(logged, "\n")
    assert.is_nil(all:find(KEY, 1, true))
    assert.truthy(all:find("[key]", 1, true))
  end)

  for _, name in ipairs { "anthropic", "gemini", "ollama", "openai_chat",
    "openai_responses" } do
    it("goes out in one header alone, and in nothing that is told: " .. name,
      function()
        local got = ask({ refused(401, nil, "no such key: " .. KEY) }, nil, nil,
          require("agentwire.providers." .. name))
        local request, holders = got.port.requests[1], 0
        for _, value in pairs(request.headers) do
          holders = holders + (value:find(KEY, 1, true) and 1 or 0)
        end
        assert.equal(1, holders)
        assert.is_nil((request.url .. request.body):find(KEY, 1, true))
        assert.equal("unauthenticated", got.code)
        assert.matches("no such key: %[key%]", got.text)
        local told = json.encode { got.text, tostring(got.adapter), got.events,
          got.adapter:models() }
        assert.is_nil(told:find(KEY, 1, true))
      end)
  end

  it("comes from the environment where no option gives it", function()
    local name = openai_chat.vendor.key_env
    openai_chat.vendor.key_env = { "PATH" }
    local port = upstream.new { GOOD }
    local adapter = openai_chat.new { http = port }
    openai_chat.vendor.key_env = name
    require("spec.support.provider").run(function()
      adapter:stream({ model = { id = "m" }, options = {},
        context = { messages = {} } }, function() end, {})
    end)
    assert.equal("Bearer " .. os.getenv("PATH"),
      port.requests[1].headers.authorization)
  end)
end)

describe("a client that is gone", function()
  it("ends the upstream's request (bug 19)", function()
    local port = upstream.new { { steps = { chunk { content = "Hi" },
      { delay_ms = 60000 }, GOOD.steps[1] } } }
    require("spec.support.provider").with(openai_chat.new { http = port,
      api_key = KEY }, function(client)
      local stream = assert(client:start_stream { model = "m", messages = {} })
      repeat
        local each = stream:next(1000)
      until each.type == "text_delta"
      stream:close()
      for _ = 1, 50 do
        task.yield()
      end
      assert.is_true(port.responses[1].closed)
    end)
  end)
end)
