-- Listeners that come and go while they are being called.
local listeners = require("agentwire._listeners")

describe("listeners", function()
  local function call(list)
    local said = {}
    for _, fn in list:each() do
      table.insert(said, fn())
    end
    return table.concat(said)
  end

  local function saying(text, also)
    return function()
      if also then
        also()
      end
      return text
    end
  end

  it("are called in the order in which they came", function()
    local list = listeners.new()
    list:add(saying("a"))
    list:add(saying("b"))
    assert.equal("ab", call(list))
    assert.equal(2, list:count())
  end)

  it("may leave while they are called; the others are called all the same",
    function()
      local list, off = listeners.new(), nil
      off = list:add(saying("a", function()
        off()
      end))
      list:add(saying("b"))
      assert.equal("ab", call(list))
      assert.equal("b", call(list))
      off()
      assert.equal("b", call(list))
    end)

  it("that come meanwhile are called the next time", function()
    local list, once = listeners.new(), false
    list:add(saying("a", function()
      if not once then
        once = true
        list:add(saying("b"))
      end
    end))
    assert.equal("a", call(list))
    assert.equal("ab", call(list))
  end)

  it("leave once for each time that they came, or are dropped at once",
    function()
      local list, same = listeners.new(), saying("a")
      local off = list:add(same)
      list:add(same)
      off()
      assert.equal("a", call(list))
      list:add(same)
      list:drop(same)
      assert.equal(0, list:count())
    end)
end)
