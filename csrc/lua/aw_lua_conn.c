#include "aw_error.h"
#include "aw_lua.h"
#include "aw_lua_json.h"
#include <lauxlib.h>

const char aw_lua_conn_class[] = "agentwire.core.conn";

static void close_member(member_box *member) {
  conn_box *box = AW_CONTAINER(member, conn_box, member);
  aw_conn_free(box->conn);
  box->conn = NULL;
}

conn_box *aw_lua_new_conn(lua_State *L, int loop) {
  loop_box *owner = aw_lua_check_loop(L, loop);
  conn_box *box = aw_lua_box(L, sizeof *box, aw_lua_conn_class);
  aw_lua_link(L, lua_gettop(L), loop);
  box->handle = ++owner->last_handle;
  box->member.loop = owner;
  return box;
}

void aw_lua_hold_conn(conn_box *box, aw_conn *conn) {
  box->conn = conn;
  aw_conn_source(conn)->user = &box->handle;
  aw_lua_join(box->member.loop, &box->member, close_member);
}

conn_box *aw_lua_check_conn(lua_State *L, int arg) {
  return aw_lua_self(L, arg, aw_lua_conn_class);
}

static int conn_gc(lua_State *L) {
  conn_box *box = aw_lua_check_conn(L, 1);
  if (box->conn != NULL) {
    aw_lua_leave(&box->member);
    close_member(&box->member);
  }
  return 0;
}

/* handle() -> the number under which loop:ready names this connection */
static int conn_handle(lua_State *L) {
  lua_pushinteger(L, aw_lua_check_conn(L, 1)->handle);
  return 1;
}

/* open(kind, id?) -> channel, slot, id | nil, message, code */
static int conn_open(lua_State *L) {
  conn_box *box = aw_lua_check_conn(L, 1);
  enum aw_kind kind = aw_lua_check_kind(L, 2);
  luaL_argcheck(L, kind < AW_KIND_SCOPES, 2, "a kind with scopes");
  aw_uuid id;
  bool given = !lua_isnoneornil(L, 3);
  if (given) {
    aw_lua_check_uuid(L, 3, &id);
  }
  if (box->conn == NULL) {
    return aw_lua_closed(L);
  }
  aw_channel *channel = NULL;
  int rc =
      aw_mux_open(aw_conn_mux(box->conn), kind, given ? &id : NULL, &channel);
  if (rc != AW_OK) {
    return aw_lua_fail(L, rc, NULL);
  }
  aw_lua_push_channel(L, 1, channel);
  lua_Integer slot = ++box->last_slot;
  channel->user = (void *)(intptr_t)slot;
  lua_pushinteger(L, slot);
  aw_lua_push_uuid(L, &channel->id);
  return 3;
}

/* poll() -> slot, events, and for a scope that the peer opened: channel, kind,
 * id | nil */
static int conn_poll(lua_State *L) {
  conn_box *box = aw_lua_check_conn(L, 1);
  unsigned events = 0;
  aw_channel *channel =
      box->conn == NULL ? NULL : aw_mux_poll(aw_conn_mux(box->conn), &events);
  if (channel == NULL) {
    lua_pushnil(L);
    return 1;
  }
  bool is_new = channel->user == NULL;
  if (is_new) {
    channel->user = (void *)(intptr_t)++box->last_slot;
  }
  lua_pushinteger(L, (lua_Integer)(intptr_t)channel->user);
  lua_pushinteger(L, (lua_Integer)events);
  if (!is_new) {
    return 2;
  }
  aw_lua_push_channel(L, 1, channel);
  lua_pushstring(L, aw_kind_name(channel->kind));
  aw_lua_push_uuid(L, &channel->id);
  return 5;
}

/* control() -> flat table with kind, id, message_id, in_reply_to | nil */
static int conn_control(lua_State *L) {
  conn_box *box = aw_lua_check_conn(L, 1);
  aw_control control;
  if (box->conn == NULL || !aw_mux_control(aw_conn_mux(box->conn), &control)) {
    lua_pushnil(L);
    return 1;
  }
  const aw_message *message = control.message;
  lua_newtable(L);
  aw_lua_json_text payload = {aw_message_tokens(message),
                              aw_message_payload(message), NULL};
  aw_lua_json_push_members(L, &payload, 0);
  lua_pushlstring(L, aw_message_type(message), message->type_len);
  lua_setfield(L, -2, "type");
  lua_pushinteger(L, (lua_Integer)message->sequence);
  lua_setfield(L, -2, "sequence");
  lua_pushstring(L, aw_kind_name(control.kind));
  lua_setfield(L, -2, "kind");
  aw_lua_push_uuid(L, &control.id);
  lua_setfield(L, -2, "id");
  aw_lua_push_uuid(L, &message->message_id);
  lua_setfield(L, -2, "message_id");
  if (message->has_reply) {
    aw_lua_push_uuid(L, &message->in_reply_to);
    lua_setfield(L, -2, "in_reply_to");
  }
  aw_mux_control_drop(aw_conn_mux(box->conn));
  return 1;
}

static void set_string(lua_State *L, const char *key, const char *value) {
  if (value != NULL) {
    lua_pushstring(L, value);
    lua_setfield(L, -2, key);
  }
}

static void set_integer(lua_State *L, const char *key, uint64_t value) {
  lua_pushinteger(L, (lua_Integer)value);
  lua_setfield(L, -2, key);
}

static void set_boolean(lua_State *L, const char *key, bool value) {
  lua_pushboolean(L, value);
  lua_setfield(L, -2, key);
}

/* refusal() -> {code, message, field, kind, id, type, message_id, sequence,
 * known, consumed} | nil */
static int conn_refusal(lua_State *L) {
  conn_box *box = aw_lua_check_conn(L, 1);
  aw_refusal refusal;
  if (box->conn == NULL || !aw_mux_refusal(aw_conn_mux(box->conn), &refusal)) {
    lua_pushnil(L);
    return 1;
  }
  lua_newtable(L);
  set_string(L, "code", aw_error_code(refusal.code));
  set_string(L, "message", refusal.what);
  set_string(L, "field", refusal.field);
  set_integer(L, "sequence", refusal.sequence);
  set_integer(L, "offset", refusal.offset);
  set_boolean(L, "known", refusal.known);
  set_boolean(L, "consumed", refusal.consumed);
  if (refusal.type_len > 0) {
    lua_pushlstring(L, refusal.type, refusal.type_len);
    lua_setfield(L, -2, "type");
  }
  if (refusal.has_scope) {
    set_string(L, "kind", aw_kind_name(refusal.kind));
    aw_lua_push_uuid(L, &refusal.id);
    lua_setfield(L, -2, "id");
  }
  if (refusal.has_message_id) {
    aw_lua_push_uuid(L, &refusal.message_id);
    lua_setfield(L, -2, "message_id");
  }
  return 1;
}

/* notice() -> "resumed" | "renewed" | nil */
static int conn_notice(lua_State *L) {
  static const char *const names[] = {NULL, "resumed", "renewed"};
  conn_box *box = aw_lua_check_conn(L, 1);
  lua_pushstring(L, box->conn == NULL
                        ? NULL
                        : names[aw_mux_notice(aw_conn_mux(box->conn))]);
  return 1;
}

/* send_control(kind, id, type, payload?, in_reply_to?) -> true | nil, ... */
static int conn_send_control(lua_State *L) {
  conn_box *box = aw_lua_check_conn(L, 1);
  enum aw_kind kind = aw_lua_check_kind(L, 2);
  aw_uuid id, reply;
  bool has_reply = !lua_isnoneornil(L, 6);
  size_t len = 0;
  const char *type = luaL_checklstring(L, 4, &len);
  if (has_reply) {
    aw_lua_check_uuid(L, 6, &reply);
  }
  if (box->conn == NULL) {
    return aw_lua_closed(L);
  }
  aw_mux *mux = aw_conn_mux(box->conn);
  if (kind == AW_KIND_LINK) {
    id = *aw_mux_connection_id(mux);
  } else {
    aw_lua_check_uuid(L, 3, &id);
  }
  aw_conn_clock(box->conn);
  aw_draft draft;
  int rc = aw_mux_begin_control(mux, kind, &id, type, len,
                                has_reply ? &reply : NULL, &draft);
  if (rc != AW_OK) {
    return aw_lua_fail(L, rc, NULL);
  }
  int results = aw_lua_finish_draft(L, &draft, 5);
  aw_conn_touch(box->conn);
  return results;
}

/* send_ping(id) -> true, message_id | nil, message, code */
static int conn_send_ping(lua_State *L) {
  conn_box *box = aw_lua_check_conn(L, 1);
  aw_uuid id;
  aw_lua_check_uuid(L, 2, &id);
  if (box->conn == NULL) {
    return aw_lua_closed(L);
  }
  aw_conn_clock(box->conn);
  aw_draft draft;
  int rc = aw_mux_begin_control(aw_conn_mux(box->conn), AW_KIND_PROVIDER, &id,
                                "ping", 4, NULL, &draft);
  if (rc != AW_OK) {
    return aw_lua_fail(L, rc, NULL);
  }
  lua_settop(L, 2);
  int results = aw_lua_finish_draft(L, &draft, 3);
  aw_conn_touch(box->conn);
  if (results == 1) {
    aw_lua_push_uuid(L, &draft.message_id);
    results = 2;
  }
  return results;
}

/* send_error(code, message) -> true | nil, message, code */
static int conn_send_error(lua_State *L) {
  conn_box *box = aw_lua_check_conn(L, 1);
  const char *code = luaL_checkstring(L, 2);
  size_t len = 0;
  const char *message = luaL_checklstring(L, 3, &len);
  if (box->conn == NULL) {
    return aw_lua_closed(L);
  }
  int rc = aw_mux_send_error(aw_conn_mux(box->conn), code, message, len);
  if (rc != AW_OK) {
    return aw_lua_fail(L, rc, NULL);
  }
  aw_conn_touch(box->conn);
  lua_pushboolean(L, 1);
  return 1;
}

/* inject(bytes) -> true | nil, message, code: one message past the mux */
static int conn_inject(lua_State *L) {
  conn_box *box = aw_lua_check_conn(L, 1);
  size_t len = 0;
  const char *bytes = luaL_checklstring(L, 2, &len);
  if (box->conn == NULL) {
    return aw_lua_closed(L);
  }
  int rc = aw_conn_inject(box->conn, bytes, len);
  if (rc != AW_OK) {
    return aw_lua_fail(L, rc, NULL);
  }
  lua_pushboolean(L, 1);
  return 1;
}

/* stats() -> table of counters (docs/connection.md) */
static int conn_stats(lua_State *L) {
  conn_box *box = aw_lua_check_conn(L, 1);
  if (box->conn == NULL) {
    return aw_lua_closed(L);
  }
  const aw_mux_stats *stats = aw_mux_stats_get(aw_conn_mux(box->conn));
  lua_newtable(L);
  set_integer(L, "messages_in", stats->messages_in);
  set_integer(L, "messages_out", stats->messages_out);
  set_integer(L, "bytes_in", stats->bytes_in);
  set_integer(L, "bytes_out", stats->bytes_out);
  set_integer(L, "duplicates", stats->duplicates);
  set_integer(L, "dropped_late", stats->dropped_late);
  set_integer(L, "unanswered", stats->unanswered);
  set_integer(L, "replayed", stats->replayed);
  set_integer(L, "folded", stats->folded);
  set_integer(L, "undeliverable", stats->undeliverable);
  set_integer(L, "opened", stats->opened);
  set_integer(L, "ended", stats->ended);
  set_integer(L, "open_scopes", stats->open_scopes);
  set_integer(L, "ended_scopes", stats->ended_scopes);
  set_integer(L, "inbox_bytes", stats->inbox_bytes);
  set_integer(L, "inbox_high", stats->inbox_high);
  set_integer(L, "log_bytes", stats->log_bytes);
  set_integer(L, "log_high", stats->log_high);
  lua_newtable(L);
  for (int i = 0; i <= AW_REFUSED_OTHER; i++) {
    set_integer(L, aw_refusal_class_name((enum aw_refusal_class)i),
                stats->refused[i]);
  }
  lua_setfield(L, -2, "refused");
  return 1;
}

/* held_bytes() -> what its logs and inboxes hold */
static int conn_held_bytes(lua_State *L) {
  conn_box *box = aw_lua_check_conn(L, 1);
  size_t bytes = 0;
  if (box->conn != NULL) {
    const aw_mux_stats *stats = aw_mux_stats_get(aw_conn_mux(box->conn));
    bytes = stats->log_bytes + stats->inbox_bytes;
  }
  lua_pushinteger(L, (lua_Integer)bytes);
  return 1;
}

/* state() -> {up, closed, extended, window_ms, protocol, peer, transport,
 * pending_bytes, silent_ms, choked}: the last from `protocol` on while there
 * is a transport; silent_ms since a byte came, choked while we do not read */
static int conn_state(lua_State *L) {
  conn_box *box = aw_lua_check_conn(L, 1);
  lua_newtable(L);
  if (box->conn == NULL) {
    set_boolean(L, "closed", true);
    return 1;
  }
  set_boolean(L, "up", aw_conn_is_up(box->conn));
  set_boolean(L, "closed", aw_conn_is_closed(box->conn));
  set_boolean(L, "extended", aw_mux_is_extended(aw_conn_mux(box->conn)));
  set_integer(L, "window_ms", aw_mux_peer_window_ms(aw_conn_mux(box->conn)));
  const aw_transport *transport = aw_conn_transport(box->conn);
  if (transport != NULL) {
    set_string(L, "protocol", transport->info.protocol);
    set_string(L, "peer", transport->info.peer);
    set_string(L, "transport", transport->info.kind);
    set_integer(L, "pending_bytes", transport->pending);
    set_integer(L, "silent_ms",
                aw_loop_now(transport->loop) - transport->last_in_ms);
    set_boolean(L, "choked", aw_mux_choked(aw_conn_mux(box->conn)));
  }
  return 1;
}

/* identity() -> claims of the peer, as the upgrade was accepted with | nil */
static int conn_identity(lua_State *L) {
  conn_box *box = aw_lua_check_conn(L, 1);
  lua_pushstring(L, box->conn == NULL
                        ? NULL
                        : aw_identity_claims(aw_conn_identity(box->conn)));
  return 1;
}

/* last_end() -> error code ("ok" for an orderly close), close code, reason */
static int conn_last_end(lua_State *L) {
  conn_box *box = aw_lua_check_conn(L, 1);
  if (box->conn == NULL) {
    return aw_lua_closed(L);
  }
  const aw_conn_end *end = aw_conn_last_end(box->conn);
  lua_pushstring(L, aw_error_code(end->error));
  lua_pushinteger(L, end->code);
  lua_pushstring(L, end->reason);
  return 3;
}

/* close(code?, reason?): orderly; CLOSED follows */
static int conn_close(lua_State *L) {
  conn_box *box = aw_lua_check_conn(L, 1);
  int code = (int)luaL_optinteger(L, 2, 1000);
  const char *reason = luaL_optstring(L, 3, "");
  if (box->conn != NULL) {
    aw_conn_close(box->conn, code, reason);
  }
  return 0;
}

/* cut(reason?): drops the transport as a broken network would */
static int conn_cut(lua_State *L) {
  conn_box *box = aw_lua_check_conn(L, 1);
  const char *reason = luaL_optstring(L, 2, "cut");
  if (box->conn != NULL) {
    aw_conn_cut(box->conn, reason);
  }
  return 0;
}

/* lose_scopes(): every scope ends with "lost"; a later connect may succeed */
static int conn_lose_scopes(lua_State *L) {
  conn_box *box = aw_lua_check_conn(L, 1);
  if (box->conn != NULL) {
    aw_conn_lose_scopes(box->conn);
  }
  return 0;
}

/* abandon(reason?): gives up on a session whose transport is gone */
static int conn_abandon(lua_State *L) {
  conn_box *box = aw_lua_check_conn(L, 1);
  const char *reason = luaL_optstring(L, 2, "abandoned");
  if (box->conn != NULL) {
    aw_conn_abandon(box->conn, AW_E_CLOSED, reason);
  }
  return 0;
}

/* trace("off" | "stderr" | "keep"): one line an envelope */
static int conn_trace(lua_State *L) {
  static const char *const modes[] = {"off", "stderr", "keep", NULL};
  conn_box *box = aw_lua_check_conn(L, 1);
  int mode = luaL_checkoption(L, 2, NULL, modes);
  if (box->conn != NULL) {
    aw_conn_trace(box->conn, (enum aw_conn_trace)mode);
  }
  return 0;
}

/* trace_lines() -> the lines kept since the last call | nil */
static int conn_trace_lines(lua_State *L) {
  conn_box *box = aw_lua_check_conn(L, 1);
  aw_buf *lines = box->conn == NULL ? NULL : aw_conn_trace_lines(box->conn);
  if (lines == NULL || aw_buf_len(lines) == 0) {
    lua_pushnil(L);
    return 1;
  }
  lua_pushlstring(L, aw_buf_bytes(lines), aw_buf_len(lines));
  aw_buf_reset(lines, 0);
  return 1;
}

static const luaL_Reg methods[] = {
    {"handle", conn_handle},
    {"dial", aw_lua_dial},
    {"open", conn_open},
    {"poll", conn_poll},
    {"control", conn_control},
    {"refusal", conn_refusal},
    {"notice", conn_notice},
    {"send_control", conn_send_control},
    {"send_error", conn_send_error},
    {"send_ping", conn_send_ping},
    {"inject", conn_inject},
    {"stats", conn_stats},
    {"held_bytes", conn_held_bytes},
    {"state", conn_state},
    {"identity", conn_identity},
    {"last_end", conn_last_end},
    {"close", conn_close},
    {"cut", conn_cut},
    {"lose_scopes", conn_lose_scopes},
    {"abandon", conn_abandon},
    {"trace", conn_trace},
    {"trace_lines", conn_trace_lines},
    {"free", conn_gc},
    {NULL, NULL},
};

void aw_lua_open_conn(lua_State *L) {
  aw_lua_class(L, aw_lua_conn_class, methods, conn_gc);
}
