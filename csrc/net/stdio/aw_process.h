/* The transport of lines to a child process. */
#ifndef AW_PROCESS_H
#define AW_PROCESS_H

#include "aw_child.h"
#include "aw_transport.h"

#pragma GCC visibility push(hidden)

typedef struct aw_process_options aw_process_options;
struct aw_process_options {
  aw_child_options child;
  bool extended;
  size_t line_max; /* 0: AW_TRANSPORT_MESSAGE_MAX */
};
/* A child that speaks on its stdin and stdout. Closing closes its stdin, waits,
 * terminates. A command that cannot be started gives AW_E_IO and *why
 * (static). */
int aw_process_new(aw_loop *loop, const aw_process_options *options,
                   aw_transport **out, const char **why);

#pragma GCC visibility pop

#endif
