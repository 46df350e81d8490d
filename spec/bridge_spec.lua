-- What tells a foreign loop that ours is ready, as Lua sees it. The rest is in
-- tests/net/test_bridge.c, and in the lane with nginx.
local core = require("agentwire.core")
local process = require("spec.support.process")

describe("a bridge of a loop", function()
  local folder, loop

  before_each(function()
    folder, loop = process.folder(), core.loop()
  end)

  after_each(function()
    loop:close()
    assert.equal("", process.shell("ls " .. folder))
    process.remove(folder)
  end)

  it("has its file for itself", function()
    local bridge = assert(loop:bridge(folder .. "/one"))
    local none, message, code = loop:bridge(folder .. "/one")
    assert.same({ nil, "address already in use", "io_error" },
      { none, message, code })
    bridge:close()
    assert(loop:bridge(folder .. "/one"))
  end)

  it("begins when somebody has connected, and is closed in any order", function()
    local bridge = assert(loop:bridge(folder .. "/one"))
    local _, message = bridge:begin()
    assert.equal("resource temporarily unavailable", message)
    bridge:arm()
    bridge:poke()
    bridge:close()
    bridge:close()
    bridge:arm()
    assert.same({ nil, "closed" }, { bridge:begin(), (select(2, bridge:begin())) })
    assert(loop:bridge(folder .. "/two")) -- closed by its loop
  end)

  it("says what is wrong with a name", function()
    assert.equal("name too long",
      (select(2, loop:bridge(folder .. "/" .. ("x"):rep(200)))))
    assert.equal("no such file or directory",
      (select(2, loop:bridge(folder .. "/none/one"))))
  end)
end)
