#include "aw_line_pipe.h"
#include "aw_error.h"
#include "aw_fd.h"
#include "aw_os_file.h"
#include <assert.h>
#include <stdio.h>
#include <string.h>

/* What stays allocated after a burst. */
#define KEEP_BYTES (64u << 10)

struct aw_line_pipe {
  aw_loop *loop;
  aw_line_sink sink; /* empty once the owner has let go */
  void *user;
  aw_flush flush;
  enum aw_line_state state;
  /* The owner's, one for each open handle, one for a callback that works. */
  unsigned refs;
  aw_fd in, out; /* fd < 0: that direction has ended */
  aw_lines lines;
  aw_buf rest; /* what was read with lines that a pause keeps back */
  aw_buf output;
  aw_child *child;
  uv_timer_t timer; /* of the lingering */
  bool has_timer;
  unsigned rounds; /* how often the lingering has begun; 0: not yet */
  bool was_busy;   /* something came in this round */
  bool paused;
  bool sipping;
  bool reading, blocked; /* what the poll handles wait for */
  bool is_final;         /* the verdict stands */
  aw_line_end end;
};

static bool is_alive(const aw_line_pipe *pipe) {
  return pipe->state != AW_LINE_ENDED;
}

static bool is_open(const aw_fd *end) {
  return end->fd >= 0;
}

static void drop(aw_line_pipe *pipe) {
  assert(pipe->refs > 0);
  if (--pipe->refs > 0) {
    return;
  }
  aw_lines_fini(&pipe->lines);
  aw_buf_fini(&pipe->rest);
  aw_buf_fini(&pipe->output);
  aw_mem_free(aw_loop_mem(pipe->loop), pipe);
}

static void on_handle_closed(uv_handle_t *handle) {
  drop(handle->data);
}

static void close_end(aw_fd *end) {
  if (end->has_poll) {
    end->has_poll = false;
    uv_close((uv_handle_t *)&end->poll, on_handle_closed);
  }
  aw_fd_close(end);
}

static void close_input(aw_line_pipe *pipe) {
  pipe->reading = false;
  close_end(&pipe->in);
}

static void close_output(aw_line_pipe *pipe) {
  pipe->blocked = false;
  close_end(&pipe->out);
}

/* Nothing is left open. */
static void shut(aw_line_pipe *pipe) {
  pipe->state = AW_LINE_ENDED;
  aw_node_remove(&pipe->flush.node);
  close_input(pipe);
  close_output(pipe);
  if (pipe->has_timer) {
    pipe->has_timer = false;
    uv_close((uv_handle_t *)&pipe->timer, on_handle_closed);
  }
}

static void enter(aw_line_pipe *pipe, enum aw_line_state state) {
  if (pipe->state < state) {
    pipe->state = state;
  }
}

static void decide(aw_line_pipe *pipe, enum aw_line_cause cause, int error,
                   const char *reason) {
  if (!pipe->is_final) {
    pipe->end.cause = cause;
    pipe->end.error = error;
    snprintf(pipe->end.reason, sizeof pipe->end.reason, "%s", reason);
  }
}

static void drop_output(aw_line_pipe *pipe) {
  aw_buf_reset(&pipe->output, 0);
  pipe->blocked = false;
}

static void fail(aw_line_pipe *pipe) {
  bool is_news = pipe->state < AW_LINE_FAILING;
  drop_output(pipe);
  enter(pipe, AW_LINE_FAILING);
  if (is_news && pipe->sink.failing != NULL) {
    pipe->sink.failing(pipe->user);
  }
}

/* Whoever does not read any more may still have written: everything up to the
 * end of input is given before the end is told. */
static void break_output(aw_line_pipe *pipe) {
  decide(pipe, AW_LINE_LOST, AW_E_IO, "the other end stopped reading");
  fail(pipe);
}

static void note_sent(aw_line_pipe *pipe, size_t put, size_t len) {
  pipe->blocked = put < len && pipe->out.has_poll;
  aw_buf_consume(&pipe->output, put);
  if (pipe->sink.sent != NULL) {
    pipe->sink.sent(pipe->user, put);
  }
}

static void write_output(aw_line_pipe *pipe) {
  size_t len, put;
  while ((len = aw_buf_len(&pipe->output)) > 0 && !pipe->blocked &&
         is_open(&pipe->out)) {
    int rc = aw_fd_write(&pipe->out, aw_buf_bytes(&pipe->output), len, &put);
    if (rc == AW_E_AGAIN && pipe->out.has_poll) {
      pipe->blocked = true;
    } else if (rc != AW_OK) {
      break_output(pipe);
    } else {
      note_sent(pipe, put, len);
    }
  }
  if (len == 0) {
    aw_buf_reset(&pipe->output, KEEP_BYTES);
  }
}

static void update(aw_line_pipe *pipe);

static void on_output_ready(uv_poll_t *poll, int status, int events);

static void await_output(aw_line_pipe *pipe) {
  if (pipe->blocked) {
    uv_poll_start(&pipe->out.poll, UV_WRITABLE, on_output_ready);
  } else if (pipe->out.has_poll) {
    uv_poll_stop(&pipe->out.poll);
  }
}

/* A status is an error condition of the descriptor, on which libuv has stopped
 * the handle: the write will tell what it is. */
static void on_output_ready(uv_poll_t *poll, int status, int events) {
  aw_line_pipe *pipe = poll->data;
  (void)status;
  (void)events;
  pipe->refs++;
  pipe->blocked = false;
  write_output(pipe);
  update(pipe);
  drop(pipe);
}

/* What comes is dropped once we have closed. */
static void give(aw_line_pipe *pipe, int rc, const aw_line *line) {
  if (pipe->state >= AW_LINE_CLOSING) {
    return;
  }
  if (rc == AW_OK) {
    pipe->sink.line(pipe->user, line->bytes, line->len);
  } else {
    pipe->sink.dropped(pipe->user, rc, line);
  }
}

static bool holds_back(const aw_line_pipe *pipe) {
  return pipe->paused && pipe->state < AW_LINE_CLOSING;
}

/* Gives the lines of `bytes`; how many were used. The others wait for the end
 * of a pause. */
static size_t cut(aw_line_pipe *pipe, char *bytes, size_t len) {
  size_t at = 0, used = 0;
  aw_line line;
  while (is_alive(pipe) && !holds_back(pipe)) {
    int rc = aw_lines_next(&pipe->lines, bytes + at, len - at, &used, &line);
    at += used;
    if (rc == AW_E_AGAIN) {
      break;
    }
    give(pipe, rc, &line);
  }
  return at;
}

static void cut_rest(aw_line_pipe *pipe) {
  size_t len = aw_buf_len(&pipe->rest);
  if (len == 0) {
    return;
  }
  aw_buf_consume(&pipe->rest, cut(pipe, aw_buf_bytes(&pipe->rest), len));
  if (aw_buf_len(&pipe->rest) == 0) {
    aw_buf_reset(&pipe->rest, KEEP_BYTES);
  }
}

static void cut_read(aw_line_pipe *pipe, char *bytes, size_t len, bool full) {
  pipe->was_busy = true;
  if (pipe->sink.received != NULL) {
    pipe->sink.received(pipe->user, len);
  }
  size_t used = cut(pipe, bytes, len);
  if (is_alive(pipe) && used < len &&
      aw_buf_append(&pipe->rest, bytes + used, len - used) != AW_OK) {
    aw_line_pipe_close(pipe, AW_LINE_LOST, AW_E_NOMEM,
                       aw_error_text(AW_E_NOMEM));
  }
  if (is_alive(pipe) && pipe->sink.cut != NULL) {
    pipe->sink.cut(pipe->user, full);
  }
}

static void end_input(aw_line_pipe *pipe) {
  aw_line line;
  int rc = aw_lines_last(&pipe->lines, &line);
  if (rc != AW_E_AGAIN) {
    give(pipe, rc, &line);
  }
  if (!is_alive(pipe)) {
    return;
  }
  close_input(pipe);
  decide(pipe, AW_LINE_EOF, AW_OK, "the other end closed");
  if (pipe->state < AW_LINE_CLOSING && pipe->sink.eof != NULL) {
    pipe->sink.eof(pipe->user);
  }
}

static void read_input(aw_line_pipe *pipe) {
  char *buffer = aw_loop_read_buffer(pipe->loop);
  size_t room = pipe->sipping ? AW_LINE_SIP : AW_LOOP_READ_BUFFER, got = 0;
  int rc = aw_fd_read(&pipe->in, buffer, room, &got);
  if (rc == AW_E_AGAIN) {
    return;
  }
  if (rc != AW_OK) {
    close_input(pipe);
    decide(pipe, AW_LINE_LOST, AW_E_IO, "the connection was lost");
    fail(pipe);
  } else if (got == 0) {
    end_input(pipe);
  } else {
    cut_read(pipe, buffer, got, got == room);
  }
}

static void on_input_ready(uv_poll_t *poll, int status, int events) {
  aw_line_pipe *pipe = poll->data;
  (void)events;
  pipe->refs++;
  pipe->reading = status >= 0; /* else libuv has stopped the handle */
  read_input(pipe);
  update(pipe);
  drop(pipe);
}

static bool wants_input(const aw_line_pipe *pipe) {
  return is_open(&pipe->in) && !holds_back(pipe);
}

static void await_input(aw_line_pipe *pipe) {
  bool wanted = wants_input(pipe);
  bool at_once = aw_buf_len(&pipe->rest) > 0 || !pipe->in.has_poll;
  if (wanted && at_once) {
    aw_loop_mark(pipe->loop, &pipe->flush);
  }
  wanted = wanted && !at_once;
  if (wanted != pipe->reading && pipe->in.has_poll) {
    pipe->reading = wanted;
    if (wanted) {
      uv_poll_start(&pipe->in.poll, UV_READABLE, on_input_ready);
    } else {
      uv_poll_stop(&pipe->in.poll);
    }
  }
}

/* What is left when the time is over will not come, or go, any more. */
static void give_up(aw_line_pipe *pipe) {
  if (aw_buf_len(&pipe->output) > 0) {
    pipe->is_final = false;
    decide(pipe, AW_LINE_STUCK, AW_E_TIMEOUT, "output could not be flushed");
    drop_output(pipe);
  }
  enter(pipe, AW_LINE_FAILING);
  close_input(pipe);
  close_output(pipe);
}

static void on_timer(uv_timer_t *timer);

static void linger(aw_line_pipe *pipe) {
  pipe->rounds++;
  pipe->was_busy = false;
  aw_loop_arm(pipe->loop, &pipe->timer, on_timer, AW_LINE_LINGER_MS);
}

/* What a child wrote before its end is given in whole, however slowly it is
 * taken. */
static void on_timer(uv_timer_t *timer) {
  aw_line_pipe *pipe = timer->data;
  bool goes_on = is_open(&pipe->in) && pipe->state < AW_LINE_CLOSING;
  pipe->refs++;
  if (goes_on && !wants_input(pipe)) {
    pipe->rounds = 0; /* the reader decides how long that takes */
  } else if (goes_on && pipe->was_busy &&
             pipe->rounds < AW_LINE_LINGER_ROUNDS) {
    linger(pipe);
  } else {
    give_up(pipe);
  }
  update(pipe);
  drop(pipe);
}

static bool is_ending(const aw_line_pipe *pipe) {
  return pipe->state >= AW_LINE_FAILING ||
         (pipe->state == AW_LINE_FINISHING && !is_open(&pipe->in));
}

/* Closing the output is what tells the other end; its own close is what tells
 * us that it has read everything. A file or a terminal has no such end. */
static void advance(aw_line_pipe *pipe) {
  bool goes_on = !is_open(&pipe->in) || wants_input(pipe);
  if (is_ending(pipe) && pipe->rounds == 0 && goes_on) {
    linger(pipe);
  }
  if (aw_buf_len(&pipe->output) == 0) {
    close_output(pipe);
  }
  if (!is_open(&pipe->out) && pipe->state == AW_LINE_CLOSING &&
      !pipe->in.has_peer) {
    close_input(pipe);
  }
}

/* A child that has not exited although its stdin is closed gets its time; its
 * end is told together with how it ended. */
static bool may_end(aw_line_pipe *pipe) {
  if (is_open(&pipe->out) || !is_ending(pipe)) {
    return false;
  }
  if (pipe->child != NULL && aw_child_is_running(pipe->child)) {
    aw_child_doom(pipe->child);
    return false;
  }
  return !is_open(&pipe->in);
}

/* Does what the state asks for: polls, lingers, closes, tells the end. Ends
 * every callback, which holds the pipe. */
static void update(aw_line_pipe *pipe) {
  if (!is_alive(pipe)) {
    return;
  }
  if (pipe->state > AW_LINE_OPEN) {
    advance(pipe);
    if (may_end(pipe)) {
      shut(pipe);
      pipe->sink.ended(pipe->user, &pipe->end);
      return;
    }
  }
  if (pipe->state == AW_LINE_CLOSING) {
    aw_buf_reset(&pipe->rest, 0);
  }
  await_input(pipe);
  await_output(pipe);
}

static void run_pipe(aw_flush *flush) {
  aw_line_pipe *pipe = AW_CONTAINER(flush, aw_line_pipe, flush);
  pipe->refs++;
  cut_rest(pipe);
  if (is_alive(pipe) && !pipe->in.has_poll && wants_input(pipe) &&
      aw_buf_len(&pipe->rest) == 0) {
    read_input(pipe);
  }
  if (is_alive(pipe)) {
    write_output(pipe);
  }
  update(pipe);
  drop(pipe);
}

/* What the child wrote before it ended is still in the socket; the end of
 * input follows it, unless a grandchild keeps the other side open: then the
 * lingering ends it. */
static void on_exit_of_child(void *user, int status, int number) {
  aw_line_pipe *pipe = user;
  char reason[64];
  enum aw_line_cause cause = number != 0 ? AW_LINE_KILLED : AW_LINE_EXITED;
  if (aw_child_was_terminated(pipe->child)) {
    cause = AW_LINE_TERMINATED;
    snprintf(reason, sizeof reason, "had to be terminated");
  } else if (number != 0) {
    snprintf(reason, sizeof reason, "killed by signal %d", number);
  } else {
    snprintf(reason, sizeof reason, "exited with status %d", status);
  }
  bool clean = cause == AW_LINE_EXITED && status == 0;
  pipe->refs++;
  decide(pipe, cause, clean ? AW_OK : AW_E_IO, reason);
  pipe->is_final = true; /* the end of input, which follows, says less */
  pipe->end.status = number != 0 ? number : status;
  fail(pipe);
  update(pipe);
  drop(pipe);
}

void aw_line_pipe_start(aw_line_pipe *pipe, const aw_line_sink *sink,
                        void *user) {
  pipe->sink = *sink;
  pipe->user = user;
  if (pipe->child != NULL) {
    aw_child_watch(pipe->child, on_exit_of_child, pipe);
  }
  aw_loop_mark(pipe->loop, &pipe->flush);
}

int aw_line_pipe_send(aw_line_pipe *pipe, const char *bytes, size_t len) {
  if (pipe->state != AW_LINE_OPEN) {
    return AW_E_CLOSED;
  }
  if (aw_buf_reserve(&pipe->output, len + 1) != AW_OK) {
    return AW_E_NOMEM;
  }
  char *at = pipe->output.data + pipe->output.tail;
  memcpy(at, bytes, len);
  at[len] = '\n';
  pipe->output.tail += len + 1;
  aw_loop_mark(pipe->loop, &pipe->flush);
  return AW_OK;
}

size_t aw_line_pipe_line_max(const aw_line_pipe *pipe) {
  return pipe->lines.max;
}

size_t aw_line_pipe_pending(const aw_line_pipe *pipe) {
  return aw_buf_len(&pipe->output);
}

void aw_line_pipe_pause(aw_line_pipe *pipe, bool paused) {
  if (pipe->paused != paused && is_alive(pipe)) {
    pipe->paused = paused;
    aw_loop_mark(pipe->loop, &pipe->flush);
  }
}

void aw_line_pipe_sip(aw_line_pipe *pipe, bool sipping) {
  pipe->sipping = sipping;
}

size_t aw_line_pipe_held(const aw_line_pipe *pipe) {
  return pipe->lines.partial.size + pipe->rest.size;
}

void aw_line_pipe_finish(aw_line_pipe *pipe) {
  if (pipe->state == AW_LINE_OPEN) {
    pipe->state = AW_LINE_FINISHING;
    aw_loop_mark(pipe->loop, &pipe->flush);
  }
}

void aw_line_pipe_close(aw_line_pipe *pipe, enum aw_line_cause cause, int error,
                        const char *reason) {
  if (pipe->state >= AW_LINE_CLOSING) {
    return;
  }
  pipe->state = AW_LINE_CLOSING;
  decide(pipe, cause, error, reason);
  pipe->is_final = true;
  aw_loop_mark(pipe->loop, &pipe->flush);
}

enum aw_line_state aw_line_pipe_state(const aw_line_pipe *pipe) {
  return pipe->state;
}

const aw_line_end *aw_line_pipe_end(const aw_line_pipe *pipe) {
  return &pipe->end;
}

aw_child *aw_line_pipe_child(const aw_line_pipe *pipe) {
  return pipe->child;
}

void aw_line_pipe_free(aw_line_pipe *pipe) {
  if (pipe == NULL) {
    return;
  }
  pipe->sink = (aw_line_sink){.line = NULL};
  shut(pipe);
  aw_child_free(pipe->child);
  pipe->child = NULL;
  drop(pipe);
}

static void close_both(int in_fd, int out_fd) {
  aw_os_close(in_fd);
  if (out_fd != in_fd) {
    aw_os_close(out_fd);
  }
}

/* Another file is in its place from now on. */
static int take_aside(int fd, int replacement) {
  int aside = aw_os_copy(fd);
  if (aside < 0) {
    return fd;
  }
  aw_os_replace(fd, replacement);
  return aside;
}

static void guard_standard_files(int *in_fd, int *out_fd) {
  bool one_file = *in_fd == *out_fd;
  if (*out_fd == AW_OS_STDOUT) {
    *out_fd = take_aside(AW_OS_STDOUT, AW_OS_STDERR);
  }
  if (one_file) {
    *in_fd = *out_fd;
  } else if (*in_fd == AW_OS_STDIN) {
    *in_fd = take_aside(AW_OS_STDIN, -1);
  }
}

/* One poll handle for each direction needs two descriptors. */
static int open_ends(aw_line_pipe *pipe, int in_fd, int out_fd) {
  guard_standard_files(&in_fd, &out_fd);
  if (in_fd == out_fd) {
    out_fd = aw_os_copy(in_fd);
  }
  int rc = aw_fd_open(&pipe->in, in_fd, false);
  int rc_out = aw_fd_open(&pipe->out, out_fd, true);
  return rc != AW_OK ? rc : rc_out;
}

static int watch_end(aw_line_pipe *pipe, aw_fd *end) {
  int rc = aw_fd_watch(end, aw_loop_uv(pipe->loop), pipe);
  pipe->refs += end->has_poll ? 1 : 0;
  return rc;
}

static int open_pipe(aw_line_pipe *pipe, int in_fd, int out_fd) {
  uv_timer_init(aw_loop_uv(pipe->loop), &pipe->timer);
  pipe->timer.data = pipe;
  pipe->has_timer = true;
  pipe->refs++;
  int rc = open_ends(pipe, in_fd, out_fd);
  if (rc == AW_OK) {
    rc = watch_end(pipe, &pipe->in);
  }
  if (rc == AW_OK) {
    rc = watch_end(pipe, &pipe->out);
  }
  return rc;
}

int aw_line_pipe_new(aw_line_pipe **out, aw_loop *loop, int in_fd, int out_fd,
                     aw_child *child, size_t line_max) {
  const aw_mem *mem = aw_loop_mem(loop);
  aw_line_pipe *pipe = aw_mem_zero(mem, 1, sizeof *pipe);
  *out = NULL;
  if (pipe == NULL) {
    close_both(in_fd, out_fd);
    aw_child_free(child);
    return AW_E_NOMEM;
  }
  pipe->loop = loop;
  pipe->refs = 1;
  pipe->child = child;
  pipe->flush.run = run_pipe;
  aw_buf_init(&pipe->rest, mem);
  aw_buf_init(&pipe->output, mem);
  aw_lines_init(&pipe->lines, mem, line_max > 0 ? line_max : AW_LINE_BYTES_MAX);
  int rc = open_pipe(pipe, in_fd, out_fd);
  if (rc != AW_OK) {
    aw_line_pipe_free(pipe);
    return rc;
  }
  *out = pipe;
  return AW_OK;
}

int aw_line_pipe_spawn(aw_line_pipe **out, aw_loop *loop,
                       const aw_child_options *options, size_t line_max,
                       const char **why) {
  aw_child *child = NULL;
  int in_fd, out_fd;
  *out = NULL;
  int rc = aw_child_new(&child, loop, options, &in_fd, &out_fd, why);
  if (rc != AW_OK) {
    return rc;
  }
  rc = aw_line_pipe_new(out, loop, out_fd, in_fd, child, line_max);
  if (rc != AW_OK) {
    *why = aw_error_text(rc);
  }
  return rc;
}

int aw_line_pipe_pair(aw_line_pipe *ends[2], aw_loop *loop, size_t line_max) {
  int fds[2];
  ends[0] = ends[1] = NULL;
  if (!aw_os_pair(fds)) {
    return AW_E_IO;
  }
  int rc = aw_line_pipe_new(&ends[0], loop, fds[0], fds[0], NULL, line_max);
  if (rc != AW_OK) {
    aw_os_close(fds[1]);
    return rc;
  }
  rc = aw_line_pipe_new(&ends[1], loop, fds[1], fds[1], NULL, line_max);
  if (rc != AW_OK) {
    aw_line_pipe_free(ends[0]);
    ends[0] = NULL;
  }
  return rc;
}
