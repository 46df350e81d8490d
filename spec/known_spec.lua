-- What clients know by id: what somebody holds, and the latest that have ended.
local known = require("agentwire._known")

local function named(id)
  return { id = id }
end

describe("what a client knows by id", function()
  it("is what somebody holds", function()
    local all = known.new(2)
    local held = named("a")
    all:add(held)
    all:add(named("b"))
    collectgarbage()
    collectgarbage()
    assert.equal(held, all:get("a"))
    assert.is_nil(all:get("b"))
  end)

  it("keeps the latest of those that have ended, and no more", function()
    local all = known.new(2)
    for _, id in ipairs { "a", "b", "c" } do
      local object = named(id)
      all:add(object)
      all:retire(object)
    end
    collectgarbage()
    assert.is_nil(all:get("a"))
    assert.truthy(all:get("b"))
    assert.truthy(all:get("c"))
    assert.same({ 2, 2 }, { all:counts() })
  end)

  it("keeps none when none are wanted", function()
    local all, object = known.new(0), named("a")
    all:add(object)
    all:retire(object)
    assert.is_nil(all:get("a"))
    assert.same({ 0, 0 }, { all:counts() })
  end)

  it("forgets one wherever it stands, and the others in their order", function()
    for _, forgotten in ipairs { "a", "b", "c" } do
      local all = known.new(3)
      for _, id in ipairs { "a", "b", "c" } do
        local object = named(id)
        all:add(object)
        all:retire(object)
      end
      assert.equal(forgotten, all:forget(forgotten).id)
      assert.is_nil(all:forget(forgotten))
      assert.same({ 2, 2 }, { all:counts() })
      for _, id in ipairs { "d", "e" } do
        local object = named(id)
        all:add(object)
        all:retire(object)
      end
      collectgarbage()
      local oldest = forgotten == "a" and "b" or "a"
      assert.is_nil(all:get(oldest))
      assert.same({ 3, 3 }, { all:counts() })
    end
  end)

  it("is the later of two with one id", function()
    local all, first, second = known.new(3), named("a"), named("a")
    all:add(first)
    all:add(second)
    all:retire(first) -- not known any more
    assert.same({ 1, 0 }, { all:counts() })
    all:retire(second)
    assert.equal(second, all:get("a"))
  end)
end)
