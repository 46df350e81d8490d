/* Link messages: drafts in the control queue, without a number. */
#ifndef AW_MUX_SEND_H
#define AW_MUX_SEND_H

#include "aw_mux_impl.h"

#pragma GCC visibility push(hidden)

/* Begins one; the control queue's cap is not asked, because hellos and flows
 * are bounded by the number of scopes. */
int mux_begin_link(aw_mux *mux, const char *type, aw_draft *draft);

/* `rc`: of the writing so far. An error cancels the draft, and is returned. */
int mux_end_link(aw_draft *draft, int rc);

#pragma GCC visibility pop

#endif
