local json = require("agentwire.json")
local schema = require("agentwire.tool.schema")

local function check(rule, value)
  local ok, why = schema.check(rule, value)
  return ok and "ok" or why
end

-- Schemas inside of schemas, `depth` of them on the way to one value.
local function nested(depth)
  local rule = { type = "string" }
  for _ = 2, depth do
    rule = { allOf = json.array { rule } }
  end
  return rule
end

describe("tool.schema", function()
  it("goes 400 schemas deep on the way to a value", function()
    assert.equal("ok", check(nested(400), "x"))
    for depth = 401, 411 do
      assert.matches("schemas nested deeper than 400",
        check(nested(depth), "x"), 1, true)
    end
    assert.equal("ok", check(nested(400), "x"))
  end)

  local null, array = json.null, json.array
  local object = {
    type = "object",
    properties = { path = { type = "string" }, limit = { type = "integer" } },
    required = { "path" },
    additionalProperties = false,
  }
  -- rule, value, what is said about it
  local cases = {
    { object, { path = "a" }, "ok" },
    { object, { path = "a", limit = 3 }, "ok" },
    { object, { path = 3 }, "args.path: expected string, got number" },
    { object, {}, "args.path: required, but missing" },
    { object, { path = "a", x = 1 }, "args.x: unknown property" },
    { object, { path = "a", limit = 1.5 },
      "args.limit: expected integer, got number" },
    { object, { path = null }, "args.path: expected string, got null" },
    { object, array { 1 }, "args: expected object, got array" },
    { object, "text", "args: expected object, got string" },
    { { type = "array" }, {}, "args: expected array, got object" },
    { { type = "array" }, array {}, "ok" },
    { { type = { "string", "null" } }, null, "ok" },
    { { type = { "string", "null" } }, 1,
      "args: expected string or null, got number" },
    { { type = "integer" }, 3, "ok" },
    { { type = "integer" }, 3.0, "ok" },
    { { type = "number" }, 3.5, "ok" },
    { { type = "boolean" }, "true", "args: expected boolean, got string" },
    { { enum = { "a", "b" } }, "b", "ok" },
    { { enum = { "a", "b" } }, "c", 'args: expected one of "a", "b", got "c"' },
    { { const = { a = array { 1 } } }, { a = array { 1 } }, "ok" },
    { { const = 1 }, 2, "args: expected 1" },
    { { minimum = 1, maximum = 3 }, 0, "args: must be at least 1" },
    { { minimum = 1, maximum = 3 }, 4, "args: must be at most 3" },
    { { minimum = 1, maximum = 3 }, 3, "ok" },
    { { exclusiveMinimum = 1 }, 1, "args: must be above 1" },
    { { exclusiveMaximum = 1 }, 1, "args: must be below 1" },
    { { minLength = 2 }, "ä", "args: needs at least 2 characters" },
    { { maxLength = 2 }, "äöü", "args: has more than 2 characters" },
    { { maxLength = 3 }, "äöü", "ok" },
    { { minItems = 1 }, array {}, "args: needs at least 1 items" },
    { { maxItems = 1 }, array { 1, 2 }, "args: has more than 1 items" },
    { { items = { type = "string" } }, array { "a", 2 },
      "args[1]: expected string, got number" },
    { { properties = { list = { items = object } } },
      { list = array { { path = "a" }, { path = false } } },
      "args.list[1].path: expected string, got boolean" },
    { { additionalProperties = { type = "number" } }, { a = 1, b = 2 }, "ok" },
    { { additionalProperties = { type = "number" } }, { a = "x" },
      "args.a: expected number, got string" },
    { { anyOf = { { type = "string" }, { type = "number" } } }, 1, "ok" },
    { { anyOf = { { type = "string" }, { type = "number" } } }, true,
      "args: matches none of anyOf (args: expected number, got boolean)" },
    { { oneOf = { { minimum = 1 }, { minimum = 2 } } }, 3,
      "args: matches 2 of oneOf instead of one" },
    { { oneOf = { { minimum = 1 }, { minimum = 2 } } }, 1, "ok" },
    { { allOf = { { minimum = 1 }, { maximum = 2 } } }, 3,
      "args: must be at most 2" },
    { { ["not"] = { const = 1 } }, 1, "args: matches what `not` excludes" },
    { { type = "string", pattern = "^b", format = "uri" }, "b", "ok" },
    { { pattern = "^a" }, "b", 'args: does not match the pattern "^a"' },
    { { type = 7, properties = "odd", required = false }, {}, "ok" },
    { true, 1, "ok" },
    { false, 1, "args: nothing is allowed here" },
    { { properties = { a = false } }, { a = 1 },
      "args.a: nothing is allowed here" },
  }

  for index, case in ipairs(cases) do
    it(("case %d: %s"):format(index, case[3]), function()
      assert.equal(case[3], check(case[1], case[2]))
    end)
  end

  it("gives the code that the tool protocol has for it", function()
    local ok, _, code = schema.check({ type = "string" }, 1)
    assert.is_nil(ok)
    assert.equal("invalid_arguments", code)
  end)

  it("checks what the JSON decoder makes, empty arrays and objects apart",
    function()
      local rule = assert(json.decode('{"type":"array","items":{}}'))
      assert.is_true(schema.check(rule, assert(json.decode("[]"))))
      assert.is_nil(schema.check(rule, assert(json.decode("{}"))))
    end)
end)
