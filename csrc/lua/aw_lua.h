/* The binding's classes: loop, conn, channel, hub. Each is a box (userdata)
 * that is anchored before its C object is made, and whose C object is freed by
 * its `close`, its __gc or its loop, whichever is first; a closed box answers
 * `nil, "closed", "closed"`. */
#ifndef AW_LUA_H
#define AW_LUA_H

#include "aw_child.h"
#include "aw_compat.h"
#include "aw_conn.h"
#include "aw_hub.h"
#include "aw_websocket.h"
#include <lua.h>

#pragma GCC visibility push(hidden)

/* Names of classes, told apart by address. */
extern const char aw_lua_loop_class[], aw_lua_conn_class[],
    aw_lua_channel_class[];

typedef struct loop_box loop_box;
typedef struct member_box member_box;
typedef struct conn_box conn_box;
typedef struct channel_box channel_box;
typedef struct hub_box hub_box;

/* What a loop frees when it is closed first: the head of conn_box, hub_box. */
struct member_box {
  const char *name; /* of the class, first in every box: see aw_lua_self */
  aw_node node;     /* in loop_box.members */
  loop_box *loop;
  void (*close)(member_box *box); /* frees the C object, idempotent */
};

struct loop_box {
  const char *name;
  aw_loop *loop;
  aw_types types[AW_KIND_SCOPES];
  aw_queue members;
  lua_Integer last_handle; /* handles name sources towards Lua */
};

struct conn_box {
  member_box member;
  aw_conn *conn;
  lua_Integer handle, last_slot;
};

struct channel_box {
  const char *name;
  conn_box *owner; /* alive: the box is linked to it */
  aw_channel *channel;
};

struct hub_box {
  member_box member;
  aw_hub *hub;
  aw_listener *listener;
  aw_source source;
  aw_queue accepted;  /* pending_conn */
  aw_queue requests;  /* pending_request */
  aw_queue exchanges; /* pending_exchange */
  lua_Integer handle;
  bool authenticate;
};

/* nil, sentence, code of a C error; `what` NULL: the code's own sentence. */
int aw_lua_fail(lua_State *L, int error, const char *what);
int aw_lua_closed(lua_State *L);

/* Keeps the value at `target` alive as long as the userdata at `box`. */
void aw_lua_link(lua_State *L, int box, int target);

/* Makes a class: methods in __index, __gc and __close set to `gc`. */
void aw_lua_class(lua_State *L, const char *name, const luaL_Reg *methods,
                  lua_CFunction gc);

/* Pushes a box of a class: `size` bytes, zero but for the name. */
void *aw_lua_box(lua_State *L, size_t size, const char *name);

/* The box at `arg` if it is of class `name`, else NULL or an error. What is in
 * the box tells, at a fifth of what a comparison of metatables costs; no other
 * userdata holds the address of a name of ours. */
void *aw_lua_test(lua_State *L, int arg, const char *name);
void *aw_lua_self(lua_State *L, int arg, const char *name);

/* Boxes by argument; raise for a wrong type. The _open form returns NULL
 * for a closed one. */
loop_box *aw_lua_check_loop(lua_State *L, int arg);
conn_box *aw_lua_check_conn(lua_State *L, int arg);

/* Events of a hub's source, as core.events.hub names them. */
enum aw_lua_hub_event {
  AW_LUA_HUB_ACCEPTED = 1,
  AW_LUA_HUB_REQUESTED = 2,
  AW_LUA_HUB_FAILED = 4,
  AW_LUA_HUB_WITHDRAWN = 8, /* of an upgrade that Lua has: upgrade:waits() */
  AW_LUA_HUB_EXCHANGE = 16
};

void aw_lua_join(loop_box *loop, member_box *box,
                 void (*close)(member_box *box));
void aw_lua_leave(member_box *box);

/* Reads a table of options (at `arg`, may be nil) into mux options. */
void aw_lua_mux_options(lua_State *L, int arg, loop_box *loop,
                        aw_mux_options *out);

/* Option readers; absent gives the default, 0 or NULL; a wrong type or a
 * number that is out of range raises. */
unsigned aw_lua_opt_unsigned(lua_State *L, int arg, const char *key,
                             unsigned otherwise);
size_t aw_lua_opt_size(lua_State *L, int arg, const char *key);
/* The option message_max as a transport has to take it: link messages may be
 * longer than others. */
size_t aw_lua_transport_max(lua_State *L, int arg);
bool aw_lua_opt_boolean(lua_State *L, int arg, const char *key);
const char *aw_lua_opt_string(lua_State *L, int arg, const char *key);
const char *aw_lua_need_string(lua_State *L, int arg, const char *key);

/* Pushes a new, empty conn box linked to the loop at stack index `loop`. */
conn_box *aw_lua_new_conn(lua_State *L, int loop);
void aw_lua_hold_conn(conn_box *box, aw_conn *conn);

/* As above, of an exchange. */
void *aw_lua_new_exchange(lua_State *L, int loop);
void aw_lua_hold_exchange(void *box, aw_exchange *exchange);

/* conn:dial(options) -> true | nil, message, code: gives the connection the
 * transport that the options ask for. */
int aw_lua_dial(lua_State *L);

/* TLS options from the table at the stack top (nil: none); strings stay
 * anchored by the table. */
bool aw_lua_tls_options(lua_State *L, int arg, const char *key,
                        aw_tls_options *out);

/* argv={...}, environment={"NAME=text", ...}?, cwd=, kill_after_ms=,
 * own_group=bool of the table at `arg`. Raises if one is wrong. The arrays are
 * anchored by values that stay on the stack. */
void aw_lua_child_options(lua_State *L, int arg, aw_child_options *out);

/* The header lines of the options `token` and `headers` of the table at `arg`,
 * pushed as a string, which owns them; "" for none. NULL: pushed is a sentence
 * that names the header which cannot be sent, `host` among them. */
const char *aw_lua_headers(lua_State *L, int arg);

/* The header lines of the table at `arg`, {name = value} or a list of
 * {name, value}, as above. */
const char *aw_lua_header_lines(lua_State *L, int arg);

/* nil, "cannot connect to URL: why", code, for `doing` "connect to". Shows no
 * secrets of the URL; a file of `tls` (NULL: none) that `why` speaks of is
 * named. */
int aw_lua_fail_at(lua_State *L, int error, const char *doing, const char *url,
                   const aw_tls_options *tls, const char *why);

/* Pushes a UUID as a string. */
void aw_lua_push_uuid(lua_State *L, const aw_uuid *id);
/* Reads kind name and UUID arguments; raise for malformed ones. */
enum aw_kind aw_lua_check_kind(lua_State *L, int arg);
void aw_lua_check_uuid(lua_State *L, int arg, aw_uuid *out);

/* Appends the payload at `index` (nil: {}) to a draft and commits it. Pushes
 * true, or nil, message, code; returns their number. */
int aw_lua_finish_draft(lua_State *L, aw_draft *draft, int index);

void aw_lua_open_loop(lua_State *L);
void aw_lua_open_conn(lua_State *L);
void aw_lua_open_channel(lua_State *L);
void aw_lua_open_hub(lua_State *L);
void aw_lua_open_exchange(lua_State *L);
void aw_lua_open_process(lua_State *L);
void aw_lua_open_lines(lua_State *L);
void aw_lua_open_bridge(lua_State *L);
void aw_lua_open_fetch(lua_State *L); /* fills the table at the top, too */
void aw_lua_open_http(lua_State *L);  /* fills the table at the top */

/* Pushes a channel box for a channel, linked to the conn at `conn`. */
void aw_lua_push_channel(lua_State *L, int conn, aw_channel *channel);

#pragma GCC visibility pop

#endif
