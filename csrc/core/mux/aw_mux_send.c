#include "aw_mux_send.h"
#include "aw_mux_fold.h"
#include "aw_mux_limits.h"
#include "aw_mux_room.h"
#include "aw_mux_scope.h"
#include "aw_mux_wake.h"

static int check_open(const aw_channel *channel) {
  if (channel->mux->link == AW_LINK_ABANDONED) {
    return AW_E_CLOSED;
  }
  if (aw_channel_is_over(channel)) {
    if (channel->error == AW_OK) {
      return AW_E_ENDED;
    }
    return channel->state >= AW_CHANNEL_GIVEN_UP ? channel->error : AW_E_CLOSED;
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
    if (!urgent || channel->log.urgent >= AW_CHANNEL_URGENT_BYTES) {
      return mux_refuse_send(channel);
    }
  }
  return AW_OK;
}

void aw_draft_cancel(aw_draft *draft) {
  if (draft->channel != NULL) {
    aw_mux_log_cancel(&draft->channel->log);
  } else {
    aw_mux_entry_cancel(draft->out, draft->mark);
  }
}

static int write_header(aw_draft *draft, const aw_header *header) {
  int rc = aw_envelope_write(draft->out, header);
  if (rc != AW_OK) {
    aw_draft_cancel(draft);
  }
  return rc;
}

/* Writes the header of the scope's next message into the log. */
static int begin_entry(aw_draft *draft, const char *type, size_t type_len,
                       const aw_uuid *in_reply_to) {
  aw_channel *channel = draft->channel;
  aw_mux *mux = draft->mux = channel->mux;
  uint64_t number = 0;
  int rc = aw_mux_log_begin(&channel->log, &number);
  if (rc != AW_OK) {
    return rc;
  }
  draft->out = &channel->log.bytes;
  aw_uuid_make(&draft->message_id, &mux->random);
  aw_header header = {channel->kind, &channel->id, &draft->message_id,
                      in_reply_to,   type,         type_len,
                      number,        mux->wall_ms};
  return write_header(draft, &header);
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

/* Begins an entry in the control queue. */
static int begin_unnumbered(aw_mux *mux, aw_draft *draft) {
  *draft = (aw_draft){.mux = mux, .out = &mux->control_out};
  draft->mark = aw_buf_len(draft->out);
  return aw_mux_entry_begin(draft->out);
}

static bool is_control_full(const aw_mux *mux) {
  return aw_buf_len(&mux->control_out) >= mux->options.control_bytes;
}

static int begin_header(aw_mux *mux, aw_header *header, aw_draft *draft) {
  if (!mux_is_attached(mux)) {
    return AW_E_CLOSED;
  }
  int rc = begin_unnumbered(mux, draft);
  if (rc != AW_OK) {
    return rc;
  }
  aw_uuid_make(&draft->message_id, &mux->random);
  header->message_id = &draft->message_id;
  header->timestamp = mux->wall_ms;
  return write_header(draft, header);
}

int aw_mux_begin_control(aw_mux *mux, enum aw_kind kind, const aw_uuid *id,
                         const char *type, size_t type_len,
                         const aw_uuid *in_reply_to, aw_draft *draft) {
  if (mux_is_attached(mux) && is_control_full(mux)) {
    return AW_E_AGAIN;
  }
  aw_header header = {.kind = kind,
                      .id = id,
                      .in_reply_to = in_reply_to,
                      .type = type,
                      .type_len = type_len};
  return begin_header(mux, &header, draft);
}

int mux_begin_link(aw_mux *mux, const char *type, aw_draft *draft) {
  aw_header header = {.kind = AW_KIND_LINK,
                      .id = &mux->connection_id,
                      .type = type,
                      .type_len = strlen(type)};
  int rc = begin_header(mux, &header, draft);
  draft->is_link = true;
  return rc;
}

static int commit_control(aw_draft *draft) {
  size_t len = aw_mux_entry_drafted(draft->out, draft->mark);
  if (!draft->is_link && !mux_limits_hold(draft->mux, draft, len)) {
    return draft->over != AW_LIMIT_NONE ? AW_E_LIMIT : AW_E_AGAIN;
  }
  return aw_mux_entry_finish(draft->out, draft->mark, false);
}

static int commit_scope(aw_draft *draft) {
  aw_channel *channel = draft->channel;
  aw_mux *mux = draft->mux;
  aw_mux_log *log = &channel->log;
  size_t before = log->size, len = aw_mux_log_drafted(log);
  if (!mux_limits_hold(mux, draft, len)) {
    return draft->over != AW_LIMIT_NONE ? AW_E_LIMIT : mux_refuse_send(channel);
  }
  if (draft->folds) {
    if (!mux_has_fold_room(draft)) {
      return AW_E_LIMIT;
    }
  } else if (mux_is_session_full(mux) && !draft->urgent &&
             len > AW_MUX_RESERVE_BYTES) {
    return mux_refuse_send(channel);
  }
  int rc = aw_mux_log_finish(log, draft->urgent);
  if (rc != AW_OK) {
    return rc;
  }
  channel->last_sent_id = draft->message_id;
  if (channel->opened_here && log->last == 1) {
    channel->opening_id = draft->message_id;
  }
  mux_count_log(mux, log->size - before, 0);
  if (draft->folds) {
    mux_fold(channel);
    mux_wake_waiting(mux);
  }
  mux_wake_writer(channel);
  if ((draft->flags & AW_TYPE_ENDS) != 0) {
    mux_end_channel(channel, AW_CHANNEL_ENDED_HERE, AW_OK);
  }
  return AW_OK;
}

int aw_draft_commit(aw_draft *draft) {
  int rc = aw_buf_put(draft->out, '}');
  if (rc == AW_OK) {
    rc = draft->channel != NULL ? commit_scope(draft) : commit_control(draft);
  }
  if (rc != AW_OK) {
    aw_draft_cancel(draft);
  }
  return rc;
}

int mux_end_link(aw_draft *draft, int rc) {
  if (rc != AW_OK) {
    aw_draft_cancel(draft);
    return rc;
  }
  return aw_draft_commit(draft);
}

int aw_mux_send_error(aw_mux *mux, const char *code, const char *message,
                      size_t message_len) {
  if (!mux_is_attached(mux)) {
    return AW_E_CLOSED;
  }
  if (is_control_full(mux)) {
    return AW_E_AGAIN;
  }
  aw_draft draft;
  int rc = begin_unnumbered(mux, &draft);
  if (rc != AW_OK) {
    return rc;
  }
  rc = aw_envelope_write_error(draft.out, code, message, message_len);
  if (rc == AW_OK) {
    rc = commit_control(&draft);
  }
  if (rc != AW_OK) {
    aw_draft_cancel(&draft);
  }
  return rc;
}
