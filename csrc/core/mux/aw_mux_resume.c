#include "aw_mux_resume.h"
#include "aw_bytes.h"
#include "aw_mux_blame.h"
#include "aw_mux_flow.h"
#include "aw_mux_fold.h"
#include "aw_mux_gap.h"
#include "aw_mux_limits.h"
#include "aw_mux_news.h"
#include "aw_mux_scope.h"
#include "aw_mux_send.h"
#include "aw_mux_wake.h"

const aw_uuid *aw_mux_connection_id(const aw_mux *mux) {
  return &mux->connection_id;
}

/* A scope that is over and owes nothing needs no resuming. */
static bool needs_resume(const aw_channel *channel) {
  return channel->state == AW_CHANNEL_OPEN ||
         !aw_mux_log_is_empty(&channel->log);
}

static void put_hello_scope(aw_buf *out, aw_channel *channel, int *rc) {
  mux_grant(channel);
  uint64_t numbers[] = {channel->received, channel->granted.sequence,
                        channel->granted.bytes, channel->log.first,
                        channel->log.last};
  mux_link_put_scope(out, channel->kind, &channel->id, rc);
  for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
    mux_link_put(out, ",", rc);
    mux_link_put_number(out, numbers[i], rc);
  }
  if (!aw_uuid_is_nil(&channel->opening_id)) {
    mux_link_put(out, ",", rc);
    mux_link_put_uuid(out, &channel->opening_id, rc);
  }
  mux_link_put(out, "]", rc);
  channel->in_hello = true;
}

/* The peer is through with a scope that is over here, and may use the id anew
 * before a flow comes. */
static void silence(aw_channel *channel) {
  mux_silence(channel);
  if (channel->state == AW_CHANNEL_GIVEN_UP) {
    channel->told_let_go = channel->heard_let_go =
        true; /* not named, it is gone there */
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
  mux_link_put(draft.out, "{\"key\":\"", &rc);
  mux_link_put_hex(draft.out, mux->options.key, sizeof mux->options.key, &rc);
  if (mux->epoch[0] != '\0') {
    mux_link_put(draft.out, "\",\"epoch\":\"", &rc);
    mux_link_put(draft.out, mux->epoch, &rc);
  }
  mux_link_put(draft.out, "\",\"attempt\":", &rc);
  mux_link_put_number(draft.out, mux->generation, &rc);
  mux_link_put(draft.out, ",\"max_inbound_bytes\":", &rc);
  mux_link_put_number(draft.out, mux->conn_granted, &rc);
  mux_limits_put(mux, draft.out, &rc);
  mux_link_put(draft.out, ",\"scopes\":[", &rc);
  for (unsigned n = 0; n < AW_HELLO_PAGE && *next != NULL && rc == AW_OK;) {
    if (needs_resume(*next)) {
      mux_link_put(draft.out, n > 0 ? "," : "", &rc);
      put_hello_scope(draft.out, *next, &rc);
      n++;
    } else {
      silence(*next); /* not named, it is acknowledged by that */
    }
    *next = aw_map_next(&mux->channels, cursor);
  }
  *done = *next == NULL;
  mux_link_put(draft.out, *done ? "],\"more\":false}" : "],\"more\":true}",
               &rc);
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

/* Both ends' view of one scope, brought together on our side. What the peer
 * has received stays in the log until a flow says that it was consumed: an
 * empty log means that no flow of this life is on its way to us any more. */
static bool resume_channel(aw_channel *channel, uint64_t peer_received,
                           const aw_credit *limit) {
  uint64_t written = channel->log.next - 1;
  uint64_t from = mux_skip_folded(channel, peer_received);
  if (!aw_mux_log_rewind(&channel->log, from)) {
    return false;
  }
  if (written > from) {
    channel->mux->stats.replayed += written - from;
  }
  mux_allow(channel, limit->sequence, limit->bytes);
  channel->seen_there = channel->seen_there || peer_received > 0;
  channel->told_let_go = channel->heard_let_go = false; /* each says it again */
  channel->silent = false;
  channel->in_hello = false;
  mux_blame_suspect(channel);
  if (aw_mux_log_next(&channel->log) != NULL) {
    mux_wake_writer(channel);
  }
  mux_queue_flow(channel, true); /* acknowledge: the last flow may be lost */
  mux_wind_down(channel);
  return true;
}

static bool restart_channel(aw_channel *channel) {
  aw_credit start = MUX_FIRST_CREDIT;
  if (channel->received > 0) {
    return false;
  }
  channel->allowed = start; /* the credit of a server that is gone */
  channel->seen_there = false;
  channel->there = AW_THERE_OPEN;
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
  mux_link_put(out, "{\"generation\":", &page->rc);
  mux_link_put_number(out, mux->generation, &page->rc);
  mux_link_put(out, ",\"epoch\":\"", &page->rc);
  mux_link_put(out, mux->epoch, &page->rc);
  mux_link_put(out,
               page->resumed ? "\",\"resumed\":true" : "\",\"resumed\":false",
               &page->rc);
  mux_link_put(out, ",\"window_ms\":", &page->rc);
  mux_link_put_number(out, mux->options.window_ms, &page->rc);
  mux_link_put(out, ",\"max_inbound_bytes\":", &page->rc);
  mux_link_put_number(out, mux->conn_granted, &page->rc);
  mux_limits_put(mux, out, &page->rc);
  mux_link_put(out, ",\"scopes\":[", &page->rc);
}

static void close_page(welcome_page *page, bool more) {
  if (page->rc != AW_OK) {
    return;
  }
  mux_link_put(page->draft.out, more ? "],\"more\":true}" : "],\"more\":false}",
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
  mux_link_put(out, page->count++ > 0 ? "," : "", &page->rc);
  mux_link_put_scope(out, kind, id, &page->rc);
  mux_link_put(out, ",\"", &page->rc);
  mux_link_put(out, status, &page->rc);
  mux_link_put(out, "\"", &page->rc);
  uint64_t numbers[] = {from, received, limit->sequence, limit->bytes};
  for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
    mux_link_put(out, ",", &page->rc);
    mux_link_put_number(out, numbers[i], &page->rc);
  }
  mux_link_put(out, "]", &page->rc);
}

/* `received`: what the peer has; where it goes on may be further. */
static void put_live_scope(welcome_page *page, aw_channel *channel,
                           uint64_t received) {
  uint64_t from = mux_skip_folded(channel, received);
  const char *status = aw_channel_is_over(channel) ? "done" : "live";
  mux_grant(channel);
  put_welcome_scope(page, channel->kind, &channel->id,
                    from > received ? "snapshot" : status, from,
                    channel->received, &channel->granted);
}

/* Is the scope that the client named the one that we have? The id may have been
 * opened anew by either side since. */
static bool is_same_life(const aw_channel *channel,
                         const aw_hello_scope *scope) {
  if (aw_uuid_is_nil(&scope->opening_id)) {
    return scope->received > 0 || scope->sent_last > 0; /* it does not tell */
  }
  return aw_uuid_equal(&scope->opening_id, &channel->opening_id) ||
         aw_uuid_equal(&scope->opening_id, &channel->first_in);
}

/* Did we open it, and can the client not have seen it yet? */
static bool is_unseen(const aw_channel *channel) {
  return channel->opened_here && !channel->seen_there &&
         channel->received == 0 && channel->log.first == 1 &&
         needs_resume(channel);
}

static void answer_scope(welcome_page *page, const aw_hello_scope *scope,
                         bool trusted) {
  static const aw_credit none = {0, 0};
  bool fresh = scope->received == 0 && scope->sent_first <= 1;
  aw_channel *channel =
      aw_map_get(&page->mux->channels, scope->kind, &scope->id);
  bool same = channel != NULL && trusted && is_same_life(channel, scope);
  bool lost = same && channel->state >= AW_CHANNEL_GIVEN_UP;
  if (same && !lost) {
    /* The control queue is one buffer: resume first writes nothing to it. */
    if (resume_channel(channel, scope->received, &scope->limit)) {
      channel->in_hello = true; /* named: keep_unnamed passes it over */
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
    if (channel->in_hello) {
      channel->in_hello = false;
      continue;
    }
    if (aw_channel_is_over(channel)) {
      silence(channel);
    }
    if (is_unseen(channel) && aw_mux_log_rewind(&channel->log, 0)) {
      mux_blame_suspect(channel);
      mux_allow(channel, start.sequence, start.bytes);
      mux_wake_writer(channel);
      put_live_scope(page, channel, 0);
    } else if (needs_resume(channel)) {
      mux_stop_writer(channel);
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
static void forget_hello(aw_mux *mux) {
  size_t cursor = 0;
  aw_channel *channel = NULL;
  while ((channel = aw_map_next(&mux->channels, &cursor)) != NULL) {
    channel->in_hello = false;
  }
}

static void make_epoch(aw_mux *mux, const char *server) {
  size_t len = strlen(server);
  len = len < AW_EPOCH_TEXT / 2 ? len : AW_EPOCH_TEXT / 2;
  memcpy(mux->epoch, server, len);
  for (uint64_t own = aw_random_next(&mux->random); len < AW_EPOCH_TEXT;
       own = own >> 4 | own << 60) {
    mux->epoch[len++] = aw_hex_digit((unsigned)own);
  }
  mux->epoch[len] = '\0';
}

/* All scopes know where they go on. */
static void go_on(aw_mux *mux, const aw_limits *limits) {
  mux_limits_learn(mux, limits);
  aw_channel *culprit = mux_blame_judge(mux);
  if (culprit != NULL) {
    mux_give_up_undeliverable(culprit);
  }
  mux_resume_flows(mux);
  mux_wake_senders(mux);
}

int aw_mux_accept(aw_mux *mux, const aw_hello *hello, const char *epoch,
                  uint32_t *generation) {
  if (mux->link == AW_LINK_ABANDONED || aw_mux_is_stale(mux, hello)) {
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
  forget_hello(mux);
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
  go_on(mux, &hello->limits);
  return AW_OK;
}

/* Returns what the peer needs none of any more: `received`, or all. */
static uint64_t hear_status(aw_channel *channel, const char *status, size_t len,
                            uint64_t received) {
  if (channel->there == AW_THERE_REFUSES) {
    return channel->log.last;
  }
  bool over = len == 4 && memcmp(status, "done", 4) == 0;
  channel->there = over ? AW_THERE_OVER : AW_THERE_OPEN;
  return received;
}

static int apply_welcome_scope(aw_mux *mux, const mux_link_list *list) {
  enum aw_kind kind;
  aw_uuid id;
  size_t len = 0;
  uint64_t received = 0;
  aw_credit limit;
  const char *status = mux_link_item_string(list, 2, &len);
  if (!mux_link_item_scope(list, &kind, &id) || status == NULL ||
      !mux_link_item_number(list, 4, &received) ||
      !mux_link_item_number(list, 5, &limit.sequence) ||
      !mux_link_item_number(list, 6, &limit.bytes)) {
    return AW_E_REFUSED;
  }
  aw_channel *channel = aw_map_get(&mux->channels, kind, &id);
  if (channel == NULL || !channel->in_hello) {
    return AW_OK; /* one of the server's that we have not seen yet */
  }
  channel->in_hello = false;
  bool ok = false;
  if (len == 7 && memcmp(status, "unknown", 7) == 0) {
    ok = restart_channel(channel);
  } else if (len != 4 || memcmp(status, "lost", 4) != 0) {
    received = hear_status(channel, status, len, received);
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
    if (channel->in_hello) {
      channel->in_hello = false;
      mux_stop_writer(channel);
      aw_queue_push(&lost, &channel->writer_node);
    }
  }
  for (aw_node *node = NULL; (node = aw_queue_pop(&lost)) != NULL;) {
    mux_lose(AW_CONTAINER(node, aw_channel, writer_node));
  }
}

int mux_receive_welcome(aw_mux *mux, const mux_link_reader *in) {
  size_t len = 0;
  const char *epoch = mux_link_string(in, "epoch", &len);
  mux_link_list list;
  aw_limits limits;
  uint64_t limit = mux->conn_allowed, window = mux->peer_window_ms;
  if (epoch == NULL || len == 0 || len > AW_EPOCH_TEXT ||
      !mux->options.is_client || !mux_link_list_open(in, "scopes", &list) ||
      !mux_link_may_number(in, "max_inbound_bytes", &limit) ||
      !mux_link_may_number(in, "window_ms", &window) ||
      !mux_limits_read(in, &limits)) {
    return AW_E_REFUSED;
  }
  if (mux->link == AW_LINK_AWAIT_WELCOME) {
    mux->conn_allowed = limit; /* the first connection went ahead without */
  }
  for (unsigned row = 0; mux_link_list_next(&list); row++) {
    int rc =
        row < AW_HELLO_PAGE ? apply_welcome_scope(mux, &list) : AW_E_REFUSED;
    if (rc != AW_OK) {
      return rc;
    }
  }
  if (mux_link_true(in, "more")) {
    return AW_OK;
  }
  /* Not before the last page: a scope that is not answered yet would be
   * resumed in the new epoch with the old one's numbers. */
  memcpy(mux->epoch, epoch, len);
  mux->epoch[len] = '\0';
  mux->peer_window_ms = window < INT32_MAX ? (unsigned)window : INT32_MAX;
  lose_unanswered(mux);
  mux_notice(mux,
             mux_link_true(in, "resumed") ? AW_MUX_RESUMED : AW_MUX_RENEWED);
  mux->link = AW_LINK_EXTENDED;
  go_on(mux, &limits);
  return AW_OK;
}
