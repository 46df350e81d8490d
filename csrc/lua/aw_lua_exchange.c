/* A request that is no upgrade, and its response. */
#include "aw_error.h"
#include "aw_lua.h"
#include <lauxlib.h>

static const char exchange_class[] = "agentwire.core.exchange";

/* What a number of Lua holds exactly. */
#define LENGTH_MAX 9007199254740991.0

typedef struct exchange_box {
  member_box member;
  aw_exchange *exchange;
  lua_Integer handle;
} exchange_box;

static exchange_box *check_exchange(lua_State *L) {
  return aw_lua_self(L, 1, exchange_class);
}

static void close_member(member_box *member) {
  exchange_box *box = AW_CONTAINER(member, exchange_box, member);
  aw_exchange *exchange = box->exchange;
  box->exchange = NULL;
  aw_exchange_free(exchange);
}

/* close(): lets go. A response that has ended goes out all the same, one that
 * has not is cut, and where none has begun the client gets 503. Also __gc and
 * __close. */
static int exchange_close(lua_State *L) {
  exchange_box *box = check_exchange(L);
  if (box->exchange != NULL) {
    aw_lua_leave(&box->member);
    close_member(&box->member);
  }
  return 0;
}

void *aw_lua_new_exchange(lua_State *L, int loop) {
  loop_box *owner = aw_lua_check_loop(L, loop);
  exchange_box *box = aw_lua_box(L, sizeof *box, exchange_class);
  aw_lua_link(L, lua_gettop(L), loop);
  box->handle = ++owner->last_handle;
  box->member.loop = owner;
  return box;
}

/* What happened before it had a handle is still to be told. */
void aw_lua_hold_exchange(void *made, aw_exchange *exchange) {
  exchange_box *box = made;
  bool over = aw_exchange_end_of(exchange) != NULL;
  box->exchange = exchange;
  aw_exchange_source(exchange)->user = &box->handle;
  aw_lua_join(box->member.loop, &box->member, close_member);
  aw_source_raise(aw_exchange_source(exchange),
                  AW_EXCHANGE_READABLE | (over ? AW_EXCHANGE_OVER : 0u));
}

/* handle() -> the number under which loop:ready names this exchange */
static int exchange_handle(lua_State *L) {
  lua_pushinteger(L, check_exchange(L)->handle);
  return 1;
}

static void set_fields(lua_State *L, const aw_exchange *exchange) {
  aw_upgrade_field field;
  lua_newtable(L);
  for (unsigned i = 0; aw_exchange_headers(exchange, i, &field); i++) {
    lua_createtable(L, 2, 0);
    lua_pushlstring(L, field.name, field.name_len);
    lua_rawseti(L, -2, 1);
    lua_pushlstring(L, field.value, field.value_len);
    lua_rawseti(L, -2, 2);
    lua_rawseti(L, -2, (int)i + 1);
  }
  lua_setfield(L, -2, "fields");
}

/* describe() -> {method, target, minor, peer, tls_subject, length,
 * fields={{name, value}, ...}}, as of an upgrade; length nil: not known */
static int exchange_describe(lua_State *L) {
  exchange_box *box = check_exchange(L);
  const aw_exchange *exchange = box->exchange;
  if (exchange == NULL) {
    return aw_lua_closed(L);
  }
  size_t len = 0;
  const char *method = aw_exchange_method(exchange, &len);
  lua_newtable(L);
  lua_pushlstring(L, method, len);
  lua_setfield(L, -2, "method");
  lua_pushstring(L, aw_exchange_target(exchange));
  lua_setfield(L, -2, "target");
  lua_pushinteger(L, aw_exchange_minor(exchange));
  lua_setfield(L, -2, "minor");
  lua_pushstring(L, aw_exchange_peer(exchange));
  lua_setfield(L, -2, "peer");
  lua_pushstring(L, aw_exchange_tls_subject(exchange));
  lua_setfield(L, -2, "tls_subject");
  uint64_t length = aw_exchange_length(exchange);
  if (length != AW_EXCHANGE_UNKNOWN) { /* then body_max is above it */
    lua_pushinteger(L, (lua_Integer)length);
    lua_setfield(L, -2, "length");
  }
  set_fields(L, exchange);
  return 1;
}

/* read() -> bytes of the body | "": there are no more | nil: none are there
 * until READABLE | nil, message, code: the rest will not come */
static int exchange_read(lua_State *L) {
  exchange_box *box = check_exchange(L);
  if (box->exchange == NULL) {
    return aw_lua_closed(L);
  }
  const char *bytes = NULL;
  size_t len = 0;
  int rc = aw_exchange_peek(box->exchange, &bytes, &len);
  if (rc == AW_OK) {
    lua_pushlstring(L, bytes, len);
    aw_exchange_consume(box->exchange, len);
    return 1;
  } else if (rc != AW_E_AGAIN) {
    const aw_exchange_end *end = aw_exchange_end_of(box->exchange);
    return aw_lua_fail(L, rc, end != NULL ? end->reason : NULL);
  }
  lua_pushnil(L);
  return 1;
}

static int fail(lua_State *L, const exchange_box *box, int error,
                const char *invalid) {
  const aw_exchange_end *end = aw_exchange_end_of(box->exchange);
  return aw_lua_fail(L, error,
                     error == AW_E_INVALID                 ? invalid
                     : error == AW_E_CLOSED && end != NULL ? end->reason
                                                           : NULL);
}

/* The length of a response's body, by what stands at 4. */
static uint64_t check_length(lua_State *L) {
  if (lua_isnoneornil(L, 4)) {
    return AW_EXCHANGE_UNKNOWN;
  } else if (lua_type(L, 4) == LUA_TSTRING) {
    return lua_rawlen(L, 4);
  }
  lua_Number length = luaL_checknumber(L, 4);
  luaL_argcheck(L, length >= 0 && length <= LENGTH_MAX, 4, "not a length");
  return (uint64_t)length;
}

/* respond(status, headers?, body?) -> true | nil, message, code. headers:
 * {name = value} or {{name, value}, ...}. body: a string is all of it, and ends
 * the response; a number says how many bytes will be written; nil leaves it
 * open */
static int exchange_respond(lua_State *L) {
  exchange_box *box = check_exchange(L);
  int status = (int)luaL_checkinteger(L, 2);
  const char *lines = NULL;
  lua_settop(L, 4);
  uint64_t length = check_length(L);
  if (!lua_isnil(L, 3)) {
    luaL_checktype(L, 3, LUA_TTABLE);
    lines = aw_lua_header_lines(L, 3);
    if (lines == NULL) {
      return aw_lua_fail(L, AW_E_INVALID, lua_tostring(L, -1));
    }
  }
  if (box->exchange == NULL) {
    return aw_lua_closed(L);
  }
  int rc = aw_exchange_respond(box->exchange, status, lines, length);
  if (rc == AW_OK && lua_type(L, 4) == LUA_TSTRING) {
    rc = aw_exchange_write(box->exchange, lua_tostring(L, 4), (size_t)length);
    if (rc == AW_OK) {
      rc = aw_exchange_finish(box->exchange);
    }
  }
  if (rc != AW_OK) {
    return fail(L, box, rc,
                "the response has begun already, or its status or headers "
                "cannot be sent");
  }
  lua_pushboolean(L, 1);
  return 1;
}

/* write(bytes) -> how many more there is room for | nil, message, code:
 * "would_block" until WRITABLE. All of them are taken, or none */
static int exchange_write(lua_State *L) {
  exchange_box *box = check_exchange(L);
  size_t len = 0;
  luaL_checktype(L, 2, LUA_TSTRING);
  const char *bytes = lua_tolstring(L, 2, &len);
  if (box->exchange == NULL) {
    return aw_lua_closed(L);
  }
  int rc = aw_exchange_write(box->exchange, bytes, len);
  if (rc != AW_OK) {
    return fail(L, box, rc,
                "the response has not begun, has ended, or would get longer "
                "than was said");
  }
  lua_pushinteger(L, (lua_Integer)aw_exchange_room(box->exchange));
  return 1;
}

/* finish() -> true | nil, message, code: ends the response */
static int exchange_finish(lua_State *L) {
  exchange_box *box = check_exchange(L);
  if (box->exchange == NULL) {
    return aw_lua_closed(L);
  }
  int rc = aw_exchange_finish(box->exchange);
  if (rc != AW_OK) {
    return fail(L, box, rc,
                "the response has not begun, has ended, or is shorter than "
                "was said");
  }
  lua_pushboolean(L, 1);
  return 1;
}

/* reason() -> nil: it goes on | message, code: "ok" when the response has gone
 * out, "closed" when the client has gone */
static int exchange_reason(lua_State *L) {
  exchange_box *box = check_exchange(L);
  const aw_exchange_end *end =
      box->exchange != NULL ? aw_exchange_end_of(box->exchange) : NULL;
  if (box->exchange != NULL && end == NULL) {
    lua_pushnil(L);
    return 1;
  }
  lua_pushstring(L, end != NULL ? end->reason : "let go");
  lua_pushstring(L, aw_error_code(end != NULL ? end->error : AW_E_CLOSED));
  return 2;
}

static const luaL_Reg methods[] = {
    {"handle", exchange_handle},
    {"describe", exchange_describe},
    {"read", exchange_read},
    {"respond", exchange_respond},
    {"write", exchange_write},
    {"finish", exchange_finish},
    {"reason", exchange_reason},
    {"close", exchange_close},
    {NULL, NULL},
};

void aw_lua_open_exchange(lua_State *L) {
  aw_lua_class(L, exchange_class, methods, exchange_close);
}
