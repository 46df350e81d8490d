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
  aw_buf_reset(&mux->refused_openings, 0);
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

/* One that is in nobody's scope: acknowledged, and let go of by its own id. */
static void put_refused_opening(aw_buf *out, const refused_opening *record,
                                int *rc) {
  mux_link_put_scope(out, record->kind, &record->id, rc);
  mux_link_put(out, ",1,", rc);
  mux_link_put_number(out, MUX_FIRST_CREDIT.sequence, rc);
  mux_link_put(out, ",", rc);
  mux_link_put_number(out, MUX_FIRST_CREDIT.bytes, rc);
  mux_link_put(out, ",1,", rc);
  mux_link_put_uuid(out, &record->opening_id, rc);
  mux_link_put(out, "]", rc);
}

/* The rows of one page: so many scopes, so many openings that were refused. */
typedef struct flow_page {
  unsigned scopes, refused;
} flow_page;

static void put_rows(aw_mux *mux, aw_buf *out, flow_page *page, int *rc) {
  for (aw_node *node = aw_queue_first(&mux->flows);
       node != NULL && page->scopes < AW_FLOW_PAGE && *rc == AW_OK;
       node = aw_queue_next(&mux->flows, node)) {
    mux_link_put(out, page->scopes++ > 0 ? "," : "", rc);
    put_flow_scope(out, AW_CONTAINER(node, aw_channel, flow_node), rc);
  }
  refused_opening record;
  size_t waiting = aw_buf_len(&mux->refused_openings) / sizeof record;
  while (page->refused < waiting && *rc == AW_OK &&
         page->scopes + page->refused < AW_FLOW_PAGE) {
    memcpy(&record,
           aw_buf_bytes(&mux->refused_openings) + page->refused * sizeof record,
           sizeof record);
    mux_link_put(out, page->scopes + page->refused++ > 0 ? "," : "", rc);
    put_refused_opening(out, &record, rc);
  }
}

static void leave_queues(aw_mux *mux, const flow_page *page) {
  for (unsigned n = 0; n < page->scopes; n++) {
    aw_node *node = aw_queue_pop(&mux->flows);
    aw_channel *channel = AW_CONTAINER(node, aw_channel, flow_node);
    channel->flow_acked = mux_confirmed(channel).sequence;
    channel->told_let_go = mux_has_let_go(channel);
    end_let_go(channel);
  }
  if (page->refused > 0) {
    aw_buf_consume(&mux->refused_openings,
                   page->refused * sizeof(refused_opening));
  }
}

/* The scopes leave the queue only when their page is whole. */
static int write_flow_page(aw_mux *mux) {
  aw_draft draft;
  int rc = mux_begin_link(mux, "flow", &draft);
  if (rc != AW_OK) {
    return rc;
  }
  flow_page page = {0, 0};
  mux_link_put(draft.out, "{\"scopes\":[", &rc);
  put_rows(mux, draft.out, &page, &rc);
  uint64_t limit = mux_grantable(mux);
  mux_link_put(draft.out, "],\"connection_limit_bytes\":", &rc);
  mux_link_put_number(draft.out, limit, &rc);
  mux_link_put(draft.out, "}", &rc);
  rc = mux_end_link(&draft, rc);
  if (rc == AW_OK) {
    mux->conn_granted = limit;
    leave_queues(mux, &page);
  }
  return rc;
}

static bool has_flow(const aw_mux *mux) {
  return !aw_queue_empty(&mux->flows) ||
         aw_buf_len(&mux->refused_openings) > 0 ||
         mux_grantable(mux) - mux->conn_granted >=
             mux->options.inbound_bytes / 2;
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
  size_t rows = mux->channels.count + AW_MUX_REFUSALS_MAX;
  for (size_t pages = rows / AW_FLOW_PAGE + 1; has_flow(mux); pages--) {
    if (pages == 0 || write_flow_page(mux) != AW_OK) {
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

/* One scope's row in a flow. */
typedef struct flow_row {
  enum aw_kind kind;
  aw_uuid id;
  uint64_t acked, sequence, bytes;
  bool let_go;
  aw_uuid opening_id; /* of a life that was refused; else nil */
} flow_row;

static bool read_row(const mux_link_list *list, flow_row *row) {
  uint64_t let_go = 0;
  size_t len = 0;
  if (!mux_link_item_scope(list, &row->kind, &row->id) ||
      !mux_link_item_number(list, 2, &row->acked) ||
      !mux_link_item_number(list, 3, &row->sequence) ||
      !mux_link_item_number(list, 4, &row->bytes)) {
    return false;
  }
  row->let_go = mux_link_item_number(list, 5, &let_go) && let_go == 1;
  const char *opening = mux_link_item_string(list, 6, &len);
  row->opening_id = (aw_uuid){{0}};
  return opening == NULL ||
         aw_uuid_parse(&row->opening_id, opening, len) == AW_OK;
}

static void apply_row(aw_mux *mux, const flow_row *row) {
  aw_channel *channel = aw_map_get(&mux->channels, row->kind, &row->id);
  if (channel == NULL || row->acked > channel->log.last) {
    return; /* of an earlier life, or of a scope forgotten since */
  }
  if (!aw_uuid_is_nil(&row->opening_id)) {
    if (channel->opened_here &&
        aw_uuid_equal(&channel->opening_id, &row->opening_id)) {
      mux_dismiss(channel);
    }
    return;
  }
  mux_allow(channel, row->sequence, row->bytes);
  channel->seen_there = channel->seen_there || row->acked > 0;
  mux_trim(channel, row->acked);
  if (aw_mux_log_next(&channel->log) != NULL) {
    mux_wake_writer(channel);
  }
  channel->heard_let_go = row->let_go;
  mux_wind_down(channel);
  heed_let_go(channel);
}

int mux_receive_flow(aw_mux *mux, const mux_link_reader *in) {
  mux_link_list list;
  uint64_t limit = 0;
  if (!mux_link_list_open(in, "scopes", &list)) {
    return AW_E_REFUSED;
  }
  for (unsigned count = 0; mux_link_list_next(&list); count++) {
    flow_row row;
    if (count == AW_FLOW_PAGE || !read_row(&list, &row)) {
      return AW_E_REFUSED;
    }
    apply_row(mux, &row);
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
