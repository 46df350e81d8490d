-- How text fits a terminal: cut, wrapped, and without what would move its cursor.
local screens = require("agentwire.command._screen")
local wraps = require("agentwire.command._wrap")

describe("a line", function()
  it("is cut at the width, wide characters counted twice", function()
    for text, wanted in pairs {
      ["12345"] = "12345", ["123456"] = "1234…", ["äöüß5"] = "äöüß5",
      ["äöüß56"] = "äöüß…", ["日本語"] = "日本…", ["日本"] = "日本", [""] = "",
    } do
      assert.equal(wanted, screens.cut(text, 5))
      assert.truthy(screens.width(screens.cut(text, 5)) <= 5)
    end
  end)

  it("has no control characters", function()
    assert.equal("a[31m b", screens.one_line("a\27[31m\r\n  b\0\7\127\194\155"))
    assert.equal("a\n\tb é", screens.harmless("a\n\tb\8 é"))
  end)
end)

describe("wrapped text", function()
  local function always()
    return true
  end

  --- What is written of pieces, at a width.
  local function wrap(columns, pieces)
    local out = {}
    local wrapped = wraps.new(function(text)
      out[#out + 1] = text
    end, function()
      return columns
    end, always)
    for _, piece in ipairs(pieces) do
      wrapped:put(piece)
    end
    wrapped:finish()
    return table.concat(out)
  end

  local TEXT = "one two  three\n\n  four five sixseveneight nine\tten"

  it("is broken between words, in whatever pieces it comes", function()
    local wanted = "one two\nthree\n\n  four five\nsixseveneight\nnine ten"
    assert.equal(wanted, wrap(11, { TEXT }))
    local bytes = {}
    for byte in TEXT:gmatch(".") do
      bytes[#bytes + 1] = byte
    end
    assert.equal(wanted, wrap(11, bytes))
    assert.equal((TEXT:gsub("\t", " ")), wrap(1000, bytes))
  end)

  it("begins anew when somebody else has written a line", function()
    local inside = true
    local out = {}
    local wrapped = wraps.new(function(text)
      out[#out + 1] = text
    end, function()
      return 80
    end, function()
      return inside
    end)
    wrapped:put("one two three ")
    inside = false
    wrapped:put("four ")
    wrapped:finish()
    assert.same({ "one", " two", " three", "four" }, out)
  end)

  it("does not hold back a word that has no end", function()
    local length = 0
    local wrapped = wraps.new(function(text)
      length = length + #text
    end, function()
      return 80
    end, always)
    for n = 1, 10000 do
      wrapped:put("abcdefghij")
      assert.truthy(length >= 10 * n - 110)
    end
  end)
end)
