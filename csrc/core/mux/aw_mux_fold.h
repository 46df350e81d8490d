/* A log that is full while its reader is away becomes a state that stands for
 * all of it (docs/wire.md section 7). */
#ifndef AW_MUX_FOLD_H
#define AW_MUX_FOLD_H

#include "aw_mux_impl.h"

#pragma GCC visibility push(hidden)

/* Do the logs' bounds hold with the drafted state in the place of its log? */
bool mux_has_fold_room(const aw_draft *draft);

/* The newest entry takes the log's place. */
void mux_fold(aw_channel *channel);

/* The number behind which a peer that has `received` goes on: itself, or that
 * to which a state stands for all; then the gap has to be announced. */
uint64_t mux_skip_folded(const aw_channel *channel, uint64_t received);

#pragma GCC visibility pop

#endif
