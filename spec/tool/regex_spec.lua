local regex = require("agentwire.tool._regex")

local FREE = { spend = function() end }

-- pattern, text, holds a match (nil: unknown)
local CASES = {
  { "^a*$", "aaa", true }, { "^a*$", "baa", false }, { "a+", "xay", true },
  { "", "x", true }, { "x*", "", true }, { "^$", "", true },
  { "foo$", "foo\n", false }, { "^.$", "\n", false },
  { "^\\d{3}-\\d{4}$", "555-1234", true },
  { "^\\d{3}-\\d{4}$", "5555-1234", false },
  { "^a{2,3}$", "aaaa", false }, { "^a{2,}$", "aaaa", true },
  { "^(?:a|bc|)$", "bc", true }, { "^(?:a|bc|)$", "", true },
  { "^(?<year>\\d{4})$", "2024", true }, { "^(a|b){2,4}?$", "abab", true },
  { "^(?!/etc)", "/etc/x", false }, { "^(?!/etc)", "/tmp", true },
  { "^(?=.*\\d)(?=.*[a-z]).{4,8}$", "abc1", true },
  { "^(?=.*\\d)(?=.*[a-z]).{4,8}$", "abcd", false },
  { "(?<=ab)c", "abc", true }, { "(?<=ab)c", "bac", false },
  { "(?<!a)b", "ab", false }, { "(?<!a)b", "cb", true },
  { "\\bfoo\\b", "a foo b", true }, { "\\bfoo\\b", "afoo", false },
  { "\\Boo", "foo", true },
  { "^.$", "\240\159\152\128", true },
  { "^\\uD83D\\uDE00$", "\240\159\152\128", true },
  { "^\\u{1F600}$", "\240\159\152\128", true },
  { "^[\195\169-\195\188]$", "\195\182", true },
  { "^\\cC\\x41\\t\\0$", "\3A\t\0", true },
  { "^{.*}$", "{x}", true }, { "[^]", "x", true }, { "[]", "x", false },
  { "^[\\d\\-x-]+$", "1-x", true }, { "^[^\\s]$", " ", false },
  { "^\\S$", "\226\128\137", false }, { "^\\$\\.\\/$", "$./", true },
  { "^\\p{L}+$", "ab", true }, { "^\\p{L}+$", "a1", false },
  { "^\\p{L}+$", "\195\169", nil }, { "^\\p{L}+1$", "\195\1692", false },
  { "^\\P{L}$", "a", false }, { "^[^\\p{L}]$", "1", true },
  { "^(?!\\p{Lu})", "\195\169", nil }, { "^(?!\\p{Lu})", "A", false },
  { "^(?:){1000000000}$", "", true },
}

local REFUSED = {
  { "(a)\\1", "back reference" }, { "(?<n>a)\\k<n>", "back reference" },
  { "\\Aab\\Z", "unknown escape \\A" }, { "(?i)x", "unknown kind of group" },
  { "(", "not closed" }, { ")", "a parenthesis too many" },
  { "[z-a]", "backwards" }, { "[a", "not closed" }, { "a++", "repeat" },
  { "*", "repeat" }, { "a{3,2}", "reversed" }, { "\\", "backslash" },
  { "\\p{Nonsense}", "unknown property" }, { "(a{100}){100}", "larger" },
  { ("("):rep(60) .. (")"):rep(60), "too deeply" },
}

describe("the regular expressions of schemas", function()
  for _, case in ipairs(CASES) do
    it(("%q over %q"):format(case[1], case[2]), function()
      local made = assert(regex.compile(case[1]))
      assert.equal(case[3], made:find(case[2], FREE))
    end)
  end

  for _, case in ipairs(REFUSED) do
    it(("do not include %q"):format(case[1]:sub(1, 20)), function()
      local made, why = regex.compile(case[1])
      assert.is_nil(made)
      assert.matches(case[2], why, 1, true)
    end)
  end

  it("have programs of 4000 steps at most", function()
    assert(regex.compile("(a{99}){40}"))
    for count = 41, 51 do
      local made, why = regex.compile(("(a{99}){%d}"):format(count))
      assert.is_nil(made)
      assert.matches("larger than 4000 steps", why, 1, true)
    end
    assert(regex.compile("(a{99}){40}")) -- nothing of those is left
  end)

  it("count a step for each character and state", function()
    local steps = 0
    local budget = { spend = function(_, count)
      steps = steps + count
    end }
    local made = assert(regex.compile("^(a|aa)+$"))
    assert.is_false(made:find(("a"):rep(1000) .. "b", budget))
    assert.is_true(steps < 10000)
  end)

  it("take any bytes for a text", function()
    local made = assert(regex.compile("^[^x]*$"))
    for seed = 1, 200 do
      local bytes = {}
      for index = 1, seed % 17 do
        bytes[index] = string.char((seed * 7919 + index * 104729) % 256)
      end
      made:find(table.concat(bytes), FREE)
    end
  end)
end)
