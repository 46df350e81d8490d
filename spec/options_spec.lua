-- Options are checked by name and kind, at the caller's line.
local misuse = require("agentwire._misuse")
local options = require("agentwire._options")

local TLS = options.spec("tls", {
  ca_file = options.string, verify_peer = options.boolean,
})
local OPEN = options.spec("open", {
  token = options.either(options.string, options.func),
  timeout_ms = options.duration_ms,
  tls = TLS,
  modes = options.list_of(options.one_of { "read", "write" }),
})

local function complaint(given)
  local ok, message = pcall(OPEN.check, OPEN, given)
  assert.is_false(ok)
  return message
end

describe("options", function()
  it("are taken when they fit, and may be absent", function()
    local given = { token = print, timeout_ms = 5, tls = { ca_file = "x" } }
    assert.equal(given, OPEN:check(given))
    assert.same({}, OPEN:check(nil))
  end)

  it("name the nearest one for a misspelt name", function()
    assert.truthy(complaint({ tokens = "x" })
      :find("open: unknown option tokens; did you mean token?", 1, true))
    assert.truthy(complaint({ tiemout_ms = 1 })
      :find("did you mean timeout_ms?", 1, true))
    assert.truthy(complaint({ timeoutMs = 1 })
      :find("did you mean timeout_ms?", 1, true))
  end)

  it("name one that begins alike when none is nearer", function()
    assert.equal("args", misuse.nearest("arguments", { "args", "name" }))
    assert.is_nil(misuse.nearest("zzz", { "args", "name" }))
  end)

  it("list what there is when nothing is near", function()
    assert.truthy(complaint({ zzzzzzzz = 1 })
      :find("there are modes, timeout_ms, tls, token", 1, true))
  end)

  it("say in which table an option belongs", function()
    assert.truthy(complaint({ ca_file = "x" })
      :find("unknown option ca_file; it belongs in tls", 1, true))
  end)

  it("say what was expected and what came", function()
    assert.truthy(complaint({ timeout_ms = "5" }):find(
      "option timeout_ms: expected a duration in milliseconds, got a string",
      1, true))
    assert.truthy(complaint({ token = 5 })
      :find("expected a string, or a function, got the number 5", 1, true))
    assert.truthy(complaint({ tls = { cafile = "x" } })
      :find("option tls: unknown option cafile; did you mean ca_file?", 1, true))
    assert.truthy(complaint({ modes = { "read", "sing" } })
      :find("option modes: expected a list", 1, true))
    assert.truthy(complaint({ "x" }):find("options are named", 1, true))
  end)

  it("do not repeat a value that may be a secret", function()
    assert.is_nil(complaint({ timeout_ms = "s3cret" }):find("s3cret", 1, true))
  end)

  it("blame the line outside of the library", function()
    local line = debug.getinfo(1, "l").currentline + 1
    local ok, message = pcall(function() misuse.raise("no") end)
    assert.is_false(ok)
    assert.truthy(message:find("options_spec.lua:" .. line .. ": no", 1, true))
  end)
end)
