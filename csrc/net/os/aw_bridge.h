/* The readiness of one descriptor, told to a loop that can only watch sockets
 * which it has connected itself, as nginx's does. The loop connects to a file;
 * a thread of ours blocks on the descriptor and writes a byte to that
 * connection. The thread looks at the descriptor and reads nothing of it.
 *
 * One byte for each arming: between a byte and the next arming the thread
 * sleeps, however ready the descriptor is. Not for use by two threads at once.
 * AW_E_IO comes with the system's sentence in *why. */
#ifndef AW_BRIDGE_H
#define AW_BRIDGE_H

#include "aw_mem.h"

#pragma GCC visibility push(hidden)

typedef struct aw_bridge aw_bridge;

/* Listens at `file`, for this user alone; it is there until the bridge is
 * freed, and is nobody else's meanwhile. `watched` has to stay open for as
 * long. AW_E_NOMEM, AW_E_IO. */
int aw_bridge_new(aw_bridge **out, const aw_mem *mem, int watched,
                  const char *file, const char **why);

/* Takes the connection that was made to the file, and starts the thread; once.
 * AW_E_IO: nobody has connected, too. */
int aw_bridge_begin(aw_bridge *bridge, const char **why);

/* One byte as soon as the descriptor is readable. Before the beginning, and
 * while one is asked for already, nothing is done. */
void aw_bridge_arm(aw_bridge *bridge);

/* One byte now, or none if too many wait to be read for that to matter. */
void aw_bridge_poke(aw_bridge *bridge);

/* Ends the thread and waits for that. In a child that was forked there is no
 * thread, and the file is its parent's: only descriptors are closed there. NULL
 * is accepted. */
void aw_bridge_free(aw_bridge *bridge);

#pragma GCC visibility pop

#endif
