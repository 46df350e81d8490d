--- The rockspecs, whose lists of files are those of the tree.
---
---   lua tools/rockspec.lua            writes agentwire-scm-1.rockspec
---   lua tools/rockspec.lua check      as TAP: it is what would be written, and
---                                     the version is the same wherever it stands
---   lua tools/rockspec.lua release URL [TAG]
---                                     prints the release's, to be fetched from
---                                     there: an archive, or git and a tag
---   lua tools/rockspec.lua name       prints the release's, agentwire-X.Y.Z-1
local OUT = "agentwire-scm-1.rockspec"

local TEMPLATE = [=[
-- Written by tools/rockspec.lua, which has the text.
rockspec_format = "3.0"
package = "agentwire"
version = "@VERSION@"
source = {
@SOURCE@
}
description = {
  summary = "Model streams, agent sessions and tool calls over one connection",
  detailed = [[
A Lua module with a C core that carries AI agents over the wire: model streams,
agent sessions and tool executions, multiplexed over one connection, each
strictly ordered, cancellable, and resumed after a dropped connection.]],
  license = "MIT",
  labels = { "agent", "llm", "websocket", "json", "async" },
}
supported_platforms = { "unix" }
-- Of 5.1 LuaJIT alone, which cannot be said here: `require` says it.
dependencies = { "lua >= 5.1, < 5.5, ~= 5.2, ~= 5.3" }
-- Headers alone: without a compiler LuaRocks does not know where Debian has its
-- libraries, and would refuse a packed rock beside them. Nor does it know where
-- Debian has libcurl's headers, which the compiler does.
external_dependencies = {
  LIBUV = { header = "uv.h" },
  OPENSSL = { header = "openssl/ssl.h" },
}
deploy = { wrap_bin_scripts = false } -- it finds its interpreter itself
build = {
  type = "builtin",
  install = { bin = { "bin/agentwire" } },
  modules = {
@MODULES@
    ["agentwire.core"] = {
      sources = {
@SOURCES@
      },
      incdirs = {
@FOLDERS@
        "$(LIBUV_INCDIR)",
        "$(OPENSSL_INCDIR)",
      },
      defines = { "AW_WITH_CURL" },
      libdirs = { "$(LIBUV_LIBDIR)", "$(OPENSSL_LIBDIR)" },
      libraries = { "uv", "ssl", "crypto", "curl", "m" },
    },
  },
  platforms = {
    linux = {
      modules = {
        ["agentwire.core"] = {
          defines = { "AW_WITH_CURL", "_GNU_SOURCE", "_FORTIFY_SOURCE=2" },
        },
      },
    },
  },
  copy_directories = { "doc", "docs", "examples" },
}
]=]

local SCM_SOURCE = [[
  -- Made from a checkout with `luarocks make`; nothing is fetched.
  url = ".",]]

local function read(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read("*a")
  file:close()
  return text
end

local function find(folder, extension)
  local list = {}
  local pipe = assert(io.popen(("find %s -name '*.%s' | LC_ALL=C sort")
    :format(folder, extension)))
  for path in pipe:lines() do
    list[#list + 1] = path
  end
  pipe:close()
  return list
end

local function quoted(list, indent)
  local lines = {}
  for index, text in ipairs(list) do
    lines[index] = ("%s%q,"):format((" "):rep(indent), text)
  end
  return table.concat(lines, "\n")
end

-- Of the modules of Lua, a line of each.
local function lua_modules()
  local lines = {}
  for index, path in ipairs(find("lua/agentwire", "lua")) do
    local name = path:gsub("^lua/", ""):gsub("%.lua$", ""):gsub("/init$", "")
      :gsub("/", ".")
    lines[index] = ("    [%q] = %q,"):format(name, path)
  end
  return table.concat(lines, "\n")
end

-- What CMake would build: csrc has one folder of a WebSocket engine.
local function folders_of(sources)
  local list, seen = {}, {}
  for _, path in ipairs(sources) do
    local folder = path:match("^(.*)/")
    if not seen[folder] then
      seen[folder] = true
      list[#list + 1] = folder
    end
  end
  return list
end

local function rockspec(version, source)
  local sources = find("csrc", "c")
  local parts = {
    VERSION = version,
    SOURCE = source,
    MODULES = lua_modules(),
    SOURCES = quoted(sources, 8),
    FOLDERS = quoted(folders_of(sources), 8),
  }
  return (TEMPLATE:gsub("@(%u+)@", parts))
end

-- The one place of the version; the others are held to it.
local function tree_version()
  return assert(read("CMakeLists.txt"):match("project%(agentwire VERSION (%S+)"),
    "CMakeLists.txt has no version")
end

local function newest_release()
  return read("CHANGELOG.md"):match("\n## %[(%d[^%]]*)%]")
end

local function is_later(a, b)
  local next_a, next_b = a:gmatch("%d+"), b:gmatch("%d+")
  for part in next_a do
    local other = tonumber(next_b() or 0)
    if tonumber(part) ~= other then
      return tonumber(part) > other
    end
  end
  return false
end

local function release_rockspec(url, tag)
  local version = tree_version()
  assert(url and url:find("^[%w+]+://"), "release needs the URL of the sources")
  assert(not url:find("^git") or tag, "a git URL needs a tag")
  assert(not tag or tag:gsub("^v", "") == version,
    ("the tag is not that of version %s"):format(version))
  assert(newest_release() == version,
    ("CHANGELOG.md's newest release is not %s"):format(version))
  local source = ("  url = %q,"):format(url)
  if tag then
    source = source .. ("\n  tag = %q,"):format(tag)
  end
  return rockspec(version .. "-1", source)
end

local CHECKS = {
  { OUT .. " lists the tree's files; if not: ./dev rockspec", function()
    return read(OUT) == rockspec("scm-1", SCM_SOURCE)
  end },
  { "agentwire._VERSION is CMake's", function()
    local version = read("lua/agentwire/init.lua"):match('_VERSION = "([^"]*)"')
    return version == tree_version()
  end },
  { "CHANGELOG.md has no release later than that, and it or what is unreleased "
    .. "first", function()
    local first = read("CHANGELOG.md"):match("\n## %[([^%]]*)%]")
    return (first == "Unreleased" or first == tree_version())
      and not is_later(newest_release() or "0", tree_version())
  end },
}

local function check()
  local failed = false
  print("1.." .. #CHECKS)
  for number, each in ipairs(CHECKS) do
    local ok = each[2]()
    failed = failed or not ok
    print(("%s %d - %s"):format(ok and "ok" or "not ok", number, each[1]))
  end
  return not failed
end

local command = arg[1] or "write"
if command == "check" then
  os.exit(check() and 0 or 1)
elseif command == "release" then
  local ok, text = pcall(release_rockspec, arg[2], arg[3])
  if not ok then
    io.stderr:write("rockspec: ", (text:gsub("^[^:]*:%d+: ", "")), "\n")
    os.exit(1)
  end
  io.write(text)
elseif command == "name" then
  print(("agentwire-%s-1"):format(tree_version()))
elseif command == "write" then
  local file = assert(io.open(OUT, "wb"))
  file:write((rockspec("scm-1", SCM_SOURCE)))
  file:close()
else
  io.stderr:write("usage: rockspec.lua [check | release URL [TAG] | name]\n")
  os.exit(2)
end
