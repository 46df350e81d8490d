/* libuv notices the end of children by SIGCHLD: while a child runs, a handler
 * of libuv's is installed, which serves every loop of the process and goes
 * with the last child. A host that reaps foreign children itself (waitpid of
 * -1) takes the exit status away. */
#include "aw_process.h"
#include "aw_error.h"
#include "aw_os_child.h"
#include "aw_os_file.h"
#include "aw_pipe.h"
#include <stdio.h>

#define KILL_AFTER_MS 2000

typedef struct process process;

struct process {
  aw_pipe pipe;
  uv_process_t child;
  uv_timer_t killer;
  aw_teardown teardown;
  bool running;    /* not reaped yet */
  bool has_child;  /* the libuv handle is open */
  bool has_killer; /* so is the timer */
  bool doomed;     /* the killer runs */
  bool terminated; /* has had its SIGTERM from us */
  unsigned kill_after_ms;
  char *command;
};

static void on_handle_closed(uv_handle_t *handle) {
  process *p = handle->data;

  aw_transport_drop(&p->pipe.base);
}

static void close_handles(process *p) {
  aw_node_remove(&p->teardown.node);
  if (p->has_child) {
    p->has_child = false;
    uv_close((uv_handle_t *)&p->child, on_handle_closed);
  }
  if (p->has_killer) {
    p->has_killer = false;
    uv_close((uv_handle_t *)&p->killer, on_handle_closed);
  }
}

static void on_killer(uv_timer_t *timer) {
  process *p = timer->data;

  if (p->running) {
    uv_process_kill(&p->child, p->terminated ? SIGKILL : SIGTERM);
    p->terminated = true;
  }
}

static void doom(process *p, unsigned first_ms) {
  if (!p->doomed && p->running) {
    p->doomed = true;
    aw_loop_arm(p->pipe.base.loop, &p->killer, on_killer, first_ms);
    uv_timer_set_repeat(&p->killer, p->kill_after_ms);
  }
}

/* A child that has not exited although its stdin is closed gets its time; its
 * end is reported together with how it ended. */
static bool may_finish(aw_pipe *pipe) {
  process *p = (process *)pipe;

  doom(p, p->kill_after_ms);
  return !p->running;
}

static void decide_exit(process *p, int64_t status, int signal_number) {
  char reason[64];
  bool clean = status == 0 && signal_number == 0 && p->pipe.was_open;

  if (p->terminated) {
    snprintf(reason, sizeof reason, "had to be terminated");
    clean = false;
  } else if (signal_number != 0) {
    snprintf(reason, sizeof reason, "killed by signal %d", signal_number);
  } else {
    snprintf(reason, sizeof reason, "exited with status %d", (int)status);
  }
  aw_pipe_decide(&p->pipe, clean ? AW_OK : AW_E_IO, clean ? 1000 : 1006,
                 reason);
  p->pipe.decided = true; /* the end of input, which follows, says less */
}

/* What the child wrote before it ended is still in the socket; the end of
 * input follows it, unless a grandchild keeps the other side open: then the
 * lingering ends it. */
static void on_child_exit(uv_process_t *child, int64_t status,
                          int signal_number) {
  process *p = child->data;

  p->running = false;
  aw_transport_hold(&p->pipe.base);
  close_handles(p);
  if (aw_transport_alive(&p->pipe.base)) {
    decide_exit(p, status, signal_number);
    aw_pipe_drop_output(&p->pipe);
    aw_pipe_update(&p->pipe);
  }
  aw_transport_drop(&p->pipe.base);
}

/* The loop goes away before the child did: no more time to be polite. */
static void reap_now(aw_teardown *teardown) {
  process *p = AW_CONTAINER(teardown, process, teardown);

  if (p->running) {
    p->running = false;
    aw_os_reap(p->child.pid);
  }
  close_handles(p);
}

static void process_free(aw_transport *t) {
  process *p = (process *)t;

  aw_transport_mute(t);
  aw_pipe_shut(&p->pipe);
  if (p->running) {
    uv_process_kill(&p->child, SIGTERM);
    p->terminated = true;
    p->doomed = false;
    doom(p, p->kill_after_ms);
  } else {
    close_handles(p);
  }
  aw_transport_drop(t);
}

static void process_release(aw_transport *t) {
  const aw_mem *mem = aw_loop_mem(t->loop);
  process *p = (process *)t;

  aw_pipe_fini(&p->pipe);
  aw_mem_free(mem, p->command);
  aw_mem_free(mem, p);
}

static const aw_transport_ops process_ops = {aw_pipe_send, aw_pipe_pause,
                                             aw_pipe_close, process_free, NULL};

static process *new_process(aw_loop *loop, const aw_process_options *options) {
  const aw_mem *mem = aw_loop_mem(loop);
  size_t len = strlen(options->argv[0]) + 1;
  process *p = aw_mem_zero(mem, 1, sizeof *p);

  if (p == NULL) {
    return NULL;
  }
  p->command = aw_mem_alloc(mem, len);
  if (p->command == NULL) {
    aw_mem_free(mem, p);
    return NULL;
  }
  memcpy(p->command, options->argv[0], len);
  aw_transport_init(&p->pipe.base, &process_ops, loop, "process",
                    process_release);
  p->pipe.base.info.peer = p->command;
  p->pipe.may_finish = may_finish;
  p->pipe.in.fd = p->pipe.out.fd = -1;
  p->teardown.run = reap_now;
  p->kill_after_ms =
      options->kill_after_ms > 0 ? options->kill_after_ms : KILL_AFTER_MS;
  return p;
}

static void inherit(uv_stdio_container_t *stdio, int fd) {
  stdio->flags = UV_INHERIT_FD;
  stdio->data.fd = fd;
}

/* The handle is initialised by uv_spawn in any case, also when it fails. */
static int spawn(process *p, const aw_process_options *options, int in_fd,
                 int out_fd) {
  uv_loop_t *uv = aw_loop_uv(p->pipe.base.loop);
  uv_stdio_container_t stdio[3];
  uv_process_options_t spawn_options = {
      .exit_cb = on_child_exit,
      .file = options->argv[0],
      .args = (char **)options->argv,
      .env = (char **)options->env,
      .cwd = options->cwd,
      .stdio_count = 3,
      .stdio = stdio,
  };
  int rc;

  inherit(&stdio[0], in_fd);
  inherit(&stdio[1], out_fd);
  inherit(&stdio[2], AW_OS_STDERR);
  const aw_mem *mem = aw_loop_mem(p->pipe.base.loop);
  aw_os_kept kept = {0};
  p->child.data = p;
  aw_os_keep_files(&kept, mem);
  rc = uv_spawn(uv, &p->child, &spawn_options);
  aw_os_share_files(&kept, mem);
  p->child.data = p;
  p->has_child = true;
  aw_transport_hold(&p->pipe.base);
  uv_timer_init(uv, &p->killer);
  p->killer.data = p;
  p->has_killer = true;
  aw_transport_hold(&p->pipe.base);
  p->running = rc == 0;
  return rc;
}

static int start(process *p, const aw_process_options *options,
                 const char **why) {
  aw_stdio_options ends = {.extended = options->extended,
                           .line_max = options->line_max};
  int to[2], from[2], rc;

  if (!aw_os_pair(to)) {
    *why = "no socket for the child's stdin";
    return AW_E_IO;
  }
  if (!aw_os_pair(from)) {
    *why = "no socket for the child's stdout";
    aw_os_close(to[0]);
    aw_os_close(to[1]);
    return AW_E_IO;
  }
  rc = spawn(p, options, to[1], from[1]);
  aw_os_close(to[1]);
  aw_os_close(from[1]);
  ends.in_fd = from[0];
  ends.out_fd = to[0];
  if (rc != 0) {
    *why = uv_strerror(rc);
    aw_os_close(ends.in_fd);
    aw_os_close(ends.out_fd);
    return AW_E_IO;
  }
  aw_loop_at_free(p->pipe.base.loop, &p->teardown);
  rc = aw_pipe_init(&p->pipe, &ends);
  if (rc != AW_OK) {
    *why = aw_error_text(rc);
  }
  return rc;
}

int aw_process_new(aw_loop *loop, const aw_process_options *options,
                   aw_transport **out, const char **why) {
  process *p;
  int rc;

  *out = NULL;
  *why = "";
  if (options->argv == NULL || options->argv[0] == NULL) {
    *why = "no command";
    return AW_E_INVALID;
  }
  p = new_process(loop, options);
  if (p == NULL) {
    *why = aw_error_text(AW_E_NOMEM);
    return AW_E_NOMEM;
  }
  rc = start(p, options, why);
  if (rc != AW_OK) {
    aw_transport_free(&p->pipe.base);
    return rc;
  }
  *out = &p->pipe.base;
  return AW_OK;
}
