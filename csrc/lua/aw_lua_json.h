/* Lua values from JSON and back. aw_lua_json_open must have run in the state
 * before the other functions are used. */
#ifndef AW_LUA_JSON_H
#define AW_LUA_JSON_H

#include "aw_compat.h"
#include "aw_json.h"
#include "aw_lua_names.h"

#pragma GCC visibility push(hidden)

/* Of a text that was written: levels of containers; values and names. */
typedef struct aw_lua_json_size {
  unsigned depth, values;
} aw_lua_json_size;

/* What is read: the tape's tokens and their text, which must be anchored in the
 * Lua state, and where names are kept (may be NULL). */
typedef struct aw_lua_json_text {
  const aw_json_token *tokens;
  const char *text;
  const aw_lua_names *names;
} aw_lua_json_text;

/* Pushes the value at tokens[index]. [-0, +1, may raise]
 *
 * null is the NULL light userdata (lua-cjson's null). Integers are exact: Lua
 * integers on 5.4 as long as they fit, floats beyond; on the 5.1 ABI numbers,
 * hence exact up to 2^53 and rounded beyond. Reals are floats. An empty array
 * carries the array mark, so that it stays one; others need none. The last of
 * duplicate keys wins. */
void aw_lua_json_push(lua_State *L, const aw_lua_json_text *from,
                      uint32_t index);

/* Sets the members of the object at tokens[object] in the table on top of the
 * stack, without metamethods. [-0, +0, may raise] */
void aw_lua_json_push_members(lua_State *L, const aw_lua_json_text *from,
                              uint32_t object);

/* Appends the value at `index` as compact JSON. [-0, +0, raises nothing but
 * what lua_checkstack does when memory ends; no metamethod is called]
 *
 * A table is an array when its keys are exactly 1..n, or when it carries the
 * array mark or one of lua-cjson's (array_mt; empty_array_mt while empty) and
 * has no other keys; an object when its keys are strings, or when it is empty
 * and unmarked. Members come in the order of lua_next, or by their bytes in a
 * table with the sorted mark and all that is in it, up to 1000 members.
 * Integral floats below 1e21 are written as plain digits, since Lua's divisions
 * make floats of integers, and LuaJIT has nothing else.
 *
 * Returns 0 or, with *why a static text and `out` as it was: AW_E_INVALID (a
 * type or a table that JSON cannot show), AW_E_JSON_NUMBER (not finite),
 * AW_E_JSON_DEPTH (more than AW_JSON_DEPTH tables deep), AW_E_JSON_UTF8,
 * AW_E_NOMEM. `size` (may be NULL) tells what was written. */
int aw_lua_json_put(lua_State *L, int index, aw_buf *out,
                    aw_lua_json_size *size, const char **why);

/* Pushes the table agentwire.json: encode, encode_sorted, decode, null, array,
 * array_mt, is_array, sorted. [-0, +1, may raise] */
int aw_lua_json_open(lua_State *L);

#pragma GCC visibility pop

#endif
