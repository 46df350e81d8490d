/* The transport of lines to a child process. */
#ifndef AW_PROCESS_H
#define AW_PROCESS_H

#include "aw_transport.h"

typedef struct aw_process_options aw_process_options;
struct aw_process_options {
  const char *const *argv; /* NULL-terminated; argv[0] looked up in PATH */
  const char *const *env;  /* NULL: inherited */
  const char *cwd;         /* NULL: inherited */
  bool extended;
  size_t line_max;
  unsigned kill_after_ms; /* after stdin was closed: TERM, then KILL; 0: 2000 */
};
/* A child that speaks on its stdin and stdout; stderr is inherited, and no
 * other descriptor of this process is. Closing closes its stdin, waits,
 * terminates. The child is always reaped. A command that cannot be started
 * gives AW_E_IO and *why (static). */
int aw_process_new(aw_loop *loop, const aw_process_options *options,
                   aw_transport **out, const char **why);

#endif
