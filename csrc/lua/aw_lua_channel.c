#include "aw_error.h"
#include "aw_lua.h"
#include "aw_lua_json.h"
#include <lauxlib.h>

const char aw_lua_channel_class[] = "agentwire.core.channel";

void aw_lua_push_channel(lua_State *L, int conn, aw_channel *channel) {
  channel_box *box = aw_lua_box(L, sizeof *box, aw_lua_channel_class);
  box->channel = channel;
  aw_lua_link(L, lua_gettop(L), conn);
  box->owner = lua_touserdata(L, conn);
}

/* The channel, or NULL when it was released or its connection is freed. */
static aw_channel *channel_of(const channel_box *box) {
  return box->owner == NULL || box->owner->conn == NULL ? NULL : box->channel;
}

static aw_channel *check_channel(lua_State *L, channel_box **out) {
  channel_box *box = aw_lua_self(L, 1, aw_lua_channel_class);
  if (out != NULL) {
    *out = box;
  }
  return channel_of(box);
}

/* The box, or that of Lua's channel, a table that has it in slot 1. Pushes what
 * that slot has; NULL: it is neither. */
static channel_box *find_box(lua_State *L) {
  if (lua_istable(L, 1)) {
    lua_rawgeti(L, 1, 1);
    return aw_lua_test(L, -1, aw_lua_channel_class);
  }
  return aw_lua_test(L, 1, aw_lua_channel_class);
}

/* An argument that may be nil. */
static bool read_reply(lua_State *L, int arg, aw_uuid *out) {
  size_t len = 0;
  const char *text = NULL;
  if (lua_type(L, arg) == LUA_TSTRING) {
    text = lua_tolstring(L, arg, &len);
  }
  return text != NULL && aw_uuid_parse(out, text, len) == AW_OK;
}

/* send(type, payload?, in_reply_to?) -> true | nil, message, code; false: it
 * was called wrongly, and Lua has the words for that. "would_block": the window
 * is full, WRITABLE will come. */
static int channel_send(lua_State *L) {
  lua_settop(L, 4);
  channel_box *box = find_box(L);
  aw_uuid reply;
  bool has_reply = !lua_isnil(L, 4);
  if (box == NULL || lua_type(L, 2) != LUA_TSTRING ||
      (has_reply && !read_reply(L, 4, &reply))) {
    lua_pushboolean(L, 0);
    return 1;
  }
  aw_channel *channel = channel_of(box);
  size_t len = 0;
  const char *type = lua_tolstring(L, 2, &len);
  if (channel == NULL) {
    return aw_lua_closed(L);
  }
  aw_conn_clock(box->owner->conn);
  aw_draft draft;
  int rc = aw_mux_begin(channel, type, len, has_reply ? &reply : NULL, &draft);
  if (rc != AW_OK) {
    return aw_lua_fail(L, rc, NULL);
  }
  int results = aw_lua_finish_draft(L, &draft, 3);
  if (results == 1) {
    aw_conn_touch(box->owner->conn);
  }
  return results;
}

/* may_fold() -> boolean: is the log full, and the peer away? */
static int channel_may_fold(lua_State *L) {
  aw_channel *channel = check_channel(L, NULL);
  lua_pushboolean(L, channel != NULL && aw_mux_may_fold(channel));
  return 1;
}

/* fold(type, payload) -> true | nil, message, code: a state takes the log's
 * place. "would_block": it may not be folded now; "limit": it is too large. */
static int channel_fold(lua_State *L) {
  channel_box *box = NULL;
  aw_channel *channel = check_channel(L, &box);
  size_t len = 0;
  const char *type = luaL_checklstring(L, 2, &len);
  if (channel == NULL) {
    return aw_lua_closed(L);
  }
  aw_conn_clock(box->owner->conn);
  aw_draft draft;
  int rc = aw_mux_begin_fold(channel, type, len, &draft);
  return rc == AW_OK ? aw_lua_finish_draft(L, &draft, 3)
                     : aw_lua_fail(L, rc, NULL);
}

/* give_up(): the scope is lost, here and at the peer. */
static int channel_give_up(lua_State *L) {
  channel_box *box = NULL;
  aw_channel *channel = check_channel(L, &box);
  if (channel != NULL) {
    aw_mux_give_up(channel);
    aw_conn_touch(box->owner->conn);
  }
  return 0;
}

/* Upvalues of channel_next: the names, and strings that are set in each event,
 * as making them costs more than all else of it. */
enum next_upvalue { UP_NAMES = 1, UP_TYPE = 3, UP_SEQUENCE };

static void set_header(lua_State *L, const aw_message *message,
                       const aw_lua_names *names) {
  lua_pushvalue(L, lua_upvalueindex(UP_TYPE));
  aw_lua_names_push(L, names, aw_message_type(message), message->type_len);
  lua_rawset(L, -3);
  lua_pushvalue(L, lua_upvalueindex(UP_SEQUENCE));
  lua_pushinteger(L, (lua_Integer)message->sequence);
  lua_rawset(L, -3);
}

static void set_string(lua_State *L, const char *key, const char *value) {
  lua_pushstring(L, value);
  lua_setfield(L, -2, key);
}

/* What could not be taken, in its place: type "refused". */
static void set_refused(lua_State *L, const aw_message *message) {
  lua_getfield(L, -1, "type");
  lua_setfield(L, -2, "refused_type");
  set_string(L, "type", "refused");
  set_string(L, "code", aw_error_code(message->refused));
  set_string(L, "message", message->why);
}

/* next() -> event | nil | false (as send): the oldest message as one flat
 * table. The header's fields are set last, so that no payload member can pose
 * as one. A message that could not be taken is {type = "refused", refused_type,
 * sequence, code, message}. */
static int channel_next(lua_State *L) {
  channel_box *box = find_box(L);
  if (box == NULL) {
    lua_pushboolean(L, 0);
    return 1;
  }
  aw_channel *channel = channel_of(box);
  const aw_message *message = channel == NULL ? NULL : aw_channel_peek(channel);
  if (message == NULL) {
    lua_pushnil(L);
    return 1;
  }
  const aw_json_token *tokens = aw_message_tokens(message);
  lua_createtable(L, 0, (int)(tokens[0].count < 64 ? tokens[0].count + 2 : 64));
  aw_lua_names names = aw_lua_names_here(L, UP_NAMES);
  aw_lua_json_text payload = {tokens, aw_message_payload(message), &names};
  aw_lua_json_push_members(L, &payload, 0);
  set_header(L, message, &names);
  if (message->refused != AW_OK) {
    set_refused(L, message);
  }
  aw_mux_consume(channel);
  aw_conn_touch(box->owner->conn); /* credit may have to go back */
  return 1;
}

/* header() -> message_id, in_reply_to | nil, timestamp of the message that
 * next gave last. */
static int channel_header(lua_State *L) {
  aw_channel *channel = check_channel(L, NULL);
  if (channel == NULL || !channel->has_header) {
    return aw_lua_closed(L);
  }
  aw_lua_push_uuid(L, &channel->header_id);
  if (channel->header_has_reply) {
    aw_lua_push_uuid(L, &channel->header_reply);
  } else {
    lua_pushnil(L);
  }
  lua_pushinteger(L, (lua_Integer)channel->header_timestamp);
  return 3;
}

/* sent_id() -> message_id of the message sent last | nil */
static int channel_sent_id(lua_State *L) {
  aw_channel *channel = check_channel(L, NULL);
  if (channel == NULL || channel->log.last == 0) {
    lua_pushnil(L);
  } else {
    aw_lua_push_uuid(L, &channel->last_sent_id);
  }
  return 1;
}

/* state() -> "open" | "over", error code | nil, messages queued, next number
 * to send, number received last */
static int channel_state(lua_State *L) {
  aw_channel *channel = check_channel(L, NULL);
  if (channel == NULL) {
    lua_pushliteral(L, "over");
    lua_pushliteral(L, "closed");
    return 2;
  }
  bool over = aw_channel_is_over(channel);
  lua_pushstring(L, over ? "over" : "open");
  if (over && channel->error != AW_OK) {
    lua_pushstring(L, aw_error_code(channel->error));
  } else {
    lua_pushnil(L);
  }
  lua_pushinteger(L, (lua_Integer)channel->inbox.count);
  lua_pushinteger(L, (lua_Integer)channel->log.last);
  lua_pushinteger(L, (lua_Integer)channel->received);
  return 5;
}

/* confirm_manually(): consumed messages are acknowledged by confirm() alone */
static int channel_confirm_manually(lua_State *L) {
  aw_channel *channel = check_channel(L, NULL);
  if (channel != NULL) {
    aw_mux_confirm_manually(channel);
  }
  return 0;
}

static int channel_confirm(lua_State *L) {
  channel_box *box = NULL;
  aw_channel *channel = check_channel(L, &box);
  if (channel != NULL) {
    aw_mux_confirm(channel);
    aw_conn_touch(box->owner->conn);
  }
  return 0;
}

static int channel_close(lua_State *L) {
  channel_box *box = NULL;
  aw_channel *channel = check_channel(L, &box);
  box->channel = NULL;
  if (channel != NULL) {
    aw_mux_release(channel);
    aw_conn_touch(box->owner->conn);
  }
  return 0;
}

static const luaL_Reg methods[] = {
    {"send", channel_send},
    {"may_fold", channel_may_fold},
    {"fold", channel_fold},
    {"give_up", channel_give_up},
    {"header", channel_header},
    {"confirm_manually", channel_confirm_manually},
    {"confirm", channel_confirm},
    {"sent_id", channel_sent_id},
    {"state", channel_state},
    {"close", channel_close},
    {NULL, NULL},
};

/* send and next are called for each message: Lua has them as functions, not to
 * ask a channel each time for what it is to call. */
static void push_functions(lua_State *L) {
  lua_createtable(L, 0, 2);
  lua_pushcfunction(L, channel_send);
  lua_setfield(L, -2, "send");
  aw_lua_names_new(L);
  lua_pushliteral(L, "type");
  lua_pushliteral(L, "sequence");
  lua_pushcclosure(L, channel_next, UP_SEQUENCE);
  lua_setfield(L, -2, "next");
}

void aw_lua_open_channel(lua_State *L) {
  aw_lua_class(L, aw_lua_channel_class, methods, channel_close);
  push_functions(L);
  lua_setfield(L, -2, "channel");
}
