#include "aw_mux_fold.h"
#include "aw_mux_blame.h"
#include "aw_mux_room.h"

/* Worth it when the scope's own log is full, or when what it would free is more
 * than what a state costs. The peer has to know the scope: a state opens none.
 */
bool aw_mux_may_fold(const aw_channel *channel) {
  const aw_mux *mux = channel->mux;
  bool away =
      mux->extended && !mux->options.is_client && mux->link == AW_LINK_DETACHED;
  bool known =
      !channel->opened_here || channel->seen_there || channel->received > 0;
  size_t messages = aw_mux_log_count(&channel->log) - (channel->log.folded > 0);
  return away && known && channel->state == AW_CHANNEL_OPEN && messages > 0 &&
         (mux_is_log_full(channel) || (messages >= AW_CHANNEL_FOLD_MESSAGES &&
                                       !mux_has_window(mux, channel)));
}

/* The logs' bounds hold for a state as well, unless it makes them smaller. */
bool mux_has_fold_room(const aw_draft *draft) {
  const aw_mux *mux = draft->mux;
  const aw_mux_log *log = &draft->channel->log;
  size_t freed = log->size;
  size_t added = aw_buf_len(&log->bytes) - log->size;
  return added <= freed ||
         (mux->stats.log_bytes - freed + added <= mux->options.session_bytes &&
          (mux->pool == NULL ||
           mux->pool->log_bytes - freed + added <= mux->pool->log_max));
}

void mux_fold(aw_channel *channel) {
  aw_mux *mux = channel->mux;
  mux_blame_forget(mux);
  mux->stats.folded += aw_mux_log_count(&channel->log) - 1;
  mux_count_log(mux, 0, aw_mux_log_fold(&channel->log));
}

uint64_t mux_skip_folded(const aw_channel *channel, uint64_t received) {
  uint64_t folded = channel->log.folded > 0 ? channel->log.first - 1 : 0;
  return folded > received ? folded : received;
}
