/* Well-formed envelopes with any payload, through the three protocols of Lua:
 * payload.lua plays the input, this file embeds it and lets libFuzzer see which
 * lines of Lua an input reaches. An error that leaves the script ends the run.
 */
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int luaopen_agentwire_core(lua_State *L);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

/* libFuzzer reads counters in this section beside those of the compiler. */
#define LINES (1u << 16)
__attribute__((
    section("__libfuzzer_extra_counters"))) static uint8_t line_counts[LINES];

static void on_line(lua_State *L, lua_Debug *ar) {
  lua_getinfo(L, "S", ar);
  uintptr_t at = (uintptr_t)ar->source * 2654435761u;
  line_counts[((at >> 8) + (unsigned)ar->currentline * 31u) % LINES]++;
}

static void fail(lua_State *L) {
  fprintf(stderr, "fuzz_payload: %s\n", lua_tostring(L, -1));
  abort();
}

static int with_traceback(lua_State *L) {
  luaL_traceback(L, L, luaL_tolstring(L, 1, NULL), 1);
  return 1;
}

static lua_State *start(void) {
  lua_State *L = luaL_newstate();

  luaL_openlibs(L);
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
  lua_pushcfunction(L, luaopen_agentwire_core);
  lua_setfield(L, -2, "agentwire.core");
  lua_getglobal(L, "package");
  lua_pushstring(L, AW_SOURCE_DIR "/lua/?.lua;" AW_SOURCE_DIR
                                  "/lua/?/init.lua;" AW_SOURCE_DIR "/?.lua");
  lua_setfield(L, -2, "path");
  lua_settop(L, 0);
  lua_pushcfunction(L, with_traceback);
  if (luaL_loadstring(L, "return require('tests.fuzz.payload')") != LUA_OK ||
      lua_pcall(L, 0, 1, 1) != LUA_OK) {
    fail(L);
  }
  /* Coroutines inherit it from whoever makes them. */
  lua_sethook(L, on_line, LUA_MASKLINE, 0);
  return L;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
  static lua_State *L;

  if (L == NULL) {
    L = start();
  }
  lua_pushvalue(L, 2);
  lua_pushlstring(L, (const char *)data, len);
  if (lua_pcall(L, 1, 0, 1) != LUA_OK) {
    fail(L);
  }
  return 0;
}
