/* One scope of one endpoint: numbering both ways, the inbox, the outbound log
 * that is replayed after a reconnect, credit both ways, open/ended.
 *
 * The struct is embedded in nothing and owned by its mux; fields are private
 * to aw_channel.c, aw_mux*.c and their tests. */
#ifndef AW_CHANNEL_H
#define AW_CHANNEL_H

#include "aw_buf.h"
#include "aw_envelope.h"
#include "aw_queue.h"
#include "aw_seq.h"

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
/* Capacity that an emptied inbox or log keeps. */
#define AW_CHANNEL_KEEP (32u << 10)

typedef struct aw_channel aw_channel;
typedef struct aw_message aw_message;
typedef struct aw_credit aw_credit;
struct aw_mux;

/* An accepted message in the inbox; followed by type, payload and tokens. */
struct aw_message {
  uint32_t size; /* of the whole record */
  uint32_t cost; /* bytes on the wire: what credit counts */
  uint32_t type_len, payload_len, token_count;
  bool has_reply, ends;
  int refused; /* AW_E_*: it could not be taken, and the payload is `{}` */
  uint64_t sequence;
  int64_t timestamp;
  aw_uuid message_id, in_reply_to;
  const char *why; /* of `refused`; static */
};

/* An entry of the log; followed by the envelope's text, padded to 8. */
typedef struct aw_entry {
  uint32_t len;
  uint32_t urgent : 1;
  uint32_t turn : 31; /* of the mux's, when it was written last */
} aw_entry;

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

  aw_seq in, out;
  aw_buf inbox; /* aw_message records */
  size_t inbox_count;
  uint64_t in_bytes, consumed_bytes; /* cost accepted, cost taken */
  uint64_t consumed;                 /* sequence taken last */
  aw_uuid first_in;                  /* message id of inbound sequence 1 */
  aw_credit confirmed;               /* of the consumed, if manual */
  aw_credit granted;                 /* what we allowed the peer */

  aw_buf log; /* aw_entry records: first_logged .. out.last */
  uint64_t first_logged, next_unsent;
  size_t unsent_offset; /* of next_unsent in the log's live bytes */
  size_t log_count;
  uint64_t out_bytes;    /* cost numbered so far */
  uint64_t unsent_bytes; /* ... and not written yet */
  size_t folded;         /* size of the log's first entry if it is a state */
  size_t urgent_bytes;   /* cost of the urgent messages in the log */
  uint64_t urgent_last;  /* sequence of the last urgent message */
  aw_credit allowed;     /* what the peer allows us */

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
const char *aw_message_type(const aw_message *message);
const char *aw_message_payload(const aw_message *message);
/* Token 0 is the payload object; offsets are into the payload. */
const aw_json_token *aw_message_tokens(const aw_message *message);

/* Internal to core. */

aw_channel *aw_channel_new(struct aw_mux *mux, enum aw_kind kind,
                           const aw_uuid *id, const aw_mem *mem);
void aw_channel_free(aw_channel *channel, const aw_mem *mem);

/* Copies an accepted envelope into the inbox. AW_E_NOMEM changes nothing. */
int aw_channel_store(aw_channel *channel, const aw_envelope *envelope,
                     const aw_json_tape *tape, const char *text, size_t len,
                     bool ends);

/* The same for one of `len` bytes that is refused (envelope->refused): a record
 * without its payload. */
int aw_channel_store_refused(aw_channel *channel, const aw_envelope *envelope,
                             size_t len, bool ends);

/* Drops the oldest message; returns its cost. */
size_t aw_channel_drop(aw_channel *channel);

/* Numbers that nobody reads (floats, what a gap skips) are consumed with what
 * stands before them: to be called when such a number was counted. */
void aw_channel_pass_unread(aw_channel *channel);

/* Begins an entry in the log: the caller appends the envelope's text to
 * channel->log and calls finish with the offset that begin gave, or cancel. */
int aw_channel_log_begin(aw_channel *channel, size_t *mark);
int aw_channel_log_finish(aw_channel *channel, size_t mark, bool urgent);
void aw_channel_log_cancel(aw_channel *channel, size_t mark);

/* Drops all entries but the one that begins at `mark`, the newest: it stands
 * for them. Returns the bytes freed. */
size_t aw_channel_log_fold(aw_channel *channel, size_t mark);

/* The next entry that was not written yet, or NULL; then step over it. */
const aw_entry *aw_channel_unsent(const aw_channel *channel);
const char *aw_entry_text(const aw_entry *entry);
void aw_channel_advance(aw_channel *channel, uint32_t turn);

/* Forgets entries up to and including `sequence`; returns the bytes freed.
 * Entries that were never written are not forgotten. */
size_t aw_channel_log_trim(aw_channel *channel, uint64_t sequence);

/* Sets the cursor so that the entry after `received` is written next. False
 * when the log does not reach back that far. */
bool aw_channel_rewind(aw_channel *channel, uint64_t received);

#endif
