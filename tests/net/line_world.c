#include "line_world.h"
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#define DEADLINE_MS 20000

aw_loop *line_loop;
static failing_mem memory;
static unsigned descriptors, handles;

unsigned line_descriptors(void) {
  DIR *folder = opendir("/proc/self/fd");
  unsigned count = 0;
  while (readdir(folder) != NULL) {
    count++;
  }
  closedir(folder);
  return count;
}

static void count_handle(uv_handle_t *handle, void *arg) {
  (void)handle;
  ++*(unsigned *)arg;
}

static unsigned open_handles(void) {
  unsigned count = 0;
  uv_walk(aw_loop_uv(line_loop), count_handle, &count);
  return count;
}

static void warm_up_signals(void) {
  static bool done;
  uv_signal_t signal;
  if (!done) {
    done = true; /* libuv keeps a pipe for the process, once it is needed */
    uv_signal_init(aw_loop_uv(line_loop), &signal);
    uv_signal_start(&signal, NULL, SIGWINCH);
    uv_close((uv_handle_t *)&signal, NULL);
    aw_loop_step(line_loop);
  }
}

int line_set_up(void **state) {
  (void)state;
  failing_mem_init(&memory, 0);
  assert_int_equal(aw_loop_new(&line_loop, &memory.mem), AW_OK);
  warm_up_signals();
  aw_loop_free(line_loop);
  descriptors = line_descriptors();
  assert_int_equal(aw_loop_new(&line_loop, &memory.mem), AW_OK);
  handles = open_handles();
  return 0;
}

static uint64_t now_ms(void) {
  return uv_hrtime() / 1000000;
}

int line_tear_down(void **state) {
  uint64_t deadline = now_ms() + DEADLINE_MS;
  (void)state;
  while (open_handles() > handles) {
    assert_true(now_ms() < deadline);
    line_turn(100);
  }
  aw_loop_free(line_loop);
  assert_int_equal(line_descriptors(), descriptors);
  assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
  assert_int_equal(errno, ECHILD);
  assert_int_equal(memory.live, 0);
  return 0;
}

void line_free(line_end *end) {
  aw_line_pipe *pipe = end->pipe;
  end->pipe = NULL;
  aw_line_pipe_free(pipe);
}

/* A state never goes back, and nothing follows the end. */
static void note(line_end *end, enum line_upcall upcall) {
  assert_non_null(end->pipe);
  assert_int_equal(end->upcalls[LINE_ENDED], 0);
  enum aw_line_state state = aw_line_pipe_state(end->pipe);
  assert_true(state >= end->state);
  end->state = state;
  end->upcalls[upcall]++;
  if (end->free_in == upcall) {
    line_free(end);
  }
}

static void on_line(void *user, char *bytes, size_t len) {
  line_end *end = user;
  unsigned index = end->upcalls[LINE_LINE];
  char expected[16];
  snprintf(expected, sizeof expected, "%u", index);
  end->bytes += len;
  if (end->counts &&
      (len != strlen(expected) || memcmp(bytes, expected, len))) {
    end->strange++;
  }
  memset(bytes, '#', len); /* the contract lets the reader change them */
  if (end->pause_each > 0 && (index + 1) % end->pause_each == 0) {
    aw_line_pipe_pause(end->pipe, true);
  }
  note(end, LINE_LINE);
}

static void on_dropped(void *user, int error, const aw_line *line) {
  line_end *end = user;
  end->dropped_error = error;
  end->dropped_whole = error == AW_E_LIMIT ? line->whole : 0;
  note(end, LINE_DROPPED);
}

static void on_received(void *user, size_t len) {
  assert_true(len > 0);
  note(user, LINE_RECEIVED);
}

static void on_cut(void *user, bool full) {
  (void)full;
  note(user, LINE_CUT);
}

static void on_sent(void *user, size_t len) {
  assert_true(len > 0);
  note(user, LINE_SENT);
}

static void on_eof(void *user) {
  note(user, LINE_EOF);
}

static void on_failing(void *user) {
  line_end *end = user;
  assert_int_equal(aw_line_pipe_pending(end->pipe), 0);
  note(end, LINE_FAILING);
}

static void on_ended(void *user, const aw_line_end *reason) {
  line_end *end = user;
  end->end = *reason;
  assert_int_equal(aw_line_pipe_state(end->pipe), AW_LINE_ENDED);
  note(end, LINE_ENDED);
}

void line_start(line_end *end, aw_line_pipe *pipe) {
  static const aw_line_sink sink = {on_line, on_dropped, on_received, on_cut,
                                    on_sent, on_eof,     on_failing,  on_ended};
  *end = (line_end){.pipe = pipe};
  aw_line_pipe_start(pipe, &sink, end);
}

void line_pair(line_end *near, line_end *far, size_t line_max) {
  aw_line_pipe *ends[2];
  assert_int_equal(aw_line_pipe_pair(ends, line_loop, line_max), AW_OK);
  line_start(near, ends[0]);
  line_start(far, ends[1]);
}

void line_shell(line_end *end, const char *script,
                const aw_child_options *options) {
  const char *argv[] = {"sh", "-c", script, NULL}, *why;
  aw_child_options all = {0};
  aw_line_pipe *pipe;
  if (options != NULL) {
    all = *options;
  }
  all.argv = argv;
  assert_int_equal(aw_line_pipe_spawn(&pipe, line_loop, &all, 0, &why), AW_OK);
  line_start(end, pipe);
}

void line_turn(int timeout_ms) {
  aw_loop_wait(line_loop, timeout_ms);
}

void line_until(bool (*done)(const line_end *end), const line_end *end) {
  uint64_t deadline = now_ms() + DEADLINE_MS;
  while (!done(end)) {
    assert_true(now_ms() < deadline);
    line_turn(100);
  }
}

bool line_has_ended(const line_end *end) {
  return end->upcalls[LINE_ENDED] == 1;
}

bool line_has_eof(const line_end *end) {
  return end->upcalls[LINE_EOF] == 1;
}

static void hurry(uv_handle_t *handle, void *arg) {
  uv_timer_t *timer = (uv_timer_t *)handle;
  if (handle->type == UV_TIMER && uv_is_active(handle)) {
    uv_timer_start(timer, timer->timer_cb, 0, 0);
    ++*(unsigned *)arg;
  }
}

void line_hurry(void) {
  unsigned timers = 0;
  uv_walk(aw_loop_uv(line_loop), hurry, &timers);
  assert_int_equal(timers, 1);
  line_turn(0);
}
