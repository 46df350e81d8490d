/* Clients that misbehave, as many as one likes. */
#ifndef ROGUE_H
#define ROGUE_H

#include <uv.h>

/* Starts `count` connections to a port of loopback. Kinds:
 *   silent   connects and says nothing
 *   cut      connects, begins a handshake, resets the connection
 *   half     says half a handshake, then nothing
 *   garbage  says bytes that are no HTTP
 *   frame    shakes hands, then says bytes that are no frame
 *   slow     says a handshake, one byte a second
 * Returns 0, or -1 for an unknown kind. */
int rogue_start(uv_loop_t *loop, unsigned port, const char *kind,
                unsigned count);

/* Of all that were started: those that are connected now, and those that were
 * closed by the other end or by themselves. */
void rogue_count(unsigned *open, unsigned *closed);

/* Ends all of them. */
void rogue_stop(void);

#endif
