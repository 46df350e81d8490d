#include "aw_lua.h"
#include <lauxlib.h>
#include <string.h>

/* Reads an array of strings from an option, NULL-terminated; the strings stay
 * alive because the table holds them. Leaves two values on the stack. */
static const char **read_strings(lua_State *L, int arg, const char *key) {
  lua_getfield(L, arg, key);
  luaL_checktype(L, -1, LUA_TTABLE);
  size_t count = lua_rawlen(L, -1);
  luaL_argcheck(L, count < 4096, arg, "too many strings");
  const char **list = lua_newuserdata(L, (count + 1) * sizeof *list);
  for (size_t i = 0; i < count; i++) {
    lua_rawgeti(L, -2, (int)i + 1);
    size_t len = 0;
    const char *text =
        lua_type(L, -1) == LUA_TSTRING ? lua_tolstring(L, -1, &len) : NULL;
    if (text == NULL || strlen(text) != len) {
      luaL_error(L, "%s[%d] is not a string without zero bytes", key,
                 (int)i + 1);
    }
    list[i] = text;
    lua_pop(L, 1);
  }
  list[count] = NULL;
  return list;
}

void aw_lua_child_options(lua_State *L, int arg, aw_child_options *out) {
  luaL_checktype(L, arg, LUA_TTABLE);
  out->cwd = aw_lua_opt_string(L, arg, "cwd");
  out->kill_after_ms = aw_lua_opt_unsigned(L, arg, "kill_after_ms", 0);
  out->own_group = aw_lua_opt_boolean(L, arg, "own_group");
  out->argv = read_strings(L, arg, "argv");
  luaL_argcheck(L, out->argv[0] != NULL, arg, "argv is empty");
  lua_getfield(L, arg, "environment");
  bool is_given = !lua_isnil(L, -1);
  lua_pop(L, 1);
  out->env = is_given ? read_strings(L, arg, "environment") : NULL;
}
