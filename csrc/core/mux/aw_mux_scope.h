/* A scope's life, from its first message to its tombstone. */
#ifndef AW_MUX_SCOPE_H
#define AW_MUX_SCOPE_H

#include "aw_mux_impl.h"

#pragma GCC visibility push(hidden)

/* A scope that is not there, or one whose id may be opened anew. AW_E_EXISTS,
 * AW_E_LIMIT, AW_E_NOMEM. */
int mux_add_channel(aw_mux *mux, enum aw_kind kind, const aw_uuid *id,
                    aw_channel **out);

/* Nothing when it is over already. */
void mux_end_channel(aw_channel *channel, enum aw_channel_state state,
                     int error);

/* The peer does not have it any more, or must not get it. */
void mux_lose(aw_channel *channel);

/* Ends a scope whose log the peer cannot have. It hears of that by `let_go`, as
 * of any scope without a last word; after the next resume it is a scope that
 * was not named, or that is lost. */
void mux_give_up_log(aw_channel *channel, int error);

/* The same for one whose next message ends each connection. */
void mux_give_up_undeliverable(aw_channel *channel);

/* Its opening message was refused: the peer keeps nothing of it. */
void mux_dismiss(aw_channel *channel);

/* Over, and the peer may have opened the id anew: no flow speaks of it. */
void mux_silence(aw_channel *channel);

/* Frees what a released scope needs not; a tombstone when nothing is left. */
void mux_wind_down(aw_channel *channel);
void mux_trim_tombs(aw_mux *mux);
void mux_bury(aw_channel *channel); /* removes and frees it */

/* Has something to acknowledge or to grant; `now`, or with the next flow. */
void mux_queue_flow(aw_channel *channel, bool now);

/* The peer has our log up to and including `sequence`; or needs none of it. */
void mux_trim(aw_channel *channel, uint64_t sequence);
void mux_drop_log(aw_channel *channel);

/* Drops the oldest message of the channel's inbox. */
void mux_drop_message(aw_channel *channel);

#pragma GCC visibility pop

#endif
