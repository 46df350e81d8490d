/* Strings that come again and again, as members' names and message types do,
 * without making them anew each time: a table of those that were seen last. */
#ifndef AW_LUA_NAMES_H
#define AW_LUA_NAMES_H

#include "aw_compat.h"
#include <stddef.h>

#pragma GCC visibility push(hidden)

/* A power of two; longer names are not kept. */
#define AW_LUA_NAMES_MAX 64
#define AW_LUA_NAME_LEN 31

typedef struct aw_lua_name {
  unsigned char len;
  char text[AW_LUA_NAME_LEN];
} aw_lua_name;

/* Inside of a C function that has them as upvalues. */
typedef struct aw_lua_names {
  aw_lua_name *kept;
  int strings; /* the upvalue's index: a table of the strings */
} aw_lua_names;

/* Pushes the two upvalues, empty. [-0, +2, may raise] */
void aw_lua_names_new(lua_State *L);

/* Finds them: the first is the n-th upvalue of the function that runs. */
static inline aw_lua_names aw_lua_names_here(lua_State *L, int n) {
  return (aw_lua_names){lua_touserdata(L, lua_upvalueindex(n)),
                        lua_upvalueindex(n + 1)};
}

/* Pushes the string. [-0, +1, may raise] */
void aw_lua_names_push(lua_State *L, const aw_lua_names *names,
                       const char *text, size_t len);

#pragma GCC visibility pop

#endif
