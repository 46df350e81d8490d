-- Draft 2020-12 beyond what the packaged suite has, and what is unknown: a rule
-- as JSON, instances that are valid, instances that are not.
local json = require("agentwire.json")
local schema = require("agentwire.tool.schema")

local function decode(text)
  local value, why = json.decode(text)
  assert(value ~= nil, why)
  return value
end

local CASES = {
  -- references
  { "a tagged union of references",
    [[{"oneOf":[{"$ref":"#/$defs/C"},{"$ref":"#/$defs/S"}],"$defs":{
      "C":{"properties":{"kind":{"const":"c"}},"required":["kind"]},
      "S":{"properties":{"kind":{"const":"s"}},"required":["kind"]}}}]],
    { '{"kind":"c"}', '{"kind":"s"}' }, { '{"kind":"x"}', "{}" } },
  { "a tree that refers to itself",
    [[{"$ref":"#/$defs/n","$defs":{"n":{"type":"object","properties":
      {"next":{"$ref":"#/$defs/n"},"v":{"type":"integer"}},
      "required":["v"]}}}]],
    { '{"v":1,"next":{"v":2,"next":{"v":3}}}' },
    { '{"v":1,"next":{"v":2,"next":{"v":"3"}}}', '{"v":1,"next":{}}' } },
  { "a reference that comes back to itself",
    [[{"$ref":"#/$defs/a","$defs":{"a":{"$ref":"#/$defs/b"},
      "b":{"$ref":"#/$defs/a"}}}]], { "1", "{}" }, {} },
  { "keywords beside a reference",
    [[{"$ref":"#/$defs/a","maxLength":2,"$defs":{"a":{"type":"string"}}}]],
    { '"ab"' }, { '"abc"', "1" } },
  { "draft 7 without them",
    [[{"$schema":"http://json-schema.org/draft-07/schema#",
      "$ref":"#/definitions/a","maxLength":2,
      "definitions":{"a":{"type":"string"}}}]],
    { '"ab"', '"abc"' }, { "1" } },
  { "anchors, and resources in the schema",
    [[{"$id":"https://a.example/root","$ref":"item#size","$defs":{
      "i":{"$id":"item","$defs":{"s":{"$anchor":"size","type":"integer"}}}}}]],
    { "1" }, { '"1"' } },
  { "an escaped pointer",
    [[{"$ref":"#/$defs/a~1b%25","$defs":{"a/b%":{"type":"null"}}}]],
    { "null" }, { "1" } },
  { "a dynamic reference to the outermost",
    [[{"$id":"https://a.example/strings","$ref":"list","$defs":{
      "it":{"$dynamicAnchor":"item","type":"string"},
      "list":{"$id":"list","type":"array","items":{"$dynamicRef":"#item"},
        "$defs":{"it":{"$dynamicAnchor":"item"}}}}}]],
    { '["a"]' }, { "[1]" } },
  -- what is unknown is neither true nor false
  { "a remote reference, also under not and oneOf",
    [[{"properties":{"a":{"$ref":"https://a.example/x"},
      "b":{"not":{"$ref":"https://a.example/x"}},
      "c":{"oneOf":[{"$ref":"https://a.example/x"},
        {"$ref":"https://a.example/y"}]}}}]],
    { '{"a":1,"b":2,"c":3}' }, {} },
  { "a format, also under not and oneOf",
    [[{"oneOf":[{"type":"string","format":"email"},
      {"type":"string","format":"uri"}]}]], { '"a@b.c"' }, { "1" } },
  { "a condition that is unknown",
    [[{"if":{"format":"email"},"then":{"minLength":3},
      "else":{"minLength":2}}]], { '"abc"', '"ab"' }, { '"a"' } },
  { "additional properties beside a pattern that is unknown",
    [[{"patternProperties":{"(a)\\1":{"type":"integer"}},
      "additionalProperties":false}]], { '{"aa":1}', '{"b":1}' }, {} },
  { "unevaluated beside what is unknown",
    [[{"$ref":"https://a.example/x","unevaluatedProperties":false}]],
    { '{"a":1}' }, {} },
  { "a vocabulary of somebody else",
    [[{"$schema":"https://a.example/meta","type":"string"}]], { "1" }, {} },
  -- assertions
  { "unevaluatedProperties through allOf",
    [[{"allOf":[{"properties":{"a":true}}],"properties":{"b":true},
      "unevaluatedProperties":false}]], { '{"a":1,"b":2}' },
    { '{"a":1,"c":2}' } },
  { "unevaluatedItems after a prefix and contains",
    [[{"prefixItems":[{"type":"string"}],"contains":{"type":"integer"},
      "unevaluatedItems":false}]], { '["a",1]' }, { '["a",1,true]' } },
  { "dependentRequired and dependentSchemas",
    [[{"dependentRequired":{"a":["b"]},
      "dependentSchemas":{"c":{"required":["d"]}}}]],
    { "{}", '{"a":1,"b":1}', '{"c":1,"d":1}' }, { '{"a":1}', '{"c":1}' } },
  { "dependencies of both kinds",
    [[{"dependencies":{"a":["b"],"c":{"required":["d"]}}}]],
    { '{"a":1,"b":1}' }, { '{"a":1}', '{"c":1}' } },
  { "contains with bounds",
    [[{"contains":{"const":1},"minContains":2,"maxContains":3}]],
    { "[1,1]", "[1,1,1,2]" }, { "[1]", "[1,1,1,1]" } },
  { "minContains 0", [[{"contains":{"const":1},"minContains":0}]],
    { "[]", "[2]" }, {} },
  { "tuples in both notations, and what follows",
    [[{"properties":{"a":{"prefixItems":[{"type":"string"}],"items":false},
      "b":{"items":[{"type":"string"}],"additionalItems":false}}}]],
    { '{"a":["x"],"b":["x"]}' }, { '{"a":["x",1]}', '{"b":["x",1]}',
      '{"a":[1]}', '{"b":[1]}' } },
  { "items that differ, deep and by number",
    [[{"uniqueItems":true}]],
    { "[1,2]", '[{"a":1},{"a":2}]', '[1,"1",true]', "[[],{}]", "[false,0]" },
    { "[1,1.0]", '[{"a":1,"b":2},{"b":2,"a":1.0}]', "[[],[]]", "[null,null]",
      '[{"a":1,"b":2,"c":3,"d":4,"e":5,"f":6,"g":7},'
        .. '{"g":7,"f":6,"e":5,"d":4,"c":3,"b":2,"a":1}]' } },
  { "equality as JSON has it", [=[{"enum":[1,{"a":[1]},null,[]]}]=],
    { "1.0", '{"a":[1.0]}', "null", "[]" }, { "true", "{}", '{"a":[1,2]}' } },
  { "multiples", [[{"multipleOf":0.01}]],
    { "4.02", "0.29", "1.1", "100", "0" }, { "0.015", "1.001" } },
  { "multiples of large integers", [[{"multipleOf":3}]],
    { "9007199254740993" }, { "4" } },
  { "lengths in characters", [[{"minLength":2,"maxLength":2}]],
    { '"\\ud83d\\ude00\195\164"' }, { '"\195\164"' } },
  { "names", [[{"propertyNames":{"pattern":"^[a-z]+$"}}]], { '{"a":1}' },
    { '{"A":1}' } },
  { "sizes of objects", [[{"minProperties":1,"maxProperties":2}]],
    { '{"a":1}' }, { "{}", '{"a":1,"b":1,"c":1}' } },
  { "patterns", [[{"pattern":"^[a-z]+$"}]], { '"abc"', "1" },
    { '"../../etc"' } },
  { "not over a pattern", [[{"not":{"pattern":"^/etc"}}]], { '"/tmp"' },
    { '"/etc/x"' } },
  { "if, then, else",
    [[{"if":{"required":["a"]},"then":{"required":["b"]},
      "else":{"required":["c"]}}]],
    { '{"a":1,"b":1}', '{"c":1}' }, { '{"a":1}', "{}" } },
  { "a name that Lua has a use for",
    [[{"properties":{"__index":{"type":"string"}},
      "additionalProperties":false}]], { '{"__index":"x"}' },
    { '{"__index":1}', '{"__gc":1}' } },
  { "OpenAPI's nullable", [[{"type":"string","nullable":true}]],
    { "null", '"a"' }, { "1" } },
}

describe("JSON Schema", function()
  for _, case in ipairs(CASES) do
    it("knows " .. case[1], function()
      local rule = decode(case[2])
      for _, text in ipairs(case[3]) do
        local ok, why = schema.check(rule, decode(text))
        assert.is_true(ok, text .. ": " .. tostring(why))
      end
      for _, text in ipairs(case[4]) do
        assert.is_nil(schema.check(rule, decode(text)), text)
      end
    end)
  end

  local messages = {
    { [[{"properties":{"a b":{"items":{"properties":{"c":{"type":"string"}}}}}}]],
      '{"a b":[{"c":1}]}', 'args["a b"][0].c: expected string, got number' },
    { [[{"uniqueItems":true}]], "[1,2,1]", "args: items 0 and 2 are the same" },
    { [[{"multipleOf":2}]], "3", "args: must be a multiple of 2" },
    { [[{"dependentRequired":{"a":["b"]}}]], '{"a":1}',
      "args.b: required because of a, but missing" },
    { [[{"propertyNames":{"maxLength":1}}]], '{"ab":1}',
      "args.ab: this name is not allowed (args: has more than 1 characters)" },
  }
  for _, case in ipairs(messages) do
    it("says " .. case[3], function()
      local _, why, code = schema.check(decode(case[1]), decode(case[2]))
      assert.equal(case[3], why)
      assert.equal("invalid_arguments", code)
    end)
  end

  -- What a peer can make dear ends with the limit's name.
  local hostile = {
    ["branches that double with each level"] = function()
      local parts = {}
      for index = 1, 60 do
        parts[index] = ('"d%d":{"anyOf":[{"$ref":"#/$defs/d%d"},'
          .. '{"$ref":"#/$defs/d%d"}]}'):format(index, index + 1, index + 1)
      end
      return '{"$ref":"#/$defs/d1","$defs":{' .. table.concat(parts, ",")
        .. ',"d61":{"type":"string"}}}', "1"
    end,
    ["a pattern over a long text"] = function()
      return [[{"pattern":"(x+x+)+(a|b|[^c]*)*y"}]],
        '"' .. ("x"):rep(1000000) .. '"'
    end,
  }
  for what, make in pairs(hostile) do
    it("gives up on " .. what, function()
      local rule, value = make()
      local began = os.clock()
      local ok, why = schema.check(decode(rule), decode(value))
      assert.is_nil(ok)
      assert.matches("too costly to check", why, 1, true)
      assert.matches("max_steps", why, 1, true)
      assert.is_true(os.clock() - began < 10)
    end)
  end

  it("takes a pattern that other engines never end with", function()
    local value = ("a"):rep(5000) .. "!"
    assert.is_nil(schema.check({ pattern = "^(a+)+$" }, value))
    assert.is_nil(schema.check({ pattern = "^(([a-z])+.)+[A-Z]([a-z])+$" },
      value))
  end)

  it("finds equal objects whatever the order of their members", function()
    local first, second = {}, {}
    for index = 1, 60 do
      first["m" .. index] = index
      second["m" .. 61 - index] = 61 - index
    end
    assert.is_nil(schema.check({ uniqueItems = true },
      json.array { first, second }))
  end)

  it("does not change what it checks", function()
    local value = decode('{"n":20.0,"x":null}')
    assert.is_nil(schema.check({ properties = { n = { type = "string" } } },
      value))
    assert.equal(json.null, value.x)
  end)
end)
