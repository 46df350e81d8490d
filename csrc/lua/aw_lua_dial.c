/* conn:dial: the transports that a connection can be given by its options. The
 * list at the end is all that knows which there are. */
#include "aw_error.h"
#include "aw_lua.h"
#include "aw_process.h"
#include <lauxlib.h>
#include <string.h>

/* Reads the table at index 2 and makes what it asks for. True: *out is it.
 * False: nil, message, code are pushed. Raises only before anything is made. */
typedef bool make_transport(lua_State *L, aw_loop *loop, aw_transport **out);

static bool make_websocket(lua_State *L, aw_loop *loop, aw_transport **out) {
  aw_websocket_options options = {0};
  aw_tls_options tls;
  options.url = aw_lua_need_string(L, 2, "url");
  options.protocols = aw_lua_opt_string(L, 2, "protocols");
  options.host = aw_lua_opt_string(L, 2, "host");
  options.proxy = aw_lua_opt_string(L, 2, "proxy");
  options.message_max = aw_lua_transport_max(L, 2);
  options.handshake_ms = aw_lua_opt_unsigned(L, 2, "handshake_ms", 0);
  options.ping_interval_ms = aw_lua_opt_unsigned(L, 2, "ping_interval_ms", 0);
  options.ping_deadline_ms = aw_lua_opt_unsigned(L, 2, "ping_deadline_ms", 0);
  if (aw_lua_tls_options(L, 2, "tls", &tls)) {
    options.tls = &tls;
  }
  options.headers = aw_lua_headers(L, 2);
  if (options.headers == NULL) {
    aw_lua_fail(L, AW_E_INVALID, lua_tostring(L, -1));
    return false;
  }
  const char *why = NULL;
  int rc = aw_websocket_connect(loop, &options, out, &why);
  if (rc != AW_OK) {
    aw_lua_fail_at(L, rc, "connect to", options.url, options.tls, why);
  }
  return rc == AW_OK;
}

/* argv={...}, base=bool, ...: aw_lua_child_options */
static bool make_process(lua_State *L, aw_loop *loop, aw_transport **out) {
  aw_process_options options = {0};
  options.extended = !aw_lua_opt_boolean(L, 2, "base");
  options.line_max = aw_lua_transport_max(L, 2);
  aw_lua_child_options(L, 2, &options.child);
  const char *why = NULL;
  int rc = aw_process_new(loop, &options, out, &why);
  if (rc != AW_OK) {
    aw_lua_fail(L, rc, why);
  }
  return rc == AW_OK;
}

/* Told by the option that says where to. */
typedef struct maker {
  const char *option; /* "url", or one that no other transport takes */
  const char *scheme; /* of the url, such as "ws:"; NULL: any */
  make_transport *make;
} maker;

static const maker makers[] = {
    {"argv", NULL, make_process},
    {"url", NULL, make_websocket}, /* says what is wrong with another scheme */
};

static bool is_meant(lua_State *L, const maker *by) {
  lua_getfield(L, 2, by->option);
  bool is = !lua_isnil(L, -1);
  if (is && by->scheme != NULL) {
    const char *url = lua_tostring(L, -1);
    is = url != NULL && strncmp(url, by->scheme, strlen(by->scheme)) == 0;
  }
  lua_pop(L, 1);
  return is;
}

/* dial{url=, ...} or dial{argv=, ...} -> true | nil, message, code. Any earlier
 * transport is let go of. */
int aw_lua_dial(lua_State *L) {
  conn_box *box = aw_lua_check_conn(L, 1);
  luaL_checktype(L, 2, LUA_TTABLE);
  size_t which = 0;
  while (which + 1 < sizeof makers / sizeof makers[0] &&
         !is_meant(L, &makers[which])) {
    which++;
  }
  if (box->conn == NULL) {
    return aw_lua_closed(L);
  }
  aw_transport *transport = NULL;
  if (!makers[which].make(L, box->member.loop->loop, &transport)) {
    return 3;
  }
  int rc = aw_conn_attach(box->conn, transport);
  if (rc != AW_OK) {
    return aw_lua_fail(L, rc, NULL);
  }
  lua_pushboolean(L, 1);
  return 1;
}
