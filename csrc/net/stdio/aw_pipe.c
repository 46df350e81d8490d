#include "aw_pipe.h"
#include "aw_envelope.h"
#include "aw_error.h"

_Static_assert(AW_LINE_HEAD_MAX <= AW_HEADER_MAX,
               "the head of a skipped line is that of a message");
_Static_assert(AW_LINE_BYTES_MAX == AW_TRANSPORT_MESSAGE_MAX,
               "a line is a message");
_Static_assert(AW_LINE_LINGER_MS == AW_TRANSPORT_LINGER_MS,
               "what lingers is the lines");
_Static_assert(AW_LINE_SIP == AW_TRANSPORT_SIP, "a flood is read in sips");

static void on_timer_closed(uv_handle_t *handle) {
  aw_pipe *pipe = handle->data;
  aw_transport_drop(&pipe->base);
}

static void stop_timer(aw_pipe *pipe) {
  if (pipe->has_timer) {
    pipe->has_timer = false;
    uv_close((uv_handle_t *)&pipe->timer, on_timer_closed);
  }
}

static void on_line(void *user, char *bytes, size_t len) {
  aw_pipe *pipe = user;
  if (pipe->greeter != NULL) {
    aw_line line = {bytes, len, 0};
    pipe->greeter->line(pipe, &line);
  } else {
    aw_transport_give_message(&pipe->base, bytes, len);
  }
}

static void on_dropped(void *user, int error, const aw_line *line) {
  aw_pipe *pipe = user;
  if (pipe->greeter != NULL) {
    pipe->greeter->dropped(pipe, error);
  } else if (error == AW_E_LIMIT) {
    aw_transport_give_skipped(&pipe->base, line->bytes, line->len, line->whole);
  } else {
    aw_transport_give_garbage(&pipe->base, error, "no memory");
  }
}

static void on_received(void *user, size_t len) {
  aw_pipe *pipe = user;
  aw_transport_received(&pipe->base, len);
}

/* It makes no upcall, but may shed others. */
static void on_cut(void *user, bool full) {
  aw_pipe *pipe = user;
  bool flooded = aw_transport_is_flooded(&pipe->base);
  pipe->sipping = flooded || (pipe->sipping && full);
  aw_line_pipe_sip(pipe->lines, pipe->sipping);
  aw_transport_keeps(&pipe->base, aw_line_pipe_held(pipe->lines));
}

static void on_sent(void *user, size_t len) {
  aw_pipe *pipe = user;
  pipe->base.writes++;
  aw_transport_sent(&pipe->base, len);
}

/* Whoever has nothing more to say will not wait for what we have: the end of
 * one direction is the link's. */
static void on_eof(void *user) {
  aw_pipe *pipe = user;
  pipe->base.state = AW_TRANSPORT_CLOSING;
  aw_line_pipe_finish(pipe->lines);
}

/* Who never opened has not ended well. */
static void give_end(aw_pipe *pipe, const aw_line_end *end) {
  aw_transport *t = &pipe->base;
  const char *reason = end->reason;
  int error = end->error;
  if (end->cause == AW_LINE_CLOSED) {
    aw_transport_give_closed(t, error, pipe->code, reason);
    return;
  }
  if (end->cause == AW_LINE_EOF) {
    reason = pipe->greeter != NULL ? pipe->greeter->missing : "";
  }
  if (error == AW_OK && pipe->greeter != NULL) {
    error = AW_E_IO;
  }
  aw_transport_give_closed(t, error, error == AW_OK ? 1000 : 1006, reason);
}

static void on_ended(void *user, const aw_line_end *end) {
  aw_pipe *pipe = user;
  aw_transport_hold(&pipe->base);
  stop_timer(pipe);
  give_end(pipe, end);
  aw_transport_drop(&pipe->base);
}

static const aw_line_sink sink = {.line = on_line,
                                  .dropped = on_dropped,
                                  .received = on_received,
                                  .cut = on_cut,
                                  .sent = on_sent,
                                  .eof = on_eof,
                                  .ended = on_ended};

static void run_begin(aw_flush *flush) {
  aw_pipe *pipe = AW_CONTAINER(flush, aw_pipe, flush);
  if (pipe->base.state == AW_TRANSPORT_OPENING) {
    pipe->greeter->begin(pipe);
  }
}

static void on_timer(uv_timer_t *timer) {
  aw_pipe *pipe = timer->data;
  if (pipe->greeter != NULL) {
    pipe->greeter->late(pipe);
  }
}

int aw_pipe_say(aw_pipe *pipe, const char *bytes, size_t len) {
  int rc = aw_line_pipe_send(pipe->lines, bytes, len);
  pipe->base.pending = aw_line_pipe_pending(pipe->lines);
  return rc;
}

void aw_pipe_expect(aw_pipe *pipe, unsigned ms) {
  uv_timer_init(aw_loop_uv(pipe->base.loop), &pipe->timer);
  pipe->timer.data = pipe;
  pipe->has_timer = true;
  aw_transport_hold(&pipe->base);
  aw_loop_arm(pipe->base.loop, &pipe->timer, on_timer, ms);
}

void aw_pipe_open(aw_pipe *pipe, bool extended) {
  stop_timer(pipe);
  pipe->greeter = NULL;
  pipe->base.info.extended = extended;
  aw_transport_give_open(&pipe->base);
}

static void close_lines(aw_pipe *pipe, int error, int code, const char *why) {
  aw_transport *t = &pipe->base;
  if (aw_line_pipe_state(pipe->lines) < AW_LINE_CLOSING) {
    t->state = AW_TRANSPORT_CLOSING;
    pipe->code = code;
    aw_line_pipe_close(pipe->lines, AW_LINE_CLOSED, error, why);
  }
}

void aw_pipe_refuse(aw_pipe *pipe, int error, const char *why) {
  close_lines(pipe, error, 1002, why);
}

static int pipe_send(aw_transport *t, const char *bytes, size_t len) {
  aw_pipe *pipe = (aw_pipe *)t;
  if (t->state != AW_TRANSPORT_OPEN) {
    return AW_E_CLOSED;
  }
  int rc = aw_line_pipe_send(pipe->lines, bytes, len);
  if (rc == AW_OK) {
    t->pending += len + 1;
  }
  return rc;
}

static void pipe_pause(aw_transport *t, bool paused) {
  aw_pipe *pipe = (aw_pipe *)t;
  if (aw_transport_alive(t)) {
    aw_line_pipe_pause(pipe->lines, paused);
  }
}

static void pipe_close(aw_transport *t, int code, const char *reason) {
  if (aw_transport_alive(t)) {
    close_lines((aw_pipe *)t, AW_OK, code, reason != NULL ? reason : "");
  }
}

static void pipe_free(aw_transport *t) {
  aw_pipe *pipe = (aw_pipe *)t;
  aw_transport_mute(t);
  aw_node_remove(&pipe->flush.node);
  stop_timer(pipe);
  aw_line_pipe_free(pipe->lines);
  pipe->lines = NULL;
  aw_transport_drop(t);
}

static void pipe_release(aw_transport *t) {
  aw_mem_free(aw_loop_mem(t->loop), t);
}

static const aw_transport_ops pipe_ops = {pipe_send, pipe_pause, pipe_close,
                                          pipe_free, NULL};

int aw_pipe_new(aw_transport **out, aw_loop *loop, aw_line_pipe *lines,
                const char *kind, const aw_greeter *greeter, bool extended) {
  aw_pipe *pipe = aw_mem_zero(aw_loop_mem(loop), 1, sizeof *pipe);
  *out = NULL;
  if (pipe == NULL) {
    aw_line_pipe_free(lines);
    return AW_E_NOMEM;
  }
  aw_transport_init(&pipe->base, &pipe_ops, loop, kind, pipe_release);
  pipe->lines = lines;
  pipe->greeter = greeter;
  pipe->extended = extended;
  pipe->flush.run = run_begin;
  aw_loop_mark(loop, &pipe->flush); /* before the lines mark theirs */
  aw_line_pipe_start(lines, &sink, pipe);
  *out = &pipe->base;
  return AW_OK;
}
