/* libuv notices the end of children by SIGCHLD: while a child runs, a handler
 * of libuv's is installed, which serves every loop of the process and goes
 * with the last child. A host that reaps foreign children itself (waitpid of
 * -1) takes the exit status away. */
#include "aw_child.h"
#include "aw_error.h"
#include "aw_os_child.h"
#include "aw_os_file.h"
#include <signal.h>
#include <string.h>

struct aw_child {
  aw_loop *loop;
  uv_process_t process;
  uv_timer_t killer;
  aw_teardown teardown;
  unsigned refs;   /* the owner's, and one for each open handle */
  bool running;    /* not reaped yet */
  bool doomed;     /* the killer runs */
  bool terminated; /* has had its SIGTERM from it */
  bool own_group;
  bool has_handles;
  unsigned kill_after_ms;
  void (*exited)(void *user, int status, int number);
  void *user;
  char command[]; /* argv[0] */
};

static void drop(aw_child *child) {
  if (--child->refs == 0) {
    aw_mem_free(aw_loop_mem(child->loop), child);
  }
}

static void on_handle_closed(uv_handle_t *handle) {
  drop(handle->data);
}

static void close_handles(aw_child *child) {
  aw_node_remove(&child->teardown.node);
  if (child->has_handles) {
    child->has_handles = false;
    uv_close((uv_handle_t *)&child->process, on_handle_closed);
    uv_close((uv_handle_t *)&child->killer, on_handle_closed);
  }
}

int aw_child_signal(aw_child *child, int number) {
  if (!child->running) {
    return AW_E_CLOSED;
  }
  int pid = child->process.pid;
  int rc = uv_kill(child->own_group ? -pid : pid, number);
  return rc == 0 ? AW_OK : rc == UV_ESRCH ? AW_E_CLOSED : AW_E_INVALID;
}

static void on_killer(uv_timer_t *timer) {
  aw_child *child = timer->data;
  (void)aw_child_signal(child, child->terminated ? SIGKILL : SIGTERM);
  child->terminated = true;
}

void aw_child_doom(aw_child *child) {
  if (!child->doomed && child->running) {
    child->doomed = true;
    aw_loop_arm(child->loop, &child->killer, on_killer, child->kill_after_ms);
    uv_timer_set_repeat(&child->killer, child->kill_after_ms);
  }
}

/* The members of a group outlive its leader, and keep its number in use. */
static void kill_rest(const aw_child *child) {
  if (child->own_group) {
    (void)uv_kill(-child->process.pid, SIGKILL);
  }
}

static void on_exit_of(uv_process_t *process, int64_t status, int number) {
  aw_child *child = process->data;
  child->running = false;
  kill_rest(child);
  close_handles(child);
  if (child->exited != NULL) {
    child->exited(child->user, (int)status, number);
  }
}

/* The loop goes away before the child did: no more time to be polite. */
static void reap_now(aw_teardown *teardown) {
  aw_child *child = AW_CONTAINER(teardown, aw_child, teardown);
  if (child->running) {
    child->running = false;
    kill_rest(child);
    aw_os_reap(child->process.pid);
  }
  close_handles(child);
}

static aw_child *new_child(aw_loop *loop, const aw_child_options *options) {
  size_t len = strlen(options->argv[0]) + 1;
  aw_child *child = aw_mem_zero(aw_loop_mem(loop), 1, sizeof *child + len);
  if (child == NULL) {
    return NULL;
  }
  memcpy(child->command, options->argv[0], len);
  child->loop = loop;
  child->refs = 1;
  child->own_group = options->own_group;
  child->teardown.run = reap_now;
  child->kill_after_ms = options->kill_after_ms > 0 ? options->kill_after_ms
                                                    : AW_CHILD_KILL_AFTER_MS;
  return child;
}

static void inherit(uv_stdio_container_t *stdio, int fd) {
  stdio->flags = UV_INHERIT_FD;
  stdio->data.fd = fd;
}

/* The handle is initialised by uv_spawn in any case, also when it fails. */
static int spawn(aw_child *child, const aw_child_options *options, int in_fd,
                 int out_fd) {
  uv_loop_t *uv = aw_loop_uv(child->loop);
  uv_stdio_container_t stdio[3];
  uv_process_options_t given = {
      .exit_cb = on_exit_of,
      .file = options->argv[0],
      .args = (char **)options->argv,
      .env = (char **)options->env,
      .cwd = options->cwd,
      .flags = options->own_group ? UV_PROCESS_DETACHED : 0,
      .stdio_count = 3,
      .stdio = stdio,
  };
  inherit(&stdio[0], in_fd);
  inherit(&stdio[1], out_fd);
  inherit(&stdio[2], AW_OS_STDERR);
  const aw_mem *mem = aw_loop_mem(child->loop);
  aw_os_kept kept = {0};
  aw_os_keep_files(&kept, mem);
  int rc = uv_spawn(uv, &child->process, &given);
  aw_os_share_files(&kept, mem);
  uv_timer_init(uv, &child->killer);
  child->process.data = child->killer.data = child;
  child->has_handles = true;
  child->refs += 2;
  child->running = rc == 0;
  return rc;
}

static int start(aw_child *child, const aw_child_options *options, int *in_fd,
                 int *out_fd, const char **why) {
  int to[2], from[2];
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
  int rc = spawn(child, options, to[1], from[1]);
  aw_os_close(to[1]);
  aw_os_close(from[1]);
  if (rc != 0) {
    *why = uv_strerror(rc);
    aw_os_close(to[0]);
    aw_os_close(from[0]);
    return AW_E_IO;
  }
  aw_loop_at_free(child->loop, &child->teardown);
  *in_fd = to[0];
  *out_fd = from[0];
  return AW_OK;
}

int aw_child_new(aw_child **out, aw_loop *loop, const aw_child_options *options,
                 int *in_fd, int *out_fd, const char **why) {
  *out = NULL;
  *why = "";
  if (options->argv == NULL || options->argv[0] == NULL) {
    *why = "no command";
    return AW_E_INVALID;
  }
  aw_child *child = new_child(loop, options);
  if (child == NULL) {
    *why = aw_error_text(AW_E_NOMEM);
    return AW_E_NOMEM;
  }
  int rc = start(child, options, in_fd, out_fd, why);
  if (rc != AW_OK) {
    aw_child_free(child);
    return rc;
  }
  *out = child;
  return AW_OK;
}

void aw_child_watch(aw_child *child,
                    void (*exited)(void *user, int status, int number),
                    void *user) {
  child->exited = exited;
  child->user = user;
}

bool aw_child_is_running(const aw_child *child) {
  return child->running;
}

int aw_child_pid(const aw_child *child) {
  return child->process.pid;
}

const char *aw_child_command(const aw_child *child) {
  return child->command;
}

bool aw_child_was_terminated(const aw_child *child) {
  return child->terminated;
}

void aw_child_free(aw_child *child) {
  if (child == NULL) {
    return;
  }
  child->exited = NULL;
  if (child->running) {
    (void)aw_child_signal(child, SIGTERM);
    child->terminated = true;
    child->doomed = false;
    aw_child_doom(child);
  } else {
    close_handles(child);
  }
  drop(child);
}
