/* Who waits for room or credit, and is told when there is some. */
#ifndef AW_MUX_WAKE_H
#define AW_MUX_WAKE_H

#include "aw_mux_impl.h"

#pragma GCC visibility push(hidden)

/* The scope has something to write, or nothing any more. */
void mux_wake_writer(aw_channel *channel);
void mux_stop_writer(aw_channel *channel);
void mux_wake_writers(aw_mux *mux); /* the connection's credit has grown */

/* The sender has to wait: for this scope's own room, or for the session's.
 * AW_E_AGAIN, which is what it hears. */
int mux_refuse_send(aw_channel *channel);

void mux_wake_sender(aw_channel *channel); /* its log or credit has changed */
void mux_wake_senders(aw_mux *mux);        /* everybody's has */
void mux_wake_waiting(aw_mux *mux);        /* the session's log is smaller */

#pragma GCC visibility pop

#endif
