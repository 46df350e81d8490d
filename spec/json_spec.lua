local helper = require("spec.helper")
local json = require("agentwire.json")

-- Not part of what all versions have.
local math_type = rawget(math, "type")
local new_proxy = rawget(_G, "newproxy")

local function decode(text)
  local value, message, code = json.decode(text)
  assert.is_nil(message)
  assert.is_nil(code)
  return value
end

local function encode(value)
  local text, message, code = json.encode(value)
  assert.is_nil(message)
  assert.is_nil(code)
  return text
end

local function assert_round_trip(text)
  assert.equal(text, encode(decode(text)))
end

local function assert_refused(value, message, code)
  assert.same({ n = 3, nil, message, code }, { n = 3, json.encode(value) })
end

--- An object of the runtime that calls `fn` when it is collected.
local function finalized(fn)
  local object
  if new_proxy then
    object = new_proxy(true)
    getmetatable(object).__gc = fn
    return object
  end
  return setmetatable({}, { __gc = fn })
end

describe("agentwire.json", function()
  describe("decode", function()
    it("reads every kind of value", function()
      assert.equal(true, decode("true"))
      assert.equal(false, decode(" false "))
      assert.equal(json.null, decode("null"))
      assert.equal("text", decode('"text"'))
      assert.equal(1.5, decode("1.5"))
      assert.equal(-20, decode("-2e1"))
      assert.same({ 1, { 2 }, "x" }, decode('[1,[2],"x"]'))
      assert.same({ a = 1, b = { c = true } }, decode('{"a":1,"b":{"c":true}}'))
    end)

    it("unescapes strings of any length", function()
      assert.equal('"\\/\b\f\n\r\t', decode([["\"\\\/\b\f\n\r\t"]]))
      assert.equal("\0", decode([["\u0000"]]))
      assert.equal("\240\159\152\128 \195\169", decode([["\ud83d\ude00 \u00e9"]]))
      for _, length in ipairs({ 1, 509, 510, 511, 512, 513, 100000 }) do
        local plain = string.rep("x", length)
        assert.equal(plain .. "\n", decode('"' .. plain .. '\\n"'))
        assert.equal("\n" .. plain, decode('"\\n' .. plain .. '"'))
      end
    end)

    it("keeps null members and null elements", function()
      local value = decode('{"a":null,"b":[null,null]}')
      assert.equal(json.null, value.a)
      assert.equal(2, #value.b)
      assert.equal(json.null, value.b[2])
    end)

    it("tells names apart that are alike, of any length and number", function()
      for round = 1, 2 do
        local parts, names = {}, {}
        for length = 1, 40 do
          for _, letter in ipairs { "a", "b", "q", "\n" } do
            local name = "x" .. letter:rep(length) .. "y"
            names[#names + 1] = name
            parts[#parts + 1] = ("%s:%d"):format(encode(name), #names + round)
          end
        end
        local value = decode("{" .. table.concat(parts, ",") .. "}")
        for i, name in ipairs(names) do
          assert.equal(i + round, value[name])
        end
      end
      assert.equal(1, decode('{"":1}')[""])
    end)

    it("lets the last of duplicate keys win below the top level", function()
      assert.same({ a = { b = 2 } }, decode('{"a":{"b":1,"b":2}}'))
    end)

    it("tells what is wrong, at which byte, and a code", function()
      local cases = {
        { "", "text ends where a value should be at byte 1", "json_truncated" },
        { "[1,2", "text ends inside a container at byte 5", "json_truncated" },
        { "[1,]", "expected a value at byte 4", "json_syntax" },
        { '{"a" 1}', "expected ':' after a key at byte 6", "json_syntax" },
        { "{} x", "text after the value at byte 4", "json_trailing" },
        { "[01]", "leading zero at byte 2", "json_number" },
        { '"\\x"', "unknown escape at byte 2", "json_escape" },
        { '"\\ud800"', "lone surrogate escape at byte 2", "json_escape" },
        { '"\255"', "invalid UTF-8 at byte 2", "json_utf8" },
        { '{"a":1,"\\u0061":2}', "duplicate key at byte 8", "json_duplicate" },
      }
      for _, case in ipairs(cases) do
        assert.same({ n = 3, nil, case[2], case[3] }, { n = 3, json.decode(case[1]) })
      end
    end)

    it("reads 128 levels and refuses the next", function()
      local text = string.rep("[", 128) .. string.rep("]", 128)
      assert_round_trip(text)
      local value, message, code = json.decode("[" .. text .. "]")
      assert.is_nil(value)
      assert.equal("nested too deeply at byte 129", message)
      assert.equal("json_depth", code)
    end)

    it("raises when it is given no string", function()
      assert.has_error(function()
        json.decode({})
      end)
      assert.has_error(function()
        json.decode()
      end)
    end)

    it("works again after failures and big texts", function()
      local items = {}
      for i = 1, 20000 do
        items[i] = '{"number":' .. i .. "}"
      end
      local value = decode("[" .. table.concat(items, ",") .. "]")
      assert.equal(20000, value[20000].number)
      assert.is_nil(json.decode("[" .. table.concat(items, ",")))
      assert.same({ 1 }, decode("[1]"))
    end)

    it("may be entered again by a finalizer while it works", function()
      local items = {}
      for i = 1, 300 do
        items[i] = '{"text":"item number ' .. i .. '"}'
      end
      local text = "[" .. table.concat(items, ",") .. "]"
      local longer = "[" .. string.rep("0,", 1000) .. "0]"
      local entered, entered_within = 0, 0
      local function on_collect()
        entered = entered + 1
        assert(#json.decode(longer) == 1001)
      end
      helper.under_gc_pressure(function()
        local attempts = 0
        while entered_within < 3 and attempts < 5000 do
          attempts = attempts + 1
          finalized(on_collect)
          local before = entered
          local value = json.decode(text)
          entered_within = entered_within + entered - before
          assert.equal("item number 300", value[300].text)
          assert.equal(text, encode(value))
        end
      end)
      assert.is_true(entered_within >= 3)
    end)
  end)

  describe("numbers", function()
    it("are exact up to 2^53 on every runtime", function()
      for _, text in ipairs({
        "0",
        "-1",
        "1712345678901",
        "100000000000000",
        "999999999999999",
        "9007199254740991",
        "-9007199254740991",
      }) do
        assert_round_trip("[" .. text .. "]")
      end
      assert.is_true(decode("9007199254740991") == 2 ^ 53 - 1)
      assert.is_true(decode("9007199254740992") == 2 ^ 53)
    end)

    it("read -0 as the integer 0", function()
      assert.equal("0", encode(decode("-0")))
    end)

    it("write integral floats as integers", function()
      assert.equal("[3,-4,0]", encode({ 6 / 2, -8 / 2, 0 / 5 }))
      assert.equal("1000000000000000", encode(1e15))
      assert.equal("9007199254740991", encode(2 ^ 53 - 1))
      assert.equal("-9007199254740991", encode(-(2 ^ 53 - 1)))
    end)

    it("write whole numbers below 1e21 as plain digits on every runtime", function()
      for value, text in pairs({
        [2 ^ 53] = "9007199254740992", [-2 ^ 53] = "-9007199254740992",
        [2 ^ 60] = "1152921504606846976", [2 ^ 64] = "18446744073709551616",
        [1e20] = "100000000000000000000", [-1e20] = "-100000000000000000000",
      }) do
        assert.equal(text, encode(value + 0.0))
        assert.is_true(decode(text) == value, text)
      end
      assert.is_truthy(encode(1e21):find("e", 1, true))
    end)

    it("are as many as their reader wants, a name each counted too", function()
      local function many(count)
        return "[" .. ("0,"):rep(count - 2) .. "0]"
      end
      assert.equal(262143, #json.decode(many(262144)))
      local value, message, code = json.decode(many(262145))
      assert.is_nil(value)
      assert.equal("json_values", code)
      assert.truthy(message:find("too many values at byte", 1, true), message)
      assert.equal(499999, #json.decode(many(500000), { values_max = 500000 }))
      assert.is_nil((json.decode('{"a":1,"b":2}', { values_max = 4 })))
      assert.equal(2, json.decode('{"a":1,"b":2}', { values_max = 5 }).b)
      assert.equal(1, json.decode(("[x]"):gsub("x", "1"))[1])
      assert.has_error(function()
        json.decode("1", { values_max = 2 ^ 25 })
      end)
    end)

    it("refuse what no double holds, where it stands", function()
      for text, offset in pairs({
        ["1e400"] = 1, ["[0,-1e309]"] = 4, ['{"a":1e99999}'] = 6,
        ["[" .. ("9"):rep(400) .. "]"] = 2,
      }) do
        local value, message, code = json.decode(text)
        assert.is_nil(value)
        assert.equal("number is too large at byte " .. offset, message)
        assert.equal("json_number", code)
      end
      assert.equal(0, decode("1e-400"))
    end)

    it("write other floats so that they read back the same", function()
      for _, value in ipairs({ 0.1, 1 / 3, -2.5e-7, 1e300, 5e-324 }) do
        local text = encode(value + 0.0)
        assert.is_true(decode(text) == value, text)
        assert.is_truthy(text:find("[%.e]"), text)
      end
      assert.equal("0.7", encode(0.7))
    end)

    it("refuse infinities and NaN", function()
      for _, value in ipairs({ math.huge, -math.huge, 0 / 0 }) do
        assert_refused(value, "number is not finite", "json_number")
        assert_refused({ value }, "number is not finite", "json_number")
      end
    end)

    if math_type then
      it("are Lua integers over the whole range of int64 on 5.4", function()
        for _, text in ipairs({
          "9007199254740992",
          "9007199254740993",
          "-9007199254740993",
          "9223372036854775807",
          "-9223372036854775808",
        }) do
          assert_round_trip(text)
          assert.equal("integer", math_type(decode(text)))
          assert.equal(text, tostring(decode(text)))
        end
      end)

      it("are floats beyond int64 and when they are written as reals on 5.4", function()
        for _, text in ipairs({ "9223372036854775808", "-9223372036854775809", "1.0", "1e2" }) do
          assert.equal("float", math_type(decode(text)))
        end
        assert.is_true(decode("9223372036854775808") == 2.0 ^ 63)
      end)
    else
      it("round beyond 2^53 where every number is a double", function()
        assert.is_true(decode("9007199254740993") == 2 ^ 53)
        assert.is_true(decode("9223372036854775807") == 2 ^ 63)
        assert.is_true(decode("9223372036854775808") == 2 ^ 63)
      end)
    end
  end)

  describe("arrays and objects", function()
    it("keep their shape through decode and encode", function()
      for _, text in ipairs({
        "[]",
        "{}",
        "[[]]",
        "[{}]",
        '{"a":[]}',
        '{"a":{}}',
        "[[],{},[[]],[{}]]",
        "[null]",
        "[null,null,null]",
        "[1,null,2]",
        "[false]",
        '[[[["x"]]]]',
      }) do
        assert_round_trip(text)
      end
    end)

    it("tell arrays by their keys", function()
      assert.equal("[1,2,3]", encode({ 1, 2, 3 }))
      assert.equal('{"a":1}', encode({ a = 1 }))
      assert.equal("{}", encode({}))
      local backwards = {}
      for i = 20, 1, -1 do
        backwards[i] = i
      end
      assert.equal("[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20]", encode(backwards))
    end)

    it("write an emptied array as one only when it is marked", function()
      local list = decode("[]")
      list[1] = "x"
      assert.equal('["x"]', encode(list))
      list[1] = nil
      assert.equal("[]", encode(list))
      local plain = decode("[1]")
      plain[1] = nil
      assert.equal("{}", encode(plain))
    end)

    it("refuse tables that are both", function()
      local why = "table is both array and object"
      assert_refused({ 1, a = 2 }, why, "invalid_argument")
      assert_refused({ a = 1, [7] = 2 }, why, "invalid_argument")
      local marked = json.array({ 1 })
      marked.a = 2
      assert_refused(marked, why, "invalid_argument")
      assert_refused(setmetatable({ a = 1 }, json.array_mt), why, "invalid_argument")
    end)

    it("refuse sparse arrays and keys that are no index", function()
      for _, value in ipairs({
        { 1, nil, 3 },
        { [2] = "x" },
        { [0] = "x" },
        { [-1] = "x" },
        { [1.5] = "x" },
        { [0] = "x", [1] = "y" },
        { "x", [1.5] = "y", [3] = "z" },
        { [2 ^ 53] = "x" },
        json.array({ [2] = 1 }),
      }) do
        assert_refused(value, "sparse array", "invalid_argument")
      end
    end)

    it("refuse keys that JSON does not know", function()
      assert_refused({ [true] = 1 }, "object keys must be strings", "invalid_argument")
      assert_refused({ [{}] = 1 }, "object keys must be strings", "invalid_argument")
    end)

    it("leave number keys what they are while they are refused", function()
      local value = { a = 1, [7] = 2 }
      json.encode(value)
      assert.equal(2, value[7])
      assert.is_nil(value["7"])
    end)

    it("ignore metamethods", function()
      local function raise()
        error("called")
      end
      local value = setmetatable({ a = 1 }, { __index = raise, __pairs = raise, __len = raise })
      assert.equal('{"a":1}', encode(value))
    end)
  end)

  describe("array marks", function()
    it("make an empty table an array", function()
      assert.equal("[]", encode(json.array()))
      assert.equal('{"a":[]}', encode({ a = json.array({}) }))
      assert.equal("[]", encode(setmetatable({}, json.array_mt)))
      local list = { 1, 2 }
      assert.equal(list, json.array(list))
      assert.equal("[1,2]", encode(list))
    end)

    it("are on decoded empty arrays and on nothing else", function()
      assert.equal(json.array_mt, getmetatable(decode("[]")))
      assert.is_nil(getmetatable(decode("[1]")))
      assert.is_nil(getmetatable(decode("[null]")))
      assert.is_nil(getmetatable(decode("{}")))
    end)

    it("do not replace another metatable", function()
      assert.has_error(function()
        json.array(setmetatable({}, {}))
      end)
      assert.has_error(function()
        json.array("text")
      end)
      assert.equal("[]", encode(json.array(json.array())))
    end)

    it("are what is_array tells of, besides the keys", function()
      assert.is_true(json.is_array(json.array()))
      assert.is_true(json.is_array(decode("[]")))
      assert.is_true(json.is_array({ 1 }))
      for _, value in ipairs({ {}, { a = 1 }, { 1, nil, 3 }, { 1, a = 1 }, "[]", 1, false }) do
        assert.is_false(json.is_array(value))
      end
      assert.is_false(json.is_array(nil))
      assert.is_false(json.is_array(json.null))
    end)
  end)

  describe("beside lua-cjson", function()
    local cjson = require("cjson")

    after_each(function()
      package.loaded.cjson = cjson
    end)

    it("shares its null", function()
      assert.equal(cjson.null, json.null)
      assert.equal("[null]", encode({ cjson.null }))
      assert.equal("[null]", cjson.encode(decode("[null]")))
    end)

    it("passes decoded values to each other", function()
      local text = '{"a":[1,"x",null,{"b":true}]}'
      assert.equal(text, encode(cjson.decode(text)))
      assert.equal(text, cjson.encode(decode(text)))
    end)

    -- Debian's lua-cjson has no marks; this stands in for the one that has.
    it("honours the marks of a newer one, whenever it is loaded", function()
      local array_mt, empty_array_mt = {}, {}
      local marked = setmetatable({}, array_mt)
      local empty = setmetatable({}, empty_array_mt)
      assert.equal("[{},{}]", encode({ marked, empty }))
      package.loaded.cjson = {
        array_mt = array_mt,
        empty_array_mt = empty_array_mt,
        empty_array = json.null,
      }
      assert.equal("[[],[],null]", encode({ marked, empty, json.null }))
      marked[1], empty[1] = 1, 2
      assert.equal("[[1],[2]]", encode({ marked, empty }))
      empty[1], empty.a = nil, 1
      assert.equal('[{"a":1}]', encode({ empty }))
      marked.a = 1
      assert_refused({ marked }, "table is both array and object", "invalid_argument")
      assert.is_true(json.is_array(setmetatable({}, array_mt)))
      package.loaded.cjson = nil
      assert.equal("{}", encode(setmetatable({}, array_mt)))
      package.loaded.cjson = "no table"
      assert.equal("{}", encode(setmetatable({}, array_mt)))
    end)
  end)

  describe("encode", function()
    it("writes compact JSON", function()
      assert.equal('{"a":[true,false,null,"x"]}', encode({ a = { true, false, json.null, "x" } }))
      assert.equal('"text"', encode("text"))
      assert.equal("true", encode(true))
      assert.equal("12", encode(12))
      assert.equal('{"":0}', encode({ [""] = 0 }))
    end)

    it("escapes what it must", function()
      local escaped = [["\"\\/\b\f\n\r\t\u0000\u001f]] .. '\127\195\169"'
      assert.equal(escaped, encode('"\\/\b\f\n\r\t\0\31\127\195\169'))
      assert.equal([[{"\n":1}]], encode({ ["\n"] = 1 }))
    end)

    it("refuses strings and keys that are not UTF-8", function()
      for _, bytes in ipairs({ "\255", "\195", "a\237\160\128", "\192\175" }) do
        assert_refused(bytes, "invalid UTF-8 in string", "json_utf8")
        assert_refused({ [bytes] = 1 }, "invalid UTF-8 in string", "json_utf8")
        assert_refused({ 1, { a = bytes } }, "invalid UTF-8 in string", "json_utf8")
      end
    end)

    it("names the type that it cannot encode", function()
      assert_refused(print, "cannot encode a function", "invalid_argument")
      assert_refused({ a = print }, "cannot encode a function", "invalid_argument")
      assert_refused(coroutine.create(function() end), "cannot encode a thread", "invalid_argument")
      assert_refused(io.stdout, "cannot encode a userdata", "invalid_argument")
      assert_refused(nil, "cannot encode nil", "invalid_argument")
    end)

    it("raises when it is given nothing", function()
      assert.has_error(function()
        json.encode()
      end)
    end)

    it("refuses cycles and more than 128 levels", function()
      local why = "nested deeper than 128 (a cycle?)"
      local cycle = {}
      cycle.self = cycle
      assert_refused(cycle, why, "json_depth")
      local broad = {}
      for i = 1, 10 do
        broad[i] = broad
      end
      assert_refused(broad, why, "json_depth")
      local deep = {}
      for _ = 2, 128 do
        deep = { deep }
      end
      assert.equal(string.rep("[", 127) .. "{}" .. string.rep("]", 127), encode(deep))
      assert_refused({ deep }, why, "json_depth")
    end)

    it("takes one walk for each level, whatever the order of the keys", function()
      local value = "x"
      for _ = 1, 60 do
        local level = {}
        level[2] = "y"
        level[1] = value
        value = level
      end
      local expected = string.rep("[", 60) .. '"x"' .. string.rep(',"y"]', 60)
      assert.equal(expected, encode(value))
    end)

    it("leaves nothing of a failure in the next text", function()
      assert.is_nil(json.encode({ "begun", print }))
      assert.equal("[1]", encode({ 1 }))
      local big = string.rep("x", 300000)
      assert.equal('"' .. big .. '"', encode(big))
      assert.equal("[2]", encode({ 2 }))
    end)
  end)

  it("survives a hard-working collector", function()
    helper.under_gc_pressure(function()
      for i = 1, 50 do
        local text = '{"a":[' .. i .. ',"\\n",[],{}]}'
        local value = decode(text)
        assert.equal(i, value.a[1])
        assert.equal("[]", encode(value.a[3]))
      end
    end)
  end)
end)
