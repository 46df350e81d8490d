/* May a scope number another message now? Inline, because each message asks. */
#ifndef AW_MUX_ROOM_H
#define AW_MUX_ROOM_H

#include "aw_mux_impl.h"

/* For this session: its own logs, or those of all of the server's. */
static inline bool mux_is_session_full(const aw_mux *mux) {
  return mux->stats.log_bytes >= mux->options.session_bytes ||
         !mux_has_pool_room(mux);
}

/* A state that stands for earlier messages may be larger than a log. */
static inline bool mux_is_log_full(const aw_channel *channel) {
  const aw_mux_options *options = &channel->mux->options;
  return aw_mux_log_count(&channel->log) >= options->log_messages ||
         channel->log.size - channel->log.folded >= options->log_bytes;
}

/* A full session leaves each scope a few small ones, as the connection's credit
 * does. */
static inline bool mux_has_window(const aw_mux *mux,
                                  const aw_channel *channel) {
  if (mux_is_log_full(channel) ||
      (mux_is_session_full(mux) &&
       aw_mux_log_count(&channel->log) >= AW_MUX_RESERVE_MESSAGES)) {
    return false;
  }
  if (mux->link == AW_LINK_EXTENDED) {
    return channel->log.last < channel->allowed.sequence &&
           channel->log.numbered < channel->allowed.bytes;
  }
  if (mux->link == AW_LINK_BASE || !mux->extended) {
    /* No credit from a base peer: bound what waits for the transport. */
    return aw_mux_log_count(&channel->log) < AW_CHANNEL_WINDOW_MESSAGES &&
           channel->log.size < AW_CHANNEL_WINDOW_BYTES;
  }
  /* Detached: the log takes what it can hold, as far as all of them may. */
  return mux_has_pool_room(mux);
}

#endif
