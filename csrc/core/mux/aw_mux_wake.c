#include "aw_mux_wake.h"
#include "aw_mux_fold.h"
#include "aw_mux_news.h"
#include "aw_mux_room.h"

void mux_stop_writer(aw_channel *channel) {
  channel->waits_connection = false;
  aw_node_remove(&channel->writer_node);
}

/* Urgent scopes stand before all others: when the connection's credit is used
 * up, a look at the first tells whether there is anything to write. */
void mux_wake_writer(aw_channel *channel) {
  if (channel->waits_connection) {
    mux_stop_writer(channel);
  }
  if (aw_mux_log_is_urgent(&channel->log)) {
    aw_node_remove(&channel->writer_node);
    aw_queue_push_front(&channel->mux->writers, &channel->writer_node);
  } else if (!aw_node_queued(&channel->writer_node)) {
    aw_queue_push(&channel->mux->writers, &channel->writer_node);
  }
}

void mux_wake_writers(aw_mux *mux) {
  aw_node *node = NULL;
  while ((node = aw_queue_first(&mux->waits_connection)) != NULL) {
    mux_wake_writer(AW_CONTAINER(node, aw_channel, writer_node));
  }
}

int mux_refuse_send(aw_channel *channel) {
  aw_mux *mux = channel->mux;
  channel->send_refused = true;
  if (!aw_node_queued(&channel->session_node) && mux_is_session_full(mux)) {
    aw_queue_push(&mux->waits_session, &channel->session_node);
  }
  if (!mux_has_pool_room(mux) && !aw_node_queued(&mux->pool_node)) {
    aw_queue_push(&mux->pool->waiting, &mux->pool_node);
  }
  return AW_E_AGAIN;
}

void mux_wake_sender(aw_channel *channel) {
  if (!channel->send_refused) {
    return;
  }
  if (mux_has_window(channel->mux, channel) || aw_mux_may_fold(channel)) {
    channel->send_refused = false;
    aw_node_remove(&channel->session_node);
    mux_raise(channel, AW_CHANNEL_WRITABLE);
  } else {
    (void)mux_refuse_send(channel); /* perhaps for another reason now */
  }
}

void mux_wake_senders(aw_mux *mux) {
  size_t cursor = 0;
  aw_channel *channel = NULL;
  while ((channel = aw_map_next(&mux->channels, &cursor)) != NULL) {
    mux_wake_sender(channel);
  }
}

/* First come, first served, and only as many as there may be room for: waking
 * thousands for the room of one would cost more than what they send. Once the
 * log is small that is everybody, so that nobody is forgotten. */
void mux_wake_waiting(aw_mux *mux) {
  if (mux_is_session_full(mux)) {
    return;
  }
  size_t room = mux->options.session_bytes - mux->stats.log_bytes;
  aw_node *node = NULL;
  for (size_t n = 16 + room / 512;
       n > 0 && (node = aw_queue_pop(&mux->waits_session)) != NULL; n--) {
    mux_wake_sender(AW_CONTAINER(node, aw_channel, session_node));
  }
}

void *aw_mux_wake_waiting(aw_pool *pool) {
  aw_node *node = aw_queue_pop(&pool->waiting);
  if (node == NULL) {
    return NULL;
  }
  aw_mux *mux = AW_CONTAINER(node, aw_mux, pool_node);
  mux_wake_waiting(mux);
  return mux->owner;
}
