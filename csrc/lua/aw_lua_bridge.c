/* A loop's descriptor, watched for a loop of somebody else's that cannot. */
#include "aw_bridge.h"
#include "aw_error.h"
#include "aw_lua.h"
#include <lauxlib.h>

static const char bridge_class[] = "agentwire.core.bridge";

typedef struct bridge_box {
  member_box member;
  aw_bridge *bridge;
} bridge_box;

static void close_bridge(member_box *member) {
  bridge_box *box = AW_CONTAINER(member, bridge_box, member);
  aw_bridge_free(box->bridge);
  box->bridge = NULL;
}

static int bridge_close(lua_State *L) {
  bridge_box *box = aw_lua_self(L, 1, bridge_class);
  if (box->bridge != NULL) {
    aw_lua_leave(&box->member);
    close_bridge(&box->member);
  }
  return 0;
}

/* begin() -> true | nil, message, code: takes the connection that was made to
 * the file */
static int bridge_begin(lua_State *L) {
  bridge_box *box = aw_lua_self(L, 1, bridge_class);
  if (box->bridge == NULL) {
    return aw_lua_closed(L);
  }
  const char *why = NULL;
  int rc = aw_bridge_begin(box->bridge, &why);
  if (rc != AW_OK) {
    return aw_lua_fail(L, rc, why);
  }
  lua_pushboolean(L, 1);
  return 1;
}

/* arm(): a byte as soon as the loop's fd is readable */
static int bridge_arm(lua_State *L) {
  bridge_box *box = aw_lua_self(L, 1, bridge_class);
  if (box->bridge != NULL) {
    aw_bridge_arm(box->bridge);
  }
  return 0;
}

/* poke(): a byte now */
static int bridge_poke(lua_State *L) {
  bridge_box *box = aw_lua_self(L, 1, bridge_class);
  if (box->bridge != NULL) {
    aw_bridge_poke(box->bridge);
  }
  return 0;
}

/* loop:bridge(file) -> bridge | nil, message, code: bytes on the connection
 * that is made to the Unix socket `file` say that the loop's fd is readable.
 * One loop at a time has a file. */
static int loop_bridge(lua_State *L) {
  loop_box *loop = aw_lua_check_loop(L, 1);
  const char *file = luaL_checkstring(L, 2);
  if (loop->loop == NULL) {
    return aw_lua_closed(L);
  }
  bridge_box *box = aw_lua_box(L, sizeof *box, bridge_class);
  aw_lua_link(L, lua_gettop(L), 1);
  const char *why = NULL;
  int rc = aw_bridge_new(&box->bridge, aw_loop_mem(loop->loop),
                         aw_loop_fd(loop->loop), file, &why);
  if (rc != AW_OK) {
    return aw_lua_fail(L, rc, why);
  }
  aw_lua_join(loop, &box->member, close_bridge);
  return 1;
}

static const luaL_Reg methods[] = {
    {"begin", bridge_begin}, {"arm", bridge_arm}, {"poke", bridge_poke},
    {"close", bridge_close}, {NULL, NULL},
};

void aw_lua_open_bridge(lua_State *L) {
  aw_lua_class(L, bridge_class, methods, bridge_close);
  luaL_getmetatable(L, aw_lua_loop_class);
  lua_getfield(L, -1, "__index");
  lua_pushcfunction(L, loop_bridge);
  lua_setfield(L, -2, "bridge");
  lua_pop(L, 2);
}
