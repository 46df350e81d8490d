#include "aw_error.h"
#include "aw_lua.h"
#include "aw_stdio.h"
#include <lauxlib.h>
#include <string.h>

static const char hub_class[] = "agentwire.core.hub";
static const char upgrade_class[] = "agentwire.core.upgrade";

/* What waits for Lua to take it. */
typedef struct pending_conn {
  aw_node node;
  aw_conn *conn;
} pending_conn;

typedef struct pending_request {
  aw_node node;
  aw_upgrade *upgrade;
} pending_request;

typedef struct pending_exchange {
  aw_node node;
  aw_exchange *exchange;
} pending_exchange;

typedef struct upgrade_box {
  const char *name;
  aw_upgrade *upgrade;
} upgrade_box;

static hub_box *check_hub(lua_State *L) {
  return aw_lua_self(L, 1, hub_class);
}

static void close_member(member_box *member) {
  hub_box *box = AW_CONTAINER(member, hub_box, member);
  const aw_mem *mem = aw_mem_default();
  aw_node *node = NULL;
  aw_listener_free(box->listener);
  box->listener = NULL;
  while ((node = aw_queue_pop(&box->accepted)) != NULL) {
    pending_conn *pending = AW_CONTAINER(node, pending_conn, node);
    aw_conn_free(pending->conn);
    aw_mem_free(mem, pending);
  }
  while ((node = aw_queue_pop(&box->requests)) != NULL) {
    pending_request *pending = AW_CONTAINER(node, pending_request, node);
    aw_upgrade_free(pending->upgrade);
    aw_mem_free(mem, pending);
  }
  while ((node = aw_queue_pop(&box->exchanges)) != NULL) {
    pending_exchange *pending = AW_CONTAINER(node, pending_exchange, node);
    aw_exchange_free(pending->exchange);
    aw_mem_free(mem, pending);
  }
  aw_hub_free(box->hub);
  box->hub = NULL;
  aw_source_fini(&box->source);
}

/* Also __gc and __close. Connections and exchanges that Lua holds live on. */
static int hub_close(lua_State *L) {
  hub_box *box = check_hub(L);
  if (box->hub != NULL) {
    aw_lua_leave(&box->member);
    close_member(&box->member);
  }
  return 0;
}

static void on_accepted(void *user, aw_conn *conn) {
  hub_box *box = user;
  pending_conn *pending = aw_mem_zero(aw_mem_default(), 1, sizeof *pending);
  if (pending == NULL) {
    aw_conn_free(conn);
    return;
  }
  pending->conn = conn;
  aw_queue_push(&box->accepted, &pending->node);
  aw_source_raise(&box->source, AW_LUA_HUB_ACCEPTED);
}

/* loop:hub(options?) -> hub: sessions of a server */
static int loop_hub(lua_State *L) {
  loop_box *loop = aw_lua_check_loop(L, 1);
  aw_hub_options options = {0};
  lua_settop(L, 2);
  aw_lua_mux_options(L, 2, loop, &options.mux);
  options.log_bytes = aw_lua_opt_size(L, 2, "process_bytes");
  options.in_bytes = aw_lua_opt_size(L, 2, "inbound_process_bytes");
  options.sessions_per_peer_max =
      aw_lua_opt_unsigned(L, 2, "sessions_per_peer_max", 0);
  options.sessions_max = aw_lua_opt_unsigned(L, 2, "sessions_max", 0);
  options.greeting_ms = aw_lua_opt_unsigned(L, 2, "handshake_ms", 0);
  if (loop->loop == NULL) {
    return aw_lua_closed(L);
  }
  hub_box *box = aw_lua_box(L, sizeof *box, hub_class);
  aw_queue_init(&box->accepted);
  aw_queue_init(&box->requests);
  aw_queue_init(&box->exchanges);
  aw_lua_link(L, 3, 1);
  box->handle = ++loop->last_handle;
  int rc = aw_hub_new(&box->hub, loop->loop, &options, on_accepted, box);
  if (rc != AW_OK) {
    return aw_lua_fail(L, rc, NULL);
  }
  aw_source_init(&box->source, loop->loop, &box->handle);
  aw_lua_join(loop, &box->member, close_member);
  return 1;
}

static int hub_handle(lua_State *L) {
  lua_pushinteger(L, check_hub(L)->handle);
  return 1;
}

static void listener_accepted(void *user, aw_transport *transport) {
  hub_box *box = user;
  aw_hub_take(box->hub, transport);
}

static void listener_closed(void *user, int error, const char *reason) {
  hub_box *box = user;
  (void)error;
  (void)reason;
  aw_source_raise(&box->source, AW_LUA_HUB_FAILED);
}

static void listener_requested(void *user, aw_upgrade *upgrade) {
  hub_box *box = user;
  pending_request *pending = aw_mem_zero(aw_mem_default(), 1, sizeof *pending);
  if (pending == NULL) {
    aw_upgrade_free(upgrade); /* refuses it */
    return;
  }
  pending->upgrade = upgrade;
  aw_upgrade_set_user(upgrade, pending);
  aw_queue_push(&box->requests, &pending->node);
  aw_source_raise(&box->source, AW_LUA_HUB_REQUESTED);
}

static void listener_withdrawn(void *user, aw_upgrade *upgrade) {
  hub_box *box = user;
  pending_request *pending = aw_upgrade_user(upgrade);
  if (pending == NULL) {
    aw_source_raise(&box->source, AW_LUA_HUB_WITHDRAWN);
    return;
  }
  aw_node_remove(&pending->node);
  aw_mem_free(aw_mem_default(), pending);
  aw_upgrade_free(upgrade);
}

static void listener_request(void *user, aw_exchange *exchange) {
  hub_box *box = user;
  pending_exchange *pending = aw_mem_zero(aw_mem_default(), 1, sizeof *pending);
  if (pending == NULL) {
    aw_exchange_free(exchange); /* refuses it */
    return;
  }
  pending->exchange = exchange;
  aw_queue_push(&box->exchanges, &pending->node);
  aw_source_raise(&box->source, AW_LUA_HUB_EXCHANGE);
}

static void read_listener_options(lua_State *L, aw_listener_options *out) {
  *out = (aw_listener_options){0};
  out->url = aw_lua_need_string(L, 2, "url");
  out->protocols = aw_lua_opt_string(L, 2, "protocols");
  out->any_path = aw_lua_opt_boolean(L, 2, "any_path");
  out->host = aw_lua_opt_string(L, 2, "host");
  out->trusted_proxies = aw_lua_opt_string(L, 2, "trusted_proxies");
  out->reuse_port = aw_lua_opt_boolean(L, 2, "reuse_port");
  out->socket_mode = (int)aw_lua_opt_unsigned(L, 2, "socket_mode", 0);
#define AW_COUNT(field) out->field = aw_lua_opt_unsigned(L, 2, #field, 0);
  out->message_max = aw_lua_transport_max(L, 2);
  out->head_max = aw_lua_opt_size(L, 2, "head_max");
  out->body_max = aw_lua_opt_size(L, 2, "body_max");
  out->backlog = (int)aw_lua_opt_unsigned(L, 2, "backlog", 0);
  AW_COUNT(handshake_ms)
  AW_COUNT(ping_interval_ms)
  AW_COUNT(ping_deadline_ms)
  AW_COUNT(connections_max)
  AW_COUNT(per_address_max)
  AW_COUNT(stall_ms)
  AW_COUNT(keep_alive_ms)
#undef AW_COUNT
}

/* hub:listen{url=, tls=, authenticate=bool, exchanges=bool, ...} -> port,
 * address | nil, ... */
static int hub_listen(lua_State *L) {
  hub_box *box = check_hub(L);
  luaL_checktype(L, 2, LUA_TTABLE);
  aw_listener_options options;
  aw_tls_options tls;
  read_listener_options(L, &options);
  if (aw_lua_tls_options(L, 2, "tls", &tls)) {
    options.tls = &tls;
  }
  aw_listener_sink sink = {.accepted = listener_accepted,
                           .closed = listener_closed};
  if (aw_lua_opt_boolean(L, 2, "authenticate")) {
    sink.requested = listener_requested;
    sink.withdrawn = listener_withdrawn;
  }
  if (aw_lua_opt_boolean(L, 2, "exchanges")) {
    sink.request = listener_request;
  }
  if (box->hub == NULL) {
    return aw_lua_closed(L);
  }
  if (box->listener != NULL) {
    return aw_lua_fail(L, AW_E_EXISTS, "the hub listens already");
  }
  const char *why = NULL;
  int rc = aw_listener_new(box->member.loop->loop, &options, &sink, box,
                           &box->listener, &why);
  if (rc != AW_OK) {
    return aw_lua_fail_at(L, rc, "listen at", options.url, options.tls, why);
  }
  lua_pushinteger(L, aw_listener_port(box->listener));
  lua_pushstring(L, aw_listener_address(box->listener));
  return 2;
}

/* hub:stdio{in_fd=, out_fd=, base=} -> true: serves this process's stdio */
static int hub_stdio(lua_State *L) {
  hub_box *box = check_hub(L);
  lua_settop(L, 2);
  aw_stdio_options options = {.is_server = true};
  options.in_fd = (int)aw_lua_opt_unsigned(L, 2, "in_fd", 0);
  options.out_fd = (int)aw_lua_opt_unsigned(L, 2, "out_fd", 1);
  options.extended = !aw_lua_opt_boolean(L, 2, "base");
  options.line_max = aw_lua_transport_max(L, 2);
  if (box->hub == NULL) {
    return aw_lua_closed(L);
  }
  aw_transport *transport = NULL;
  int rc = aw_stdio_new(box->member.loop->loop, &options, &transport);
  if (rc != AW_OK) {
    return aw_lua_fail(L, rc, NULL);
  }
  aw_hub_take(box->hub, transport);
  lua_pushboolean(L, 1);
  return 1;
}

/* The loop of the hub at 1. */
static void push_loop(lua_State *L) {
#if LUA_VERSION_NUM >= 504
  lua_getiuservalue(L, 1, 1);
#else
  lua_getfenv(L, 1);
  lua_rawgeti(L, -1, 1);
#endif
}

/* hub:accept() -> connection | nil */
static int hub_accept(lua_State *L) {
  hub_box *box = check_hub(L);
  aw_node *node = box->hub == NULL ? NULL : aw_queue_first(&box->accepted);
  if (node == NULL) {
    lua_pushnil(L);
    return 1;
  }
  pending_conn *pending = AW_CONTAINER(node, pending_conn, node);
  push_loop(L);
  conn_box *made = aw_lua_new_conn(L, lua_gettop(L));
  aw_lua_hold_conn(made, pending->conn);
  aw_queue_pop(&box->accepted);
  aw_mem_free(aw_mem_default(), pending);
  /* What happened before it had a handle is still to be told. */
  unsigned events = AW_CONN_NEWS;
  events |= aw_conn_is_up(made->conn) ? AW_CONN_UP : 0;
  events |= aw_conn_is_closed(made->conn) ? AW_CONN_CLOSED : 0;
  aw_source_raise(aw_conn_source(made->conn), events);
  return 1;
}

/* hub:reload_tls(options) -> true | nil, message, code */
static int hub_reload_tls(lua_State *L) {
  hub_box *box = check_hub(L);
  aw_tls_options tls;
  luaL_checktype(L, 2, LUA_TTABLE);
  lua_settop(L, 2);
  lua_newtable(L);
  lua_pushvalue(L, 2);
  lua_setfield(L, 3, "tls");
  aw_lua_tls_options(L, 3, "tls", &tls);
  if (box->listener == NULL) {
    return aw_lua_closed(L);
  }
  const char *why = NULL;
  int rc = aw_listener_reload_tls(box->listener, &tls, &why);
  if (rc != AW_OK) {
    return aw_lua_fail_at(L, rc, "reload the certificates of", "the server",
                          &tls, why);
  }
  lua_pushboolean(L, 1);
  return 1;
}

/* hub:stop(): accepts no more; sessions live on */
static int hub_stop(lua_State *L) {
  hub_box *box = check_hub(L);
  aw_listener_free(box->listener);
  box->listener = NULL;
  return 0;
}

/* hub:sessions() -> count, epoch */
static int hub_sessions(lua_State *L) {
  hub_box *box = check_hub(L);
  if (box->hub == NULL) {
    return aw_lua_closed(L);
  }
  lua_pushinteger(L, aw_hub_sessions(box->hub));
  lua_pushstring(L, aw_hub_epoch(box->hub));
  return 2;
}

static upgrade_box *check_upgrade(lua_State *L) {
  return aw_lua_self(L, 1, upgrade_class);
}

/* hub:request() -> upgrade | nil */
static int hub_request(lua_State *L) {
  hub_box *box = check_hub(L);
  aw_node *node = box->hub == NULL ? NULL : aw_queue_first(&box->requests);
  if (node == NULL) {
    lua_pushnil(L);
    return 1;
  }
  upgrade_box *made = aw_lua_box(L, sizeof *made, upgrade_class);
  pending_request *pending = AW_CONTAINER(node, pending_request, node);
  aw_queue_pop(&box->requests);
  made->upgrade = pending->upgrade;
  aw_upgrade_set_user(made->upgrade, NULL);
  aw_mem_free(aw_mem_default(), pending);
  return 1;
}

/* Clients that have gone meanwhile are not told of. */
static aw_node *first_exchange(hub_box *box) {
  aw_node *node = NULL;
  while (box->hub != NULL && (node = aw_queue_first(&box->exchanges)) != NULL) {
    pending_exchange *pending = AW_CONTAINER(node, pending_exchange, node);
    if (aw_exchange_end_of(pending->exchange) == NULL) {
      return node;
    }
    aw_queue_pop(&box->exchanges);
    aw_exchange_free(pending->exchange);
    aw_mem_free(aw_mem_default(), pending);
  }
  return NULL;
}

/* hub:exchange() -> exchange | nil: a request that is no upgrade */
static int hub_exchange(lua_State *L) {
  hub_box *box = check_hub(L);
  if (first_exchange(box) == NULL) {
    lua_pushnil(L);
    return 1;
  }
  push_loop(L);
  void *made = aw_lua_new_exchange(L, lua_gettop(L));
  pending_exchange *pending =
      AW_CONTAINER(aw_queue_pop(&box->exchanges), pending_exchange, node);
  aw_lua_hold_exchange(made, pending->exchange);
  aw_mem_free(aw_mem_default(), pending);
  return 1;
}

/* upgrade:describe() -> {peer, target, tls_subject, headers={name=value}};
 * names in lower case, repeated ones joined with ", " */
static int upgrade_describe(lua_State *L) {
  upgrade_box *box = check_upgrade(L);
  if (box->upgrade == NULL) {
    return aw_lua_closed(L);
  }
  lua_newtable(L);
  lua_pushstring(L, aw_upgrade_peer(box->upgrade));
  lua_setfield(L, -2, "peer");
  lua_pushstring(L, aw_upgrade_target(box->upgrade));
  lua_setfield(L, -2, "target");
  lua_pushstring(L, aw_upgrade_tls_subject(box->upgrade));
  lua_setfield(L, -2, "tls_subject");
  lua_newtable(L);
  aw_upgrade_field field;
  for (unsigned i = 0; aw_upgrade_headers(box->upgrade, i, &field); i++) {
    lua_pushinteger(L, (lua_Integer)i + 1);
    lua_createtable(L, 2, 0);
    lua_pushlstring(L, field.name, field.name_len);
    lua_rawseti(L, -2, 1);
    lua_pushlstring(L, field.value, field.value_len);
    lua_rawseti(L, -2, 2);
    lua_settable(L, -3);
  }
  lua_setfield(L, -2, "fields");
  return 1;
}

/* upgrade:accept(id?, claims?) -> true | nil, message, code: who the peer is,
 * as conn:identity() tells it; neither may have a zero byte */
static int upgrade_accept(lua_State *L) {
  upgrade_box *box = check_upgrade(L);
  const char *id = luaL_optstring(L, 2, NULL);
  const char *claims = luaL_optstring(L, 3, "");
  if (box->upgrade == NULL) {
    return aw_lua_closed(L);
  }
  aw_identity *identity = NULL;
  int rc = AW_OK;
  if (id != NULL) {
    rc = aw_identity_new(&identity, aw_mem_default(), id, claims);
  }
  if (rc == AW_OK) {
    rc = aw_upgrade_accept(box->upgrade, identity);
  }
  aw_identity_drop(identity);
  if (rc != AW_OK) {
    return aw_lua_fail(L, rc, NULL);
  }
  lua_pushboolean(L, 1);
  return 1;
}

/* upgrade:refuse(status, why) */
static int upgrade_refuse(lua_State *L) {
  upgrade_box *box = check_upgrade(L);
  int status = (int)luaL_checkinteger(L, 2);
  const char *why = luaL_optstring(L, 3, "");
  if (box->upgrade == NULL) {
    return aw_lua_closed(L);
  }
  int rc = aw_upgrade_refuse(box->upgrade, status, why);
  if (rc != AW_OK) {
    return aw_lua_fail(L, rc, NULL);
  }
  lua_pushboolean(L, 1);
  return 1;
}

/* upgrade:waits() -> whether anybody still waits for an answer */
static int upgrade_waits(lua_State *L) {
  upgrade_box *box = check_upgrade(L);
  lua_pushboolean(L, box->upgrade != NULL && aw_upgrade_waits(box->upgrade));
  return 1;
}

static int upgrade_close(lua_State *L) {
  upgrade_box *box = check_upgrade(L);
  aw_upgrade *upgrade = box->upgrade;
  box->upgrade = NULL;
  aw_upgrade_free(upgrade);
  return 0;
}

static const luaL_Reg hub_methods[] = {
    {"handle", hub_handle},
    {"listen", hub_listen},
    {"stdio", hub_stdio},
    {"accept", hub_accept},
    {"request", hub_request},
    {"exchange", hub_exchange},
    {"stop", hub_stop},
    {"reload_tls", hub_reload_tls},
    {"close", hub_close},
    {"sessions", hub_sessions},
    {NULL, NULL},
};

static const luaL_Reg upgrade_methods[] = {
    {"describe", upgrade_describe}, {"accept", upgrade_accept},
    {"refuse", upgrade_refuse},     {"waits", upgrade_waits},
    {"close", upgrade_close},       {NULL, NULL},
};

void aw_lua_open_hub(lua_State *L) {
  aw_lua_class(L, hub_class, hub_methods, hub_close);
  aw_lua_class(L, upgrade_class, upgrade_methods, upgrade_close);
  luaL_getmetatable(L, aw_lua_loop_class);
  lua_getfield(L, -1, "__index");
  lua_pushcfunction(L, loop_hub);
  lua_setfield(L, -2, "hub");
  lua_pop(L, 2);
}
