/* The transport of lines over two descriptors, mostly a process's own stdin and
 * stdout. */
#ifndef AW_STDIO_H
#define AW_STDIO_H

#include "aw_transport.h"

#pragma GCC visibility push(hidden)

typedef struct aw_stdio_options aw_stdio_options;
struct aw_stdio_options {
  int in_fd, out_fd; /* owned from now on, also on failure; may be one socket
                      */
  bool is_server;    /* writes the ready line; a client waits for it */
  bool extended;     /* offer (server) or accept (client) agentwire.v1 */
  size_t line_max;   /* 0: AW_TRANSPORT_MESSAGE_MAX */
};
int aw_stdio_new(aw_loop *loop, const aw_stdio_options *options,
                 aw_transport **out);

#pragma GCC visibility pop

#endif
