-- Conversations that no provider would take, and what is made of them.
local call_ids = require("agentwire.providers._call_ids")
local json = require("agentwire.json")
local transcript = require("agentwire.providers._transcript")

local TAG = { api = "a", provider = "p", model = "m", scope = "s" }

local function user(text)
  return { role = "user", content = text }
end

local function text(words, state)
  return { type = "text", text = words, provider_state = state }
end

local function call(id, more)
  local block = { type = "tool_call", id = id, name = "f",
    arguments_json = "{}" }
  for name, value in pairs(more or {}) do
    block[name] = value
  end
  return block
end

local function answer(...)
  return { role = "assistant", content = { ... }, state_of = TAG,
    stop_reason = "stop" }
end

local function result(id, words)
  return { role = "tool", tool_call_id = id, tool_name = "f",
    content = { text(words or "r" .. id) } }
end

local function repair(messages, rules)
  rules = rules or {}
  if rules.tag == nil then
    rules.tag = TAG
  elseif rules.tag == false then -- nobody's state
    rules.tag = nil
  end
  local before = json.encode_sorted(messages)
  local entries = transcript.repair(messages, rules)
  assert.equal(before, json.encode_sorted(messages))
  return entries
end

--- One word for each entry: what it is and what it holds.
local function short(entries)
  local list = {}
  for index, entry in ipairs(entries) do
    local words = {}
    for _, block in ipairs(entry.content) do
      words[#words + 1] = block.text or block.thinking or block.id or "image"
    end
    list[index] = entry.role:sub(1, 1) .. "(" .. (entry.tool_call_id
      and entry.tool_call_id .. "=" or "") .. table.concat(words, ",") .. ")"
  end
  return table.concat(list, " ")
end

local function check(wanted, messages, rules)
  assert.equal(wanted, short(repair(messages, rules)))
end

local CANCELLED = "cancelled: this call has no result"

describe("a transcript", function()
  it("has a result behind each call, and none without one (bug 4)", function()
    check("a(1,2) t(1=r1) t(2=" .. CANCELLED .. ") u(on)",
      { answer(call("1"), call("2")), result("1"), user("on") })
    check("u(hi) a(x) u(on)", { user("hi"), result("9"), answer(text("x")),
      result("8"), user("on") })
    check("a(1,2) t(1=r1) t(2=r2) u(said meanwhile)", { answer(call("1"),
      call("2")), result("2"), user("said meanwhile"), result("1") })
    check("a(1) t(1=first)", { answer(call("1")), result("1", "first"),
      result("1", "second") })
    assert.is_true(repair({ answer(call("1")) })[2].is_error)
  end)

  it("takes no result from behind the next answer", function()
    check("a(1) t(1=" .. CANCELLED .. ") a(x)",
      { answer(call("1")), answer(text("x")), result("1") })
  end)

  it("loses calls that were cut, and what they leave empty", function()
    check("a(so) u(on)", { answer(text("so"), call("1", { incomplete = true })),
      result("1"), user("on") })
    check("u(on)", { answer(call("1", { incomplete = true })), user("on") })
  end)

  it("has arguments that are an object", function()
    for _, arguments in ipairs { "", "[]", "nonsense", "null", "7" } do
      local entries = repair { answer(call("1", { arguments_json = arguments })) }
      assert.equal("{}", entries[1].calls[1].arguments_json)
    end
  end)

  it("has nothing that is empty", function()
    check("u(b) a(x)", { user(" \n"), { role = "user", content = { text("") } },
      user("b"), answer(text(""), text("x"), text(" ")), answer(), answer(text("")) })
  end)

  it("keeps what an empty block carries, for its own provider (bug 7)", function()
    check("a(,x)", { answer(text("", "sig"), text("x")) })
    check("a(x)", { answer(text("", "sig"), text("x")) }, { tag = false })
  end)

  it("has thinking only with its own provider's word for it (bug 3)", function()
    local signed = { type = "thinking", thinking = "hm", provider_state = "{}" }
    local unsigned = { type = "thinking", thinking = "cut" }
    check("a(hm,x)", { answer(signed, unsigned, text("x")) })
    check("a(x)", { answer(signed, unsigned, text("x")) }, { tag = false })
    for member in pairs(TAG) do
      local other = {}
      for name, value in pairs(TAG) do
        other[name] = name == member and "other" or value
      end
      check("a(x)", { answer(signed, text("x")) }, { tag = other })
    end
    check("u(on)", { answer(signed), user("on") })
  end)

  it("has no state on what goes to another provider", function()
    local entries = repair({ answer(call("1", { provider_state = "s" }),
      text("x", "s")) }, { tag = false })
    for _, block in ipairs(entries[1].content) do
      assert.is_nil(block.provider_state)
    end
  end)

  it("keeps blocks that only their provider knows, in their place", function()
    local opaque = { type = "thinking", thinking = "", opaque = "search",
      provider_state = "{}" }
    check("a(,x)", { answer(opaque, text("x")) })
    check("a()", { answer(opaque) })
    check("a(x)", { answer(opaque, text("x")) }, { tag = false })
  end)

  it("has no turn that the model refused (bug 15)", function()
    local refused = answer(text("No."))
    refused.stop_reason = "refusal"
    check("u(a) a(b) u(c)", { user("a"), answer(text("b")), user("bad"),
      refused, user("c") })
    check("u(c)", { user("bad"), answer(call("1")), result("1"), refused,
      user("c") })
  end)

  it("ends with a word of the user where that is demanded, but for a pause",
    function()
      local rules = { ends_with_user = true }
      check("u(a) a(b) u(Go on.)", { user("a"), answer(text("b")) }, rules)
      local paused = answer(text("b"))
      paused.stop_reason = "pause"
      check("u(a) a(b)", { user("a"), paused }, rules)
    end)

  it("has notes for images where the model takes none, and for no output",
    function()
      local image = { type = "image", data = "AA==", mime_type = "image/png" }
      local seen = { role = "user", content = { image } }
      check("u(image)", { seen })
      check("u([an image was left out here: the model takes none])", { seen },
        { images = false })
      check("a(1) t(1=(no output))", { answer(call("1")), result("1", "  ") })
    end)

  it("is turns that alternate, for who demands it", function()
    local turns = transcript.turns(repair { user("a"), user("b"),
      answer(call("1")), result("1"), user("c"), answer(text("x")),
      answer(text("y")) })
    local roles = {}
    for index, turn in ipairs(turns) do
      roles[index] = turn.role .. #turn.entries
    end
    assert.same({ "user2", "assistant1", "user2", "assistant2" }, roles)
  end)
end)

describe("ids of calls (bug 16)", function()
  it("stay where the provider takes them, else follow from what they were",
    function()
      for name, given in pairs { any = "x:y/z", anthropic = "toolu_01-A",
        responses = "call_abc", mistral = "abcdefghi" } do
        assert.equal(given, call_ids.mapping(call_ids.rules[name])(given))
      end
      for name, pattern in pairs { anthropic = "^[%w_-]+$",
        responses = "^[%w_-]+$", mistral = "^%w+$" } do
        for _, given in ipairs { "a:b", ("x"):rep(300), "ü", "", "call 1" } do
          local one = call_ids.mapping(call_ids.rules[name])(given)
          assert.equal(one, call_ids.mapping(call_ids.rules[name])(given))
          assert.matches(pattern, one)
          assert.is_true(#one <= call_ids.rules[name].most)
        end
      end
      assert.equal(9, #call_ids.mapping(call_ids.rules.mistral)("call_1"))
    end)

  it("are never the same for two calls, and the results follow", function()
    local entries = repair { answer(call("1")), result("1", "first"),
      answer(call("1"), call("1")), result("1", "second"), result("1", "third") }
    local seen = {}
    for index, entry in ipairs(entries) do
      if entry.role == "tool" then
        assert.is_nil(seen[entry.tool_call_id])
        seen[entry.tool_call_id] = index
      end
    end
    assert.equal("first", entries[seen[entries[1].calls[1].id]].content[1].text)
    assert.equal("second", entries[seen[entries[3].calls[1].id]].content[1].text)
    assert.equal("third", entries[seen[entries[3].calls[2].id]].content[1].text)
  end)
end)
