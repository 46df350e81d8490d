-- What is taken back when a call does not return: at once, and not only when
-- the collector comes by.
local undo = require("agentwire._undo")

local function times(how, fn, ...)
  local count = 0
  local results = { pcall(how, function()
    count = count + 1
  end, fn, ...) }
  return count, results
end

local function raise(what)
  error(what, 0)
end

local function pass(...)
  return ...
end

describe("what a call has made", function()
  it("stays when the call returns, whatever it returns", function()
    assert.same({ 0, { true, 1, 2 } }, { times(undo.unless_returned, pass, 1, 2) })
    assert.same({ 0, { true, nil, "why" } },
      { times(undo.unless_returned, pass, nil, "why") })
  end)

  it("is undone when the call raises, which is raised again", function()
    local mark = {}
    local count, results = times(undo.unless_returned, raise, mark)
    assert.equal(1, count)
    assert.is_false(results[1])
    assert.equal(mark, results[2])
  end)

  it("is undone in any case where that is asked for", function()
    assert.same({ 1, { true, "x" } }, { times(undo.always, pass, "x") })
    assert.same({ 1, { false, "broken" } }, { times(undo.always, raise, "broken") })
  end)
end)
