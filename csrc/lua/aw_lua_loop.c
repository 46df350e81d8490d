#include "aw_error.h"
#include "aw_lua.h"
#include "aw_memory.h"
#include <lauxlib.h>
#include <string.h>

const char aw_lua_loop_class[] = "agentwire.core.loop";

loop_box *aw_lua_check_loop(lua_State *L, int arg) {
  return aw_lua_self(L, arg, aw_lua_loop_class);
}

static loop_box *check_open(lua_State *L) {
  loop_box *box = aw_lua_check_loop(L, 1);
  if (box->loop == NULL) {
    luaL_error(L, "the loop is closed");
  }
  return box;
}

/* core.loop() -> loop | nil, message, code */
static int new_loop(lua_State *L) {
  loop_box *box = aw_lua_box(L, sizeof *box, aw_lua_loop_class);
  aw_queue_init(&box->members);
  const aw_mem *mem = aw_mem_default();
  for (int kind = 0; kind < AW_KIND_SCOPES; kind++) {
    aw_types_init(&box->types[kind], mem);
  }
  int rc = aw_loop_new(&box->loop, mem);
  return rc == AW_OK ? 1 : aw_lua_fail(L, rc, NULL);
}

/* Also __gc: connections and hubs of the loop end with it. */
static int loop_close(lua_State *L) {
  loop_box *box = aw_lua_check_loop(L, 1);
  if (box->loop == NULL) {
    return 0;
  }
  aw_node *node = NULL;
  while ((node = aw_queue_pop(&box->members)) != NULL) {
    member_box *member = AW_CONTAINER(node, member_box, node);
    member->close(member);
  }
  aw_loop_free(box->loop);
  box->loop = NULL;
  for (int kind = 0; kind < AW_KIND_SCOPES; kind++) {
    aw_types_fini(&box->types[kind]);
  }
  return 0;
}

static int loop_fd(lua_State *L) {
  lua_pushinteger(L, aw_loop_fd(check_open(L)->loop));
  return 1;
}

static int loop_timeout_ms(lua_State *L) {
  lua_pushinteger(L, aw_loop_timeout_ms(check_open(L)->loop));
  return 1;
}

static int loop_step(lua_State *L) {
  aw_loop_step(check_open(L)->loop);
  return 0;
}

/* wait(timeout_ms?) -> boolean; nil: no limit */
static int loop_wait(lua_State *L) {
  loop_box *box = check_open(L);
  lua_Number timeout = luaL_optnumber(L, 2, -1);
  int ms = timeout > 1e9 ? 1000000000 : (int)timeout;
  lua_pushboolean(L, aw_loop_wait(box->loop, ms));
  return 1;
}

/* enter(), leave(): between these two the loop is being turned */
static int loop_enter(lua_State *L) {
  aw_loop_enter(check_open(L)->loop);
  return 0;
}

static int loop_leave(lua_State *L) {
  aw_loop_leave(check_open(L)->loop);
  return 0;
}

/* ring(): makes fd readable */
static int loop_ring(lua_State *L) {
  aw_loop_ring(check_open(L)->loop);
  return 0;
}

/* now() -> milliseconds, monotonic */
static int loop_now(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)aw_loop_clock(check_open(L)->loop));
  return 1;
}

/* ready() -> handle, events | nil. A connection that nobody has accepted yet
 * has no handle; what happened to it is told when it is accepted. */
static int loop_ready(lua_State *L) {
  loop_box *box = check_open(L);
  unsigned events = 0;
  aw_source *source = NULL;
  do {
    source = aw_loop_ready(box->loop, &events);
  } while (source != NULL && source->user == NULL);
  if (source == NULL) {
    lua_pushnil(L);
    return 1;
  }
  lua_pushinteger(L, *(lua_Integer *)source->user);
  lua_pushinteger(L, (lua_Integer)events);
  return 2;
}

/* define(kind, name, flags): what a message type means to the core */
static int loop_define(lua_State *L) {
  loop_box *box = check_open(L);
  enum aw_kind kind = aw_lua_check_kind(L, 2);
  size_t len = 0;
  const char *name = luaL_checklstring(L, 3, &len);
  luaL_argcheck(L, kind < AW_KIND_SCOPES, 2, "a kind with scopes");
  int rc = aw_types_add(&box->types[kind], name, len,
                        (unsigned)luaL_checkinteger(L, 4));
  if (rc != AW_OK) {
    return luaL_error(L, "cannot define %s: %s", name, aw_error_text(rc));
  }
  return 0;
}

/* restartable(kind, boolean) */
static int loop_restartable(lua_State *L) {
  loop_box *box = check_open(L);
  enum aw_kind kind = aw_lua_check_kind(L, 2);
  luaL_argcheck(L, kind < AW_KIND_SCOPES, 2, "a kind with scopes");
  box->types[kind].restart = lua_toboolean(L, 3);
  return 0;
}

static int make_conn(lua_State *L, loop_box *box, const aw_mux_options *mux) {
  conn_box *made = aw_lua_new_conn(L, 1);
  aw_conn *conn = NULL;
  int rc = aw_conn_new(&conn, box->loop, mux, NULL);
  if (rc == AW_OK) {
    aw_lua_hold_conn(made, conn);
  }
  return rc;
}

/* conn(options?) -> a client's connection without a transport */
static int loop_conn(lua_State *L) {
  loop_box *box = check_open(L);
  aw_mux_options mux;
  lua_settop(L, 2);
  aw_lua_mux_options(L, 2, box, &mux);
  mux.is_client = true;
  int rc = make_conn(L, box, &mux);
  return rc == AW_OK ? 1 : aw_lua_fail(L, rc, NULL);
}

/* pair(options?) -> two connections over memory, the first is the client */
static int loop_pair(lua_State *L) {
  loop_box *box = check_open(L);
  aw_mux_options mux;
  lua_settop(L, 2);
  aw_lua_mux_options(L, 2, box, &mux);
  aw_transport *ends[2];
  mux.is_client = true;
  int rc = make_conn(L, box, &mux);
  if (rc == AW_OK) {
    mux.is_client = false;
    rc = make_conn(L, box, &mux);
  }
  if (rc == AW_OK) {
    rc = aw_memory_pair(box->loop, false, &ends[0], &ends[1]);
  }
  if (rc != AW_OK) {
    return aw_lua_fail(L, rc, NULL);
  }
  for (int i = 0; i < 2; i++) {
    conn_box *made = lua_touserdata(L, 3 + i);
    conn_box *other = lua_touserdata(L, 4 - i);
    /* Base peers tell no limits, but these two can know each other's. */
    aw_limits limits = aw_mux_limits(aw_conn_mux(other->conn));
    aw_mux_set_peer_limits(aw_conn_mux(made->conn), &limits);
    aw_conn_attach(made->conn, ends[i]);
  }
  return 2;
}

static const luaL_Reg methods[] = {
    {"fd", loop_fd},
    {"timeout_ms", loop_timeout_ms},
    {"step", loop_step},
    {"wait", loop_wait},
    {"now", loop_now},
    {"ready", loop_ready},
    {"define", loop_define},
    {"restartable", loop_restartable},
    {"enter", loop_enter},
    {"leave", loop_leave},
    {"ring", loop_ring},
    {"conn", loop_conn},
    {"pair", loop_pair},
    {"close", loop_close},
    {NULL, NULL},
};

void aw_lua_open_loop(lua_State *L) {
  aw_lua_class(L, aw_lua_loop_class, methods, loop_close);
  lua_pushcfunction(L, new_loop);
  lua_setfield(L, -2, "loop");
}
