/* Credit: what `flow` messages acknowledge and grant, each scope's and the
 * connection's (docs/wire.md section 7). */
#ifndef AW_MUX_FLOW_H
#define AW_MUX_FLOW_H

#include "aw_mux_impl.h"
#include "aw_mux_link_text.h"

#pragma GCC visibility push(hidden)

#define AW_FLOW_PAGE 256    /* scopes in one flow */
#define AW_FLOW_MESSAGES 64 /* a scope acknowledges so many at the latest */

/* Another connection, whose credit begins anew; or none. */
void mux_begin_connection(aw_mux *mux, bool extended);
void mux_reset_connection(aw_mux *mux);

/* What the peer may send from now on: absolute, and it only grows. */
void mux_grant(aw_channel *channel);
/* What we may. */
void mux_allow(aw_channel *channel, uint64_t sequence, uint64_t bytes);

/* Queues all flows that are due, as messages. */
void mux_write_flow(aw_mux *mux);

/* What was to be acknowledged when the last connection went. */
void mux_resume_flows(aw_mux *mux);

/* AW_E_REFUSED: malformed. */
int mux_receive_flow(aw_mux *mux, const mux_link_reader *in);

#pragma GCC visibility pop

#endif
