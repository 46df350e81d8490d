#include "aw_resume.h"
#include "aw_mux_impl.h"
#include "aw_resume_impl.h"

const aw_uuid *aw_mux_connection_id(const aw_mux *mux) {
  return &mux->connection_id;
}

/* Begins a link message; the control queue's cap is not asked, because hellos
 * and flows are bounded by the number of scopes. */
int mux_begin_link(aw_mux *mux, const char *type, aw_draft *draft) {
  size_t cap = mux->options.control_bytes;
  mux->options.control_bytes = SIZE_MAX;
  int rc = aw_mux_begin_control(mux, AW_KIND_LINK, &mux->connection_id, type,
                                strlen(type), NULL, draft);
  mux->options.control_bytes = cap;
  draft->is_link = true;
  return rc;
}

int mux_end_link(aw_draft *draft, int rc) {
  if (rc != AW_OK) {
    aw_draft_cancel(draft);
    return rc;
  }
  return aw_draft_commit(draft);
}

/* What the peer may send from now on: absolute, and it only grows. */
static void grant(aw_channel *channel) {
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

static void allow(aw_channel *channel, uint64_t sequence, uint64_t bytes) {
  if (sequence > channel->allowed.sequence) {
    channel->allowed.sequence = sequence;
  }
  if (bytes > channel->allowed.bytes) {
    channel->allowed.bytes = bytes;
  }
}

/* ---------------------------------------------------------------- flow -- */

void mux_queue_flow(aw_channel *channel, bool now) {
  aw_mux *mux = channel->mux;
  /* A flow names an id, not a life: what is said of this one must not be taken
   * for a newer one that the peer may have. */
  if (channel->mute || channel->error == AW_E_LOST) {
    return;
  }
  if (!aw_node_queued(&channel->flow_node)) {
    aw_queue_push(&mux->flows, &channel->flow_node);
  }
  if (now) {
    mux->flow_now = true;
  } else if (mux->flow_at == UINT64_MAX) {
    mux->flow_at = mux->now_ms + AW_FLOW_DELAY_MS;
  }
}

/* A peer that has our terminal message drops its log by itself. It may open
 * the id anew at once, and must not take this life's numbers for that one's. */
static bool is_settled(const aw_channel *channel) {
  return channel->ended_here && !channel->given_up &&
         aw_channel_unsent(channel) == NULL;
}

static void drop_settled(aw_mux *mux) {
  aw_node *next = NULL;
  for (aw_node *node = aw_queue_first(&mux->flows); node != NULL; node = next) {
    next = aw_queue_next(&mux->flows, node);
    if (is_settled(AW_CONTAINER(node, aw_channel, flow_node))) {
      aw_node_remove(node);
    }
  }
}

/* Both ends have let go of a scope that never had a terminal message (a refused
 * opening, an abort of its own): it is over without one. */
static void end_let_go(aw_channel *channel) {
  if (channel->told && channel->peer_gone) {
    mux_end_channel(channel, AW_E_CLOSED);
    mux_drop_log(channel);
    mux_settle(channel);
  }
}

/* The peer has let go, and had our application consume all that it sent: what
 * we would send now it would drop. A terminal message that is on its way goes
 * on, because its acknowledgement is the end that both can know. */
static void heed_let_go(aw_channel *channel) {
  if (channel->peer_gone && !channel->released &&
      channel->state == AW_CHANNEL_OPEN) {
    mux_end_channel(channel, AW_E_CLOSED);
    mux_drop_log(channel);
  }
  end_let_go(channel);
}

static void put_flow_scope(aw_buf *out, aw_channel *channel, int *rc) {
  grant(channel);
  uint64_t numbers[] = {mux_confirmed(channel).sequence,
                        channel->granted.sequence, channel->granted.bytes};
  link_put_scope(out, channel->kind, &channel->id, rc);
  for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
    link_put(out, ",", rc);
    link_put_number(out, numbers[i], rc);
  }
  link_put(out, mux_has_let_go(channel) ? ",1]" : "]", rc);
}

/* The scopes leave the queue only when their page is whole. */
static int write_flow_page(aw_mux *mux) {
  aw_draft draft;
  int rc = mux_begin_link(mux, "flow", &draft);
  if (rc != AW_OK) {
    return rc;
  }
  link_put(draft.out, "{\"scopes\":[", &rc);
  unsigned count = 0;
  for (aw_node *node = aw_queue_first(&mux->flows);
       node != NULL && count < AW_FLOW_PAGE && rc == AW_OK;
       node = aw_queue_next(&mux->flows, node)) {
    link_put(draft.out, count++ > 0 ? "," : "", &rc);
    put_flow_scope(draft.out, AW_CONTAINER(node, aw_channel, flow_node), &rc);
  }
  uint64_t limit = mux_grantable(mux);
  link_put(draft.out, "],\"connection_limit_bytes\":", &rc);
  link_put_number(draft.out, limit, &rc);
  link_put(draft.out, "}", &rc);
  rc = mux_end_link(&draft, rc);
  if (rc != AW_OK) {
    return rc;
  }
  mux->conn_granted = limit;
  while (count-- > 0) {
    aw_node *node = aw_queue_pop(&mux->flows);
    aw_channel *channel = AW_CONTAINER(node, aw_channel, flow_node);
    channel->flow_acked = mux_confirmed(channel).sequence;
    channel->told = mux_has_let_go(channel);
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
  drop_settled(mux);
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
static void resume_flows(aw_mux *mux) {
  mux->flow_now = mux->flow_now || !aw_queue_empty(&mux->flows);
}

static int receive_flow(aw_mux *mux, const link_reader *in) {
  link_list list;
  uint64_t limit = 0;
  if (!link_list_open(in, "scopes", &list)) {
    return AW_E_REFUSED;
  }
  for (unsigned row = 0; link_list_next(&list); row++) {
    enum aw_kind kind;
    aw_uuid id;
    uint64_t acked = 0, sequence = 0, bytes = 0, let_go = 0;
    if (row == AW_FLOW_PAGE || !link_item_scope(&list, &kind, &id) ||
        !link_item_number(&list, 2, &acked) ||
        !link_item_number(&list, 3, &sequence) ||
        !link_item_number(&list, 4, &bytes)) {
      return AW_E_REFUSED;
    }
    aw_channel *channel = aw_map_get(&mux->channels, kind, &id);
    if (channel == NULL || acked > channel->out.last) {
      continue; /* of an earlier life, or of a scope forgotten since */
    }
    allow(channel, sequence, bytes);
    channel->acked = channel->acked || acked > 0;
    mux_trim(channel, acked);
    if (aw_channel_unsent(channel) != NULL) {
      mux_wake_writer(channel);
    }
    channel->peer_gone = link_item_number(&list, 5, &let_go) && let_go == 1;
    mux_settle(channel);
    heed_let_go(channel);
  }
  if (!link_may_number(in, "connection_limit_bytes", &limit)) {
    return AW_E_REFUSED;
  }
  if (limit > mux->conn_allowed) {
    mux->conn_allowed = limit;
    mux_wake_parked(mux);
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

/* --------------------------------------------------------------- hello -- */

/* A scope that is over and owes nothing needs no resuming. */
static bool needs_resume(const aw_channel *channel) {
  return channel->state == AW_CHANNEL_OPEN || channel->log_count > 0;
}

static void put_hello_scope(aw_buf *out, aw_channel *channel, int *rc) {
  grant(channel);
  uint64_t numbers[] = {channel->in.last, channel->granted.sequence,
                        channel->granted.bytes, channel->first_logged,
                        channel->out.last};
  link_put_scope(out, channel->kind, &channel->id, rc);
  for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
    link_put(out, ",", rc);
    link_put_number(out, numbers[i], rc);
  }
  if (!aw_uuid_is_nil(&channel->birth)) {
    link_put(out, ",", rc);
    link_put_uuid(out, &channel->birth, rc);
  }
  link_put(out, "]", rc);
  channel->awaiting = true;
}

/* The peer is through with a scope that is over here, and may use the id anew
 * before a flow comes. */
static void mute(aw_channel *channel) {
  channel->mute = true;
  aw_node_remove(&channel->flow_node);
  if (channel->given_up) {
    channel->told = channel->peer_gone = true; /* not named, it is gone there */
  }
}

/* One page; *cursor walks the scopes. Sets *done after the last one. */
static int write_hello_page(aw_mux *mux, size_t *cursor, aw_channel **next,
                            bool *done) {
  aw_draft draft;
  int rc = mux_begin_link(mux, "hello", &draft);
  if (rc != AW_OK) {
    return rc;
  }
  link_put(draft.out, "{\"key\":\"", &rc);
  link_put_hex(draft.out, mux->options.key, sizeof mux->options.key, &rc);
  if (mux->epoch[0] != '\0') {
    link_put(draft.out, "\",\"epoch\":\"", &rc);
    link_put(draft.out, mux->epoch, &rc);
  }
  link_put(draft.out, "\",\"attempt\":", &rc);
  link_put_number(draft.out, mux->generation, &rc);
  link_put(draft.out, ",\"max_inbound_bytes\":", &rc);
  link_put_number(draft.out, mux->conn_granted, &rc);
  limits_put(mux, draft.out, &rc);
  link_put(draft.out, ",\"scopes\":[", &rc);
  for (unsigned n = 0; n < AW_HELLO_PAGE && *next != NULL && rc == AW_OK;) {
    if (needs_resume(*next)) {
      link_put(draft.out, n > 0 ? "," : "", &rc);
      put_hello_scope(draft.out, *next, &rc);
      n++;
    } else {
      mute(*next); /* not named, it is acknowledged by that */
    }
    *next = aw_map_next(&mux->channels, cursor);
  }
  *done = *next == NULL;
  link_put(draft.out, *done ? "],\"more\":false}" : "],\"more\":true}", &rc);
  return mux_end_link(&draft, rc);
}

/* The very first hello has nothing to resume: scopes may follow at once. Every
 * later one, also when no welcome ever came, has to wait for the answer. */
int mux_say_hello(aw_mux *mux) {
  bool first = mux->generation == 1;
  mux->link = first ? AW_LINK_EXTENDED : AW_LINK_AWAIT_WELCOME;
  size_t cursor = 0;
  aw_channel *next = first ? NULL : aw_map_next(&mux->channels, &cursor);
  bool done = false;
  while (!done) {
    int rc = write_hello_page(mux, &cursor, &next, &done);
    if (rc != AW_OK) {
      mux->link = AW_LINK_DETACHED;
      return rc;
    }
  }
  return AW_OK;
}

/* ------------------------------------------------------------- welcome -- */

void mux_lose(aw_channel *channel) {
  mux_end_channel(channel, AW_E_LOST);
  mux_drop_log(channel);
  aw_node_remove(&channel->flow_node); /* the peer may have a newer life */
  mux_settle(channel);
}

/* Both ends' view of one scope, brought together on our side. What the peer
 * has received stays in the log until a flow says that it was consumed: an
 * empty log means that no flow of this life is on its way to us any more. */
static bool resume_channel(aw_channel *channel, uint64_t peer_received,
                           const aw_credit *limit) {
  uint64_t written = channel->next_unsent - 1;
  uint64_t from = mux_skip_folded(channel, peer_received);
  if (!aw_channel_rewind(channel, from)) {
    return false;
  }
  if (written > from) {
    channel->mux->stats.replayed += written - from;
  }
  allow(channel, limit->sequence, limit->bytes);
  channel->acked = channel->acked || peer_received > 0;
  channel->told = channel->peer_gone = false; /* each says it again */
  channel->mute = false;
  channel->awaiting = false;
  blame_suspect(channel);
  if (aw_channel_unsent(channel) != NULL) {
    mux_wake_writer(channel);
  }
  mux_queue_flow(channel, true); /* acknowledge: the last flow may be lost */
  mux_settle(channel);
  return true;
}

static bool restart_channel(aw_channel *channel) {
  aw_credit start = MUX_FIRST_CREDIT;
  if (channel->in.last > 0) {
    return false;
  }
  channel->allowed = start; /* the credit of a server that is gone */
  channel->acked = false;
  return resume_channel(channel, 0, &start);
}

/* The welcome's page that is being written. */
typedef struct welcome_page {
  aw_mux *mux;
  aw_draft draft;
  unsigned count;
  bool resumed;
  int rc;
} welcome_page;

static void open_page(welcome_page *page) {
  aw_mux *mux = page->mux;
  page->count = 0;
  page->rc = mux_begin_link(mux, "welcome", &page->draft);
  if (page->rc != AW_OK) {
    return;
  }
  aw_buf *out = page->draft.out;
  link_put(out, "{\"generation\":", &page->rc);
  link_put_number(out, mux->generation, &page->rc);
  link_put(out, ",\"epoch\":\"", &page->rc);
  link_put(out, mux->epoch, &page->rc);
  link_put(out, page->resumed ? "\",\"resumed\":true" : "\",\"resumed\":false",
           &page->rc);
  link_put(out, ",\"window_ms\":", &page->rc);
  link_put_number(out, mux->options.window_ms, &page->rc);
  link_put(out, ",\"max_inbound_bytes\":", &page->rc);
  link_put_number(out, mux->conn_granted, &page->rc);
  limits_put(mux, out, &page->rc);
  link_put(out, ",\"scopes\":[", &page->rc);
}

static void close_page(welcome_page *page, bool more) {
  if (page->rc != AW_OK) {
    return;
  }
  link_put(page->draft.out, more ? "],\"more\":true}" : "],\"more\":false}",
           &page->rc);
  page->rc = mux_end_link(&page->draft, page->rc);
}

static void put_welcome_scope(welcome_page *page, enum aw_kind kind,
                              const aw_uuid *id, const char *status,
                              uint64_t from, uint64_t received,
                              const aw_credit *limit) {
  if (page->count == AW_HELLO_PAGE) {
    close_page(page, true);
    if (page->rc == AW_OK) {
      open_page(page);
    }
  }
  if (page->rc != AW_OK) {
    return;
  }
  aw_buf *out = page->draft.out;
  link_put(out, page->count++ > 0 ? "," : "", &page->rc);
  link_put_scope(out, kind, id, &page->rc);
  link_put(out, ",\"", &page->rc);
  link_put(out, status, &page->rc);
  link_put(out, "\"", &page->rc);
  uint64_t numbers[] = {from, received, limit->sequence, limit->bytes};
  for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
    link_put(out, ",", &page->rc);
    link_put_number(out, numbers[i], &page->rc);
  }
  link_put(out, "]", &page->rc);
}

/* `received`: what the peer has; where it goes on may be further. */
static void put_live_scope(welcome_page *page, aw_channel *channel,
                           uint64_t received) {
  uint64_t from = mux_skip_folded(channel, received);
  const char *status = channel->state == AW_CHANNEL_OVER ? "done" : "live";
  grant(channel);
  put_welcome_scope(page, channel->kind, &channel->id,
                    from > received ? "snapshot" : status, from,
                    channel->in.last, &channel->granted);
}

/* Is the scope that the client named the one that we have? The id may have been
 * opened anew by either side since. */
static bool is_same_life(const aw_channel *channel,
                         const aw_hello_scope *scope) {
  if (aw_uuid_is_nil(&scope->birth)) {
    return scope->received > 0 || scope->sent_last > 0; /* it does not tell */
  }
  return aw_uuid_equal(&scope->birth, &channel->birth) ||
         aw_uuid_equal(&scope->birth, &channel->first_in);
}

/* Did we open it, and can the client not have seen it yet? */
static bool is_unseen(const aw_channel *channel) {
  return channel->opened_here && !channel->acked && channel->in.last == 0 &&
         channel->first_logged == 1 && needs_resume(channel);
}

static void answer_scope(welcome_page *page, const aw_hello_scope *scope,
                         bool trusted) {
  static const aw_credit none = {0, 0};
  bool fresh = scope->received == 0 && scope->sent_first <= 1;
  aw_channel *channel =
      aw_map_get(&page->mux->channels, scope->kind, &scope->id);
  bool same = channel != NULL && trusted && is_same_life(channel, scope);
  bool lost = same && (channel->error == AW_E_LOST || channel->given_up);
  if (same && !lost) {
    /* The control queue is one buffer: resume first writes nothing to it. */
    if (resume_channel(channel, scope->received, &scope->limit)) {
      channel->awaiting = true; /* named: keep_unnamed passes it over */
      put_live_scope(page, channel, scope->received);
      return;
    }
  }
  /* What we have opened since and the client has not seen stays; keep_unnamed
   * sends it. */
  if (channel != NULL && (same || fresh || !is_unseen(channel))) {
    mux_lose(channel);
  }
  put_welcome_scope(page, scope->kind, &scope->id,
                    fresh && !lost ? "unknown" : "lost", 0, 0, &none);
}

/* Scopes of ours that the client did not name: those that it cannot have seen
 * yet are sent from the start, the others it has let go of. */
static void keep_unnamed(welcome_page *page) {
  const aw_credit start = MUX_FIRST_CREDIT;
  size_t cursor = 0;
  aw_channel *channel = NULL;
  aw_queue gone;
  aw_queue_init(&gone);
  while ((channel = aw_map_next(&page->mux->channels, &cursor)) != NULL) {
    if (channel->awaiting) {
      channel->awaiting = false;
      continue;
    }
    if (channel->state == AW_CHANNEL_OVER) {
      mute(channel);
    }
    if (is_unseen(channel) && aw_channel_rewind(channel, 0)) {
      blame_suspect(channel);
      allow(channel, start.sequence, start.bytes);
      mux_wake_writer(channel);
      put_live_scope(page, channel, 0);
    } else if (needs_resume(channel)) {
      aw_node_remove(&channel->writer_node);
      aw_queue_push(&gone, &channel->writer_node);
    }
  }
  for (aw_node *node = NULL; (node = aw_queue_pop(&gone)) != NULL;) {
    mux_lose(AW_CONTAINER(node, aw_channel, writer_node));
  }
}

/* Behind the last page, so that no scope's message comes before it. */
static int announce_gaps(aw_mux *mux, const aw_hello *hello) {
  int rc = AW_OK;
  for (size_t i = 0; i < hello->count && rc == AW_OK; i++) {
    const aw_hello_scope *scope = &hello->scopes[i];
    aw_channel *channel = aw_map_get(&mux->channels, scope->kind, &scope->id);
    if (channel != NULL &&
        mux_skip_folded(channel, scope->received) > scope->received) {
      rc = mux_announce_gap(channel, scope->received);
    }
  }
  return rc;
}

bool aw_mux_is_stale(const aw_mux *mux, const aw_hello *hello) {
  return hello->attempt != 0 && hello->attempt <= mux->attempt;
}

/* Marks of a resume that did not come to its end. */
static void forget_awaiting(aw_mux *mux) {
  size_t cursor = 0;
  aw_channel *channel = NULL;
  while ((channel = aw_map_next(&mux->channels, &cursor)) != NULL) {
    channel->awaiting = false;
  }
}

static void make_epoch(aw_mux *mux, const char *server) {
  static const char digits[] = "0123456789abcdef";
  size_t len = strlen(server);
  len = len < AW_EPOCH_TEXT / 2 ? len : AW_EPOCH_TEXT / 2;
  memcpy(mux->epoch, server, len);
  for (uint64_t own = aw_random_next(&mux->random); len < AW_EPOCH_TEXT;
       own = own >> 4 | own << 60) {
    mux->epoch[len++] = digits[own & 15];
  }
  mux->epoch[len] = '\0';
}

int aw_mux_accept(aw_mux *mux, const aw_hello *hello, const char *epoch,
                  uint32_t *generation) {
  if (mux->abandoned || aw_mux_is_stale(mux, hello)) {
    return AW_E_CLOSED;
  }
  if (mux->generation == 0) {
    make_epoch(mux, epoch);
  }
  welcome_page page = {.mux = mux};
  page.resumed = mux->generation > 0 && (hello->epoch[0] == '\0' ||
                                         strcmp(hello->epoch, mux->epoch) == 0);
  bool trusted = page.resumed;
  mux->connection_id = hello->connection_id;
  mux->attempt = hello->attempt;
  forget_awaiting(mux);
  mux_begin_connection(mux, true);
  mux->conn_allowed = hello->max_inbound_bytes;
  mux->link = AW_LINK_EXTENDED;
  open_page(&page);
  for (size_t i = 0; i < hello->count && page.rc == AW_OK; i++) {
    const aw_hello_scope *scope = &hello->scopes[i];
    answer_scope(&page, scope,
                 trusted && (hello->epoch[0] != '\0' || scope->received == 0));
  }
  if (page.rc == AW_OK) {
    keep_unnamed(&page);
  }
  close_page(&page, false);
  if (page.rc == AW_OK) {
    page.rc = announce_gaps(mux, hello);
  }
  if (page.rc != AW_OK) {
    mux->link = AW_LINK_DETACHED;
    return page.rc;
  }
  *generation = mux->generation;
  mux_notice(mux, page.resumed ? AW_MUX_RESUMED : AW_MUX_RENEWED);
  limits_learn(mux, &hello->limits);
  blame_judge(mux);
  resume_flows(mux);
  mux_wake_starved(mux);
  return AW_OK;
}

static int apply_welcome_scope(aw_mux *mux, const link_list *list) {
  enum aw_kind kind;
  aw_uuid id;
  size_t len = 0;
  uint64_t received = 0;
  aw_credit limit;
  const char *status = link_item_string(list, 2, &len);
  if (!link_item_scope(list, &kind, &id) || status == NULL ||
      !link_item_number(list, 4, &received) ||
      !link_item_number(list, 5, &limit.sequence) ||
      !link_item_number(list, 6, &limit.bytes)) {
    return AW_E_REFUSED;
  }
  aw_channel *channel = aw_map_get(&mux->channels, kind, &id);
  if (channel == NULL || !channel->awaiting) {
    return AW_OK; /* one of the server's that we have not seen yet */
  }
  channel->awaiting = false;
  bool ok = false;
  if (len == 7 && memcmp(status, "unknown", 7) == 0) {
    ok = restart_channel(channel);
  } else if (len != 4 || memcmp(status, "lost", 4) != 0) {
    channel->done_there = len == 4 && memcmp(status, "done", 4) == 0;
    received = channel->cut_off ? channel->out.last : received;
    ok = resume_channel(channel, received, &limit);
  }
  if (!ok) {
    mux_lose(channel);
  }
  return AW_OK;
}

static void lose_unanswered(aw_mux *mux) {
  size_t cursor = 0;
  aw_channel *channel = NULL;
  aw_queue lost;
  aw_queue_init(&lost);
  while ((channel = aw_map_next(&mux->channels, &cursor)) != NULL) {
    if (channel->awaiting) {
      channel->awaiting = false;
      aw_node_remove(&channel->writer_node);
      aw_queue_push(&lost, &channel->writer_node);
    }
  }
  for (aw_node *node = NULL; (node = aw_queue_pop(&lost)) != NULL;) {
    mux_lose(AW_CONTAINER(node, aw_channel, writer_node));
  }
}

static int receive_welcome(aw_mux *mux, const link_reader *in) {
  size_t len = 0;
  const char *epoch = link_string(in, "epoch", &len);
  link_list list;
  aw_limits limits;
  uint64_t limit = mux->conn_allowed, window = mux->peer_window_ms;
  if (epoch == NULL || len == 0 || len > AW_EPOCH_TEXT ||
      !mux->options.is_client || !link_list_open(in, "scopes", &list) ||
      !link_may_number(in, "max_inbound_bytes", &limit) ||
      !link_may_number(in, "window_ms", &window) || !limits_read(in, &limits)) {
    return AW_E_REFUSED;
  }
  if (mux->link == AW_LINK_AWAIT_WELCOME) {
    mux->conn_allowed = limit; /* the first connection went ahead without */
  }
  for (unsigned row = 0; link_list_next(&list); row++) {
    int rc =
        row < AW_HELLO_PAGE ? apply_welcome_scope(mux, &list) : AW_E_REFUSED;
    if (rc != AW_OK) {
      return rc;
    }
  }
  if (link_true(in, "more")) {
    return AW_OK;
  }
  /* Not before the last page: a scope that is not answered yet would be
   * resumed in the new epoch with the old one's numbers. */
  memcpy(mux->epoch, epoch, len);
  mux->epoch[len] = '\0';
  mux->peer_window_ms = window < INT32_MAX ? (unsigned)window : INT32_MAX;
  lose_unanswered(mux);
  mux_notice(mux, link_true(in, "resumed") ? AW_MUX_RESUMED : AW_MUX_RENEWED);
  mux->welcomed = true;
  mux->link = AW_LINK_EXTENDED;
  limits_learn(mux, &limits);
  blame_judge(mux);
  resume_flows(mux);
  mux_wake_starved(mux);
  return AW_OK;
}

static bool is_type(const aw_envelope *envelope, const char *type) {
  return envelope->type_len == strlen(type) &&
         memcmp(envelope->type, type, envelope->type_len) == 0;
}

int mux_receive_link(aw_mux *mux, const aw_envelope *envelope, const char *text,
                     size_t len) {
  link_reader in = {mux->tape.tokens, envelope->payload, text};
  if (is_type(envelope, "flow")) {
    return receive_flow(mux, &in);
  }
  if (is_type(envelope, "welcome")) {
    return receive_welcome(mux, &in);
  }
  if (is_type(envelope, "gap")) {
    return mux_receive_gap(mux, &in);
  }
  if (is_type(envelope, "goodbye")) {
    return mux_receive_control(mux, envelope, text, len); /* the owner's */
  }
  return AW_E_REFUSED; /* a hello in mid-session, or nothing we know */
}
