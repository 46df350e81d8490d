#include "aw_pipe.h"
#include "aw_envelope.h"
#include "aw_error.h"
#include "aw_os_file.h"
#include "aw_ready.h"
#include <stdio.h>

/* What stays allocated after a burst. */
#define KEEP_BYTES (64u << 10)

_Static_assert(AW_LINE_HEAD_MAX <= AW_HEADER_MAX, "the head of a skipped line");

static void on_handle_closed(uv_handle_t *handle) {
  aw_pipe *pipe = handle->data;

  aw_transport_drop(&pipe->base);
}

static void close_end(aw_fd *end) {
  if (end->has_poll) {
    end->has_poll = false;
    uv_close((uv_handle_t *)&end->poll, on_handle_closed);
  }
  aw_fd_close(end);
}

static void close_input(aw_pipe *pipe) {
  pipe->in_done = true;
  pipe->reading = false;
  close_end(&pipe->in);
}

static void close_output(aw_pipe *pipe) {
  pipe->out_done = true;
  pipe->blocked = false;
  close_end(&pipe->out);
}

void aw_pipe_shut(aw_pipe *pipe) {
  aw_node_remove(&pipe->flush.node);
  close_input(pipe);
  close_output(pipe);
  if (pipe->has_timer) {
    pipe->has_timer = false;
    uv_close((uv_handle_t *)&pipe->timer, on_handle_closed);
  }
}

void aw_pipe_fini(aw_pipe *pipe) {
  aw_lines_fini(&pipe->lines);
  aw_buf_fini(&pipe->output);
}

void aw_pipe_decide(aw_pipe *pipe, int error, int code, const char *reason) {
  if (pipe->base.state < AW_TRANSPORT_CLOSING) {
    pipe->base.state = AW_TRANSPORT_CLOSING;
  }
  if (!pipe->decided) {
    pipe->error = error;
    pipe->code = code;
    snprintf(pipe->reason, sizeof pipe->reason, "%s", reason);
  }
}

static void decide_finally(aw_pipe *pipe, int error, int code,
                           const char *reason) {
  aw_pipe_decide(pipe, error, code, reason);
  pipe->decided = true;
  pipe->discarding = true;
}

void aw_pipe_drop_output(aw_pipe *pipe) {
  aw_buf_reset(&pipe->output, 0);
  pipe->base.pending = 0;
  pipe->blocked = false;
}

/* Whoever does not read any more may still have written: everything up to the
 * end of input is delivered before the end is reported. */
static void break_output(aw_pipe *pipe) {
  aw_pipe_drop_output(pipe);
  aw_pipe_decide(pipe, AW_E_IO, 1006, "the other end stopped reading");
}

static void write_output(aw_pipe *pipe) {
  aw_transport *t = &pipe->base;
  size_t len, put;

  while ((len = aw_buf_len(&pipe->output)) > 0 && !pipe->blocked &&
         !pipe->out_done) {
    int rc = aw_fd_write(&pipe->out, aw_buf_bytes(&pipe->output), len, &put);
    if (rc == AW_E_AGAIN && pipe->out.has_poll) {
      pipe->blocked = true;
    } else if (rc != AW_OK) {
      break_output(pipe);
    } else {
      t->writes++;
      pipe->blocked = put < len && pipe->out.has_poll;
      aw_buf_consume(&pipe->output, put);
      aw_transport_sent(t, put);
    }
  }
  if (len == 0) {
    aw_buf_reset(&pipe->output, KEEP_BYTES);
  }
}

static void on_output_ready(uv_poll_t *poll, int status, int events);

static void await_output(aw_pipe *pipe) {
  if (pipe->blocked) {
    uv_poll_start(&pipe->out.poll, UV_WRITABLE, on_output_ready);
  } else if (pipe->out.has_poll) {
    uv_poll_stop(&pipe->out.poll);
  }
}

/* A status is an error condition of the descriptor, on which libuv has stopped
 * the handle: the write will tell what it is. */
static void on_output_ready(uv_poll_t *poll, int status, int events) {
  aw_pipe *pipe = poll->data;

  (void)status;
  (void)events;
  aw_transport_hold(&pipe->base);
  pipe->blocked = false;
  write_output(pipe);
  aw_pipe_update(pipe);
  aw_transport_drop(&pipe->base);
}

static void refuse_ready(aw_pipe *pipe, int error, const char *what) {
  aw_transport_give_garbage(&pipe->base, error, what);
  if (!aw_transport_alive(&pipe->base) ||
      ++pipe->strange_lines < AW_PIPE_READY_LINES) {
    return;
  }
  decide_finally(pipe, AW_E_LIMIT, 1002, "too many lines before ready");
}

static void take_ready(aw_pipe *pipe, const aw_line *line) {
  aw_transport *t = &pipe->base;
  bool extended;
  int rc =
      aw_ready_parse(aw_loop_mem(t->loop), line->bytes, line->len, &extended);

  if (rc == AW_E_VERSION_MISMATCH) {
    decide_finally(pipe, rc, 1002,
                   "the server's protocol_version is not \"1\"");
  } else if (rc != AW_OK) {
    refuse_ready(pipe, rc, "not a ready line");
  } else {
    uv_timer_stop(&pipe->timer);
    t->info.extended = pipe->extended && extended;
    pipe->was_open = true;
    aw_transport_give_open(t);
  }
}

static void take_line(aw_pipe *pipe, const aw_line *line) {
  if (pipe->discarding) {
    return;
  }
  if (pipe->was_open) {
    aw_transport_give_message(&pipe->base, line->bytes, line->len);
  } else {
    take_ready(pipe, line);
  }
}

static void take_bad_line(aw_pipe *pipe, int error, const aw_line *line) {
  const char *what = error == AW_E_LIMIT ? "line is too long" : "no memory";

  if (pipe->discarding) {
    return;
  }
  if (pipe->was_open && error == AW_E_LIMIT) {
    aw_transport_give_skipped(&pipe->base, line->bytes, line->len, line->whole);
  } else if (pipe->was_open) {
    aw_transport_give_garbage(&pipe->base, error, what);
  } else {
    refuse_ready(pipe, error, what);
  }
}

static void take_bytes(aw_pipe *pipe, char *bytes, size_t len) {
  aw_line line;
  size_t used;

  aw_transport_received(&pipe->base, len);
  while (aw_transport_alive(&pipe->base)) {
    int rc = aw_lines_next(&pipe->lines, bytes, len, &used, &line);
    if (rc == AW_E_AGAIN) {
      return;
    }
    if (rc == AW_OK) {
      take_line(pipe, &line);
    } else {
      take_bad_line(pipe, rc, &line);
    }
    bytes += used;
    len -= used;
  }
}

static void take_end(aw_pipe *pipe) {
  aw_line line;
  int rc = aw_lines_last(&pipe->lines, &line);

  if (rc == AW_OK) {
    take_line(pipe, &line);
  } else if (rc != AW_E_AGAIN) {
    take_bad_line(pipe, rc, &line);
  }
  close_input(pipe);
  if (pipe->was_open) {
    aw_pipe_decide(pipe, AW_OK, 1000, "");
  } else {
    aw_pipe_decide(pipe, AW_E_IO, 1006, "no ready line came");
  }
}

static void read_input(aw_pipe *pipe) {
  char *buffer = aw_loop_read_buffer(pipe->base.loop);
  size_t got, room = pipe->sipping ? AW_TRANSPORT_SIP : AW_LOOP_READ_BUFFER;
  int rc = aw_fd_read(&pipe->in, buffer, room, &got);

  if (rc == AW_E_AGAIN) {
    return;
  }
  if (rc != AW_OK) {
    close_input(pipe);
    aw_pipe_drop_output(pipe);
    aw_pipe_decide(pipe, AW_E_IO, 1006, "the connection was lost");
  } else if (got == 0) {
    take_end(pipe);
  } else {
    take_bytes(pipe, buffer, got);
    pipe->sipping =
        aw_transport_is_flooded(&pipe->base) || (pipe->sipping && got == room);
    aw_transport_keeps(&pipe->base, pipe->lines.partial.size);
  }
}

static void on_input_ready(uv_poll_t *poll, int status, int events) {
  aw_pipe *pipe = poll->data;

  (void)events;
  aw_transport_hold(&pipe->base);
  pipe->reading = status >= 0; /* else libuv has stopped the handle */
  read_input(pipe);
  aw_pipe_update(pipe);
  aw_transport_drop(&pipe->base);
}

static bool wants_input(const aw_pipe *pipe) {
  return !pipe->in_done && (pipe->discarding || !pipe->paused);
}

static void await_input(aw_pipe *pipe) {
  bool wanted = wants_input(pipe);

  if (!pipe->in.has_poll) {
    if (wanted) {
      aw_loop_mark(pipe->base.loop, &pipe->flush);
    }
  } else if (wanted != pipe->reading) {
    pipe->reading = wanted;
    if (wanted) {
      uv_poll_start(&pipe->in.poll, UV_READABLE, on_input_ready);
    } else {
      uv_poll_stop(&pipe->in.poll);
    }
  }
}

static void on_timer(uv_timer_t *timer) {
  aw_pipe *pipe = timer->data;

  aw_transport_hold(&pipe->base);
  if (!pipe->lingering) {
    decide_finally(pipe, AW_E_TIMEOUT, 1002, "no ready line came in time");
  } else {
    if (pipe->base.pending > 0) {
      pipe->decided = false;
      aw_pipe_decide(pipe, AW_E_TIMEOUT, 1006, "output could not be flushed");
      aw_pipe_drop_output(pipe);
    }
    close_input(pipe);
    close_output(pipe);
  }
  aw_pipe_update(pipe);
  aw_transport_drop(&pipe->base);
}

/* While reading is paused the end of input is not awaited: the reader decides
 * how long that takes. */
static void start_linger(aw_pipe *pipe) {
  if (!pipe->lingering && (pipe->in_done || wants_input(pipe))) {
    pipe->lingering = true;
    aw_loop_arm(pipe->base.loop, &pipe->timer, on_timer,
                AW_TRANSPORT_LINGER_MS);
  }
}

/* Closing the output is what tells the other end; its own close is what tells
 * us that it has read everything. A file or a terminal has no such end. */
static void advance_closing(aw_pipe *pipe) {
  start_linger(pipe);
  if (pipe->base.pending == 0 && !pipe->out_done) {
    close_output(pipe);
  }
  if (pipe->out_done && pipe->discarding && !pipe->in.has_peer) {
    close_input(pipe);
  }
}

void aw_pipe_update(aw_pipe *pipe) {
  aw_transport *t = &pipe->base;
  bool may_finish;

  if (!aw_transport_alive(t)) {
    return;
  }
  if (t->state == AW_TRANSPORT_CLOSING) {
    advance_closing(pipe);
    may_finish =
        pipe->out_done && (pipe->may_finish == NULL || pipe->may_finish(pipe));
    if (may_finish && pipe->in_done) {
      aw_pipe_shut(pipe);
      aw_transport_give_closed(t, pipe->error, pipe->code, pipe->reason);
      return;
    }
  }
  await_input(pipe);
  await_output(pipe);
}

static void run_pipe(aw_flush *flush) {
  aw_pipe *pipe = AW_CONTAINER(flush, aw_pipe, flush);
  aw_transport *t = &pipe->base;

  aw_transport_hold(t);
  if (t->info.is_server && t->state == AW_TRANSPORT_OPENING) {
    pipe->was_open = true;
    aw_transport_give_open(t);
  }
  if (aw_transport_alive(t) && !pipe->in.has_poll && wants_input(pipe)) {
    read_input(pipe);
  }
  if (aw_transport_alive(t)) {
    write_output(pipe);
  }
  aw_pipe_update(pipe);
  aw_transport_drop(t);
}

int aw_pipe_send(aw_transport *t, const char *bytes, size_t len) {
  aw_pipe *pipe = (aw_pipe *)t;

  if (t->state != AW_TRANSPORT_OPEN) {
    return AW_E_CLOSED;
  }
  if (aw_buf_reserve(&pipe->output, len + 1) != AW_OK) {
    return AW_E_NOMEM;
  }
  aw_buf_append(&pipe->output, bytes, len);
  aw_buf_append(&pipe->output, "\n", 1);
  t->pending += len + 1;
  aw_loop_mark(t->loop, &pipe->flush);
  return AW_OK;
}

void aw_pipe_pause(aw_transport *t, bool paused) {
  aw_pipe *pipe = (aw_pipe *)t;

  if (pipe->paused != paused && aw_transport_alive(t)) {
    pipe->paused = paused;
    aw_loop_mark(t->loop, &pipe->flush);
  }
}

void aw_pipe_close(aw_transport *t, int code, const char *reason) {
  aw_pipe *pipe = (aw_pipe *)t;

  if (!aw_transport_alive(t) || pipe->discarding) {
    return;
  }
  decide_finally(pipe, AW_OK, code, reason != NULL ? reason : "");
  aw_loop_mark(t->loop, &pipe->flush);
}

/* One poll handle for each direction needs two descriptors. */
static int open_ends(aw_pipe *pipe, int in_fd, int out_fd) {
  int rc, rc_out;

  if (in_fd == out_fd) {
    out_fd = aw_os_copy(in_fd);
  }
  rc = aw_fd_open(&pipe->in, in_fd, false);
  rc_out = aw_fd_open(&pipe->out, out_fd, true);
  return rc != AW_OK ? rc : rc_out;
}

static int watch_end(aw_pipe *pipe, aw_fd *end) {
  int rc = aw_fd_watch(end, aw_loop_uv(pipe->base.loop), pipe);

  if (end->has_poll) {
    aw_transport_hold(&pipe->base);
  }
  return rc;
}

static void start_timer(aw_pipe *pipe) {
  uv_timer_init(aw_loop_uv(pipe->base.loop), &pipe->timer);
  pipe->timer.data = pipe;
  pipe->has_timer = true;
  aw_transport_hold(&pipe->base);
  if (!pipe->base.info.is_server) {
    aw_loop_arm(pipe->base.loop, &pipe->timer, on_timer, AW_PIPE_READY_MS);
  }
}

int aw_pipe_init(aw_pipe *pipe, const aw_stdio_options *options) {
  aw_transport *t = &pipe->base;
  const aw_mem *mem = aw_loop_mem(t->loop);
  size_t max = options->line_max;
  int rc;

  pipe->flush.run = run_pipe;
  pipe->extended = options->extended;
  t->info.is_server = options->is_server;
  t->info.extended = options->is_server && options->extended;
  aw_buf_init(&pipe->output, mem);
  aw_lines_init(&pipe->lines, mem, max > 0 ? max : AW_TRANSPORT_MESSAGE_MAX);
  start_timer(pipe);
  rc = open_ends(pipe, options->in_fd, options->out_fd);
  if (rc == AW_OK) {
    rc = watch_end(pipe, &pipe->in);
  }
  if (rc == AW_OK) {
    rc = watch_end(pipe, &pipe->out);
  }
  if (rc == AW_OK && options->is_server) {
    rc = aw_ready_put(&pipe->output, options->extended);
    t->pending = aw_buf_len(&pipe->output);
  }
  if (rc == AW_OK) {
    aw_loop_mark(t->loop, &pipe->flush);
  }
  return rc;
}
