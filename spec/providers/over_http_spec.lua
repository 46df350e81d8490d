-- An adapter over the HTTP client: a real server on loopback, which plays a model.
local aw = require("agentwire")
local http_server = require("spec.support.http_server")
local link = require("spec.support.link")

local PATH = "/chat/completions"
local KEY = "sk-over-http-0123456789"

local function with_model(body)
  link.run(function()
    local server = http_server.start()
    aw.task.defer(function()
      server:stop()
    end)
    local adapter = aw.providers.openai_chat.new {
      api_key = KEY, base_url = server.url, retry = { min_ms = 1, max_ms = 5 },
    }
    local near, far = aw.pair()
    aw.provider.attach(far, adapter)
    body(near:provider(), server)
    near:close()
  end)
end

local function asking(text)
  return { model = "openai/m", messages = { { role = "user", content = text } } }
end

local function count(server, what)
  local times = 0
  for _, entry in ipairs(server:seen().log) do
    times = times + (entry[1] == what and entry[2] == PATH and 1 or 0)
  end
  return times
end

describe("an adapter over HTTP", function()
  it("streams what the model says, piece by piece", function()
    with_model(function(models)
      local stream, deltas = assert(models:start_stream(asking("hello"))), {}
      for event in stream:events() do
        if event.type == "text_delta" then
          table.insert(deltas, event.delta)
        end
      end
      local message = assert(stream:result())
      assert.same({ "one ", "two ", "three" }, deltas)
      assert.equal("one two three", message.content[1].text)
      assert.equal("stop", message.stop_reason)
      assert.equal(5, message.usage.input)
      assert.equal(3, message.usage.output)
    end)
  end)

  it("asks again when the model is busy", function()
    with_model(function(models, server)
      local message = assert(models:complete(asking("busy")))
      assert.equal("one two three", message.content[1].text)
      assert.equal(2, count(server, "asked"))
    end)
  end)

  it("lets go of the model at once when its client does", function()
    with_model(function(models, server)
      local stream = assert(models:start_stream(asking("for ever")))
      for event in stream:events() do
        if event.type == "text_delta" then
          stream:abort()
        end
      end
      assert.equal("aborted", select(3, stream:result()))
      assert.truthy(server:when("gone", PATH))
    end)
  end)

  it("says nothing of its key when nobody is there", function()
    with_model(function(models, server)
      server:stop()
      local none, why, code = models:complete(asking("hello"))
      assert.is_nil(none)
      assert.is_nil((why .. code):find(KEY, 1, true))
      assert.truthy(why:find("127.0.0.1", 1, true), why)
    end)
  end)
end)
