#include "aw_mux_flow.h"
#include "aw_mux_blame.h"
#include "aw_mux_link_text.h"
#include "aw_mux_scope.h"
#include "aw_mux_send.h"
#include "aw_mux_wake.h"

void mux_reset_connection(aw_mux *mux) {
  mux->conn_sent = mux->conn_received = 0;
  mux->conn_granted = mux_grantable(mux); /* less what is queued from before */
  mux->conn_allowed = AW_MUX_INBOUND_BYTES;
  mux->flow_at = UINT64_MAX;
  mux->flow_now = false;
  mux_wake_writers(mux);
  aw_buf_reset(&mux->control_out, AW_MUX_KEEP);
}

void mux_begin_connection(aw_mux *mux, bool extended) {
  mux->generation++;
  mux->extended = extended;
  mux_reset_connection(mux);
  mux_blame_begin(mux);
}

/* What the peer may send from now on: absolute, and it only grows. */
void mux_grant(aw_channel *channel) {
  const aw_mux_options *options = &channel->mux->options;
  aw_credit done = mux_confirmed(channel);
  uint64_t sequence = done.sequence + options->window_messages;
  uint64_t bytes = done.bytes + options->window_bytes;
  if (sequence > channel->granted.sequence) {
    channel->granted.sequence = sequence;
  }
  if (bytes > channel->granted.bytes) {
    channel->granted.bytes = bytes;
  }
}

void mux_allow(aw_channel *channel, uint64_t sequence, uint64_t bytes) {
  if (sequence > channel->allowed.sequence) {
    channel->allowed.sequence = sequence;
  }
  if (bytes > channel->allowed.bytes) {
    channel->allowed.bytes = bytes;
  }
}

/* A peer that has our terminal message drops its log by itself. It may open
 * the id anew at once, and must not take this life's numbers for that one's. */
static bool is_ended_there_by_ours(const aw_channel *channel) {
  return channel->state == AW_CHANNEL_ENDED_HERE &&
         aw_mux_log_next(&channel->log) == NULL;
}

static void drop_ended(aw_mux *mux) {
  aw_node *next = NULL;
  for (aw_node *node = aw_queue_first(&mux->flows); node != NULL; node = next) {
    next = aw_queue_next(&mux->flows, node);
    if (is_ended_there_by_ours(AW_CONTAINER(node, aw_channel, flow_node))) {
      aw_node_remove(node);
    }
  }
}

/* Both ends have let go of a scope that never had a terminal message (a refused
 * opening, an abort of its own): it is over without one. */
static void end_let_go(aw_channel *channel) {
  if (channel->told_let_go && channel->heard_let_go) {
    mux_end_channel(channel, AW_CHANNEL_CLOSED, AW_E_CLOSED);
    mux_drop_log(channel);
    mux_wind_down(channel);
  }
}

/* The peer has let go, and had our application consume all that it sent: what
 * we would send now it would drop. A terminal message that is on its way goes
 * on, because its acknowledgement is the end that both can know. */
static void heed_let_go(aw_channel *channel) {
  if (channel->heard_let_go && channel->hold != AW_CHANNEL_RELEASED &&
      channel->state == AW_CHANNEL_OPEN) {
    mux_end_channel(channel, AW_CHANNEL_CLOSED, AW_E_CLOSED);
    mux_drop_log(channel);
  }
  end_let_go(channel);
}

static void put_flow_scope(aw_buf *out, aw_channel *channel, int *rc) {
  mux_grant(channel);
  uint64_t numbers[] = {mux_confirmed(channel).sequence,
                        channel->granted.sequence, channel->granted.bytes};
  mux_link_put_scope(out, channel->kind, &channel->id, rc);
  for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
    mux_link_put(out, ",", rc);
    mux_link_put_number(out, numbers[i], rc);
  }
  mux_link_put(out, mux_has_let_go(channel) ? ",1]" : "]", rc);
}

/* The scopes leave the queue only when their page is whole. */
static int write_flow_page(aw_mux *mux) {
  aw_draft draft;
  int rc = mux_begin_link(mux, "flow", &draft);
  if (rc != AW_OK) {
    return rc;
  }
  mux_link_put(draft.out, "{\"scopes\":[", &rc);
  unsigned count = 0;
  for (aw_node *node = aw_queue_first(&mux->flows);
       node != NULL && count < AW_FLOW_PAGE && rc == AW_OK;
       node = aw_queue_next(&mux->flows, node)) {
    mux_link_put(draft.out, count++ > 0 ? "," : "", &rc);
    put_flow_scope(draft.out, AW_CONTAINER(node, aw_channel, flow_node), &rc);
  }
  uint64_t limit = mux_grantable(mux);
  mux_link_put(draft.out, "],\"connection_limit_bytes\":", &rc);
  mux_link_put_number(draft.out, limit, &rc);
  mux_link_put(draft.out, "}", &rc);
  rc = mux_end_link(&draft, rc);
  if (rc != AW_OK) {
    return rc;
  }
  mux->conn_granted = limit;
  while (count-- > 0) {
    aw_node *node = aw_queue_pop(&mux->flows);
    aw_channel *channel = AW_CONTAINER(node, aw_channel, flow_node);
    channel->flow_acked = mux_confirmed(channel).sequence;
    channel->told_let_go = mux_has_let_go(channel);
    end_let_go(channel);
  }
  return AW_OK;
}

void mux_write_flow(aw_mux *mux) {
  if (mux->link != AW_LINK_EXTENDED) {
    return;
  }
  mux->flow_now = false;
  mux->flow_at = UINT64_MAX;
  drop_ended(mux);
  /* Each scope once: what it has to say after that waits for the delay, as all
   * does when there is no memory. */
  size_t pages = mux->channels.count / AW_FLOW_PAGE + 1;
  while (!aw_queue_empty(&mux->flows) ||
         mux_grantable(mux) - mux->conn_granted >=
             mux->options.inbound_bytes / 2) {
    if (pages-- == 0 || write_flow_page(mux) != AW_OK) {
      mux->flow_at = mux->now_ms + AW_FLOW_DELAY_MS;
      return;
    }
  }
  mux_trim_tombs(mux);
}

/* What was to be acknowledged when the last connection went. */
void mux_resume_flows(aw_mux *mux) {
  mux->flow_now = mux->flow_now || !aw_queue_empty(&mux->flows);
}

int mux_receive_flow(aw_mux *mux, const mux_link_reader *in) {
  mux_link_list list;
  uint64_t limit = 0;
  if (!mux_link_list_open(in, "scopes", &list)) {
    return AW_E_REFUSED;
  }
  for (unsigned row = 0; mux_link_list_next(&list); row++) {
    enum aw_kind kind;
    aw_uuid id;
    uint64_t acked = 0, sequence = 0, bytes = 0, let_go = 0;
    if (row == AW_FLOW_PAGE || !mux_link_item_scope(&list, &kind, &id) ||
        !mux_link_item_number(&list, 2, &acked) ||
        !mux_link_item_number(&list, 3, &sequence) ||
        !mux_link_item_number(&list, 4, &bytes)) {
      return AW_E_REFUSED;
    }
    aw_channel *channel = aw_map_get(&mux->channels, kind, &id);
    if (channel == NULL || acked > channel->log.last) {
      continue; /* of an earlier life, or of a scope forgotten since */
    }
    mux_allow(channel, sequence, bytes);
    channel->seen_there = channel->seen_there || acked > 0;
    mux_trim(channel, acked);
    if (aw_mux_log_next(&channel->log) != NULL) {
      mux_wake_writer(channel);
    }
    channel->heard_let_go =
        mux_link_item_number(&list, 5, &let_go) && let_go == 1;
    mux_wind_down(channel);
    heed_let_go(channel);
  }
  if (!mux_link_may_number(in, "connection_limit_bytes", &limit)) {
    return AW_E_REFUSED;
  }
  if (limit > mux->conn_allowed) {
    mux->conn_allowed = limit;
    mux_wake_writers(mux);
  }
  return AW_OK;
}

uint64_t aw_mux_deadline(const aw_mux *mux) {
  return mux->flow_at;
}

void aw_mux_tick(aw_mux *mux) {
  if (mux->now_ms >= mux->flow_at) {
    mux->flow_at = UINT64_MAX;
    mux->flow_now = true;
  }
}
