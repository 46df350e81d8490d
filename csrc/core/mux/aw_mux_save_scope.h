/* A scope of a saved mux: its inbox, its log, and what it knows. Each part is
 * coded once, for saving and for loading (aw_mux_codec.h). */
#ifndef AW_MUX_SAVE_SCOPE_H
#define AW_MUX_SAVE_SCOPE_H

#include "aw_mux_codec.h"
#include "aw_mux_impl.h"

#pragma GCC visibility push(hidden)

/* Counts of bytes and credit: far above what a session can come to, so that
 * sums of them cannot overflow. */
#define MUX_SAVED_MOST ((uint64_t)1 << 60)

/* Below the numbers of all errors. */
#define MUX_SAVED_ERROR_LEAST (-100)

/* One of those up to `most`. */
void mux_code_kind(aw_mux_codec *c, enum aw_kind *kind, enum aw_kind most);

/* False, and a failure: it is not one whole JSON object. */
bool mux_check_object(aw_mux_codec *c, aw_mux *mux, const char *text,
                      size_t len);

/* Loaded into an empty inbox. */
void mux_code_inbox(aw_mux_codec *c, aw_mux *mux, aw_mux_inbox *inbox);

/* All but its kind and id. A new channel that is loaded into is in the mux's
 * table, and is counted and in its queues afterwards. */
void mux_code_channel(aw_mux_codec *c, aw_channel *channel);

#pragma GCC visibility pop

#endif
