local json = require("agentwire.json")
local link = require("spec.support.link")
local registry = require("agentwire.tool.registry")
local task = require("agentwire.task")

local function echo(args)
  return args.text
end

local function new_tools()
  return registry.new():add {
    name = "echo",
    description = "Says it again",
    parameters = {
      type = "object",
      properties = { text = { type = "string" } },
      required = { "text" },
    },
    handler = echo,
  }
end

--- Runs one call of a handler in a task.
local function call(handler, options)
  options = options or {}
  local result, why, code
  link.run(function()
    local tools = registry.new():add {
      name = "t",
      handler = handler,
      timeout_ms = options.tool_timeout_ms,
    }
    result, why, code = tools:execute {
      name = "t",
      args = options.args or {},
      tool_call_id = "call_1",
      timeout_ms = options.timeout_ms,
      on_update = options.on_update,
    }
  end)
  return result, why, code
end

describe("tool.registry", function()
  it("lists metadata in the wire's form, in the order of adding", function()
    local tools = new_tools():add {
      name = "other",
      handler = echo,
      parameters = '{"type":"object"}',
      version = "2.1.0",
      is_destructive = true,
      required_permissions = { "fs:write" },
    }
    local list = tools:list()
    assert.equal(2, #list)
    assert.equal("echo", list[1].name)
    assert.equal("Says it again", list[1].description)
    assert.equal("1.0.0", list[1].version)
    assert.is_false(list[1].is_destructive)
    local schema = json.decode(list[1].parameters_schema_json)
    assert.equal("string", schema.properties.text.type)
    assert.equal('{"type":"object"}', list[2].parameters_schema_json)
    assert.equal("2.1.0", list[2].version)
    assert.same({ "fs:write" }, list[2].required_permissions)
  end)

  it("lists by prefix and forgets what is removed", function()
    local tools = new_tools():add { name = "fs_read", handler = echo }
    assert.equal("fs_read", tools:list("fs_")[1].name)
    assert.equal(1, #tools:list("fs_"))
    assert.is_true(tools:remove("fs_read"))
    assert.is_false(tools:remove("fs_read"))
    assert.equal(0, #tools:list("fs_"))
  end)

  local misuses = {
    { "no table", nil, "a tool is a table" },
    { "no name", { handler = echo }, "a tool needs a name" },
    { "no handler", { name = "x" }, "a tool needs a handler" },
    { "a wrong version", { name = "x", handler = echo, version = 1 },
      "option version: expected a string, got the number 1" },
    { "a schema that is no JSON",
      { name = "x", handler = echo, parameters = "{" }, "parameters" },
    { "a schema that holds itself", (function()
      local schema = { type = "object", properties = {} }
      schema.properties.child = schema
      return { name = "x", handler = echo, parameters = schema }
    end)(), "nested deeper than 128 (a cycle?)" },
    { "multiples of nothing", { name = "x", handler = echo,
      parameters = { properties = { n = { multipleOf = 0 } } } },
      "properties.n.multipleOf: expected a number above 0" },
    { "a name that is taken", { name = "echo", handler = echo },
      "there already" },
  }
  it("takes multiples of less than one", function()
    new_tools():add { name = "x", handler = echo,
      parameters = { properties = { n = { multipleOf = 0.25 } } } }
  end)

  for _, case in ipairs(misuses) do
    it("raises for a tool with " .. case[1], function()
      local ok, why = pcall(function()
        new_tools():add(case[2])
      end)
      assert.is_false(ok)
      assert.matches(case[3], why, 1, true)
    end)
  end

  local refusals = {
    { { name = "none", args = {} }, "tool_not_found", "no such tool: none" },
    { { name = "echo", args_json = "{" }, "invalid_arguments", "malformed" },
    { { name = "echo", args_json = '{"text":1}' }, "invalid_arguments",
      "args.text: expected string, got number" },
    { { name = "echo" }, "invalid_arguments", "args.text: required" },
    { { name = "echo", args_json = "null" }, "invalid_arguments",
      "args.text: required" },
    { { name = "echo", args_json = "[1]" }, "invalid_arguments",
      "expected object, got array" },
  }
  for _, case in ipairs(refusals) do
    it("refuses a call: " .. case[3], function()
      link.run(function()
        local result, why, code = new_tools():execute(case[1])
        assert.is_nil(result)
        assert.equal(case[2], code)
        assert.matches(case[3], why, 1, true)
      end)
    end)
  end

  it("gives arguments as text or as a table to the handler", function()
    link.run(function()
      local tools = new_tools()
      for _, args in ipairs {
        { name = "echo", args = { text = "hi" } },
        { name = "echo", args_json = '{"text":"hi"}' },
      } do
        local result = assert(tools:execute(args))
        assert.same({ { type = "text", text = "hi" } }, result.parts)
        assert.is_false(result.is_error)
      end
    end)
  end)

  local image = { type = "image", data = "AA==", mime_type = "image/png" }
  local returned = {
    { "a string", "hi", { { type = "text", text = "hi" } } },
    { "nothing", nil, {} },
    { "a number", 3, { { type = "text", text = "3" } } },
    { "false", false, { { type = "text", text = "false" } } },
    { "a part", image, { image } },
    { "parts", { image, { type = "text", text = "b" } },
      { image, { type = "text", text = "b" } } },
    { "another table", { a = 1 }, { { type = "text", text = '{"a":1}' } } },
    { "a list", { 1, 2 }, { { type = "text", text = "[1,2]" } } },
  }
  for _, case in ipairs(returned) do
    it("makes parts of " .. case[1], function()
      local result = assert(call(function()
        return case[2]
      end))
      assert.same(case[3], json.decode(result.result_json))
      assert.same(case[3], result.parts)
      assert.is_false(result.is_error)
    end)
  end

  it("makes an error that the model sees of nil and why", function()
    local result = assert(call(function()
      return nil, "no such file"
    end))
    assert.is_true(result.is_error)
    assert.equal("no such file", result.error_message)
    assert.equal("no such file", result.parts[1].text)
  end)

  it("survives a handler that raises and says what", function()
    local result, why, code = call(function()
      error("broken", 0)
    end)
    assert.is_nil(result)
    assert.equal("tool_execution_error", code)
    assert.equal("broken", why)
  end)

  it("survives a handler that raises a table", function()
    local _, why, code = call(function()
      error(setmetatable({}, { __tostring = function() return "odd" end }))
    end)
    assert.equal("tool_execution_error", code)
    assert.equal("odd", why)
  end)

  it("refuses a result without a JSON form", function()
    local _, why, code = call(function()
      return { f = print }
    end)
    assert.equal("tool_execution_error", code)
    assert.matches("no JSON form", why, 1, true)
  end)

  it("ends a handler that outlives the shorter of both timeouts", function()
    for _, options in ipairs {
      { timeout_ms = 50, tool_timeout_ms = 60000 },
      { timeout_ms = 60000, tool_timeout_ms = 50 },
    } do
      local ended
      local result, why, code = call(function()
        task.defer(function()
          ended = true
        end)
        task.sleep(120000)
      end, options)
      assert.is_nil(result)
      assert.equal("tool_timeout", code)
      assert.equal("took longer than 50 ms", why)
      assert.is_true(ended)
    end
  end)

  it("cancels a handler that is late while its caller goes on", function()
    link.run(function()
      local ended
      local tools = registry.new():add {
        name = "late",
        timeout_ms = 5,
        handler = function()
          task.defer(function()
            ended = true
          end)
          task.sleep(120000)
        end,
      }
      local _, _, code = tools:execute { name = "late" }
      assert.equal("tool_timeout", code)
      link.eventually(function()
        return ended
      end)
    end)
  end)

  it("reports a timeout even if the handler swallows the cancellation",
    function()
      local cancelled
      local _, _, code = call(function(_, context)
        pcall(task.sleep, 1000)
        cancelled = context:cancelled()
        return "too late"
      end, { timeout_ms = 50 })
      assert.equal("tool_timeout", code)
      assert.is_true(cancelled)
    end)

  it("streams updates and progress until the call has ended", function()
    local updates = {}
    local result = assert(call(function(_, context)
      context:update { text = "opening" }
      context:update("half")
      context:progress(50.5, "reading")
      context:details { bytes = 3 }
      assert(not context:cancelled())
      assert.equal("call_1", context.tool_call_id)
      return "done"
    end, {
      on_update = function(update)
        updates[#updates + 1] = update
      end,
    }))
    assert.same({
      { partial_json = '{"text":"opening"}' },
      { partial_json = '"half"' },
      { partial_json = "{}", progress = 50, status = "reading" },
    }, updates)
    assert.equal('{"bytes":3}', result.details_json)
  end)

  it("drops updates of a handler whose call has timed out", function()
    local updates = 0
    call(function(_, context)
      pcall(task.sleep, 1000)
      context:update("late")
    end, {
      timeout_ms = 10,
      on_update = function()
        updates = updates + 1
      end,
    })
    assert.equal(0, updates)
  end)

  it("makes misuse of the context an error of that call", function()
    local _, why, code = call(function(_, context)
      context:progress(101)
    end)
    assert.equal("tool_execution_error", code)
    assert.matches("progress is a number from 0 to 100", why, 1, true)
  end)

  it("stops the handler at once when the caller is cancelled", function()
    local log = {}
    link.run(function()
      local tools = registry.new():add {
        name = "slow",
        handler = function()
          log[#log + 1] = "handler began"
          task.defer(function()
            log[#log + 1] = "handler ended"
          end)
          task.sleep(60000)
        end,
      }
      local caller = task.spawn(function()
        tools:execute { name = "slow" }
        log[#log + 1] = "not reached"
      end)
      link.eventually(function()
        return #log == 1
      end)
      caller:cancel("enough")
      local _, why, code = caller:join()
      log[#log + 1] = code
      assert.matches("enough", why)
    end)
    assert.same({ "handler began", "handler ended", "cancelled" }, log)
  end)
end)
