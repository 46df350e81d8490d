#include "aw_mux_scope.h"
#include "aw_mux_blame.h"
#include "aw_mux_news.h"
#include "aw_mux_wake.h"

void mux_queue_flow(aw_channel *channel, bool now) {
  aw_mux *mux = channel->mux;
  /* A flow names an id, not a life: what is said of this one must not be taken
   * for a newer one that the peer may have. */
  if (channel->silent || channel->state == AW_CHANNEL_LOST) {
    return;
  }
  if (!aw_node_queued(&channel->flow_node)) {
    aw_queue_push(&mux->flows, &channel->flow_node);
  }
  if (now) {
    mux->flow_now = true;
  } else {
    mux_flow_soon(mux);
  }
}

void mux_bury(aw_channel *channel) {
  aw_mux *mux = channel->mux;
  if (aw_node_queued(&channel->tomb_node)) {
    mux->tomb_count--;
  }
  if (aw_channel_is_over(channel)) {
    mux->stats.ended_scopes--;
  } else {
    mux->stats.open_scopes--;
  }
  mux->stats.inbox_bytes -= channel->in_bytes - channel->consumed_bytes;
  mux_count_in(mux, 0, sizeof *channel + aw_buf_len(&channel->inbox.bytes));
  mux_drop_log(channel);
  aw_map_remove(&mux->channels, channel->kind, &channel->id);
  aw_channel_free(channel, mux->mem);
}

void mux_drop_message(aw_channel *channel) {
  aw_mux *mux = channel->mux;
  size_t before = aw_buf_len(&channel->inbox.bytes);
  size_t cost = aw_channel_drop(channel);
  mux_count_in(mux, 0, before - aw_buf_len(&channel->inbox.bytes));
  mux->stats.inbox_bytes -= cost;
}

/* Drops what nobody will read. The peer's credit goes on, so that its sender
 * is never stuck on a scope that we let go of. */
static void discard_inbox(aw_channel *channel) {
  aw_mux *mux = channel->mux;
  while (channel->inbox.count > 0) {
    mux_drop_message(channel);
    mux->stats.dropped_late++;
  }
  mux_credit_back(mux);
  aw_mux_inbox_clear(&channel->inbox);
}

/* The oldest tombstones make room. One whose last acknowledgement is not on
 * its way yet has to wait for that, or the peer's log would keep the scope for
 * as long as the session lives. */
void mux_trim_tombs(aw_mux *mux) {
  while (mux->tomb_count > mux->options.tombs_max) {
    aw_channel *oldest =
        AW_CONTAINER(aw_queue_first(&mux->tombs), aw_channel, tomb_node);
    if (aw_node_queued(&oldest->flow_node)) {
      mux->flow_now = true;
      return;
    }
    mux_bury(oldest);
  }
}

/* A released scope that is over and owes the peer nothing becomes a tombstone:
 * it only remembers that the id was used. */
static void make_tomb(aw_channel *channel) {
  aw_mux *mux = channel->mux;
  if (aw_node_queued(&channel->tomb_node)) {
    return;
  }
  mux_drop_log(channel); /* empty: gives the capacity back */
  aw_queue_push(&mux->tombs, &channel->tomb_node);
  mux->tomb_count++;
  mux_trim_tombs(mux);
}

void mux_wind_down(aw_channel *channel) {
  if (channel->hold != AW_CHANNEL_RELEASED) {
    return;
  }
  discard_inbox(channel);
  bool to_tell = !channel->told_let_go && mux_has_let_go(channel) &&
                 (channel->state == AW_CHANNEL_OPEN || channel->heard_let_go ||
                  channel->state == AW_CHANNEL_GIVEN_UP);
  if (mux_resumable(channel->mux) &&
      (to_tell || channel->received > channel->flow_acked)) {
    mux_queue_flow(channel, false);
  }
  if (aw_channel_is_over(channel) && aw_mux_log_is_empty(&channel->log)) {
    make_tomb(channel);
  }
}

void mux_end_channel(aw_channel *channel, enum aw_channel_state state,
                     int error) {
  if (aw_channel_is_over(channel)) {
    return;
  }
  aw_mux *mux = channel->mux;
  channel->state = state;
  channel->error = error;
  mux->stats.open_scopes--;
  mux->stats.ended_scopes++;
  mux->stats.ended++;
  mux_raise(channel, AW_CHANNEL_ENDED);
}

void mux_drop_log(aw_channel *channel) {
  aw_mux *mux = channel->mux;
  mux_stop_writer(channel);
  if (!aw_mux_log_is_empty(&channel->log)) {
    mux_blame_forget(mux);
  }
  mux_count_log(mux, 0, aw_mux_log_clear(&channel->log));
  mux_wake_waiting(mux);
}

void mux_trim(aw_channel *channel, uint64_t sequence) {
  aw_mux *mux = channel->mux;
  mux_count_log(mux, 0, aw_mux_log_trim(&channel->log, sequence));
  mux_wake_waiting(mux);
  mux_wake_sender(channel);
}

/* May the id be opened anew? A scope that ended because both let go has to wait
 * until each was told on one connection: before that the peer may take the old
 * life for open, and say of it what would be taken for the new one's. */
static bool is_done(const aw_channel *channel) {
  bool let_go = channel->mux->extended &&
                (channel->error == AW_E_CLOSED ||
                 channel->state == AW_CHANNEL_GIVEN_UP) &&
                (channel->received > 0 || channel->log.last > 0);
  return channel->hold == AW_CHANNEL_RELEASED && aw_channel_is_over(channel) &&
         aw_mux_log_is_empty(&channel->log) &&
         (!let_go || (channel->told_let_go && channel->heard_let_go));
}

/* The peer begins with the default credit and knows nothing of our options: a
 * larger window is granted by the first flow, a smaller one holds behind it. */
static aw_credit first_grant(const aw_mux_options *options) {
  aw_credit grant = MUX_FIRST_CREDIT;
  if (options->window_messages < grant.sequence) {
    grant.sequence = options->window_messages;
  }
  if (options->window_bytes < grant.bytes) {
    grant.bytes = options->window_bytes;
  }
  return grant;
}

int mux_add_channel(aw_mux *mux, enum aw_kind kind, const aw_uuid *id,
                    aw_channel **out) {
  if (mux->stats.open_scopes >= mux->options.scopes_max) {
    return AW_E_LIMIT;
  }
  aw_channel *old = aw_map_get(&mux->channels, kind, id);
  if (old != NULL) {
    if (!mux->options.types[kind]->restart || !is_done(old)) {
      return AW_E_EXISTS;
    }
  }
  aw_channel *channel = aw_channel_new(mux, kind, id, mux->mem);
  if (channel == NULL) {
    return AW_E_NOMEM;
  }
  if (old != NULL) {
    mux_bury(old);
  }
  int rc = aw_map_put(&mux->channels, kind, id, channel);
  if (rc != AW_OK) {
    aw_channel_free(channel, mux->mem);
    return rc;
  }
  channel->allowed = MUX_FIRST_CREDIT;
  channel->granted = first_grant(&mux->options);
  mux_count_in(mux, sizeof *channel, 0);
  mux->stats.open_scopes++;
  mux->stats.opened++;
  *out = channel;
  return AW_OK;
}

void mux_lose(aw_channel *channel) {
  mux_end_channel(channel, AW_CHANNEL_LOST, AW_E_LOST);
  mux_drop_log(channel);
  aw_node_remove(&channel->flow_node); /* the peer may have a newer life */
  mux_wind_down(channel);
}

void aw_mux_give_up(aw_channel *channel) {
  if (channel->state == AW_CHANNEL_OPEN) {
    mux_lose(channel);
  }
}

void mux_give_up_log(aw_channel *channel, int error) {
  if (channel->state >= AW_CHANNEL_GIVEN_UP) {
    return;
  }
  mux_end_channel(channel, AW_CHANNEL_GIVEN_UP, error);
  channel->state = AW_CHANNEL_GIVEN_UP;
  if (channel->hold == AW_CHANNEL_CONFIRMS) {
    channel->hold = AW_CHANNEL_HELD; /* what comes is late, and acknowledged */
  }
  channel->told_let_go = false;
  mux_drop_log(channel);
  mux_queue_flow(channel, true);
  mux_wind_down(channel);
}

void mux_dismiss(aw_channel *channel) {
  mux_end_channel(channel, AW_CHANNEL_CLOSED, AW_E_CLOSED);
  channel->told_let_go = channel->heard_let_go = true;
  mux_silence(channel);
  mux_drop_log(channel);
  mux_wind_down(channel);
}

void mux_silence(aw_channel *channel) {
  channel->silent = true;
  aw_node_remove(&channel->flow_node);
}

void mux_give_up_undeliverable(aw_channel *channel) {
  if (channel->there != AW_THERE_OPEN) {
    channel->there = AW_THERE_REFUSES; /* what it has for us is to come */
    mux_drop_log(channel);
  } else if (channel->state < AW_CHANNEL_GIVEN_UP) {
    channel->mux->stats.undeliverable++;
    mux_give_up_log(channel, AW_E_UNDELIVERABLE);
  }
}
