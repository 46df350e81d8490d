#include "aw_error.h"
#include "aw_lua.h"
#include "aw_lua_json.h"
#include <lauxlib.h>
#include <stdio.h>
#include <string.h>

int aw_lua_fail(lua_State *L, int error, const char *what) {
  lua_pushnil(L);
  lua_pushstring(L, what != NULL ? what : aw_error_text(error));
  lua_pushstring(L, aw_error_code(error));
  return 3;
}

int aw_lua_closed(lua_State *L) {
  return aw_lua_fail(L, AW_E_CLOSED, NULL);
}

void aw_lua_link(lua_State *L, int box, int target) {
#if LUA_VERSION_NUM >= 504
  lua_pushvalue(L, target);
  lua_setiuservalue(L, box < 0 ? box - 1 : box, 1);
#else
  lua_createtable(L, 1, 0);
  lua_pushvalue(L, target < 0 ? target - 1 : target);
  lua_rawseti(L, -2, 1);
  lua_setfenv(L, box < 0 ? box - 1 : box);
#endif
}

void aw_lua_class(lua_State *L, const char *name, const luaL_Reg *methods,
                  lua_CFunction gc) {
  luaL_newmetatable(L, name);
  lua_pushcfunction(L, gc);
  lua_setfield(L, -2, "__gc");
  lua_pushcfunction(L, gc);
  lua_setfield(L, -2, "__close");
  lua_pushstring(L, name);
  lua_setfield(L, -2, "__name");
  lua_newtable(L);
  luaL_setfuncs(L, methods, 0);
  lua_setfield(L, -2, "__index");
  lua_pop(L, 1);
}

void *aw_lua_box(lua_State *L, size_t size, const char *name) {
  const char **box = lua_newuserdata(L, size);
  memset(box, 0, size);
  *box = name;
  luaL_getmetatable(L, name);
  lua_setmetatable(L, -2);
  return box;
}

void *aw_lua_test(lua_State *L, int arg, const char *name) {
  const char **box = lua_touserdata(L, arg);
  /* A light userdata has no length. */
  bool is_box = box != NULL && lua_rawlen(L, arg) >= sizeof *box;
  return is_box && *box == name ? box : NULL;
}

void *aw_lua_self(lua_State *L, int arg, const char *name) {
  void *box = aw_lua_test(L, arg, name);
  if (box == NULL) {
    luaL_checkudata(L, arg, name);
    luaL_argerror(L, arg, name); /* has been given our metatable */
  }
  return box;
}

void aw_lua_join(loop_box *loop, member_box *box,
                 void (*close)(member_box *box)) {
  box->loop = loop;
  box->close = close;
  aw_queue_push(&loop->members, &box->node);
}

void aw_lua_leave(member_box *box) {
  aw_node_remove(&box->node);
}

static bool get_option(lua_State *L, int arg, const char *key) {
  if (lua_isnoneornil(L, arg)) {
    return false;
  }
  luaL_checktype(L, arg, LUA_TTABLE);
  lua_getfield(L, arg, key);
  if (lua_isnil(L, -1)) {
    lua_pop(L, 1);
    return false;
  }
  return true;
}

/* Fractions are cut off. NaN is no number here. */
static uint64_t opt_number(lua_State *L, int arg, const char *key,
                           uint64_t otherwise, uint64_t most) {
  if (!get_option(L, arg, key)) {
    return otherwise;
  }
  lua_Number number = lua_tonumber(L, -1);
  bool fits = number >= 0 && number <= (lua_Number)most;
  if (lua_type(L, -1) != LUA_TNUMBER || !fits) {
    luaL_error(L, "option %s: expected a number from 0 to %f", key,
               (lua_Number)most);
  }
  lua_pop(L, 1);
  return (uint64_t)number;
}

unsigned aw_lua_opt_unsigned(lua_State *L, int arg, const char *key,
                             unsigned otherwise) {
  return (unsigned)opt_number(L, arg, key, otherwise, AW_MUX_COUNT_TOP);
}

size_t aw_lua_opt_size(lua_State *L, int arg, const char *key) {
  return (size_t)opt_number(L, arg, key, 0, AW_MUX_SIZE_TOP);
}

bool aw_lua_opt_boolean(lua_State *L, int arg, const char *key) {
  if (!get_option(L, arg, key)) {
    return false;
  }
  bool value = lua_toboolean(L, -1);
  lua_pop(L, 1);
  return value;
}

/* The string stays alive because the table holds it. */
const char *aw_lua_opt_string(lua_State *L, int arg, const char *key) {
  if (!get_option(L, arg, key)) {
    return NULL;
  }
  if (lua_type(L, -1) != LUA_TSTRING) {
    luaL_error(L, "option %s: expected a string", key);
  }
  size_t len = 0;
  const char *value = lua_tolstring(L, -1, &len);
  if (strlen(value) != len) {
    luaL_error(L, "option %s: contains a zero byte", key);
  }
  lua_pop(L, 1);
  return value;
}

const char *aw_lua_need_string(lua_State *L, int arg, const char *key) {
  const char *value = aw_lua_opt_string(L, arg, key);
  if (value == NULL) {
    luaL_error(L, "option %s: expected a string", key);
  }
  return value;
}

size_t aw_lua_transport_max(lua_State *L, int arg) {
  size_t most =
      (size_t)opt_number(L, arg, "message_max", 0, AW_MUX_MESSAGE_TOP);
  return most != 0 && most < AW_MUX_FLOOR_BYTES ? AW_MUX_FLOOR_BYTES : most;
}

void aw_lua_mux_options(lua_State *L, int arg, loop_box *loop,
                        aw_mux_options *out) {
  *out = (aw_mux_options){0};
  for (int kind = 0; kind < AW_KIND_SCOPES; kind++) {
    out->types[kind] = &loop->types[kind];
  }
#define AW_READ(type, name, otherwise, most)                                   \
  out->name = (type)opt_number(L, arg, #name, 0, most);
  AW_MUX_LIMIT_LIST(AW_READ)
#undef AW_READ
}

bool aw_lua_tls_options(lua_State *L, int arg, const char *key,
                        aw_tls_options *out) {
  *out = (aw_tls_options){0};
  if (!get_option(L, arg, key)) {
    return false;
  }
  if (!lua_istable(L, -1)) {
    luaL_error(L, "option %s: expected a table", key);
  }
  int table = lua_gettop(L);
  out->ca_file = aw_lua_opt_string(L, table, "ca_file");
  out->cert_file = aw_lua_opt_string(L, table, "cert_file");
  out->key_file = aw_lua_opt_string(L, table, "key_file");
  out->name = aw_lua_opt_string(L, table, "name");
  out->verify_peer = aw_lua_opt_boolean(L, table, "verify_peer");
  out->insecure = aw_lua_opt_boolean(L, table, "insecure");
  lua_pop(L, 1);
  return true;
}

void aw_lua_push_uuid(lua_State *L, const aw_uuid *id) {
  char text[AW_UUID_TEXT];
  aw_uuid_format(id, text);
  lua_pushlstring(L, text, sizeof text);
}

enum aw_kind aw_lua_check_kind(lua_State *L, int arg) {
  size_t len = 0;
  const char *name = luaL_checklstring(L, arg, &len);
  int kind = aw_kind_find(name, len);
  if (kind < 0) {
    luaL_argerror(L, arg, "expected provider, agent, tool or link");
  }
  return (enum aw_kind)kind;
}

void aw_lua_check_uuid(lua_State *L, int arg, aw_uuid *out) {
  size_t len = 0;
  const char *text = luaL_checklstring(L, arg, &len);
  if (aw_uuid_parse(out, text, len) != AW_OK) {
    luaL_argerror(L, arg, "expected a UUID");
  }
}

/* The peer's limit by its name, so that its owner finds the option. */
static int fail_over(lua_State *L, const aw_draft *draft) {
  static const char *const units[] = {"", "bytes", "levels of nesting",
                                      "values and names"};
  static const char *const names[] = {"", "message_max", "depth_max",
                                      "values_max"};
  char text[160];
  snprintf(text, sizeof text,
           "the message has %llu %s, and the peer takes %llu (its %s)",
           (unsigned long long)draft->has, units[draft->over],
           (unsigned long long)draft->most, names[draft->over]);
  return aw_lua_fail(L, AW_E_LIMIT, text);
}

int aw_lua_finish_draft(lua_State *L, aw_draft *draft, int index) {
  const char *why = NULL;
  size_t start = aw_buf_len(draft->out);
  aw_lua_json_size size = {1, 1};
  int rc = lua_isnoneornil(L, index)
               ? aw_buf_append(draft->out, "{}", 2)
               : aw_lua_json_put(L, index, draft->out, &size, &why);
  draft->depth = size.depth;
  draft->values = size.values;
  if (rc == AW_OK && aw_buf_bytes(draft->out)[start] != '{') {
    rc = AW_E_INVALID;
    why = "the payload is not an object";
  }
  if (rc != AW_OK) {
    aw_draft_cancel(draft);
    return aw_lua_fail(L, rc, why);
  }
  rc = aw_draft_commit(draft);
  if (draft->over != AW_LIMIT_NONE) {
    return fail_over(L, draft);
  }
  if (rc != AW_OK) {
    return aw_lua_fail(L, rc, NULL);
  }
  lua_pushboolean(L, 1);
  return 1;
}
