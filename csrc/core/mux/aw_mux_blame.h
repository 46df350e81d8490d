/* Which message ends connections: what of the last connection was carried in
 * vain, and how often that was the same message. */
#ifndef AW_MUX_BLAME_H
#define AW_MUX_BLAME_H

#include "aw_mux_impl.h"

#pragma GCC visibility push(hidden)

/* A connection begins. */
void mux_blame_begin(aw_mux *mux);

/* A log is dropped or folded. What ended the last connection may be gone with
 * it, and who is left must not be taken for it. */
static inline void mux_blame_forget(aw_mux *mux) {
  if (mux->link == AW_LINK_DETACHED) {
    mux->loss_code = 0;
  }
}

/* The scope's next entry was not received: was it written before? */
void mux_blame_suspect(const aw_channel *channel);

/* All scopes were seen. The one whose next message has ended too many
 * connections, to be given up; or NULL. */
aw_channel *mux_blame_judge(aw_mux *mux);

#pragma GCC visibility pop

#endif
