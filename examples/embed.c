/* Turns agentwire in a loop that is the program's own: here one of poll().
 *
 *   cc $(pkg-config --cflags lua5.4) examples/embed.c -o embed \
 *     $(pkg-config --libs lua5.4) -Wl,-E
 *   ./embed examples/01_stream.lua
 *
 * -Wl,-E gives Lua's symbols to the module where Lua is linked statically. The
 * file is a script for `aw.run`; what it runs becomes a task of this loop. */
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <poll.h>
#include <stdio.h>

/* The host that this loop turns, and `aw.run` as what does not wait. */
static const char *const prelude =
    "local aw, host = require('agentwire'), require('agentwire.host')\n"
    "local own = require('agentwire.host.standalone').new()\n"
    "host.use(own)\n"
    "aw.run = function(fn) main = aw.spawn(fn) end\n"
    "arg = {}\n"
    "return function() return own:fd(), own:timeout_ms(), own:live_tasks() "
    "end,\n"
    "  function() own:turn() end,\n"
    "  function() own:close() end\n";

/* Calls the function at `index`; its results are left on the stack. */
static int call(lua_State *L, int index, int results) {
  lua_pushvalue(L, index);
  return lua_pcall(L, 0, results, 0);
}

static int drive(lua_State *L, int look, int turn) {
  for (;;) {
    if (call(L, look, 3) != LUA_OK) {
      return 1;
    }
    struct pollfd fd = {.fd = (int)lua_tointeger(L, -3), .events = POLLIN};
    int timeout_ms = (int)lua_tointeger(L, -2);
    int tasks = (int)lua_tointeger(L, -1);
    lua_pop(L, 3);
    if (tasks == 0) {
      return 0;
    }
    poll(&fd, 1, timeout_ms);
    if (call(L, turn, 0) != LUA_OK) {
      return 1;
    }
  }
}

int main(int argc, char **argv) {
  lua_State *L = luaL_newstate();
  int failed = 1;
  if (L == NULL || argc != 2) {
    fputs("usage: embed FILE.lua\n", stderr);
    return 2;
  }
  luaL_openlibs(L);
  if (luaL_loadstring(L, prelude) == LUA_OK &&
      lua_pcall(L, 0, 3, 0) == LUA_OK && luaL_dofile(L, argv[1]) == LUA_OK) {
    failed = drive(L, 1, 2);
  }
  if (failed) {
    fprintf(stderr, "embed: %s\n", lua_tostring(L, -1));
  } else {
    failed = call(L, 3, 0) != LUA_OK;
  }
  lua_close(L);
  return failed;
}
