/* Lines without envelopes: to a child, over our own stdin and stdout, or to
 * another end in this process. */
#include "aw_error.h"
#include "aw_line_inbox.h"
#include "aw_lua.h"
#include <lauxlib.h>
#include <signal.h>
#include <stdio.h>

static const char lines_class[] = "agentwire.core.lines";

typedef struct lines_box {
  member_box member;
  aw_line_inbox *inbox;
  lua_Integer handle;
} lines_box;

static bool has_field(lua_State *L, int arg, const char *key) {
  lua_getfield(L, arg, key);
  bool has = !lua_isnil(L, -1);
  lua_pop(L, 1);
  return has;
}

static void read_limits(lua_State *L, int arg, aw_line_inbox_options *out,
                        size_t *line_max) {
  size_t most = aw_lua_opt_size(L, arg, "line_bytes_max");
  luaL_argcheck(L, most <= AW_TRANSPORT_MESSAGE_TOP, arg,
                "line_bytes_max is too large");
  *line_max = most;
  out->inbox_lines = aw_lua_opt_unsigned(L, arg, "inbox_lines_max", 0);
  out->inbox_bytes = aw_lua_opt_size(L, arg, "inbox_bytes_max");
  out->outbox_bytes = aw_lua_opt_size(L, arg, "outbox_bytes_max");
  out->skips = aw_lua_opt_boolean(L, arg, "skip_long_lines");
}

static lines_box *check_lines(lua_State *L) {
  return aw_lua_self(L, 1, lines_class);
}

static void close_member(member_box *member) {
  lines_box *box = AW_CONTAINER(member, lines_box, member);
  aw_line_inbox_free(box->inbox);
  box->inbox = NULL;
}

/* Also __gc: ends at once; a child that still runs is terminated. */
static int lines_free(lua_State *L) {
  lines_box *box = check_lines(L);
  if (box->inbox != NULL) {
    aw_lua_leave(&box->member);
    close_member(&box->member);
  }
  return 0;
}

/* Pushes an empty box that is linked to the loop at 1. */
static lines_box *new_box(lua_State *L, loop_box *loop) {
  lines_box *box = aw_lua_box(L, sizeof *box, lines_class);
  aw_lua_link(L, lua_gettop(L), 1);
  box->handle = ++loop->last_handle;
  return box;
}

static int hold(lines_box *box, loop_box *loop, aw_line_pipe *pipe,
                const aw_line_inbox_options *limits) {
  int rc =
      aw_line_inbox_new(&box->inbox, loop->loop, pipe, limits, &box->handle);
  if (rc == AW_OK) {
    aw_lua_join(loop, &box->member, close_member);
  }
  return rc;
}

/* loop:lines{argv={...}, ...} or {in_fd=, out_fd=}; line_bytes_max=,
 * inbox_lines_max=, inbox_bytes_max=, outbox_bytes_max=, skip_long_lines=bool
 * -> lines | nil, message, code. The descriptors are owned from now on. */
static int loop_lines(lua_State *L) {
  loop_box *loop = aw_lua_check_loop(L, 1);
  luaL_checktype(L, 2, LUA_TTABLE);
  lua_settop(L, 2);
  aw_line_inbox_options limits;
  size_t line_max;
  aw_child_options child = {0};
  bool spawns = has_field(L, 2, "argv");
  read_limits(L, 2, &limits, &line_max);
  int in_fd = (int)aw_lua_opt_unsigned(L, 2, "in_fd", 0);
  int out_fd = (int)aw_lua_opt_unsigned(L, 2, "out_fd", 0);
  if (spawns) {
    aw_lua_child_options(L, 2, &child);
  } else if (!has_field(L, 2, "in_fd") || !has_field(L, 2, "out_fd")) {
    luaL_argerror(L, 2, "neither argv nor in_fd and out_fd");
  }
  if (loop->loop == NULL) {
    return aw_lua_closed(L);
  }
  lines_box *box = new_box(L, loop);
  aw_line_pipe *pipe = NULL;
  const char *why = NULL;
  int rc =
      spawns
          ? aw_line_pipe_spawn(&pipe, loop->loop, &child, line_max, &why)
          : aw_line_pipe_new(&pipe, loop->loop, in_fd, out_fd, NULL, line_max);
  if (rc == AW_OK) {
    why = NULL;
    rc = hold(box, loop, pipe, &limits);
  }
  return rc == AW_OK ? 1 : aw_lua_fail(L, rc, why);
}

/* loop:lines_pair(limits?) -> lines, lines | nil, message, code */
static int loop_lines_pair(lua_State *L) {
  loop_box *loop = aw_lua_check_loop(L, 1);
  lua_settop(L, 2);
  aw_line_inbox_options limits;
  size_t line_max;
  read_limits(L, 2, &limits, &line_max);
  if (loop->loop == NULL) {
    return aw_lua_closed(L);
  }
  lines_box *boxes[2] = {new_box(L, loop), new_box(L, loop)};
  aw_line_pipe *ends[2];
  int rc = aw_line_pipe_pair(ends, loop->loop, line_max);
  if (rc == AW_OK) {
    rc = hold(boxes[0], loop, ends[0], &limits);
    if (rc == AW_OK) {
      rc = hold(boxes[1], loop, ends[1], &limits);
    } else {
      aw_line_pipe_free(ends[1]);
    }
  }
  return rc == AW_OK ? 2 : aw_lua_fail(L, rc, NULL);
}

/* handle() -> the number under which loop:ready names these lines */
static int lines_handle(lua_State *L) {
  lua_pushinteger(L, check_lines(L)->handle);
  return 1;
}

static int fail_at_end(lua_State *L, const aw_line_end *end) {
  int error = end->error == AW_E_LIMIT || end->error == AW_E_NOMEM
                  ? end->error
                  : AW_E_CLOSED;
  return aw_lua_fail(L, error, end->reason);
}

/* next() -> line | nil: none is there | nil, message, code: none will come */
static int lines_next(lua_State *L) {
  lines_box *box = check_lines(L);
  if (box->inbox == NULL) {
    return aw_lua_closed(L);
  }
  const char *bytes = NULL;
  size_t len = 0;
  int rc = aw_line_inbox_next(box->inbox, &bytes, &len);
  if (rc == AW_OK) {
    lua_pushlstring(L, bytes, len);
    return 1;
  } else if (rc == AW_E_CLOSED) {
    return fail_at_end(L, aw_line_inbox_end(box->inbox));
  }
  lua_pushnil(L);
  return 1;
}

static int fail_to_send(lua_State *L, const aw_line_inbox *inbox, int error,
                        size_t at) {
  const aw_line_end *end = aw_line_inbox_end(inbox);
  char text[96];
  if (error == AW_E_INVALID) {
    const char *what =
        lua_tostring(L, 2)[at] == '\n' ? "line feed" : "zero byte";
    snprintf(text, sizeof text, "a line cannot hold a %s, as at byte %llu",
             what, (unsigned long long)at + 1);
    return aw_lua_fail(L, error, text);
  } else if (error == AW_E_LIMIT) {
    snprintf(text, sizeof text,
             "the line has %llu bytes, and line_bytes_max is %llu",
             (unsigned long long)lua_rawlen(L, 2),
             (unsigned long long)aw_line_inbox_line_max(inbox));
    return aw_lua_fail(L, error, text);
  } else if (error == AW_E_CLOSED && end != NULL) {
    return fail_at_end(L, end);
  } else if (error == AW_E_CLOSED) {
    return aw_lua_fail(L, error, "nothing more can be sent");
  }
  return aw_lua_fail(L, error, NULL);
}

/* send(line) -> true | nil, message, code: "would_block" until WRITABLE */
static int lines_send(lua_State *L) {
  lines_box *box = check_lines(L);
  size_t len = 0, at = 0;
  luaL_checktype(L, 2, LUA_TSTRING);
  const char *bytes = lua_tolstring(L, 2, &len);
  if (box->inbox == NULL) {
    return aw_lua_closed(L);
  }
  int rc = aw_line_inbox_send(box->inbox, bytes, len, &at);
  if (rc != AW_OK) {
    return fail_to_send(L, box->inbox, rc, at);
  }
  lua_pushboolean(L, 1);
  return 1;
}

/* finish(): nothing more is sent, lines still come */
static int lines_finish(lua_State *L) {
  lines_box *box = check_lines(L);
  if (box->inbox != NULL) {
    aw_line_inbox_finish(box->inbox);
  }
  return 0;
}

/* close(): orderly; OVER follows */
static int lines_close(lua_State *L) {
  lines_box *box = check_lines(L);
  if (box->inbox != NULL) {
    aw_line_inbox_close(box->inbox);
  }
  return 0;
}

/* kill(signal) -> true | nil, message, code */
static int lines_kill(lua_State *L) {
  static const char *const names[] = {"KILL", "TERM", "INT",  "HUP",
                                      "QUIT", "USR1", "USR2", NULL};
  static const int numbers[] = {SIGKILL, SIGTERM, SIGINT, SIGHUP,
                                SIGQUIT, SIGUSR1, SIGUSR2};
  lines_box *box = check_lines(L);
  int which = luaL_checkoption(L, 2, NULL, names);
  if (box->inbox == NULL) {
    return aw_lua_closed(L);
  }
  aw_child *child = aw_line_inbox_child(box->inbox);
  int rc =
      child == NULL ? AW_E_UNSUPPORTED : aw_child_signal(child, numbers[which]);
  if (rc != AW_OK) {
    const char *why = child == NULL       ? "there is no child"
                      : rc == AW_E_CLOSED ? "the child has ended"
                                          : NULL;
    return aw_lua_fail(L, rc, why);
  }
  lua_pushboolean(L, 1);
  return 1;
}

/* pid() -> of the child | nil */
static int lines_pid(lua_State *L) {
  lines_box *box = check_lines(L);
  aw_child *child = box->inbox != NULL ? aw_line_inbox_child(box->inbox) : NULL;
  if (child == NULL) {
    lua_pushnil(L);
  } else {
    lua_pushinteger(L, aw_child_pid(child));
  }
  return 1;
}

/* state() -> "open" | "finishing" | "failing" | "closing" | "ended" */
static int lines_state(lua_State *L) {
  static const char *const names[] = {"open", "finishing", "failing", "closing",
                                      "ended"};
  lines_box *box = check_lines(L);
  lua_pushstring(L,
                 names[box->inbox == NULL ? AW_LINE_ENDED
                                          : aw_line_inbox_state(box->inbox)]);
  return 1;
}

/* reason() -> nil, while lines may come | message, cause, exit status or number
 * of a signal */
static int lines_reason(lua_State *L) {
  static const char *const causes[] = {"eof",    "closed",     "exited",
                                       "killed", "terminated", "too_long",
                                       "lost",   "stuck"};
  lines_box *box = check_lines(L);
  const aw_line_end *end =
      box->inbox != NULL ? aw_line_inbox_end(box->inbox) : NULL;
  if (end == NULL) {
    lua_pushnil(L);
    return 1;
  }
  lua_pushstring(L, end->reason);
  lua_pushstring(L, causes[end->cause]);
  if (end->cause != AW_LINE_EXITED && end->cause != AW_LINE_KILLED) {
    return 2;
  }
  lua_pushinteger(L, end->status);
  return 3;
}

static void set_count(lua_State *L, const char *key, uint64_t value) {
  lua_pushinteger(L, (lua_Integer)value);
  lua_setfield(L, -2, key);
}

/* stats() -> table of counters (docs/lines.md) */
static int lines_stats(lua_State *L) {
  lines_box *box = check_lines(L);
  if (box->inbox == NULL) {
    return aw_lua_closed(L);
  }
  aw_line_stats stats;
  aw_line_inbox_stats(box->inbox, &stats);
  lua_newtable(L);
#define AW_COUNT(field) set_count(L, #field, stats.field);
  AW_COUNT(lines_in)
  AW_COUNT(lines_out)
  AW_COUNT(bytes_in)
  AW_COUNT(bytes_out)
  AW_COUNT(skipped)
  AW_COUNT(skipped_bytes)
  AW_COUNT(unsent_bytes)
  AW_COUNT(inbox_lines)
  AW_COUNT(inbox_bytes)
  AW_COUNT(outbox_bytes)
#undef AW_COUNT
  return 1;
}

static const luaL_Reg methods[] = {
    {"handle", lines_handle}, {"next", lines_next},   {"send", lines_send},
    {"finish", lines_finish}, {"close", lines_close}, {"kill", lines_kill},
    {"pid", lines_pid},       {"state", lines_state}, {"reason", lines_reason},
    {"stats", lines_stats},   {"free", lines_free},   {NULL, NULL},
};

void aw_lua_open_lines(lua_State *L) {
  aw_lua_class(L, lines_class, methods, lines_free);
  luaL_getmetatable(L, aw_lua_loop_class);
  lua_getfield(L, -1, "__index");
  lua_pushcfunction(L, loop_lines);
  lua_setfield(L, -2, "lines");
  lua_pushcfunction(L, loop_lines_pair);
  lua_setfield(L, -2, "lines_pair");
  lua_pop(L, 2);
}
