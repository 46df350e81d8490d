/* One scope of one endpoint: numbering both ways, the inbox, the outbound log
 * that is replayed after a reconnect, credit both ways, open/ended.
 *
 * The struct is embedded in nothing and owned by its mux; fields are private
 * to aw_channel.c, aw_mux*.c and their tests. */
#ifndef AW_CHANNEL_H
#define AW_CHANNEL_H

#include "aw_mux_inbox.h"
#include "aw_mux_log.h"
#include "aw_queue.h"

/* Credit of one scope: enough to keep a wire busy over one loop turn, little
 * enough that ten thousand stalled scopes stay affordable. */
#define AW_CHANNEL_WINDOW_MESSAGES 64
#define AW_CHANNEL_WINDOW_BYTES (256u << 10)
/* What an urgent message (abort, cancel) may use beyond the credit. */
#define AW_CHANNEL_URGENT_BYTES (64u << 10)
/* The replay log of one scope. */
#define AW_CHANNEL_LOG_MESSAGES 4096
#define AW_CHANNEL_LOG_BYTES (1u << 20)
/* Messages that make folding worth the while when it is the session's or the
 * process's logs that are full. */
#define AW_CHANNEL_FOLD_MESSAGES 64
/* What the transports let one message have by default. A credit with a byte
 * left is overdrawn by a whole message. */
#define AW_CHANNEL_MESSAGE_BYTES (16u << 20)

typedef struct aw_channel aw_channel;
typedef struct aw_credit aw_credit;
struct aw_mux;

/* Absolute limits: what may be sent in all since the scope began. */
struct aw_credit {
  uint64_t sequence, bytes;
};

enum aw_channel_event {
  AW_CHANNEL_READABLE = 1, /* the inbox got its first message */
  AW_CHANNEL_WRITABLE = 2, /* a refused send may be tried again */
  AW_CHANNEL_ENDED = 4,    /* ended, for the reason in `error` */
  AW_CHANNEL_OPENED = 8    /* the peer opened it */
};

enum aw_channel_state { AW_CHANNEL_OPEN, AW_CHANNEL_OVER };

struct aw_channel {
  struct aw_mux *mux;
  enum aw_kind kind;
  aw_uuid id;
  enum aw_channel_state state;
  int error;        /* why it is over: 0 for its terminal message */
  bool opened_here; /* we sent the opening message */
  bool ended_here;  /* we sent the terminal one */
  bool released;    /* the application let go of it; a tombstone at most */
  bool told;        /* the peer knows that we let go of it */
  bool peer_gone;   /* the peer let go of it */
  bool mute;        /* over, and the peer may have opened the id anew */
  bool given_up;    /* over, because the peer cannot be given our log */
  bool done_there;  /* over for the peer, whose last messages are to come */
  bool cut_off;     /* ... and our log was dropped: nobody takes it there */
  bool parked;      /* in the mux's queue of that name */
  bool starved;     /* a send was refused; WRITABLE is owed */
  bool awaiting;    /* told in a hello, not yet answered by a welcome */
  bool acked;       /* the peer has acknowledged something */
  bool manual;      /* what is consumed counts once it is confirmed */
  aw_uuid birth;    /* id of the opening message: tells the id's lives apart */

  uint64_t received; /* number accepted last */
  aw_mux_inbox inbox;
  uint64_t in_bytes, consumed_bytes; /* cost accepted, cost taken */
  uint64_t consumed;                 /* sequence taken last */
  aw_uuid first_in;                  /* message id of inbound sequence 1 */
  aw_credit confirmed;               /* of the consumed, if manual */
  aw_credit granted;                 /* what we allowed the peer */

  aw_mux_log log;
  aw_credit allowed; /* what the peer allows us */

  /* Header of the message consumed last, id of the one sent last: kept raw,
   * because most readers never ask. */
  bool has_header, header_has_reply;
  aw_uuid header_id, header_reply, last_sent_id;
  int64_t header_timestamp;

  uint64_t blamed; /* the message at which connections ended, 0: none */
  unsigned losses; /* how many did */
  int verdict;     /* the last close code of theirs that is a verdict, or 0 */

  uint64_t flow_acked; /* consumed, as told to the peer last */
  unsigned events;     /* aw_channel_event bits not polled yet */
  aw_node ready_node, writer_node, flow_node, tomb_node, hungry_node;
  void *user;
};

/* The oldest message of the inbox, or NULL. It lives until the next call that
 * receives into or pops from this channel. */
const aw_message *aw_channel_peek(const aw_channel *channel);

/* Internal to core. */

aw_channel *aw_channel_new(struct aw_mux *mux, enum aw_kind kind,
                           const aw_uuid *id, const aw_mem *mem);
void aw_channel_free(aw_channel *channel, const aw_mem *mem);

/* Judges an inbound number and, when it is the next one, takes it. Anything
 * else changes nothing: AW_E_INVALID_SEQUENCE (0), AW_E_DUPLICATE_SEQUENCE
 * (lower than expected), AW_E_SEQUENCE_GAP (higher). */
int aw_channel_accept(aw_channel *channel, uint64_t number);

/* Drops the oldest message; returns its cost. */
size_t aw_channel_drop(aw_channel *channel);

/* Numbers that nobody reads (floats, what a gap skips) are consumed with what
 * stands before them: to be called when such a number was counted. */
void aw_channel_pass_unread(aw_channel *channel);

#endif
