/* A child process whose stdin and stdout are sockets of ours. It is always
 * reaped, whoever lets go of it and when. */
#ifndef AW_CHILD_H
#define AW_CHILD_H

#include "aw_loop.h"

#pragma GCC visibility push(hidden)

typedef struct aw_child aw_child;
typedef struct aw_child_options aw_child_options;

#define AW_CHILD_KILL_AFTER_MS 2000

struct aw_child_options {
  const char *const *argv; /* NULL-terminated; argv[0] looked up in PATH */
  const char *const *env;  /* NULL: inherited */
  const char *cwd;         /* NULL: inherited */
  unsigned kill_after_ms;  /* 0: AW_CHILD_KILL_AFTER_MS */
  /* Leads a group (and a session) of its own: what is sent to it, and its end,
   * reach what it has started, too. It has no terminal then. */
  bool own_group;
};

/* Starts it; stderr is inherited, and no other descriptor of this process is.
 * What it reads is written to *in_fd, what it writes is read from *out_fd, both
 * the caller's. A command that cannot be started gives AW_E_IO and *why
 * (static). AW_E_INVALID: no command. AW_E_NOMEM. */
int aw_child_new(aw_child **out, aw_loop *loop, const aw_child_options *options,
                 int *in_fd, int *out_fd, const char **why);

/* `exited` comes once, from inside the loop, and never after aw_child_free.
 * `number` is the signal that ended it, or 0. */
void aw_child_watch(aw_child *child,
                    void (*exited)(void *user, int status, int number),
                    void *user);

bool aw_child_is_running(const aw_child *child);
int aw_child_pid(const aw_child *child);
const char *aw_child_command(const aw_child *child); /* argv[0] */

/* It has kill_after_ms left to end by itself; then SIGTERM, then, after the
 * same time, SIGKILL. Only the first call counts. */
void aw_child_doom(aw_child *child);

/* Did the above have to send anything? */
bool aw_child_was_terminated(const aw_child *child);

/* AW_E_CLOSED: it has ended. AW_E_INVALID: no signal. */
int aw_child_signal(aw_child *child, int number);

/* Lets go of it. If it still runs it gets SIGTERM now, SIGKILL later or when
 * the loop is freed. NULL is accepted. */
void aw_child_free(aw_child *child);

#pragma GCC visibility pop

#endif
