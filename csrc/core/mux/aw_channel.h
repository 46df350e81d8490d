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

#pragma GCC visibility push(hidden)

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

/* Whether the scope goes on, and how it ended: it is over in all states but the
 * first, and goes from one of these to another only as the words say. */
enum aw_channel_state {
  AW_CHANNEL_OPEN,
  /* By our terminal message. The peer drops its log when it has that. Becomes
   * ENDED_THERE if the peer's crosses it. */
  AW_CHANNEL_ENDED_HERE,
  /* By the peer's, which waits in its log to be acknowledged. */
  AW_CHANNEL_ENDED_THERE,
  /* Without one: both ends let go, or there is no session to go on in. */
  AW_CHANNEL_CLOSED,
  /* The peer cannot be given our log; from any state before this one. */
  AW_CHANNEL_GIVEN_UP,
  /* The peer no longer has it, or must not get it: nothing is said of it. */
  AW_CHANNEL_LOST
};

/* What the application does with the scope. */
enum aw_channel_hold {
  AW_CHANNEL_HELD,     /* what it consumes is acknowledged */
  AW_CHANNEL_CONFIRMS, /* ... once it has confirmed it */
  AW_CHANNEL_RELEASED  /* it has let go: nobody reads or sends any more */
};

/* What the last welcome said of a scope that is open here. */
enum aw_channel_there {
  AW_THERE_OPEN,
  AW_THERE_OVER,   /* the peer's last messages are to come */
  AW_THERE_REFUSES /* ... and our log was dropped: nobody takes it there */
};

struct aw_channel {
  struct aw_mux *mux;
  enum aw_kind kind;
  aw_uuid id;
  enum aw_channel_state state;
  enum aw_channel_hold hold;
  enum aw_channel_there there;
  int error; /* why it is over: 0 for a terminal message */

  bool opened_here; /* we sent the opening message */
  bool seen_there;  /* the peer has received something of it */
  /* The two ends of letting go. Each is forgotten when the scope is resumed,
   * because both say it again. */
  bool told_let_go;  /* the peer knows that we let go of it */
  bool heard_let_go; /* the peer has let go of it */
  /* Over, and the peer may have opened the id anew: no flow speaks of this
   * life. Taken back when the peer shows that it still has this one. */
  bool silent;
  /* Client: in the hello, and no welcome has answered yet. Server: in the hello
   * that is being answered. */
  bool in_hello;
  /* Who waits. */
  bool send_refused;     /* a send was refused; AW_CHANNEL_WRITABLE is owed */
  bool waits_connection; /* writer_node is in that queue of the mux */

  /* Ids of the opening message and of inbound number 1: they tell the lives of
   * an id apart. nil before there is one. */
  aw_uuid opening_id, first_in;

  uint64_t received;  /* number accepted last */
  aw_mux_inbox inbox; /* empty if released */
  /* Cost accepted, cost taken: the difference is in the inbox. */
  uint64_t in_bytes, consumed_bytes;
  uint64_t consumed;   /* number taken last; not above `received` while open */
  aw_credit confirmed; /* of the consumed, if it CONFIRMS */
  uint64_t flow_acked; /* of these, what the peer was told last */
  aw_credit granted;   /* what we allowed the peer */

  aw_mux_log log;    /* empty if GIVEN_UP or LOST */
  aw_credit allowed; /* what the peer allows us */

  /* Header of the message consumed last, id of the one sent last: kept raw,
   * because most readers never ask. */
  bool has_header, header_has_reply;
  aw_uuid header_id, header_reply, last_sent_id;
  int64_t header_timestamp;

  uint64_t blamed; /* the message at which connections ended, 0: none */
  unsigned losses; /* how many did */
  int verdict;     /* the last close code of theirs that is a verdict, or 0 */

  unsigned events; /* aw_channel_event bits not polled yet; 0 if released */
  /* In the queues of the mux (aw_mux_impl.h). */
  aw_node ready_node, writer_node, flow_node, tomb_node, session_node;
  void *user; /* NULL if released */
};

static inline bool aw_channel_is_over(const aw_channel *channel) {
  return channel->state != AW_CHANNEL_OPEN;
}

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

#pragma GCC visibility pop

#endif
