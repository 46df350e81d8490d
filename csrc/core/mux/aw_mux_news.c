#include "aw_mux_news.h"

void mux_raise(aw_channel *channel, unsigned events) {
  if (channel->hold == AW_CHANNEL_RELEASED) {
    return;
  }
  channel->events |= events;
  if (!aw_node_queued(&channel->ready_node)) {
    aw_queue_push(&channel->mux->ready, &channel->ready_node);
  }
}

void mux_notice(aw_mux *mux, enum aw_mux_notice notice) {
  if (mux->notice_count < AW_MUX_NOTICES) {
    mux->notices[mux->notice_count++] = notice;
  }
}

/* Unsequenced messages have an inbox of their own, bounded, because no credit
 * covers them; what does not fit is dropped and counted. */
int mux_receive_control(aw_mux *mux, const aw_envelope *envelope,
                        const char *text, size_t len) {
  aw_mux_inbox *inbox = &mux->control_in;
  mux->stats.uncredited++;
  if (aw_buf_len(&inbox->bytes) >= mux->options.control_bytes) {
    mux->stats.unanswered++;
    return AW_OK;
  }
  control_scope scope = {envelope->kind, envelope->id};
  int rc = aw_buf_reserve(&mux->control_scopes, sizeof scope);
  if (rc == AW_OK) {
    rc = aw_mux_inbox_put(inbox, envelope, &mux->tape, text, len, false);
  }
  if (rc == AW_OK) {
    rc = aw_buf_append(&mux->control_scopes, &scope, sizeof scope);
  }
  return rc;
}

aw_channel *aw_mux_poll(aw_mux *mux, unsigned *events) {
  aw_node *node = aw_queue_pop(&mux->ready);
  if (node == NULL) {
    return NULL;
  }
  aw_channel *channel = AW_CONTAINER(node, aw_channel, ready_node);
  *events = channel->events;
  channel->events = 0;
  return channel;
}

bool aw_mux_control(aw_mux *mux, aw_control *out) {
  const aw_message *message = aw_mux_inbox_first(&mux->control_in);
  if (message == NULL) {
    return false;
  }
  control_scope scope;
  memcpy(&scope, aw_buf_bytes(&mux->control_scopes), sizeof scope);
  *out = (aw_control){scope.kind, scope.id, message};
  return true;
}

void aw_mux_control_drop(aw_mux *mux) {
  if (aw_mux_inbox_first(&mux->control_in) != NULL) {
    aw_mux_inbox_drop(&mux->control_in);
    aw_buf_consume(&mux->control_scopes, sizeof(control_scope));
  }
}

enum aw_mux_notice aw_mux_notice(aw_mux *mux) {
  if (mux->notice_count == 0) {
    return AW_MUX_NOTICE_NONE;
  }
  enum aw_mux_notice notice = mux->notices[0];
  mux->notice_count--;
  memmove(mux->notices, mux->notices + 1,
          mux->notice_count * sizeof mux->notices[0]);
  return notice;
}

bool aw_mux_has_news(const aw_mux *mux) {
  return !aw_queue_empty(&mux->ready) || mux->refusal_count > 0 ||
         mux->notice_count > 0 || mux->control_in.count > 0;
}
