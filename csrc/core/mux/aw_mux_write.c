#include "aw_mux_flow.h"
#include "aw_mux_impl.h"
#include "aw_mux_scope.h"
#include "aw_mux_wake.h"

/* One scope writes this much before the next one's turn: a few messages of
 * the usual size, so that the queue's cost is shared and nobody waits long. */
#define WRITE_QUANTUM 4096

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
    const aw_mux_entry *entry = aw_mux_entry_at(&mux->control_out, 0);
    int rc = give(mux, sink, aw_mux_entry_text(entry), entry->len, given);
    if (rc != AW_OK) {
      return rc;
    }
    aw_buf_consume(&mux->control_out, aw_mux_entry_size(entry));
  }
  return AW_OK;
}

/* Is the scope's next entry within the credit that the peer gave the scope? */
static bool has_credit(const aw_channel *channel) {
  return channel->log.next <= channel->allowed.sequence &&
         channel->log.numbered - channel->log.unwritten <
             channel->allowed.bytes;
}

/* May the scope's next entry go out although the connection's credit is used
 * up? Little is on its way to a peer that has consumed the rest. */
static bool is_in_reserve(const aw_channel *channel) {
  const aw_mux_entry *entry = aw_mux_log_next(&channel->log);
  return entry != NULL && entry->len <= AW_MUX_RESERVE_BYTES &&
         channel->log.next - channel->log.first < AW_MUX_RESERVE_MESSAGES;
}

static bool may_write(const aw_mux *mux, const aw_channel *channel) {
  if (mux->link == AW_LINK_BASE || aw_mux_log_is_urgent(&channel->log)) {
    return true;
  }
  return has_credit(channel) &&
         (mux->conn_sent < mux->conn_allowed || is_in_reserve(channel));
}

static int write_turn(aw_mux *mux, aw_channel *channel, const aw_mux_sink *sink,
                      size_t room, size_t *given) {
  size_t end = room - *given < WRITE_QUANTUM ? room : *given + WRITE_QUANTUM;
  const aw_mux_entry *entry = NULL;
  while (*given < end && may_write(mux, channel) &&
         (entry = aw_mux_log_next(&channel->log)) != NULL) {
    int rc = give(mux, sink, aw_mux_entry_text(entry), entry->len, given);
    if (rc != AW_OK) {
      return rc;
    }
    mux->conn_sent += entry->len;
    aw_mux_log_step(&channel->log, ++mux->turn);
  }
  if (mux->link == AW_LINK_BASE) {
    mux_trim(channel, channel->log.next - 1);
    mux_wind_down(channel);
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
    if (aw_mux_log_next(&channel->log) == NULL) {
      continue;
    }
    /* A blocked scope leaves the queue; new credit brings it back: its own, or
     * the connection's, which concerns all that are parked. */
    if (rc != AW_OK || may_write(mux, channel)) {
      mux_wake_writer(channel);
    } else if (has_credit(channel)) {
      channel->waits_connection = true;
      aw_queue_push(&mux->waits_connection, node);
    }
  }
  return rc;
}

int aw_mux_write(aw_mux *mux, const aw_mux_sink *sink, size_t room) {
  if (!mux_is_attached(mux)) {
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
  if (!mux_is_attached(mux)) {
    return false;
  }
  if (aw_buf_len(&mux->control_out) > 0 ||
      (mux->flow_now && mux->link == AW_LINK_EXTENDED)) {
    return true;
  }
  return mux->link != AW_LINK_AWAIT_WELCOME && !aw_queue_empty(&mux->writers);
}
