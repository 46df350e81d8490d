/* The end of a transport whose owner has let go of it. */
#ifndef AW_RETIRE_H
#define AW_RETIRE_H

#include "aw_transport.h"

#pragma GCC visibility push(hidden)

/* Closes in order a transport that nobody owns any more, and frees it when it
 * has closed, or with the loop. */
void aw_transport_retire(aw_transport *t, int code, const char *reason);

#pragma GCC visibility pop

#endif
