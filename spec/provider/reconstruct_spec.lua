local support = require("spec.support.provider")
local reconstruct = require("agentwire.provider.reconstruct")

local function feed(rec, events)
  for _, event in ipairs(events) do
    rec:push(event)
  end
  return rec
end

local ev = support.block_event

local function text(index, ...)
  local events = { ev("text_start", index) }
  for _, delta in ipairs { ... } do
    events[#events + 1] = ev("text_delta", index, { delta = delta })
  end
  events[#events + 1] = ev("text_end", index)
  return events
end

describe("reconstruct", function()
  local rec

  before_each(function()
    rec = reconstruct.new()
  end)

  it("accumulates text, thinking and arguments in index order", function()
    feed(rec, {
      { type = "start", model = "m", input_tokens = 12 },
      ev("toolcall_start", 2, { id = "c", name = "n" }),
      ev("text_start", 0),
      ev("text_delta", 0, { delta = "Gr" }),
      ev("thinking_start", 1),
      ev("toolcall_delta", 2, { delta = '{"a":' }),
      ev("thinking_delta", 1, { delta = "hm" }),
      ev("text_delta", 0, { delta = "üße" }),
      ev("toolcall_delta", 2, { delta = "1}" }),
    })
    local message = rec:message { provider = "p", api = "a", timestamp = 9 }
    assert.same({
      { type = "text", text = "Grüße" },
      { type = "thinking", thinking = "hm" },
      { type = "tool_call", id = "c", name = "n", arguments_json = '{"a":1}' },
    }, { message.content[1], message.content[2], message.content[3] })
    assert.equal("tool_use", message.stop_reason)
    assert.equal(12, message.usage.input)
    assert.equal("m", message.model)
    assert.equal("p", message.provider)
    assert.equal(0, rec.ignored)
  end)

  it("takes the whole arguments and the signature from the end", function()
    feed(rec, {
      ev("toolcall_start", 0, { id = "c", name = "n" }),
      ev("toolcall_delta", 0, { delta = '{"broken' }),
      ev("toolcall_end", 0, { id = "c", name = "n", arguments_json = '{"k":2}',
        thought_signature = "sig" }),
    })
    local call = rec:message().content[1]
    assert.equal('{"k":2}', call.arguments_json)
    assert.equal("sig", call.thought_signature)
  end)

  it("gives a call without arguments an empty object", function()
    feed(rec, { ev("toolcall_start", 0, { id = "c", name = "n" }) })
    assert.equal("{}", rec:message().content[1].arguments_json)
  end)

  local orphans = {
    ev("toolcall_delta", 0, { delta = "x" }),
    ev("text_end", 0),
    ev("text_delta", -1, { delta = "x" }),
    ev("text_delta", 0.5, { delta = "x" }),
    ev("text_delta", "0", { delta = "x" }),
    ev("text_delta", nil, { delta = "x" }),
    ev("text_delta", 0, { delta = {} }),
    ev("text_delta", 0, {}),
    ev("text_start", nil),
    { type = "teleport" },
    {},
  }

  it("ignores and counts what does not fit", function()
    for number, event in ipairs(orphans) do
      assert.is_false(rec:push(event))
      assert.equal(number, rec.ignored)
    end
    assert.equal(0, #rec:message().content)
  end)

  it("ignores a delta of another kind, or after the end", function()
    feed(rec, text(0, "a"))
    assert.is_false(rec:push(ev("text_delta", 0, { delta = "b" })))
    assert.is_false(rec:push(ev("thinking_delta", 0, { delta = "b" })))
    assert.is_false(rec:push(ev("text_start", 0)))
    assert.equal("a", rec:text(0))
    assert.equal(3, rec.ignored)
  end)

  it("accepts deltas without a start unless told otherwise", function()
    assert.is_true(rec:push(ev("text_delta", 0, { delta = "a" })))
    assert.is_true(rec:push(ev("text_delta", 0, { delta = "b" })))
    assert.equal("ab", rec:text(0))
    local strict = reconstruct.new { implicit_start = false }
    assert.is_false(strict:push(ev("text_delta", 0, { delta = "a" })))
    assert.equal(1, strict.ignored)
  end)

  it("joins any number of pieces, asked for in between or not", function()
    rec:push(ev("text_start", 0))
    local expected = {}
    for i = 1, 1000 do
      rec:push(ev("text_delta", 0, { delta = i .. "," }))
      expected[i] = i .. ","
      if i % 333 == 0 then
        assert.equal(table.concat(expected), rec:text(0))
      end
    end
    assert.equal(table.concat(expected), rec:message().content[1].text)
  end)

  it("keeps no pieces beyond the fold", function()
    rec:push(ev("text_start", 0))
    for _ = 1, 10 * reconstruct.FOLD do
      rec:push(ev("text_delta", 0, { delta = "ab" }))
    end
    assert.is_true(#rec.blocks[0] <= reconstruct.FOLD)
    assert.equal(20 * reconstruct.FOLD, #rec:text(0))
  end)

  it("stops at its limit of bytes and says so", function()
    local small = reconstruct.new { max_bytes = 4 }
    small:push(ev("text_start", 0))
    assert.is_true(small:push(ev("text_delta", 0, { delta = "abcd" })))
    assert.is_false(small:push(ev("text_delta", 0, { delta = "e" })))
    assert.is_true(small.truncated)
    assert.equal("abcd", small:text(0))
  end)

  it("stops at its limit of blocks", function()
    local small = reconstruct.new { max_blocks = 2 }
    for index = 0, 2 do
      small:push(ev("text_start", index))
    end
    assert.equal(2, #small:message().content)
    assert.equal(1, small.ignored)
  end)

  it("believes the message that done carries", function()
    feed(rec, text(0, "a"))
    rec:push {
      type = "done", reason = "stop",
      message = { role = "assistant", content = {}, usage = { output = 4 } },
    }
    assert.equal(0, #rec:message().content)
    assert.equal(4, rec:usage().output)
  end)

  it("does not believe a malformed one", function()
    feed(rec, text(0, "a"))
    rec:push { type = "done", reason = "length", message = { role = "user" } }
    local message = rec:message()
    assert.equal("a", message.content[1].text)
    assert.equal("length", message.stop_reason)
  end)

  it("takes usage and reason from an error", function()
    feed(rec, text(0, "a"))
    rec:push { type = "error", reason = "aborted", usage = { output = 3 } }
    assert.equal("aborted", rec:message().stop_reason)
    assert.equal(3, rec:usage().output)
  end)

  it("gives the partial state, with and without content", function()
    local partial = rec:state { model = "m" }.partial
    assert.equal("result", partial.type)
    assert.same({}, { partial.content[1] })
    feed(rec, { ev("text_start", 0), ev("text_delta", 0, { delta = "so" }) })
    assert.equal("so", rec:state().partial.content[1].text)
    rec:push(ev("text_delta", 0, { delta = " far" }))
    assert.equal("so far", rec:state().partial.content[1].text)
  end)

  it("is as new after a reset", function()
    feed(rec, text(0, "a"))
    rec:push {}
    rec:reset()
    assert.is_true(rec:is_empty())
    assert.equal(0, rec.ignored)
    feed(rec, text(0, "b"))
    assert.equal("b", rec:message().content[1].text)
  end)

  -- What a reader with `before` is given for the state of a server with `all`.
  local function caught_up(before, all, with_partial)
    feed(rec, before)
    local server = reconstruct.new()
    feed(server, all)
    local state = server:state { model = "m" }
    state.sequence = 9
    local events, problem = rec:missing(state, with_partial)
    for _, event in ipairs(events or {}) do
      assert.equal(9, event.sequence)
      assert.is_true(rec:push(event))
    end
    return events, problem, server
  end

  local function call(index, ...)
    local events = {
      ev("toolcall_start", index, { id = "c" .. index, name = "read" }),
    }
    for _, delta in ipairs { ... } do
      events[#events + 1] = ev("toolcall_delta", index, { delta = delta })
    end
    return events
  end

  local function joined(...)
    local events = {}
    for _, list in ipairs { ... } do
      for _, event in ipairs(list) do
        events[#events + 1] = event
      end
    end
    return events
  end

  it("is brought to a state by the events that it lacks", function()
    local all = joined(text(0, "one"), text(1, "two"),
      call(2, '{"path":', '"x"}'),
      { ev("toolcall_end", 2,
        { id = "c2", name = "read", arguments_json = '{"path":"x"}' }) },
      { ev("text_start", 4), ev("text_delta", 4, { delta = "thr" }) })
    for taken = 0, #all do
      local before = {}
      for index = 1, taken do
        before[index] = all[index]
      end
      rec:reset()
      local events, _, server = caught_up(before, all)
      assert.is_table(events)
      assert.same(server:message { timestamp = 1 }.content,
        rec:message { timestamp = 1 }.content)
      assert.equal(4, rec:open_index())
      if taken == #all then
        assert.same({}, events)
      end
    end
  end)

  it("goes on with an open call where the state ends", function()
    local events = caught_up({}, call(0))
    assert.equal(1, #events)
    assert.is_true(rec:push(ev("toolcall_delta", 0, { delta = "{}" })))
    assert.equal("{}", rec:text(0))
  end)

  it("believes a finished call's own arguments", function()
    local events = caught_up(call(0, '{"a" : 1'), joined(call(0, '{"a" : 1', "}"),
      { ev("toolcall_end", 0,
        { id = "c0", name = "read", arguments_json = '{"a":1}' }) }))
    assert.equal("toolcall_end", events[#events].type)
    assert.equal('{"a":1}', rec:text(0))
  end)

  it("adds the block so far where that was asked for", function()
    local events = caught_up({}, text(0, "ab"), true)
    assert.same({ current_text = "" }, events[1].partial)
    assert.same({ current_text = "ab" }, events[2].partial)
  end)

  it("does not follow a state that contradicts it", function()
    local events, problem = caught_up(
      { ev("text_start", 0), ev("text_delta", 0, { delta = "no" }) },
      text(0, "yes"))
    assert.is_nil(events)
    assert.truthy(problem:find("block 0", 1, true))
    rec:reset()
    assert.is_nil((caught_up({ ev("thinking_start", 0) }, text(0, "yes"))))
  end)

  it("takes a state that does not tell its blocks' numbers", function()
    feed(rec, { ev("text_start", 0) })
    local events = rec:missing {
      partial = { content = { { type = "text", text = "hi" } } },
    }
    assert.equal(2, #events)
    assert.equal("hi", events[1].delta)
    assert.same({}, rec:missing {})
  end)

  it("knows which block is open", function()
    assert.is_nil(rec:open_index())
    rec:push(ev("text_start", 0))
    assert.equal(0, rec:open_index())
    rec:push(ev("text_end", 0))
    assert.is_nil(rec:open_index())
  end)
end)
