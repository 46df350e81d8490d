/* Refusals: what came and changed no state, until the owner has taken them to
 * answer them. */
#ifndef AW_MUX_REFUSE_H
#define AW_MUX_REFUSE_H

#include "aw_mux_impl.h"

#pragma GCC visibility push(hidden)

/* Queues a refusal. `known`: its scope is open here, or another life of it. */
void mux_refuse(aw_mux *mux, const aw_envelope *envelope,
                const aw_envelope_error *error, bool known);

/* The same, with the code's own sentence. */
void mux_refuse_code(aw_mux *mux, const aw_envelope *envelope, int code,
                     bool known);

/* The same for a message that was to open a scope: when it is answered, the
 * peer is told that nobody keeps its scope. */
void mux_refuse_opening(aw_mux *mux, const aw_envelope *envelope, int code,
                        bool known);

bool mux_is_json_error(int code);

#pragma GCC visibility pop

#endif
