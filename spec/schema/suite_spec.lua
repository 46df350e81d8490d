-- The public JSON Schema test suite (Debian: json-schema-test-suite), or what
-- AW_SCHEMA_SUITE names: no valid instance is refused, nearly all others are.
local json = require("agentwire.json")
local schema = require("agentwire.tool.schema")

local ROOT = os.getenv("AW_SCHEMA_SUITE") or "/usr/share/json-schema-test-suite"

local DRAFTS = {
  { folder = "draft7", dialect = "draft7", least = 0.95 },
  { folder = "draft6", dialect = "draft7", least = 0.95 },
  { folder = "draft2020-12", dialect = nil, least = 0.93 },
}

local function files_of(folder)
  local list = {}
  local pipe = io.popen("ls '" .. ROOT .. "/tests/" .. folder
    .. "'/*.json 2>/dev/null")
  for name in pipe:lines() do
    list[#list + 1] = name
  end
  pipe:close()
  return list
end

local function read_json(name)
  local file = assert(io.open(name, "rb"))
  local text = file:read("*a")
  file:close()
  return assert(json.decode(text))
end

local function run_group(group, dialect, count)
  local rule = schema.new(group.schema, { dialect = dialect })
  for _, test in ipairs(group.tests) do
    local ok, why = rule:check(test.data)
    local what = group.description .. " / " .. test.description
    if test.valid then
      count.valid = count.valid + 1
      assert.is_true(ok, ("refused: %s: %s"):format(what, tostring(why)))
    else
      count.invalid = count.invalid + 1
      count.caught = count.caught + (ok and 0 or 1)
      count.missed[#count.missed + 1] = ok and what or nil
    end
  end
end

describe("the JSON Schema test suite", function()
  for _, draft in ipairs(DRAFTS) do
    local files = files_of(draft.folder)
    local count = { valid = 0, invalid = 0, caught = 0, missed = {} }
    for _, name in ipairs(files) do
      it(("%s: refuses nothing valid of %s"):format(draft.folder,
        name:match("[^/]*$")), function()
        for _, group in ipairs(read_json(name)) do
          run_group(group, draft.dialect, count)
        end
      end)
    end
    if #files > 0 then
      it(draft.folder .. ": refuses what is not valid", function()
        print(("# %s: %d valid, none refused; %d of %d invalid refused"):format(
          draft.folder, count.valid, count.caught, count.invalid))
        assert.is_true(count.valid > 150 and count.invalid > 150)
        assert.is_true(count.caught >= draft.least * count.invalid,
          table.concat(count.missed, "\n"))
      end)
    end
  end

  it("is there", function()
    assert.is_true(#files_of("draft7") > 0, "no suite in " .. ROOT)
  end)
end)
