-- What an identifier of a schema means beside another: RFC 3986, section 5.4,
-- as far as it concerns what has no fragment.
local uri = require("agentwire.tool._uri")

local BASE = "http://a/b/c/d;p?q"

local REFERENCES = {
  { "g:h", "g:h" },
  { "g", "http://a/b/c/g" },
  { "./g", "http://a/b/c/g" },
  { "g/", "http://a/b/c/g/" },
  { "/g", "http://a/g" },
  { "//g", "http://g" },
  { "//g/../h", "http://g/h" },
  { "?y", "http://a/b/c/d;p?y" },
  { "g?y", "http://a/b/c/g?y" },
  { ";x", "http://a/b/c/;x" },
  { "g;x?y", "http://a/b/c/g;x?y" },
  { "", "http://a/b/c/d;p?q" },
  { ".", "http://a/b/c/" },
  { "./", "http://a/b/c/" },
  { "..", "http://a/b/" },
  { "../", "http://a/b/" },
  { "../g", "http://a/b/g" },
  { "../..", "http://a/" },
  { "../../g", "http://a/g" },
  { "../../../g", "http://a/g" },
  { "/./g", "http://a/g" },
  { "/../g", "http://a/g" },
  { "g.", "http://a/b/c/g." },
  { "..g", "http://a/b/c/..g" },
  { "./../g", "http://a/b/g" },
  { "g/./h", "http://a/b/c/g/h" },
  { "g/../h", "http://a/b/c/h" },
  { "g;x=1/../y", "http://a/b/c/y" },
}

describe("a reference in a schema", function()
  for _, case in ipairs(REFERENCES) do
    it(("%q is %s"):format(case[1], case[2]), function()
      assert.equal(case[2], (uri.resolve(BASE, case[1])))
    end)
  end

  it("keeps its fragment apart, as it is written", function()
    assert.same({ "http://a/b/c/g", "s/./x" }, { uri.resolve(BASE, "g#s/./x") })
    assert.same({ "http://a/b/c/d;p?q", "s" }, { uri.resolve(BASE, "#s") })
  end)

  it("begins at the root of a base that is only an authority", function()
    assert.equal("http://a/g", (uri.resolve("http://a", "g")))
  end)
end)
