/* HTTP requests, and readers of what streams in their answers: server-sent
 * events and lines. */
#include "aw_error.h"
#include "aw_fetch.h"
#include "aw_lines.h"
#include "aw_lua.h"
#include "aw_sse.h"
#include <lauxlib.h>
#include <string.h>

static const char fetch_class[] = "agentwire.core.fetch";
static const char reader_class[] = "agentwire.core.reader";

/* Bytes that one read gives at most; more are the next one's. */
#define READ_MAX (64u << 10)
#define LINE_BYTES_MAX (1u << 20)

typedef struct fetch_box {
  member_box member;
  aw_fetch *fetch;
  lua_Integer handle;
} fetch_box;

/* Bytes that came, cut into events or lines. */
typedef struct reader_box {
  const char *name;
  aw_buf bytes;
  aw_sse sse;
  aw_lines lines;
  bool is_sse, open, ended;
} reader_box;

static fetch_box *check_fetch(lua_State *L) {
  return aw_lua_self(L, 1, fetch_class);
}

static void close_member(member_box *member) {
  fetch_box *box = AW_CONTAINER(member, fetch_box, member);
  aw_fetch_free(box->fetch);
  box->fetch = NULL;
}

/* close(), also __gc: a request that is under way ends, its connection at
 * once. */
static int fetch_close(lua_State *L) {
  fetch_box *box = check_fetch(L);
  if (box->fetch != NULL) {
    aw_lua_leave(&box->member);
    close_member(&box->member);
  }
  return 0;
}

static void read_numbers(lua_State *L, int arg, aw_fetch_options *out) {
  out->connect_ms = aw_lua_opt_size(L, arg, "connect_timeout_ms");
  out->first_byte_ms = aw_lua_opt_size(L, arg, "first_byte_timeout_ms");
  out->idle_ms = aw_lua_opt_size(L, arg, "idle_timeout_ms");
  out->whole_ms = aw_lua_opt_size(L, arg, "timeout_ms");
  out->body_max = aw_lua_opt_size(L, arg, "body_bytes_max");
  out->buffer = aw_lua_opt_size(L, arg, "buffer_bytes_max");
  out->head_max = aw_lua_opt_size(L, arg, "header_bytes_max");
}

/* The strings live in the table, as long as that stays as it is. */
static void read_options(lua_State *L, int arg, aw_fetch_options *out) {
  read_numbers(L, arg, out);
  out->url = aw_lua_need_string(L, arg, "url");
  out->method = aw_lua_need_string(L, arg, "method");
  out->proxy = aw_lua_opt_string(L, arg, "proxy");
  out->ca_file = aw_lua_opt_string(L, arg, "ca_file");
  out->cert_file = aw_lua_opt_string(L, arg, "cert_file");
  out->key_file = aw_lua_opt_string(L, arg, "key_file");
  out->insecure = aw_lua_opt_boolean(L, arg, "insecure");
  out->compressed = aw_lua_opt_boolean(L, arg, "compressed");
  out->http1 = aw_lua_opt_boolean(L, arg, "http1");
  lua_getfield(L, arg, "body");
  out->body = lua_isstring(L, -1) ? lua_tolstring(L, -1, &out->body_len) : NULL;
}

/* loop:fetch{url=, method=, headers=, token=, body=, ...} -> fetch | nil,
 * message, code. Times and sizes that are left out are not limited. */
static int loop_fetch(lua_State *L) {
  loop_box *loop = aw_lua_check_loop(L, 1);
  aw_fetch_options options = {0};
  luaL_checktype(L, 2, LUA_TTABLE);
  lua_settop(L, 2);
  read_options(L, 2, &options);
  options.headers = aw_lua_headers(L, 2);
  if (options.headers == NULL) {
    return aw_lua_fail(L, AW_E_INVALID, lua_tostring(L, -1));
  }
  if (loop->loop == NULL) {
    return aw_lua_closed(L);
  }
  fetch_box *box = aw_lua_box(L, sizeof *box, fetch_class);
  aw_lua_link(L, lua_gettop(L), 1);
  box->handle = ++loop->last_handle;
  const char *why = NULL;
  int rc = aw_fetch_new(&box->fetch, loop->loop, &options, &box->handle, &why);
  if (rc != AW_OK) {
    return aw_lua_fail(L, rc, why);
  }
  aw_lua_join(loop, &box->member, close_member);
  return 1;
}

/* loop:fetch_limits{per_host=, total=, kept=} -> true | nil, message, code */
static int loop_fetch_limits(lua_State *L) {
  loop_box *loop = aw_lua_check_loop(L, 1);
  luaL_checktype(L, 2, LUA_TTABLE);
  aw_fetch_limits limits = {.per_host =
                                aw_lua_opt_unsigned(L, 2, "per_host", 0),
                            .total = aw_lua_opt_unsigned(L, 2, "total", 0),
                            .kept = aw_lua_opt_unsigned(L, 2, "kept", 0)};
  if (loop->loop == NULL) {
    return aw_lua_closed(L);
  }
  const char *why = NULL;
  int rc = aw_fetch_limit(loop->loop, &limits, &why);
  if (rc != AW_OK) {
    return aw_lua_fail(L, rc, why);
  }
  lua_pushboolean(L, 1);
  return 1;
}

/* handle() -> the number under which loop:ready names this fetch */
static int fetch_handle(lua_State *L) {
  lua_pushinteger(L, check_fetch(L)->handle);
  return 1;
}

/* nil: not yet | nil, message, code. The end is `closed`. */
static int tell_end(lua_State *L, const aw_fetch *fetch, int rc) {
  if (rc == AW_E_AGAIN) {
    lua_pushnil(L);
    return 1;
  }
  const char *why = aw_fetch_why(fetch);
  return aw_lua_fail(L, rc, why[0] != '\0' ? why : NULL);
}

/* head() -> status, lines of the header, URL of a redirection or nil | nil: not
 * yet | nil, message, code */
static int fetch_head(lua_State *L) {
  fetch_box *box = check_fetch(L);
  if (box->fetch == NULL) {
    return aw_lua_closed(L);
  }
  aw_fetch_head head;
  int rc = aw_fetch_head_of(box->fetch, &head);
  if (rc != AW_OK) {
    return tell_end(L, box->fetch, rc);
  }
  lua_pushinteger(L, head.status);
  lua_pushlstring(L, head.lines, head.len);
  lua_pushstring(L, head.redirect);
  return 3;
}

/* read() -> bytes | nil: none are there | nil, message, code */
static int fetch_read(lua_State *L) {
  fetch_box *box = check_fetch(L);
  if (box->fetch == NULL) {
    return aw_lua_closed(L);
  }
  const char *bytes = NULL;
  size_t len = 0;
  int rc = aw_fetch_peek(box->fetch, &bytes, &len);
  if (rc != AW_OK) {
    return tell_end(L, box->fetch, rc);
  }
  len = len < READ_MAX ? len : READ_MAX;
  lua_pushlstring(L, bytes, len);
  aw_fetch_consume(box->fetch, len);
  return 1;
}

static const luaL_Reg fetch_methods[] = {
    {"handle", fetch_handle}, {"head", fetch_head}, {"read", fetch_read},
    {"close", fetch_close},   {NULL, NULL},
};

/* fetch_about() -> {version, resolver, tls, http2, gzip} | nil, message, code
 */
static int fetch_about(lua_State *L) {
  aw_fetch_about about;
  const char *why = NULL;
  int rc = aw_fetch_about_of(&about, &why);
  if (rc != AW_OK) {
    return aw_lua_fail(L, rc, why);
  }
  lua_newtable(L);
  lua_pushstring(L, about.version);
  lua_setfield(L, -2, "version");
  lua_pushstring(L, about.resolver);
  lua_setfield(L, -2, "resolver");
  lua_pushstring(L, about.tls);
  lua_setfield(L, -2, "tls");
  lua_pushboolean(L, about.http2);
  lua_setfield(L, -2, "http2");
  lua_pushboolean(L, about.gzip);
  lua_setfield(L, -2, "gzip");
  return 1;
}

static reader_box *check_reader(lua_State *L) {
  return aw_lua_self(L, 1, reader_class);
}

static int reader_free(lua_State *L) {
  reader_box *box = check_reader(L);
  if (box->open) {
    box->open = false;
    aw_buf_fini(&box->bytes);
    aw_sse_fini(&box->sse);
    aw_lines_fini(&box->lines);
  }
  return 0;
}

/* core.reader("events" | "lines", {line_bytes_max=, event_bytes_max=}?) */
static int new_reader(lua_State *L) {
  static const char *const kinds[] = {"events", "lines", NULL};
  int kind = luaL_checkoption(L, 1, NULL, kinds);
  lua_settop(L, 2);
  aw_sse_options options = {.line_max = aw_lua_opt_size(L, 2, "line_bytes_max"),
                            .event_max =
                                aw_lua_opt_size(L, 2, "event_bytes_max")};
  size_t line_max = options.line_max > 0 ? options.line_max : LINE_BYTES_MAX;
  const aw_mem *mem = aw_mem_default();
  reader_box *box = aw_lua_box(L, sizeof *box, reader_class);
  aw_buf_init(&box->bytes, mem);
  aw_sse_init(&box->sse, mem, &options);
  aw_lines_init(&box->lines, mem, line_max);
  box->is_sse = kind == 0;
  box->open = true;
  return 1;
}

/* feed(bytes) -> true | nil, message, code; nil: no more will come */
static int reader_feed(lua_State *L) {
  reader_box *box = check_reader(L);
  size_t len = 0;
  const char *bytes = luaL_optlstring(L, 2, NULL, &len);
  if (!box->open) {
    return aw_lua_closed(L);
  }
  if (bytes == NULL) {
    box->ended = true;
  } else if (aw_buf_append(&box->bytes, bytes, len) != AW_OK) {
    return aw_lua_fail(L, AW_E_NOMEM, NULL);
  }
  lua_pushboolean(L, 1);
  return 1;
}

static void set_text(lua_State *L, const char *key, const char *bytes,
                     size_t len) {
  if (len > 0) {
    lua_pushlstring(L, bytes, len);
    lua_setfield(L, -2, key);
  }
}

static void push_event(lua_State *L, const aw_sse_event *event) {
  lua_createtable(L, 0, 4);
  lua_pushlstring(L, event->data, event->data_len);
  lua_setfield(L, -2, "data");
  if (event->type_len > 0) {
    set_text(L, "event", event->type, event->type_len);
  } else {
    set_text(L, "event", "message", sizeof "message" - 1);
  }
  set_text(L, "id", event->id, event->id_len);
  if (event->retry_ms >= 0) {
    lua_pushinteger(L, (lua_Integer)event->retry_ms);
    lua_setfield(L, -2, "retry_ms");
  }
}

static int next_event(lua_State *L, reader_box *box) {
  aw_sse_event event;
  size_t used = 0;
  size_t len = aw_buf_len(&box->bytes);
  int rc = aw_sse_next(&box->sse, len > 0 ? aw_buf_bytes(&box->bytes) : "", len,
                       &used, &event);
  if (rc == AW_OK) {
    push_event(L, &event);
  }
  aw_buf_consume(&box->bytes, used);
  return rc;
}

static int next_line(lua_State *L, reader_box *box) {
  aw_line line;
  size_t used = 0, len = aw_buf_len(&box->bytes);
  int rc = AW_E_AGAIN;
  if (len > 0) {
    rc = aw_lines_next(&box->lines, aw_buf_bytes(&box->bytes), len, &used,
                       &line);
  }
  if (rc == AW_E_AGAIN && box->ended) {
    rc = aw_lines_last(&box->lines, &line);
  }
  if (rc == AW_OK) {
    lua_pushlstring(L, line.bytes, line.len);
  }
  aw_buf_consume(&box->bytes, used);
  return rc;
}

/* next() -> event or line | nil: none is there | nil, message, code */
static int reader_next(lua_State *L) {
  reader_box *box = check_reader(L);
  if (!box->open) {
    return aw_lua_closed(L);
  }
  int rc = box->is_sse ? next_event(L, box) : next_line(L, box);
  if (rc == AW_OK) {
    return 1;
  } else if (rc == AW_E_AGAIN) {
    aw_buf_reset(&box->bytes, READ_MAX);
    lua_pushnil(L);
    return 1;
  }
  return aw_lua_fail(L, rc,
                     rc != AW_E_LIMIT ? NULL
                     : box->is_sse    ? "an event is too long"
                                      : "a line is too long");
}

static const luaL_Reg reader_methods[] = {
    {"feed", reader_feed},
    {"next", reader_next},
    {"free", reader_free},
    {NULL, NULL},
};

void aw_lua_open_fetch(lua_State *L) {
  aw_lua_class(L, fetch_class, fetch_methods, fetch_close);
  aw_lua_class(L, reader_class, reader_methods, reader_free);
  luaL_getmetatable(L, aw_lua_loop_class);
  lua_getfield(L, -1, "__index");
  lua_pushcfunction(L, loop_fetch);
  lua_setfield(L, -2, "fetch");
  lua_pushcfunction(L, loop_fetch_limits);
  lua_setfield(L, -2, "fetch_limits");
  lua_pop(L, 2);
  lua_pushcfunction(L, new_reader);
  lua_setfield(L, -2, "reader");
  lua_pushcfunction(L, fetch_about);
  lua_setfield(L, -2, "fetch_about");
}
