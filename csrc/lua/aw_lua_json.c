#include "aw_lua_json.h"

#include "aw_error.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ARRAY_MARK "agentwire.json.array"
#define SORTED_MARK "agentwire.json.sorted"
#define SCRATCH "agentwire.json.scratch"

/* Members of an object that are sorted; of more the order is any. */
#define SORTED_MAX 1000

/* What a scratch keeps between two calls. */
#define KEEP_BYTES ((size_t)64 * 1024)
#define KEEP_TOKENS 4096

/* Room on the Lua stack that each container makes sure of for itself, its
 * members and what a scalar needs. */
#define STACK 8

/* Strings up to here are unescaped on the C stack. */
#define UNESCAPE_LOCAL 512

#define INTEGRAL_MAX 9007199254740992.0 /* 2^53 */
#define PLAIN_MAX 1e21                  /* as in ECMAScript */

/* The anchor is a table in the registry. It holds what the writer looks up,
 * because pushing a C string could allocate and so raise. */
enum anchor_slot {
  SLOT_ARRAY_MT = 1,
  SLOT_SORTED_MT,
  SLOT_LOADED, /* package.loaded */
  SLOT_CJSON,  /* the strings "cjson" ... */
  SLOT_NAME_ARRAY_MT,
  SLOT_NAME_EMPTY_ARRAY_MT,
  SLOT_NAME_EMPTY_ARRAY
};

static const char anchor_key;

/* Decoding */

static void push_integer(lua_State *L, const aw_json_token *token,
                         const char *text) {
  int64_t value = 0;
  if (aw_json_int64(token, text, &value) != AW_OK) {
    lua_pushnumber(L, aw_json_double(token, text));
    return;
  }
#if LUA_VERSION_NUM >= 503
  lua_pushinteger(L, value);
#else
  lua_pushnumber(L, (lua_Number)value);
#endif
}

static void push_string(lua_State *L, const aw_json_token *token,
                        const char *text) {
  char local[UNESCAPE_LOCAL];
  if (!token->escaped) {
    lua_pushlstring(L, text + token->start, token->len);
  } else if (token->len <= sizeof local) {
    lua_pushlstring(L, local, aw_json_unescape(token, text, local));
  } else {
    char *bytes = lua_newuserdatauv(L, token->len, 0);
    lua_pushlstring(L, bytes, aw_json_unescape(token, text, bytes));
    lua_remove(L, -2);
  }
}

static void push_array(lua_State *L, const aw_lua_json_text *from,
                       uint32_t array) {
  const aw_json_token *tokens = from->tokens;
  uint32_t end = tokens[array].next;
  int i = 0;
  luaL_checkstack(L, STACK, "JSON nested too deeply");
  lua_createtable(L, (int)tokens[array].count, 0);
  for (uint32_t at = array + 1; at < end; at = tokens[at].next) {
    aw_lua_json_push(L, from, at);
    lua_rawseti(L, -2, ++i);
  }
  if (i == 0) {
    lua_rawgetp(L, LUA_REGISTRYINDEX, &anchor_key);
    lua_rawgeti(L, -1, SLOT_ARRAY_MT);
    lua_setmetatable(L, -3);
    lua_pop(L, 1);
  }
}

void aw_lua_json_push_members(lua_State *L, const aw_lua_json_text *from,
                              uint32_t object) {
  const aw_json_token *tokens = from->tokens;
  uint32_t end = tokens[object].next;
  luaL_checkstack(L, STACK, "JSON nested too deeply");
  for (uint32_t at = object + 1; at < end; at = tokens[at + 1].next) {
    const aw_json_token *key = &tokens[at];
    if (from->names == NULL || key->escaped) {
      push_string(L, key, from->text);
    } else {
      aw_lua_names_push(L, from->names, from->text + key->start, key->len);
    }
    aw_lua_json_push(L, from, at + 1);
    lua_rawset(L, -3);
  }
}

/* Recursion is bounded by the scanner: AW_JSON_DEPTH_MAX small frames. */
void aw_lua_json_push(lua_State *L, const aw_lua_json_text *from,
                      uint32_t index) {
  const aw_json_token *token = &from->tokens[index];
  switch ((enum aw_json_kind)token->kind) {
  case AW_JSON_NULL:
    lua_pushlightuserdata(L, NULL);
    break;
  case AW_JSON_FALSE:
  case AW_JSON_TRUE:
    lua_pushboolean(L, token->kind == AW_JSON_TRUE);
    break;
  case AW_JSON_INTEGER:
    push_integer(L, token, from->text);
    break;
  case AW_JSON_REAL:
    lua_pushnumber(L, aw_json_double(token, from->text));
    break;
  case AW_JSON_STRING:
    push_string(L, token, from->text);
    break;
  case AW_JSON_ARRAY:
    push_array(L, from, index);
    break;
  case AW_JSON_OBJECT:
    lua_createtable(L, 0, (int)token->count);
    aw_lua_json_push_members(L, from, index);
    break;
  }
}

/* Encoding. Nothing below raises: no conversion of keys in place, no new
 * strings, raw access only. */

typedef struct encoder {
  lua_State *L;
  aw_buf *out;
  const char *why;
  unsigned depth;
  aw_lua_json_size size;
  bool sorted;
} encoder;

static int put_value(encoder *e, int index);

static int refuse(encoder *e, int code, const char *why) {
  e->why = why;
  return code;
}

static int put_bytes(encoder *e, const char *bytes, size_t len) {
  int rc = aw_buf_append(e->out, bytes, len);
  return rc == AW_OK ? AW_OK : refuse(e, rc, "out of memory");
}

static int put_byte(encoder *e, char byte) {
  int rc = aw_buf_put(e->out, byte);
  return rc == AW_OK ? AW_OK : refuse(e, rc, "out of memory");
}

static int refuse_text(encoder *e, int rc) {
  return refuse(e, rc,
                rc == AW_E_JSON_UTF8 ? "invalid UTF-8 in string"
                                     : "out of memory");
}

static int put_string(encoder *e, int index) {
  size_t len = 0;
  const char *bytes = lua_tolstring(e->L, index, &len);
  int rc = aw_json_put_string(e->out, bytes, len);
  return rc == AW_OK ? AW_OK : refuse_text(e, rc);
}

/* A whole number that is no int64_t any more, without point and exponent. */
static int put_whole(aw_buf *out, double value) {
  char digits[32];
  int len = snprintf(digits, sizeof digits, "%.0f", value);
  return aw_buf_append(out, digits, (size_t)len);
}

static int put_number(encoder *e, int index) {
  lua_Number value = lua_tonumber(e->L, index);
  int rc = AW_OK;
  if (lua_isinteger(e->L, index)) {
    rc = aw_json_put_int64(e->out, lua_tointeger(e->L, index));
  } else if (!isfinite(value)) {
    return refuse(e, AW_E_JSON_NUMBER, "number is not finite");
  } else if (fabs(value) < INTEGRAL_MAX && floor(value) == value) {
    rc = aw_json_put_int64(e->out, (int64_t)value);
  } else if (fabs(value) < PLAIN_MAX && floor(value) == value) {
    rc = put_whole(e->out, value);
  } else {
    rc = aw_json_put_double(e->out, value);
  }
  return rc == AW_OK ? AW_OK : refuse(e, rc, "out of memory");
}

/* Is the value on top lua-cjson's mark of that name? lua-cjson may be loaded
 * at any time, hence the look each time. [-0, +0] */
static bool is_cjson_mark(lua_State *L, enum anchor_slot name) {
  int top = lua_gettop(L);
  bool is_mark = false;
  lua_rawgetp(L, LUA_REGISTRYINDEX, &anchor_key);
  lua_rawgeti(L, -1, SLOT_LOADED);
  lua_rawgeti(L, -2, SLOT_CJSON);
  lua_rawget(L, -2);
  if (lua_istable(L, -1)) {
    lua_rawgeti(L, -3, name);
    lua_rawget(L, -2);
    is_mark = lua_rawequal(L, -1, top);
  }
  lua_settop(L, top);
  return is_mark;
}

enum mark { MARK_NONE, MARK_ARRAY, MARK_EMPTY_ARRAY, MARK_SORTED };

/* [-0, +0] */
static enum mark find_mark(lua_State *L, int table) {
  enum mark mark = MARK_NONE;
  int top = lua_gettop(L);
  if (!lua_getmetatable(L, table)) {
    return MARK_NONE;
  }
  lua_rawgetp(L, LUA_REGISTRYINDEX, &anchor_key);
  lua_rawgeti(L, -1, SLOT_ARRAY_MT);
  lua_rawgeti(L, -2, SLOT_SORTED_MT);
  if (lua_rawequal(L, -2, top + 1)) {
    mark = MARK_ARRAY;
  } else if (lua_rawequal(L, -1, top + 1)) {
    mark = MARK_SORTED;
  } else {
    lua_settop(L, top + 1);
    if (is_cjson_mark(L, SLOT_NAME_ARRAY_MT)) {
      mark = MARK_ARRAY;
    } else if (is_cjson_mark(L, SLOT_NAME_EMPTY_ARRAY_MT)) {
      mark = MARK_EMPTY_ARRAY;
    }
  }
  lua_settop(L, top);
  return mark;
}

static bool is_array_mark(enum mark mark) {
  return mark == MARK_ARRAY || mark == MARK_EMPTY_ARRAY;
}

/* Are the table's keys exactly 1..*count? NULL, or why not. [-0, +0] */
static const char *check_sequence(lua_State *L, int table, lua_Number *count) {
  lua_Number largest = 0;
  const char *why = NULL;
  *count = 0;
  lua_pushnil(L);
  while (lua_next(L, table)) {
    lua_pop(L, 1);
    if (lua_type(L, -1) != LUA_TNUMBER) {
      lua_pop(L, 1);
      return "table is both array and object";
    }
    lua_Number key = lua_tonumber(L, -1);
    if (!(key >= 1) || floor(key) != key) {
      why = "sparse array";
    }
    largest = key > largest ? key : largest;
    ++*count;
  }
  return largest != *count ? "sparse array" : why;
}

/* By index: lua_next keeps no order. The check comes first, because undoing a
 * walk at each level would double the work with each level. */
static int put_array(encoder *e, int table) {
  lua_Number count = 0;
  const char *why = check_sequence(e->L, table, &count);
  if (why != NULL) {
    return refuse(e, AW_E_INVALID, why);
  }
  e->size.values += (unsigned)count;
  int rc = AW_OK;
  for (int i = 1; rc == AW_OK && i <= (int)count; i++) {
    rc = put_byte(e, i == 1 ? '[' : ',');
    if (rc == AW_OK) {
      lua_rawgeti(e->L, table, i);
      rc = put_value(e, lua_gettop(e->L));
      lua_pop(e->L, 1);
    }
  }
  return rc != AW_OK ? rc : put_byte(e, ']');
}

static int put_member(encoder *e, int key, bool first) {
  if (lua_type(e->L, key) != LUA_TSTRING) {
    return refuse(e, AW_E_INVALID,
                  lua_type(e->L, key) == LUA_TNUMBER
                      ? "table is both array and object"
                      : "object keys must be strings");
  }
  e->size.values += 2;
  size_t len = 0;
  const char *name = lua_tolstring(e->L, key, &len);
  int rc = aw_json_put_name(e->out, first ? '{' : ',', name, len);
  return rc == AW_OK ? put_value(e, key + 1) : refuse_text(e, rc);
}

/* The first key and value are on top. */
static int put_object(encoder *e, int table) {
  lua_State *L = e->L;
  int key = lua_gettop(L) - 1;
  bool first = true;
  do {
    int rc = put_member(e, key, first);
    if (rc != AW_OK) {
      lua_pop(L, 2);
      return rc;
    }
    first = false;
    lua_pop(L, 1);
  } while (lua_next(L, table));
  return put_byte(e, '}');
}

typedef struct member {
  const char *name;
  size_t len;
  int index; /* of the name on the stack */
} member;

static int compare_members(const void *a, const void *b) {
  const member *x = a, *y = b;
  int order = memcmp(x->name, y->name, x->len < y->len ? x->len : y->len);
  return order != 0 ? order : (x->len > y->len) - (x->len < y->len);
}

/* The names are on the stack from `base` on. */
static int put_members(encoder *e, int table, int base, int count,
                       member *members) {
  lua_State *L = e->L;
  for (int i = 0; i < count; i++) {
    members[i].index = base + i;
    members[i].name = lua_tolstring(L, base + i, &members[i].len);
  }
  qsort(members, (size_t)count, sizeof *members, compare_members);
  int rc = AW_OK;
  for (int i = 0; rc == AW_OK && i < count; i++) {
    lua_pushvalue(L, members[i].index);
    lua_pushvalue(L, -1);
    lua_rawget(L, table);
    rc = put_member(e, lua_gettop(L) - 1, i == 0);
    lua_pop(L, 2);
  }
  return rc == AW_OK ? put_byte(e, '}') : rc;
}

/* Members by name. The first key and value are on top, and go. */
static int put_sorted(encoder *e, int table) {
  const aw_mem *mem = aw_mem_default();
  lua_State *L = e->L;
  int base = lua_gettop(L) - 1, count = 0;
  do {
    if (lua_type(L, -2) != LUA_TSTRING || count == SORTED_MAX ||
        !lua_checkstack(L, 8)) {
      lua_settop(L, base - 1);
      lua_pushnil(L);
      lua_next(L, table);
      return put_object(e, table);
    }
    count++;
    lua_pop(L, 1);
    lua_pushvalue(L, -1);
  } while (lua_next(L, table));
  member *members = aw_mem_alloc(mem, (size_t)count * sizeof *members);
  int rc = AW_OK;
  if (members == NULL) {
    rc = refuse(e, AW_E_NOMEM, "out of memory");
  } else {
    rc = put_members(e, table, base, count, members);
    aw_mem_free(mem, members);
  }
  lua_settop(L, base - 1);
  return rc;
}

static int put_any_object(encoder *e, int table, enum mark mark) {
  bool before = e->sorted;
  e->sorted = before || mark == MARK_SORTED;
  int rc = e->sorted ? put_sorted(e, table) : put_object(e, table);
  e->sorted = before;
  return rc;
}

static int put_table(encoder *e, int table) {
  lua_State *L = e->L;
  if (e->depth == AW_JSON_DEPTH) {
    return refuse(e, AW_E_JSON_DEPTH, "nested deeper than 128 (a cycle?)");
  }
  if (!lua_checkstack(L, 8)) {
    return refuse(e, AW_E_NOMEM, "out of memory");
  }
  if (e->depth >= e->size.depth) {
    e->size.depth = e->depth + 1;
  }
  enum mark mark = find_mark(L, table);
  lua_pushnil(L);
  if (!lua_next(L, table)) {
    return put_bytes(e, is_array_mark(mark) ? "[]" : "{}", 2);
  }
  e->depth++;
  int rc = AW_OK;
  if (mark == MARK_ARRAY || lua_type(L, -2) == LUA_TNUMBER) {
    lua_pop(L, 2);
    rc = put_array(e, table);
  } else {
    rc = put_any_object(e, table, mark);
  }
  e->depth--;
  return rc;
}

static int put_lightuserdata(encoder *e, int index) {
  if (lua_touserdata(e->L, index) == NULL) {
    return put_bytes(e, "null", 4);
  }
  if (!lua_checkstack(e->L, 8)) {
    return refuse(e, AW_E_NOMEM, "out of memory");
  }
  lua_pushvalue(e->L, index);
  bool empty_array = is_cjson_mark(e->L, SLOT_NAME_EMPTY_ARRAY);
  lua_pop(e->L, 1);
  if (empty_array) {
    return put_bytes(e, "[]", 2);
  }
  return refuse(e, AW_E_INVALID, "cannot encode a userdata");
}

static int put_value(encoder *e, int index) {
  switch (lua_type(e->L, index)) {
  case LUA_TBOOLEAN:
    return lua_toboolean(e->L, index) ? put_bytes(e, "true", 4)
                                      : put_bytes(e, "false", 5);
  case LUA_TNUMBER:
    return put_number(e, index);
  case LUA_TSTRING:
    return put_string(e, index);
  case LUA_TTABLE:
    return put_table(e, index);
  case LUA_TLIGHTUSERDATA:
    return put_lightuserdata(e, index);
  case LUA_TUSERDATA:
    return refuse(e, AW_E_INVALID, "cannot encode a userdata");
  case LUA_TFUNCTION:
    return refuse(e, AW_E_INVALID, "cannot encode a function");
  case LUA_TTHREAD:
    return refuse(e, AW_E_INVALID, "cannot encode a thread");
  case LUA_TNIL:
    return refuse(e, AW_E_INVALID, "cannot encode nil");
  default:
    return refuse(e, AW_E_INVALID, "cannot encode a cdata");
  }
}

static int put_text(lua_State *L, int index, aw_buf *out, bool sorted,
                    aw_lua_json_size *size, const char **why) {
  encoder e = {L, out, NULL, 0, {0, 1}, sorted};
  size_t before = aw_buf_len(out);
  int rc = put_value(&e, lua_absindex(L, index));
  if (rc != AW_OK) {
    out->tail = out->head + before;
    *why = e.why;
  }
  if (size != NULL) {
    *size = e.size;
  }
  return rc;
}

int aw_lua_json_put(lua_State *L, int index, aw_buf *out,
                    aw_lua_json_size *size, const char **why) {
  return put_text(L, index, out, false, size, why);
}

/* The Lua functions */

/* Memory of one call, boxed so that a Lua error cannot lose it. It is kept as
 * the closure's upvalue for the next call. A call that finds it busy (entered
 * again from a finalizer, or left by an error) starts a new one. */
typedef struct scratch {
  aw_json_tape tape;
  aw_buf buf;
  bool busy;
} scratch;

static int scratch_gc(lua_State *L) {
  scratch *s = luaL_checkudata(L, 1, SCRATCH);
  aw_json_tape_fini(&s->tape);
  aw_buf_fini(&s->buf);
  return 0;
}

/* Pushes the box: while it stands on the stack it is anchored. */
static scratch *take_scratch(lua_State *L) {
  scratch *s = lua_touserdata(L, lua_upvalueindex(1));
  if (s != NULL && !s->busy) {
    lua_pushvalue(L, lua_upvalueindex(1));
  } else {
    s = lua_newuserdatauv(L, sizeof *s, 0);
    aw_json_tape_init(&s->tape, aw_mem_default());
    aw_buf_init(&s->buf, aw_mem_default());
    luaL_getmetatable(L, SCRATCH);
    lua_setmetatable(L, -2);
    lua_pushvalue(L, -1);
    lua_replace(L, lua_upvalueindex(1));
  }
  s->busy = true;
  return s;
}

static void put_back_scratch(scratch *s) {
  if (s->tape.size > KEEP_TOKENS) {
    aw_json_tape_fini(&s->tape);
  }
  aw_buf_reset(&s->buf, KEEP_BYTES);
  s->busy = false;
}

static int push_failure(lua_State *L, int code, const char *message) {
  lua_pushnil(L);
  lua_pushstring(L, message);
  lua_pushstring(L, aw_error_code(code));
  return 3;
}

static int encode_value(lua_State *L, bool sorted) {
  luaL_checkany(L, 1);
  lua_settop(L, 1);
  scratch *s = take_scratch(L);
  const char *why = NULL;
  int rc = put_text(L, 1, &s->buf, sorted, NULL, &why);
  if (rc == AW_OK) {
    lua_pushlstring(L, aw_buf_bytes(&s->buf), aw_buf_len(&s->buf));
  }
  put_back_scratch(s);
  return rc == AW_OK ? 1 : push_failure(L, rc, why);
}

/* json.encode(value) -> text | nil, message, code */
static int json_encode(lua_State *L) {
  return encode_value(L, false);
}

/* json.encode_sorted(value): the same, members by name */
static int json_encode_sorted(lua_State *L) {
  return encode_value(L, true);
}

/* The values that a text may have: the second argument's values_max, or the
 * default. What is no table is not meant: string.gsub gives a second result. */
static uint32_t decode_limit(lua_State *L) {
  lua_Number most = AW_JSON_VALUES;
  if (lua_istable(L, 2)) {
    lua_getfield(L, 2, "values_max");
    most = luaL_optnumber(L, -1, most);
    lua_pop(L, 1);
  }
  luaL_argcheck(L, most >= 1 && most <= AW_JSON_VALUES_MAX, 2,
                "values_max is out of range");
  return (uint32_t)most;
}

/* json.decode(text, {values_max=}?) -> value | nil, message, code; the message
 * names the byte as string.sub counts, from 1. */
static int json_decode(lua_State *L) {
  size_t len = 0;
  const char *text = luaL_checklstring(L, 1, &len);
  uint32_t most = decode_limit(L);
  scratch *s = take_scratch(L);
  s->tape.max = most;
  aw_json_error error;
  int rc = aw_json_scan(&s->tape, text, len, AW_JSON_DEPTH, &error);
  if (rc == AW_OK) {
    aw_lua_names names = aw_lua_names_here(L, 2);
    aw_lua_json_text from = {s->tape.tokens, text, &names};
    aw_lua_json_push(L, &from, 0);
  }
  put_back_scratch(s);
  if (rc != AW_OK) {
    char message[128];
    snprintf(message, sizeof message, "%s at byte %zu", error.what,
             error.offset + 1);
    return push_failure(L, rc, message);
  }
  return 1;
}

/* json.array(t?) -> t, marked */
static int json_array(lua_State *L) {
  lua_settop(L, 1);
  if (lua_isnil(L, 1)) {
    lua_newtable(L);
    lua_replace(L, 1);
  }
  luaL_checktype(L, 1, LUA_TTABLE);
  luaL_argcheck(L, !lua_getmetatable(L, 1) || is_array_mark(find_mark(L, 1)), 1,
                "table has a metatable of its own");
  lua_settop(L, 1);
  luaL_getmetatable(L, ARRAY_MARK);
  lua_setmetatable(L, 1);
  return 1;
}

/* json.sorted(t) -> t, marked */
static int json_sorted(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 1);
  luaL_argcheck(L, !lua_getmetatable(L, 1) || find_mark(L, 1) == MARK_SORTED, 1,
                "table has a metatable of its own");
  lua_settop(L, 1);
  luaL_getmetatable(L, SORTED_MARK);
  lua_setmetatable(L, 1);
  return 1;
}

/* json.is_array(value) -> would it be written with brackets? */
static int json_is_array(lua_State *L) {
  lua_Number count = 0;
  bool is_array = false;
  luaL_checkany(L, 1);
  lua_settop(L, 1);
  if (lua_istable(L, 1)) {
    is_array = check_sequence(L, 1, &count) == NULL &&
               (count > 0 || is_array_mark(find_mark(L, 1)));
  } else if (lua_islightuserdata(L, 1)) {
    is_array =
        lua_touserdata(L, 1) != NULL && is_cjson_mark(L, SLOT_NAME_EMPTY_ARRAY);
  }
  lua_pushboolean(L, is_array);
  return 1;
}

static void set_anchor(lua_State *L) {
  static const char *const names[] = {"cjson", "array_mt", "empty_array_mt",
                                      "empty_array"};
  lua_createtable(L, SLOT_NAME_EMPTY_ARRAY, 0);
  luaL_newmetatable(L, ARRAY_MARK);
  lua_pushliteral(L, ARRAY_MARK);
  lua_setfield(L, -2, "__name");
  lua_rawseti(L, -2, SLOT_ARRAY_MT);
  luaL_newmetatable(L, SORTED_MARK);
  lua_pushliteral(L, SORTED_MARK);
  lua_setfield(L, -2, "__name");
  lua_rawseti(L, -2, SLOT_SORTED_MT);
  lua_getfield(L, LUA_REGISTRYINDEX, "_LOADED");
  lua_rawseti(L, -2, SLOT_LOADED);
  for (int i = 0; i < 4; i++) {
    lua_pushstring(L, names[i]);
    lua_rawseti(L, -2, SLOT_CJSON + i);
  }
  lua_rawsetp(L, LUA_REGISTRYINDEX, &anchor_key);
}

static const luaL_Reg scratch_functions[] = {
    {"encode", json_encode},
    {"encode_sorted", json_encode_sorted},
    {"decode", json_decode},
    {NULL, NULL},
};

static const luaL_Reg functions[] = {
    {"array", json_array},
    {"sorted", json_sorted},
    {"is_array", json_is_array},
    {NULL, NULL},
};

int aw_lua_json_open(lua_State *L) {
  set_anchor(L);
  luaL_newmetatable(L, SCRATCH);
  lua_pushcfunction(L, scratch_gc);
  lua_setfield(L, -2, "__gc");
  lua_pop(L, 1);
  luaL_newlib(L, functions);
  lua_pushnil(L);
  aw_lua_names_new(L);
  luaL_setfuncs(L, scratch_functions, 3);
  lua_pushlightuserdata(L, NULL);
  lua_setfield(L, -2, "null");
  luaL_getmetatable(L, ARRAY_MARK);
  lua_setfield(L, -2, "array_mt");
  return 1;
}
