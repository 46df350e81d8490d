#include "aw_lua_names.h"

#include <string.h>

void aw_lua_names_new(lua_State *L) {
  size_t size = AW_LUA_NAMES_MAX * sizeof(aw_lua_name);
  memset(lua_newuserdatauv(L, size, 0), 0, size);
  lua_createtable(L, AW_LUA_NAMES_MAX, 0);
}

/* Each name has one place, which the last that belongs there takes: who sends
 * nothing but new names costs a copy for each. */
static unsigned place_of(const char *text, size_t len) {
  unsigned first = (unsigned char)text[0];
  unsigned last = (unsigned char)text[len - 1];
  return ((unsigned)len * 7 + first + 3 * last) % AW_LUA_NAMES_MAX;
}

static void keep(lua_State *L, const aw_lua_names *names, unsigned place,
                 const char *text, size_t len) {
  aw_lua_name *name = &names->kept[place];
  name->len = 0; /* what follows may raise */
  lua_pushlstring(L, text, len);
  lua_pushvalue(L, -1);
  lua_rawseti(L, names->strings, (int)place + 1);
  memcpy(name->text, text, len);
  name->len = (unsigned char)len;
}

void aw_lua_names_push(lua_State *L, const aw_lua_names *names,
                       const char *text, size_t len) {
  if (len == 0 || len > AW_LUA_NAME_LEN) {
    lua_pushlstring(L, text, len);
    return;
  }
  unsigned place = place_of(text, len);
  const aw_lua_name *name = &names->kept[place];
  if (name->len == len && memcmp(name->text, text, len) == 0) {
    lua_rawgeti(L, names->strings, (int)place + 1);
  } else {
    keep(L, names, place, text, len);
  }
}
