/* How a link on lines is opened (docs/wire.md section 1): the server says a
 * ready line at once, the client waits for it. */
#ifndef AW_GREETERS_H
#define AW_GREETERS_H

#include "aw_pipe.h"

#pragma GCC visibility push(hidden)

/* A client gives up on a server that has not said "ready" by then: lines of a
 * shell's start-up files are normal, a log that never ends is not. */
#define AW_GREETER_LINES 64
#define AW_GREETER_MS 10000

extern const aw_greeter aw_greeter_client, aw_greeter_server;

#pragma GCC visibility pop

#endif
