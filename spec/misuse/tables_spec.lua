-- Every public table of options, as docs/api.md has it: a name that is misspelt,
-- a value of the wrong kind, JSON's null, a negative number. Each is told at the
-- line of whoever gave it, with the option's name.
local aw = require("agentwire")
local link = require("spec.support.link")
local standalone = require("agentwire.host.standalone")

local HERE = "^spec/misuse/tables_spec%.lua:%d+: "

local MESSAGES = { { role = "user", content = "x" } }

local function adapter()
  return { name = "m", api = "m", stream = function() end }
end

local function things()
  local near, far = aw.pair()
  return { conn = near, far = far, remote = near:tool(), agent = near:agent(),
    models = near:provider(), tools = aw.tool.registry() }
end

local function with(given, more)
  for name, value in pairs(more) do
    if given[name] == nil then
      given[name] = value
    end
  end
  return given
end

local function listen(given)
  aw.listen(with(given, { url = "ws://127.0.0.1:0" }), print)
end

local function adapter_of(name)
  return function(given)
    aw.providers[name].new(with(given, { api_key = "k", base_url = "http://x" }))
  end
end

-- What is given a table of each class. Where the table is an option of another,
-- the message begins with that option.
local TAKES = {
  AccessOptions = listen,
  AgentClientOptions = function(given, t) aw.agent.client(t.conn, given) end,
  AgentLoopOptions = function(given, t)
    aw.agent.loop(with(given, { provider = t.models, model = "a/b" }))
  end,
  AgentServiceOptions = function(given, t)
    aw.agent.service(with(given, { provider = t.models }))
  end,
  AgentStart = function(given, t) t.agent:start(given) end,
  AnthropicOptions = adapter_of("anthropic"),
  CompleteRequest = function(given, t)
    t.models:complete(with(given, { model = "a/b", messages = MESSAGES }))
  end,
  ConnectOptions = function(given) aw.connect("ws://127.0.0.1:1", given) end,
  DrainOptions = function(given)
    local server = assert(aw.listen("ws://127.0.0.1:0", print))
    aw.task.defer(function() server:close() end)
    server:drain(given)
  end,
  EachOptions = function(given) aw.each(print, given) end,
  EditorToolsOptions = function(given)
    require("agentwire.nvim").tools(given)
  end,
  ExecutorOptions = function(given, t) aw.tool.attach(t.far, t.tools, given) end,
  GeminiOptions = adapter_of("gemini"),
  HostOptions = function(given) standalone.new(given) end,
  HttpLimits = function(given) aw.http.limit(given) end,
  HttpRequest = function(given)
    aw.http.stream(with(given, { url = "http://127.0.0.1:1/" }))
  end,
  Limits = function(given) aw.pair(given) end,
  LinesOptions = function(given) aw.lines.pair(given) end,
  LinesStdioOptions = function(given) aw.lines.stdio(given) end,
  ListenOptions = listen,
  LivenessOptions = function(given)
    aw.connect(with(given, { argv = { "cat" } }))
  end,
  LuvDriverOptions = function(given)
    require("agentwire.host.luv").driver({}, given)
  end,
  ModelQuery = function(given, t) t.models:models(given) end,
  OllamaOptions = adapter_of("ollama"),
  OpenaiChatOptions = adapter_of("openai_chat"),
  OpenaiResponsesOptions = adapter_of("openai_responses"),
  OpenrestyOptions = function(given)
    require("agentwire.host.openresty").new(given)
  end,
  PairOptions = function(given) aw.pair(given) end,
  PlaceOptions = listen,
  ProviderAdapterOptions = adapter_of("openai_chat"),
  ProviderClientOptions = function(given, t)
    aw.provider.client(t.conn, given)
  end,
  ProviderServerOptions = function(given, t)
    aw.provider.attach(t.far, adapter(), given)
  end,
  ReconnectPolicy = function(given)
    aw.connect("ws://127.0.0.1:1", { reconnect = given })
  end,
  RegisterOptions = function(given, t)
    aw.tool.register(t.conn, t.tools, given)
  end,
  RouterOptions = function(given) aw.provider.router({ adapter() }, given) end,
  RunOptions = function(given) aw.run(given, print) end,
  ScriptedOptions = function(given) aw.providers.scripted.new(given) end,
  ServeOptions = function(given, t)
    aw.serve(with(given, { listen = "ws://127.0.0.1:0", tools = t.tools }))
  end,
  ShareLimits = function(given)
    listen { shares = { per_identity = given } }
  end,
  ShareOptions = function(given) listen { shares = given } end,
  SinkOptions = function(given) require("agentwire.nvim").sink(given) end,
  SpawnOptions = function(given) aw.connect(with(given, { argv = { "cat" } })) end,
  StreamRequest = function(given, t)
    t.models:start_stream(with(given, { model = "a/b", messages = MESSAGES }))
  end,
  TlsOptions = function(given)
    aw.connect("wss://127.0.0.1:1", { tls = given })
  end,
  ToolCall = function(given, t) t.remote:execute(with(given, { name = "x" })) end,
  ToolClientOptions = function(given, t) aw.tool.client(t.conn, given) end,
  ToolDefinition = function(given, t)
    t.tools:add(with(given, { name = "x", handler = print }))
  end,
  ToolPoolOptions = function(given) aw.tool.pool(given) end,
  ToolRegistryOptions = function(given) aw.tool.registry(given) end,
}

-- What is given to a user, or to the other end, instead of taken.
local GIVEN = { ToolResult = true }

--- Class -> list of {name, kind}, of the API's index.
local function documented()
  local file = assert(io.open("docs/api.md"))
  local text = file:read("*a")
  file:close()
  local classes, current = {}, nil
  for line in text:gmatch("[^\n]+") do
    local class = line:match("^## agentwire%.(%w+)$")
    local name, kind = line:match("^%- `([%w_]+)` (.*)$")
    if class and not GIVEN[class] then
      current = {}
      classes[class] = current
    elseif line:find("^## ") then
      current = nil
    elseif name and current then
      current[#current + 1] = { name = name, kind = kind }
    end
  end
  return classes
end

-- Where null stands for nothing: a model's call without arguments.
local NULLABLE = { args = true }

local WRONG = { integer = "5", number = "5", boolean = "yes", string = 5,
  table = 5, fun = "f", agentwire = 5, list = "x" }

local function wrong_for(kind)
  local first = kind:match("^%(?(%a+)")
  return kind:find("^%w+%[%]") and WRONG.list or WRONG[first] or 5
end

local function takes_any(field)
  return field.kind:find("^any") ~= nil
end

local function misspelt(name)
  return name:sub(1, -3) .. name:sub(-1) .. name:sub(-2, -2)
end

--- What the caller is told who gives this to `class`.
local function told(class, given)
  local ok, why
  link.run(function()
    local t = things()
    ok, why = pcall(TAKES[class], given, t)
    t.conn:close()
  end)
  assert(not ok, class .. " was taken")
  why = tostring(why)
  assert(why:find(HERE), why)
  return why
end

local function says(class, given, ...)
  local why = told(class, given)
  for _, part in ipairs { ... } do
    assert(why:find(part, 1, true), ("%s: %q does not say %q"):format(class,
      why, part))
  end
end

local count = 0

local function mistake(...)
  count = count + 1
  says(...)
end

describe("a mistake in a table of options", function()
  local classes = documented()

  it("is looked for in every table there is", function()
    for class in pairs(classes) do
      assert(TAKES[class], class)
    end
    for class in pairs(TAKES) do
      assert(classes[class], class)
    end
  end)

  for class, fields in pairs(classes) do
    it("is told: a misspelt name of " .. class, function()
      for _, field in ipairs(fields) do
        local name = misspelt(field.name)
        if #name > 4 and name ~= field.name then
          mistake(class, { [name] = true }, "unknown option " .. name,
            "did you mean")
        end
      end
    end)

    it("is told: a wrong kind in " .. class, function()
      for _, field in ipairs(fields) do
        if not takes_any(field) then
          mistake(class, { [field.name] = wrong_for(field.kind) }, field.name,
            "expected")
        end
      end
    end)

    it("is told: JSON's null in " .. class, function()
      for _, field in ipairs(fields) do
        if not (NULLABLE[field.name] or takes_any(field)) then
          mistake(class, { [field.name] = aw.null }, field.name, "null")
        end
      end
    end)

    it("is told: a negative number in " .. class, function()
      for _, field in ipairs(fields) do
        if field.kind:find("^integer") or field.kind:find("^number") then
          mistake(class, { [field.name] = -1 }, field.name,
            "got the number -1")
        end
      end
    end)
  end

  it("is told in hundreds of ways", function()
    assert(count > 400, count .. " mistakes")
  end)
end)
