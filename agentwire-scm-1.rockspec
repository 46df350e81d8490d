rockspec_format = "3.0"
package = "agentwire"
version = "scm-1"
source = {
  -- Made from a checkout with `luarocks make`; nothing is fetched.
  url = ".",
}
description = {
  summary = "Model streams, agent sessions and tool calls over one connection",
  detailed = [[
A Lua module with a C core that carries AI agents over the wire: model streams,
agent sessions and tool executions, multiplexed over one connection, each
strictly ordered, cancellable, and resumed after a dropped connection.]],
  license = "MIT",
}
supported_platforms = { "unix" }
dependencies = { "lua >= 5.1, < 5.5" }
external_dependencies = {
  LIBUV = { header = "uv.h" },
  OPENSSL = { header = "openssl/ssl.h" },
}
deploy = { wrap_bin_scripts = false } -- it finds its interpreter itself
build = {
  type = "cmake",
  install = { bin = { "bin/agentwire" } },
  variables = {
    CMAKE_BUILD_TYPE = "Release",
    AW_LUA_INCDIR = "$(LUA_INCDIR)",
    AW_INSTALL_LIBDIR = "$(LIBDIR)",
    AW_INSTALL_LUADIR = "$(LUADIR)",
  },
}
