/* The jump that a folded log leaves: announced, never silent (docs/wire.md
 * section 7). */
#ifndef AW_MUX_GAP_H
#define AW_MUX_GAP_H

#include "aw_mux_impl.h"
#include "aw_mux_link_text.h"

#pragma GCC visibility push(hidden)

/* Tells a peer that has `received`. `bytes` makes both ends count alike behind
 * the gap: nobody knows any more how long the messages were that the peer never
 * had. */
int mux_announce_gap(aw_channel *channel, uint64_t received);

/* AW_E_REFUSED: malformed, or from a client. */
int mux_receive_gap(aw_mux *mux, const mux_link_reader *in);

#pragma GCC visibility pop

#endif
