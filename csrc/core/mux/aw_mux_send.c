#include "aw_mux_impl.h"
#include "aw_resume.h"

/* One scope writes this much before the next one's turn: a few messages of
 * the usual size, so that the queue's cost is shared and nobody waits long. */
#define WRITE_QUANTUM 4096

/* Urgent scopes stand before all others: when the connection's credit is used
 * up, a look at the first tells whether there is anything to write. */
void mux_wake_writer(aw_channel *channel) {
  if (channel->parked) {
    channel->parked = false;
    aw_node_remove(&channel->writer_node);
  }
  if (mux_is_urgent(channel)) {
    aw_node_remove(&channel->writer_node);
    aw_queue_push_front(&channel->mux->writers, &channel->writer_node);
  } else if (!aw_node_queued(&channel->writer_node)) {
    aw_queue_push(&channel->mux->writers, &channel->writer_node);
  }
}

void mux_wake_parked(aw_mux *mux) {
  aw_node *node = NULL;
  while ((node = aw_queue_first(&mux->parked)) != NULL) {
    mux_wake_writer(AW_CONTAINER(node, aw_channel, writer_node));
  }
}

/* For this session: its own logs, or those of all of the server's. */
static bool is_session_full(const aw_mux *mux) {
  return mux->stats.log_bytes >= mux->options.session_bytes ||
         !mux_has_pool_room(mux);
}

/* A state that stands for earlier messages may be larger than a log. */
bool mux_is_log_full(const aw_channel *channel) {
  const aw_mux_options *options = &channel->mux->options;
  return channel->log_count >= options->log_messages ||
         aw_buf_len(&channel->log) - channel->folded >= options->log_bytes;
}

/* May this scope number another message now? A full session leaves each scope
 * a few small ones, as the connection's credit does. */
bool mux_has_window(const aw_mux *mux, const aw_channel *channel) {
  if (mux_is_log_full(channel) ||
      (is_session_full(mux) && channel->log_count >= AW_MUX_SPARE_MESSAGES)) {
    return false;
  }
  if (mux->link == AW_LINK_EXTENDED) {
    return channel->out.last < channel->allowed.sequence &&
           channel->out_bytes < channel->allowed.bytes;
  }
  if (mux->link == AW_LINK_BASE || !mux->extended) {
    /* No credit from a base peer: bound what waits for the transport. */
    return channel->log_count < AW_CHANNEL_WINDOW_MESSAGES &&
           aw_buf_len(&channel->log) < AW_CHANNEL_WINDOW_BYTES;
  }
  /* Detached: the log takes what it can hold, as far as all of them may. */
  return mux_has_pool_room(mux);
}

/* The sender has to wait: for this scope's own room, or for the session's. */
static int starve(aw_mux *mux, aw_channel *channel) {
  channel->starved = true;
  if (!aw_node_queued(&channel->hungry_node) && is_session_full(mux)) {
    aw_queue_push(&mux->hungry, &channel->hungry_node);
  }
  if (!mux_has_pool_room(mux) && !aw_node_queued(&mux->pool_node)) {
    aw_queue_push(&mux->pool->hungry, &mux->pool_node);
  }
  return AW_E_AGAIN;
}

static int check_open(const aw_channel *channel) {
  if (channel->mux->abandoned) {
    return AW_E_CLOSED;
  }
  if (channel->state == AW_CHANNEL_OVER) {
    if (channel->error == AW_OK) {
      return AW_E_ENDED;
    }
    bool named = channel->error == AW_E_LOST || channel->given_up;
    return named ? channel->error : AW_E_CLOSED;
  }
  return AW_OK;
}

static int check_sendable(aw_mux *mux, aw_channel *channel, bool urgent) {
  int rc = check_open(channel);
  if (rc != AW_OK) {
    return rc;
  }
  if (!mux_has_window(mux, channel)) {
    /* A cap of their own, so that no log can be too full for an abort. */
    if (!urgent || channel->urgent_bytes >= AW_CHANNEL_URGENT_BYTES) {
      return starve(mux, channel);
    }
  }
  return AW_OK;
}

static int write_header(aw_draft *draft, const aw_header *header) {
  int rc = aw_envelope_write(draft->out, header);
  if (rc != AW_OK) {
    draft->out->tail = draft->out->head + draft->mark;
  }
  return rc;
}

/* Numbers the scope's next message and writes its header into the log. */
static int begin_entry(aw_draft *draft, const char *type, size_t type_len,
                       const aw_uuid *in_reply_to) {
  aw_channel *channel = draft->channel;
  aw_mux *mux = draft->mux = channel->mux;
  draft->out = &channel->log;
  int rc = aw_channel_log_begin(channel, &draft->mark);
  if (rc != AW_OK) {
    return rc;
  }
  uint64_t number = aw_seq_next(&channel->out);
  if (number == 0) {
    aw_channel_log_cancel(channel, draft->mark);
    return AW_E_LIMIT;
  }
  aw_uuid_make(&draft->message_id, &mux->random);
  aw_header header = {channel->kind, &channel->id, &draft->message_id,
                      in_reply_to,   type,         type_len,
                      number,        mux->wall_ms};
  rc = write_header(draft, &header);
  if (rc != AW_OK) {
    channel->out.last--;
  }
  return rc;
}

static unsigned flags_of(const aw_channel *channel, const char *type,
                         size_t len) {
  return aw_types_flags(channel->mux->options.types[channel->kind], type, len);
}

int aw_mux_begin(aw_channel *channel, const char *type, size_t type_len,
                 const aw_uuid *in_reply_to, aw_draft *draft) {
  unsigned flags = flags_of(channel, type, type_len);
  bool urgent = (flags & AW_TYPE_URGENT) != 0;
  int rc = check_sendable(channel->mux, channel, urgent);
  if (rc != AW_OK) {
    return rc;
  }
  *draft = (aw_draft){.channel = channel, .flags = flags, .urgent = urgent};
  return begin_entry(draft, type, type_len, in_reply_to);
}

int aw_mux_begin_fold(aw_channel *channel, const char *type, size_t type_len,
                      aw_draft *draft) {
  int rc = check_open(channel);
  if (rc != AW_OK) {
    return rc;
  }
  if (!aw_mux_may_fold(channel)) {
    return AW_E_AGAIN;
  }
  unsigned flags = flags_of(channel, type, type_len);
  *draft = (aw_draft){.channel = channel, .flags = flags, .folds = true};
  rc = begin_entry(draft, type, type_len, NULL);
  if (rc == AW_OK && (draft->flags & AW_TYPE_STATE) == 0) {
    aw_draft_cancel(draft);
    return AW_E_INVALID;
  }
  return rc;
}

int aw_mux_begin_control(aw_mux *mux, enum aw_kind kind, const aw_uuid *id,
                         const char *type, size_t type_len,
                         const aw_uuid *in_reply_to, aw_draft *draft) {
  if (mux->abandoned || mux->link == AW_LINK_DETACHED) {
    return AW_E_CLOSED;
  }
  if (aw_buf_len(&mux->control_out) >= mux->options.control_bytes) {
    return AW_E_AGAIN;
  }
  *draft = (aw_draft){.mux = mux, .out = &mux->control_out};
  draft->mark = aw_buf_len(draft->out);
  int rc = aw_buf_reserve(draft->out, sizeof(aw_entry));
  if (rc != AW_OK) {
    return rc;
  }
  draft->out->tail += sizeof(aw_entry);
  aw_uuid_make(&draft->message_id, &mux->random);
  aw_header header = {kind,     id, &draft->message_id, in_reply_to, type,
                      type_len, 0,  mux->wall_ms};
  return write_header(draft, &header);
}

static int commit_control(aw_draft *draft) {
  aw_buf *out = draft->out;
  size_t len = aw_buf_len(out) - draft->mark - sizeof(aw_entry);
  size_t padding = (8 - len % 8) % 8;
  if (!draft->is_link && !limits_hold(draft->mux, draft, len)) {
    return draft->over != AW_LIMIT_NONE ? AW_E_LIMIT : AW_E_AGAIN;
  }
  int rc = aw_buf_reserve(out, padding);
  if (rc != AW_OK) {
    return rc;
  }
  out->tail += padding;
  aw_entry *entry = (aw_entry *)(void *)(aw_buf_bytes(out) + draft->mark);
  *entry = (aw_entry){.len = (uint32_t)len};
  return AW_OK;
}

static int commit_scope(aw_draft *draft) {
  aw_channel *channel = draft->channel;
  aw_mux *mux = draft->mux;
  size_t len = aw_buf_len(&channel->log) - draft->mark - sizeof(aw_entry);
  if (!limits_hold(mux, draft, len)) {
    return draft->over != AW_LIMIT_NONE ? AW_E_LIMIT : starve(mux, channel);
  }
  if (draft->folds) {
    if (!mux_has_fold_room(draft)) {
      return AW_E_LIMIT;
    }
  } else if (is_session_full(mux) && !draft->urgent &&
             len > AW_MUX_SPARE_BYTES) {
    return starve(mux, channel);
  }
  int rc = aw_channel_log_finish(channel, draft->mark, draft->urgent);
  if (rc != AW_OK) {
    return rc;
  }
  if (draft->urgent) {
    channel->urgent_last = channel->out.last;
  }
  channel->last_sent_id = draft->message_id;
  if (channel->opened_here && channel->out.last == 1) {
    channel->birth = draft->message_id;
  }
  mux_count_log(mux, aw_buf_len(&channel->log) - draft->mark, 0);
  if (draft->folds) {
    mux_fold(draft);
  }
  mux_wake_writer(channel);
  if ((draft->flags & AW_TYPE_ENDS) != 0) {
    channel->ended_here = true;
    mux_end_channel(channel, AW_OK);
  }
  return AW_OK;
}

int aw_draft_commit(aw_draft *draft) {
  int rc = aw_buf_append(draft->out, "}", 1);
  if (rc == AW_OK) {
    rc = draft->channel != NULL ? commit_scope(draft) : commit_control(draft);
  }
  if (rc != AW_OK) {
    aw_draft_cancel(draft);
  }
  return rc;
}

void aw_draft_cancel(aw_draft *draft) {
  draft->out->tail = draft->out->head + draft->mark;
  if (draft->channel != NULL) {
    draft->channel->out.last--;
  }
}

int aw_mux_send_error(aw_mux *mux, const char *code, const char *message,
                      size_t message_len) {
  if (mux->link == AW_LINK_DETACHED) {
    return AW_E_CLOSED;
  }
  if (aw_buf_len(&mux->control_out) >= mux->options.control_bytes) {
    return AW_E_AGAIN;
  }
  aw_draft draft = {.mux = mux, .out = &mux->control_out};
  draft.mark = aw_buf_len(draft.out);
  int rc = aw_buf_reserve(draft.out, sizeof(aw_entry));
  if (rc != AW_OK) {
    return rc;
  }
  draft.out->tail += sizeof(aw_entry);
  rc = aw_envelope_write_error(draft.out, code, message, message_len);
  if (rc == AW_OK) {
    rc = commit_control(&draft);
  }
  if (rc != AW_OK) {
    aw_draft_cancel(&draft);
  }
  return rc;
}

void mux_wake_sender(aw_channel *channel) {
  if (!channel->starved) {
    return;
  }
  if (mux_has_window(channel->mux, channel) || aw_mux_may_fold(channel)) {
    channel->starved = false;
    mux_raise(channel, AW_CHANNEL_WRITABLE);
  } else {
    (void)starve(channel->mux, channel); /* perhaps for another reason now */
  }
}

void mux_wake_starved(aw_mux *mux) {
  size_t cursor = 0;
  aw_channel *channel = NULL;
  while ((channel = aw_map_next(&mux->channels, &cursor)) != NULL) {
    mux_wake_sender(channel);
  }
}

/* First come, first served, and only as many as there may be room for: waking
 * thousands for the room of one would cost more than what they send. Once the
 * log is small that is everybody, so that nobody is forgotten. */
void mux_wake_hungry(aw_mux *mux) {
  if (is_session_full(mux)) {
    return;
  }
  size_t room = mux->options.session_bytes - mux->stats.log_bytes;
  aw_node *node = NULL;
  for (size_t n = 16 + room / 512;
       n > 0 && (node = aw_queue_pop(&mux->hungry)) != NULL; n--) {
    mux_wake_sender(AW_CONTAINER(node, aw_channel, hungry_node));
  }
}

void *aw_mux_wake_hungry(aw_pool *pool) {
  aw_node *node = aw_queue_pop(&pool->hungry);
  if (node == NULL) {
    return NULL;
  }
  aw_mux *mux = AW_CONTAINER(node, aw_mux, pool_node);
  mux_wake_hungry(mux);
  return mux->owner;
}

void mux_trim(aw_channel *channel, uint64_t sequence) {
  aw_mux *mux = channel->mux;
  mux_count_log(mux, 0, aw_channel_log_trim(channel, sequence));
  mux_wake_hungry(mux);
  mux_wake_sender(channel);
}

/* ------------------------------------------------------------- writing -- */

static int give(aw_mux *mux, const aw_mux_sink *sink, const char *text,
                size_t len, size_t *given) {
  int rc = sink->message(sink->user, text, len);
  if (rc == AW_OK) {
    *given += len;
    mux->stats.messages_out++;
    mux->stats.bytes_out += len;
    if (mux->trace != NULL) {
      mux->trace(mux->trace_user, &(aw_trace){true, text, len});
    }
  }
  return rc;
}

static int write_control(aw_mux *mux, const aw_mux_sink *sink, size_t room,
                         size_t *given) {
  while (aw_buf_len(&mux->control_out) > 0 && *given < room) {
    const aw_entry *entry =
        (const aw_entry *)(const void *)aw_buf_bytes(&mux->control_out);
    int rc = give(mux, sink, aw_entry_text(entry), entry->len, given);
    if (rc != AW_OK) {
      return rc;
    }
    size_t size = sizeof *entry + ((entry->len + 7u) & ~(size_t)7u);
    aw_buf_consume(&mux->control_out, size);
  }
  return AW_OK;
}

/* Is the scope's next entry within the credit that the peer gave the scope? */
static bool has_credit(const aw_channel *channel) {
  return channel->next_unsent <= channel->allowed.sequence &&
         channel->out_bytes - channel->unsent_bytes < channel->allowed.bytes;
}

/* May the scope's next entry go out although the connection's credit is used
 * up? Little is on its way to a peer that has consumed the rest. */
static bool is_spare(const aw_channel *channel) {
  const aw_entry *entry = aw_channel_unsent(channel);
  return entry != NULL && entry->len <= AW_MUX_SPARE_BYTES &&
         channel->next_unsent - channel->first_logged < AW_MUX_SPARE_MESSAGES;
}

static bool may_write(const aw_mux *mux, const aw_channel *channel) {
  if (mux->link == AW_LINK_BASE || mux_is_urgent(channel)) {
    return true;
  }
  return has_credit(channel) &&
         (mux->conn_sent < mux->conn_allowed || is_spare(channel));
}

static int write_turn(aw_mux *mux, aw_channel *channel, const aw_mux_sink *sink,
                      size_t room, size_t *given) {
  size_t end = room - *given < WRITE_QUANTUM ? room : *given + WRITE_QUANTUM;
  const aw_entry *entry = NULL;
  while (*given < end && may_write(mux, channel) &&
         (entry = aw_channel_unsent(channel)) != NULL) {
    int rc = give(mux, sink, aw_entry_text(entry), entry->len, given);
    if (rc != AW_OK) {
      return rc;
    }
    mux->conn_sent += entry->len;
    aw_channel_advance(channel, ++mux->turn);
  }
  if (mux->link == AW_LINK_BASE) {
    mux_trim(channel, channel->next_unsent - 1);
    mux_settle(channel);
  }
  return AW_OK;
}

static int write_scopes(aw_mux *mux, const aw_mux_sink *sink, size_t room,
                        size_t *given) {
  int rc = AW_OK;
  while (rc == AW_OK && *given < room) {
    aw_node *node = aw_queue_pop(&mux->writers);
    if (node == NULL) {
      break;
    }
    aw_channel *channel = AW_CONTAINER(node, aw_channel, writer_node);
    rc = write_turn(mux, channel, sink, room, given);
    if (aw_channel_unsent(channel) == NULL) {
      continue;
    }
    /* A blocked scope leaves the queue; new credit brings it back: its own, or
     * the connection's, which concerns all that are parked. */
    if (rc != AW_OK || may_write(mux, channel)) {
      mux_wake_writer(channel);
    } else if (has_credit(channel)) {
      channel->parked = true;
      aw_queue_push(&mux->parked, node);
    }
  }
  return rc;
}

int aw_mux_write(aw_mux *mux, const aw_mux_sink *sink, size_t room) {
  if (mux->link == AW_LINK_DETACHED) {
    return AW_OK;
  }
  size_t given = 0;
  if (mux->flow_now) {
    mux_write_flow(mux);
  }
  int rc = write_control(mux, sink, room, &given);
  if (rc == AW_OK && mux->link != AW_LINK_AWAIT_WELCOME) {
    rc = write_scopes(mux, sink, room, &given);
  }
  return rc;
}

bool aw_mux_writable(const aw_mux *mux) {
  if (mux->link == AW_LINK_DETACHED) {
    return false;
  }
  if (aw_buf_len(&mux->control_out) > 0 ||
      (mux->flow_now && mux->link == AW_LINK_EXTENDED)) {
    return true;
  }
  return mux->link != AW_LINK_AWAIT_WELCOME && !aw_queue_empty(&mux->writers);
}
