/* What either end takes of one message: told in hello and welcome, and heeded
 * before anything is numbered (docs/wire.md section 7). */
#ifndef AW_MUX_LIMITS_H
#define AW_MUX_LIMITS_H

#include "aw_mux_impl.h"
#include "aw_mux_link_text.h"

#pragma GCC visibility push(hidden)

extern const aw_limits mux_limits_untold; /* what absent members stand for */

/* False: a message of `len` bytes is above the peer's limits, with the reason
 * in the draft; or, without a reason, above what can be sent before they are
 * known. */
bool mux_limits_hold(const aw_mux *mux, aw_draft *draft, size_t len);

/* The members of a hello or welcome. */
void mux_limits_put(const aw_mux *mux, aw_buf *out, int *rc);
bool mux_limits_read(const mux_link_reader *in, aw_limits *out);

/* A base peer tells nothing, and only the length of a message is agreed. */
void mux_limits_of_base(aw_mux *mux);

/* The peer has told. Where it takes less than it did, what was numbered under
 * its old limits cannot be sent any more: such scopes end. */
void mux_limits_learn(aw_mux *mux, const aw_limits *limits);

#pragma GCC visibility pop

#endif
