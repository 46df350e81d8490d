/* The transport inside of a process. */
#ifndef AW_MEMORY_H
#define AW_MEMORY_H

#include "aw_transport.h"

#pragma GCC visibility push(hidden)

/* Two connected ends in one process; `open` comes in the next turn. */
int aw_memory_pair(aw_loop *loop, bool extended, aw_transport **client,
                   aw_transport **server);

#pragma GCC visibility pop

#endif
