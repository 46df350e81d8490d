-- What models send for arguments, what tools print, and what is taken for a
-- tool at all.
local aw = require("agentwire")
local json = require("agentwire.json")
local link = require("spec.support.link")
local process = require("spec.support.process")
local registry = require("agentwire.tool.registry")

local function nothing() end

--- Runs a tool once; the arguments that its handler got.
local function arguments(parameters, call)
  local got, context
  local tools = registry.new():add {
    name = "t", parameters = parameters, handler = function(args, given)
      got, context = args, given
    end,
  }
  local why, code
  link.run(function()
    call.name = "t"
    local _
    _, why, code = tools:execute(call)
  end)
  return got, why, code, context
end

local INTEGERS = { type = "object", properties = {
  n = { type = "integer" }, list = { items = { type = "integer" } },
  any = { anyOf = { { type = "string" }, { type = "integer" } } },
  both = { type = { "integer", "number" } },
} }

describe("arguments of a tool", function()
  for _, text in ipairs { "", " \n\t", "null", "{}", "[]" } do
    it(("are none in %q"):format(text), function()
      local got = assert(arguments({ type = "object" }, { args_json = text }))
      assert.is_nil(next(got))
      assert.equal("{}", json.encode(got))
    end)
  end

  it("are none where they are absent or null", function()
    assert.same({}, (arguments(nil, {})))
    assert.same({}, (arguments(nil, { args = json.null })))
  end)

  it("stay an empty list where the schema says so", function()
    local got = assert(arguments({ properties = { a = { type = "array" } } },
      { args_json = '{"a":[]}' }))
    assert.is_true(json.is_array(got.a))
  end)

  it("leave out a null for an optional member, deep as well", function()
    local rule = { type = "object", required = { "must" }, properties = {
      must = { type = "string" }, may = { type = "string" },
      null = { type = { "string", "null" } }, free = {},
      deep = { type = "object", properties = { x = { type = "integer" } } },
    } }
    local given = { must = "a", may = json.null, null = json.null,
      free = json.null, deep = { x = json.null } }
    local got = assert(arguments(rule, { args = given }))
    assert.is_nil(got.may)
    assert.is_nil(got.deep.x)
    assert.equal(json.null, got.null)
    assert.equal(json.null, got.free)
    assert.equal(json.null, given.may) -- the caller's table is the caller's
    local _, why = arguments(rule, { args_json = '{"must":null}' })
    assert.matches("args.must: expected string, got null", why, 1, true)
  end)

  it("leave the other errors to be told", function()
    local _, why = arguments({ properties = { a = { type = "string" },
      b = { type = "string" } } }, { args_json = '{"a":null,"b":1}' })
    assert.matches("args.b: expected string, got number", why, 1, true)
  end)

  it("are integers where the schema says integer", function()
    local got = assert(arguments(INTEGERS,
      { args_json = '{"n":20.0,"list":[1.0,2e1],"any":3.0,"both":4.0}' }))
    local three = got.n .. "," .. got.list[1] .. "," .. got.list[2] .. ","
      .. got.any
    assert.equal("20,1,20,3", three)
  end)

  it("keep each digit of an integer, or are refused", function()
    for _, digits in ipairs { "9007199254740993", "-1234567890123456789" } do
      local got, why, code, context = arguments(INTEGERS,
        { args_json = '{"n":' .. digits .. "}" })
      if got then
        assert.equal(digits, tostring(got.n))
        assert.equal('{"n":' .. digits .. "}", context.args_json)
      else
        assert.equal("invalid_arguments", code)
        assert.matches("n: the integer .* is beyond 2^53", why)
        assert.truthy(rawget(_G, "jit")) -- 5.4 has them all
      end
    end
    local got, why = arguments(INTEGERS,
      { args_json = '{"n":36893488147419103235}' })
    assert.is_nil(got)
    assert.matches("beyond 2^53", why, 1, true)
  end)

  it("are at hand as they came", function()
    local _, _, _, context = arguments(nil,
      { args_json = '{"id":9007199254740993}' })
    assert.equal('{"id":9007199254740993}', context.args_json)
  end)
end)

local function result_of(value, options)
  options = options or {}
  local result, why, updates = nil, nil, {}
  local tools = registry.new():add { name = "t", handler = function(_, call)
    if options.update then
      call:update(options.update)
    end
    if options.raise then
      error(value, 0)
    end
    return value, options.why
  end }
  link.run(function()
    result, why = tools:execute { name = "t", on_update = function(update)
      updates[#updates + 1] = update.partial_json
    end }
  end)
  return result, why, updates
end

describe("what a tool says", function()
  local SIGN = "\239\191\189"
  local texts = {
    { "caf\233", "caf" .. SIGN .. "\n[1 byte is no UTF-8, shown as "
      .. SIGN .. "]" },
    { "\237\160\189", SIGN:rep(3) .. "\n[3 bytes are no UTF-8, shown as "
      .. SIGN .. "]" },
    { "a\192\175\244\144\128\128", "a" .. SIGN:rep(6)
      .. "\n[6 bytes are no UTF-8, shown as " .. SIGN .. "]" },
    { "\127ELF\255\254", "[6 bytes of binary]" },
    { ("\200"):rep(30), "[30 bytes of binary]" },
    { "a\0b", "a\0b" }, { "caf\195\169", "caf\195\169" },
    -- the first and the last character of each length, beside a bad byte
    { "\194\128 \223\191 \233", "\194\128 \223\191 " .. SIGN
      .. "\n[1 byte is no UTF-8, shown as " .. SIGN .. "]" },
    { "\224\160\128 \239\191\191 \233", "\224\160\128 \239\191\191 " .. SIGN
      .. "\n[1 byte is no UTF-8, shown as " .. SIGN .. "]" },
    { "\240\144\128\128 \244\143\191\191 \233",
      "\240\144\128\128 \244\143\191\191 " .. SIGN
      .. "\n[1 byte is no UTF-8, shown as " .. SIGN .. "]" },
  }
  for _, case in ipairs(texts) do
    it(("reaches the model: %q"):format(case[1]), function()
      local result = assert(result_of(case[1]))
      assert.equal(case[2], result.parts[1].text)
      assert.equal(case[2], json.decode(result.result_json)[1].text)
    end)
  end

  it("is repaired wherever it stands", function()
    local result, _, updates = result_of({ a = { "x\255" }, ["k\255"] = 1 },
      { update = { line = "\255" } })
    assert.matches("no UTF%-8", result.parts[1].text)
    assert.matches("k" .. SIGN, result.parts[1].text)
    assert.matches("no UTF%-8", updates[1])
    result = assert(result_of({ { type = "text", text = "x\255" } }))
    assert.matches("no UTF%-8", result.parts[1].text)
    result = assert(result_of(nil, { why = "no file \255" }))
    assert.is_true(result.is_error)
    assert.matches("no file " .. SIGN, result.error_message)
    local _, why = result_of("bad \255", { raise = true })
    assert.equal("bad " .. SIGN, why)
  end)

  local no_parts = {
    [{ type = "image" }] = "[0].data: missing",
    [{ type = "image", data = "", mime_type = "image/png" }] = "base64",
    [{ type = "image", data = "not base64", mime_type = "image/png" }] =
      "[0].data: expected base64",
    [{ type = "image", data = "AAAA", mime_type = "png" }] = "media type",
    [{ type = "text" }] = "[0].text: missing",
    [{ { type = "text", text = "a" }, { type = "image", data = "AAAA" } }] =
      "[1].mime_type: missing",
  }
  for part, expected in pairs(no_parts) do
    it("is refused without its content: " .. expected, function()
      local result, why = result_of(part)
      assert.is_nil(result)
      assert.matches(expected, why, 1, true)
    end)
  end
end)

describe("a tool", function()
  local refused = {
    { { name = "" }, "has 1 to 64 of a-z" },
    { { name = "my tool!" }, 'got "my tool!"' },
    { { name = "files.read" }, "has 1 to 64" },
    { { name = "a\nb" }, "has 1 to 64" },
    { { name = "\195\188" }, "has 1 to 64" },
    { { name = ("n"):rep(200) }, "has 1 to 64" },
    { { name = "t", paramters = {} }, "did you mean parameters?" },
    { { name = "t", parameters = { type = "strin" } },
      'parameters: type: expected one of array' },
    { { name = "t", parameters = { properties = { a = { type = "int" } } } },
      'properties.a.type: expected one of array' },
    { { name = "t", parameters = { properties = { a = "string" } } },
      "properties" },
    { { name = "t", parameters = { required = "a" } },
      "required: expected a list of strings" },
    { { name = "t", parameters = { properties = { "a" } } },
      "properties: expected an object" },
    { { name = "t", parameters = { a = { type = "string" } } },
      "put it in properties" },
    { { name = "t", parameters = { type = "string" } },
      "the arguments of a tool are an object" },
    { { name = "t", parameters = '"x"' }, "expected an object" },
    { { name = "t", parameters = "[1]" }, "expected an object" },
    { { name = "t", description = "\255" }, "UTF-8" },
    { { name = "t", parameters = { description = print } }, "function" },
  }
  for index, case in ipairs(refused) do
    it(("number %d is refused: %s"):format(index, case[2]), function()
      local tool = { handler = nothing }
      for key, value in pairs(case[1]) do
        tool[key] = value
      end
      local ok, why = pcall(function()
        registry.new():add(tool)
      end)
      assert.is_false(ok)
      assert.matches(case[2], why, 1, true)
      assert.matches("^spec/tool/arguments_spec.lua:%d+: registry:add", why)
    end)
  end

  local UNCHECKED = {
    ['{"properties":{"a":{"pattern":"(a)\\\\1"}}}'] =
      'properties.a: pattern "(a)\\1" is not checked: a back reference',
    ['{"properties":{"a":{"pattern":"^\\\\p{L}$"}}}'] = "for ASCII alone",
    ['{"properties":{"a":{"format":"email"}}}'] =
      'properties.a: format "email" is not checked',
    ['{"properties":{"a":{"$ref":"https://a.example/x"}}}'] =
      '$ref "https://a.example/x" is not here',
    ['{"$schema":"https://a.example/x","type":"object"}'] = "is not known",
  }
  for text, expected in pairs(UNCHECKED) do
    it("tells what of its schema is not checked: " .. expected, function()
      local entries = {}
      aw.log.set(function(entry)
        entries[#entries + 1] = entry
      end)
      local tools = registry.new():add { name = "t", parameters = text,
        handler = nothing }
      aw.log.set(nil)
      assert.equal("schema_unchecked", entries[1].event)
      assert.matches(expected, entries[1].message, 1, true)
      assert.matches(expected, tools:unchecked("t")[1], 1, true)
      for _, strict in ipairs { registry.new { strict = true },
        registry.new() } do
        local ok, why = pcall(strict.add, strict, { name = "t", strict = true,
          parameters = text, handler = nothing })
        assert.is_false(ok)
        assert.matches("strict, and cannot be checked", why, 1, true)
      end
    end)
  end

  it("whose schema is checked whole is taken by strict ones", function()
    local tools = registry.new { strict = true }:add { name = "t",
      handler = nothing, parameters = '{"properties":{"a":{"pattern":"^a$"}}}' }
    assert.same({}, tools:unchecked("t"))
    assert.is_nil(tools:unchecked("none"))
  end)

  it("of a peer is looked at before it is offered to a model", function()
    local pool = aw.tool.pool()
    for name, parameters in pairs { ["a b"] = "{}", t1 = "{", t2 = "[1]",
      t3 = '{"type":"strin"}', t4 = '{"required":"a"}' } do
      local ok, why, code = pool:add({ name = name, description = "",
        parameters_schema_json = parameters })
      assert.is_nil(ok)
      assert.matches("^tool%.", why)
      assert.equal("invalid_request", code)
    end
  end)

  it("has its empty lists written as lists", function()
    local tools = registry.new():add { name = "t", handler = nothing,
      parameters = { type = "object", properties = {}, required = {},
        ["$defs"] = { e = { enum = {} } }, default = { required = {} } } }
    assert.equal('{"$defs":{"e":{"enum":[]}},"default":{"required":{}},'
      .. '"properties":{},"required":[],"type":"object"}',
      tools:list()[1].parameters_schema_json)
  end)

  it("is the same bytes in each process, at the model as well", function()
    local seen = {}
    for run = 1, 3 do
      local child = process.lua("spec/support/schema_order.lua", run)
      local at_model, result = child:line(), child:line()
      assert.truthy(result, child:errors())
      child:stop()
      seen[at_model .. result] = true
    end
    assert.equal(1, #(function()
      local list = {}
      for text in pairs(seen) do
        list[#list + 1] = text
      end
      return list
    end)())
  end)
end)

describe("a check of arguments", function()
  it("ends within the registry's steps", function()
    local tools = registry.new { max_check_steps = 10 }:add { name = "t",
      handler = nothing, parameters = { properties = { a = {
        items = { type = "integer" } } } } }
    link.run(function()
      local _, why, code = tools:execute { name = "t",
        args = { a = { 1, 2, 3, 4, 5, 6 } } }
      assert.equal("invalid_arguments", code)
      assert.matches("more than 10 steps of max_steps", why, 1, true)
    end)
  end)
end)
