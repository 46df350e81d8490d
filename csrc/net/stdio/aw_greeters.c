#include "aw_greeters.h"
#include "aw_error.h"
#include "aw_ready.h"
#include <string.h>

static void await_ready(aw_pipe *pipe) {
  aw_pipe_expect(pipe, AW_GREETER_MS);
}

static void refuse_line(aw_pipe *pipe, int error, const char *what) {
  aw_transport *t = &pipe->base;
  aw_transport_hold(t);
  aw_transport_give_garbage(t, error, what);
  if (aw_transport_alive(t) && ++pipe->strange_lines >= AW_GREETER_LINES) {
    aw_pipe_refuse(pipe, AW_E_LIMIT, "too many lines before ready");
  }
  aw_transport_drop(t);
}

static void take_ready(aw_pipe *pipe, const aw_line *line) {
  const aw_mem *mem = aw_loop_mem(pipe->base.loop);
  bool extended;
  int rc = aw_ready_parse(mem, line->bytes, line->len, &extended);
  if (rc == AW_E_VERSION_MISMATCH) {
    aw_pipe_refuse(pipe, rc, "the server's protocol_version is not \"1\"");
  } else if (rc != AW_OK) {
    refuse_line(pipe, rc, "not a ready line");
  } else {
    aw_pipe_open(pipe, pipe->extended && extended);
  }
}

static void drop_line(aw_pipe *pipe, int error) {
  refuse_line(pipe, error,
              error == AW_E_LIMIT ? "line is too long" : "no memory");
}

static void end_wait(aw_pipe *pipe) {
  aw_pipe_refuse(pipe, AW_E_TIMEOUT, "no ready line came in time");
}

const aw_greeter aw_greeter_client = {.begin = await_ready,
                                      .line = take_ready,
                                      .dropped = drop_line,
                                      .late = end_wait,
                                      .missing = "no ready line came"};

static void say_ready(aw_pipe *pipe) {
  const char *ready = aw_ready_line(pipe->extended);
  if (aw_pipe_say(pipe, ready, strlen(ready)) != AW_OK) {
    aw_pipe_refuse(pipe, AW_E_NOMEM, aw_error_text(AW_E_NOMEM));
  } else {
    aw_pipe_open(pipe, pipe->extended);
  }
}

/* It has no line to wait for. */
const aw_greeter aw_greeter_server = {.begin = say_ready, .missing = ""};
