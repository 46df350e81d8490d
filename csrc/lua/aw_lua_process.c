/* What belongs to the process as a whole: its signals, its standard input. */
#include "aw_error.h"
#include "aw_input.h"
#include "aw_lua.h"
#include "aw_signal.h"
#include <lauxlib.h>
#include <signal.h>
#include <string.h>

static const char signal_class[] = "agentwire.core.signal";
static const char input_class[] = "agentwire.core.input";

/* One read hands over this much at most. */
#define READ_SIZE (64u << 10)

typedef struct signal_box {
  member_box member;
  aw_signal *signal;
  lua_Integer handle;
} signal_box;

typedef struct input_box {
  member_box member;
  aw_input *input;
  lua_Integer handle;
} input_box;

static const struct {
  const char *name;
  int number;
} signals[] = {
    {"ALRM", SIGALRM}, {"CHLD", SIGCHLD},   {"CONT", SIGCONT},
    {"HUP", SIGHUP},   {"INT", SIGINT},     {"QUIT", SIGQUIT},
    {"TERM", SIGTERM}, {"TSTP", SIGTSTP},   {"USR1", SIGUSR1},
    {"USR2", SIGUSR2}, {"WINCH", SIGWINCH},
};

static int check_signal_name(lua_State *L, int arg) {
  const char *name = luaL_checkstring(L, arg);
  for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++) {
    if (strcmp(signals[i].name, name) == 0) {
      return signals[i].number;
    }
  }
  return luaL_argerror(L, arg, "not a signal that can be waited for");
}

static void close_signal(member_box *member) {
  signal_box *box = AW_CONTAINER(member, signal_box, member);
  aw_signal_free(box->signal);
  box->signal = NULL;
}

static int signal_close(lua_State *L) {
  signal_box *box = aw_lua_self(L, 1, signal_class);
  if (box->signal != NULL) {
    aw_lua_leave(&box->member);
    close_signal(&box->member);
  }
  return 0;
}

static int signal_handle(lua_State *L) {
  signal_box *box = aw_lua_self(L, 1, signal_class);
  lua_pushinteger(L, box->handle);
  return 1;
}

/* loop:signal(name, last_resort?) -> signal | nil, message, code: its handle
 * gets ready when the signal came (aw_signal.h). "refused": it is ignored */
static int loop_signal(lua_State *L) {
  loop_box *loop = aw_lua_check_loop(L, 1);
  int number = check_signal_name(L, 2);
  enum aw_signal_mode mode =
      lua_toboolean(L, 3) ? AW_SIGNAL_LAST_RESORT : AW_SIGNAL_WAIT;
  if (loop->loop == NULL) {
    return aw_lua_closed(L);
  }
  signal_box *box = aw_lua_box(L, sizeof *box, signal_class);
  aw_lua_link(L, lua_gettop(L), 1);
  box->handle = ++loop->last_handle;
  int rc = aw_signal_new(&box->signal, loop->loop, number, mode, &box->handle);
  if (rc != AW_OK) {
    return aw_lua_fail(L, rc, NULL);
  }
  aw_lua_join(loop, &box->member, close_signal);
  return 1;
}

static void close_input(member_box *member) {
  input_box *box = AW_CONTAINER(member, input_box, member);
  aw_input_free(box->input);
  box->input = NULL;
}

static int input_close(lua_State *L) {
  input_box *box = aw_lua_self(L, 1, input_class);
  if (box->input != NULL) {
    aw_lua_leave(&box->member);
    close_input(&box->member);
  }
  return 0;
}

static int input_handle(lua_State *L) {
  input_box *box = aw_lua_self(L, 1, input_class);
  lua_pushinteger(L, box->handle);
  return 1;
}

/* read() -> string | nil, message, code: what is there; "would_block", and the
 * handle gets ready when that has changed; "closed" at the end */
static int input_read(lua_State *L) {
  input_box *box = aw_lua_self(L, 1, input_class);
  if (box->input == NULL) {
    return aw_lua_closed(L);
  }
  void *bytes = lua_newuserdata(L, READ_SIZE);
  size_t got = 0;
  int rc = aw_input_read(box->input, bytes, READ_SIZE, &got);
  if (rc != AW_OK) {
    return aw_lua_fail(L, rc, NULL);
  } else if (got == 0) {
    return aw_lua_fail(L, AW_E_CLOSED, "the end of the input");
  }
  lua_pushlstring(L, bytes, got);
  return 1;
}

/* set_raw(boolean) -> true | nil, message, code */
static int input_set_raw(lua_State *L) {
  input_box *box = aw_lua_self(L, 1, input_class);
  if (box->input == NULL) {
    return aw_lua_closed(L);
  }
  int rc = aw_input_set_raw(box->input, lua_toboolean(L, 2));
  if (rc != AW_OK) {
    return aw_lua_fail(L, rc, NULL);
  }
  lua_pushboolean(L, 1);
  return 1;
}

/* loop:input(fd) -> input | nil, message, code */
static int loop_input(lua_State *L) {
  loop_box *loop = aw_lua_check_loop(L, 1);
  int fd = (int)luaL_checkinteger(L, 2);
  if (loop->loop == NULL) {
    return aw_lua_closed(L);
  }
  input_box *box = aw_lua_box(L, sizeof *box, input_class);
  aw_lua_link(L, lua_gettop(L), 1);
  box->handle = ++loop->last_handle;
  int rc = aw_input_new(&box->input, loop->loop, fd, &box->handle);
  if (rc != AW_OK) {
    return aw_lua_fail(L, rc, NULL);
  }
  aw_lua_join(loop, &box->member, close_input);
  return 1;
}

static const luaL_Reg signal_methods[] = {
    {"handle", signal_handle},
    {"close", signal_close},
    {NULL, NULL},
};

static const luaL_Reg input_methods[] = {
    {"handle", input_handle}, {"read", input_read}, {"set_raw", input_set_raw},
    {"close", input_close},   {NULL, NULL},
};

void aw_lua_open_process(lua_State *L) {
  aw_lua_class(L, signal_class, signal_methods, signal_close);
  aw_lua_class(L, input_class, input_methods, input_close);
  luaL_getmetatable(L, aw_lua_loop_class);
  lua_getfield(L, -1, "__index");
  lua_pushcfunction(L, loop_signal);
  lua_setfield(L, -2, "signal");
  lua_pushcfunction(L, loop_input);
  lua_setfield(L, -2, "input");
  lua_pop(L, 2);
}
