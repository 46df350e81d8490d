/* What has happened, until the owner asks: events of scopes, unsequenced
 * messages, notices of the session. */
#ifndef AW_MUX_NEWS_H
#define AW_MUX_NEWS_H

#include "aw_mux_impl.h"

#pragma GCC visibility push(hidden)

/* Nothing for a scope that the application has let go of. */
void mux_raise(aw_channel *channel, unsigned events);

void mux_notice(aw_mux *mux, enum aw_mux_notice notice);

/* Stores an unsequenced message. AW_E_NOMEM. */
int mux_receive_control(aw_mux *mux, const aw_envelope *envelope,
                        const char *text, size_t len);

#pragma GCC visibility pop

#endif
