/* One endpoint: many scopes over one connection at a time, outliving it.
 *
 * Messages come in with aw_mux_receive, go out with aw_mux_write, and what
 * happened is pulled with aw_mux_poll, _control, _refusal and _notice. Nothing
 * is called back, and time is an argument. */
#ifndef AW_MUX_H
#define AW_MUX_H

#include "aw_channel.h"
#include "aw_mux_limit_list.h"
#include "aw_pool.h"
#include "aw_types.h"

#pragma GCC visibility push(hidden)

#define AW_MUX_REFUSALS_MAX 256 /* refusals waiting for their answer */
/* When the connection's credit is used up, or the session's logs are full, a
 * scope whose peer has consumed all but this much may still send small
 * messages: nobody who reads waits for scopes that nobody reads. */
#define AW_MUX_RESERVE_MESSAGES 4
#define AW_MUX_RESERVE_BYTES 1024 /* of each */
/* What every extended peer takes: link messages may be as long, and so may a
 * client's messages before the first welcome has told the server's limits. */
#define AW_MUX_FLOOR_BYTES (64u << 10)
#define AW_MUX_FLOOR_DEPTH 32
#define AW_MUX_FLOOR_VALUES 4096
/* Connections that may end at the same message before it is given up. Two are
 * enough if a close code says the same verdict twice. */
#define AW_MUX_LOSSES 16

#define AW_EPOCH_TEXT 32 /* hex digits of an epoch */
#define AW_KEY_BYTES 16
#define AW_FLOW_DELAY_MS 50 /* the longest an acknowledgement waits */

/* Close codes of ours (docs/wire.md section 7). */
#define AW_CLOSE_SUPERSEDED 4001
#define AW_CLOSE_SEQUENCE 4002
#define AW_CLOSE_FORBIDDEN 4003

typedef struct aw_mux aw_mux;
typedef struct aw_mux_options aw_mux_options;
typedef struct aw_mux_sink aw_mux_sink;
typedef struct aw_mux_stats aw_mux_stats;
typedef struct aw_refusal aw_refusal;
typedef struct aw_control aw_control;
typedef struct aw_draft aw_draft;
typedef struct aw_limits aw_limits;
typedef struct aw_hello aw_hello; /* aw_mux_hello.h */

/* What an end takes of one message; whoever sends more is refused. */
struct aw_limits {
  uint64_t message_max; /* bytes */
  uint64_t depth_max;   /* levels of nesting, the envelope among them */
  uint64_t values_max;  /* values and member names, the envelope's among them */
};

enum aw_limit {
  AW_LIMIT_NONE,
  AW_LIMIT_MESSAGE,
  AW_LIMIT_DEPTH,
  AW_LIMIT_VALUES
};

struct aw_mux_options {
  const aw_types *types[AW_KIND_SCOPES]; /* borrowed, outlive the mux */
  bool is_client;
  /* The limits; 0 means the default everywhere. */
#define AW_MUX_FIELD(type, name, otherwise, most) type name;
  AW_MUX_LIMIT_LIST(AW_MUX_FIELD)
#undef AW_MUX_FIELD
  /* Entropy, each of its own: what one gives away tells nothing of another. */
  uint8_t seed[32];          /* of ids, which every peer sees */
  uint8_t map_seed[16];      /* of the table of scopes, which none must know */
  uint8_t key[AW_KEY_BYTES]; /* client: the session's key */
};

struct aw_mux_sink {
  int (*message)(void *user, const char *text, size_t len);
  void *user;
};

struct aw_mux_stats {
  uint64_t messages_in, messages_out, bytes_in, bytes_out;
  uint64_t refused[8]; /* by aw_refusal_class */
  uint64_t uncredited; /* received, and no credit bounds how many may come */
  uint64_t duplicates, dropped_late, unanswered, replayed, folded;
  uint64_t undeliverable; /* scopes given up for ending connections */
  uint64_t opened, ended;
  size_t open_scopes, ended_scopes;
  size_t inbox_bytes, inbox_high, log_bytes, log_high;
};

enum aw_refusal_class {
  AW_REFUSED_JSON,
  AW_REFUSED_VERSION,
  AW_REFUSED_INVALID,
  AW_REFUSED_SEQUENCE,
  AW_REFUSED_UNKNOWN,
  AW_REFUSED_EXISTS,
  AW_REFUSED_LIMIT,
  AW_REFUSED_OTHER
};
const char *aw_refusal_class_name(enum aw_refusal_class which);

/* An envelope that was refused; it changed no state. The owner answers it at
 * once: what was to open a scope (`opens`) is let go of when it was taken, and
 * the peer hears of that behind the answer.
 * `consumed`: it took its number all the same, and its scope's inbox has a
 * record in its place (aw_message.refused). */
struct aw_refusal {
  int code;
  enum aw_kind kind;
  aw_uuid id, message_id;
  bool has_scope, has_message_id;
  bool known; /* the scope is open here, or another life of it */
  bool opens; /* a scope was to begin with it */
  bool consumed;
  uint64_t sequence;
  size_t offset;     /* of a JSON error */
  const char *field; /* static, or NULL */
  const char *what;  /* static sentence */
  unsigned type_len;
  char type[AW_TYPE_NAME_MAX];
};

/* An unsequenced message; lives until the next aw_mux_control_drop. */
struct aw_control {
  enum aw_kind kind;
  aw_uuid id;
  const aw_message *message;
};

/* What a session's owner has to know beyond its channels. */
enum aw_mux_notice {
  AW_MUX_NOTICE_NONE,
  AW_MUX_RESUMED, /* the peer had kept the session: nothing is lost */
  AW_MUX_RENEWED  /* a new session: scopes that had received are lost */
};

int aw_mux_new(aw_mux **out, const aw_mem *mem, const aw_mux_options *options);
void aw_mux_free(aw_mux *mux);

/* Appends all that the session is to `out`: ids, numbers, credit both ways,
 * logs, inboxes, what the owner was not told yet and the peer neither, what is
 * known of the peer, which message ends connections, statistics; and how far
 * the connection is, if there is one. Not between begin and commit of a draft.
 * AW_E_NOMEM appends nothing.
 *
 * Not in it are: the options, a client's key among them; clocks, trace, pool
 * and the users of channels; the order in which scopes take turns; and the
 * sentences of refusals, which become those of their codes.
 *
 * Only the last word is of use: what the mux numbers or accepts afterwards is
 * unknown to the one that is loaded, which would give the same numbers to other
 * messages, and the peer could not tell. So who moves a session saves it when
 * nothing more is given to it, and frees it. The bytes hold what was said, and
 * are neither secret nor signed: who can change them can say anything to the
 * peer and to the application. */
int aw_mux_save(aw_mux *mux, aw_buf *out);

/* A mux as it was when it was saved, with options of the same end and with
 * entropy of its own. A connection that it had it has again, by *generation:
 * who does not hold that detaches it. Channels come without users, and are
 * found with aw_mux_next. A flow that was due is due at once, and a sender that
 * waits may be woken earlier than by the saved one.
 *
 * AW_E_INVALID: damaged, or what no mux can be; AW_E_UNSUPPORTED: saved by
 * another version; AW_E_LIMIT: more scopes than options->scopes_max;
 * AW_E_NOMEM. *why is then a static sentence. Nothing of `bytes` is borrowed.
 */
int aw_mux_load(aw_mux **out, const aw_mem *mem, const aw_mux_options *options,
                const void *bytes, size_t len, uint32_t *generation,
                const char **why);

/* Walks the scopes that the application holds: start with *cursor = 0; NULL at
 * the end. None may be opened or released during the walk. */
aw_channel *aw_mux_next(const aw_mux *mux, size_t *cursor);

/* Both clocks, once a loop turn: monotonic for deadlines, wall for stamps. */
void aw_mux_clock(aw_mux *mux, uint64_t now_ms, int64_t wall_ms);

/* A connection is there. Base protocol, or the extended one's client, which
 * queues its hello. *generation names the connection: what comes for an older
 * one is refused from now on. An extended server attaches with aw_mux_accept,
 * because the hello tells which session the connection is for. */
int aw_mux_attach(aw_mux *mux, bool extended, uint32_t *generation);

/* Is this hello older than one that was accepted? It was held up on a
 * connection that its client has long given up: whoever takes connections for
 * the session closes it and leaves the present one alone. */
bool aw_mux_is_stale(const aw_mux *mux, const aw_hello *hello);

/* Attaches a connection to the server's session that the hello asks for: an
 * old one, or a new mux. `epoch` names this life of the server; a new mux adds
 * its own part to it, because a session that was given up and made anew has
 * lost its logs as well. Queues the welcome; older generations are dead from
 * now on. AW_E_CLOSED: abandoned, or the hello is stale; the present connection
 * goes on. AW_E_NOMEM: this connection is dead, the session is not. */
int aw_mux_accept(aw_mux *mux, const aw_hello *hello, const char *epoch,
                  uint32_t *generation);

/* The session's id, for logs and tests. */
const aw_uuid *aw_mux_connection_id(const aw_mux *mux);

/* The connection is gone. Base: every open scope ends with `error`. Extended:
 * all is kept for the next attach. Of an older generation: nothing. */
void aw_mux_detach(aw_mux *mux, uint32_t generation, int error);

/* To be called before aw_mux_detach when the peer or the network has ended the
 * connection: with which close code (1006: none). What was carried in vain can
 * be blamed for it by the next attach. */
void aw_mux_blame(aw_mux *mux, uint32_t generation, int code);

/* Ends every scope with `error` and forgets the logs: no next attach. */
void aw_mux_abandon(aw_mux *mux, int error);

/* Detached for too long: every scope ends with AW_E_LOST, as at the peer when
 * its window has passed. The next attach finds a session without scopes; a peer
 * that still has some is told that they are gone. While attached: nothing. */
void aw_mux_lose_scopes(aw_mux *mux);

/* For how long the peer keeps a detached session: what its last welcome said,
 * AW_MUX_WINDOW_MS before the first one. */
unsigned aw_mux_peer_window_ms(const aw_mux *mux);

/* One message. The text may be changed. 0, also for what was refused. Less
 * than 0 reaches as far as the connection (aw_error.h), which cannot go on:
 * AW_E_SEQUENCE_GAP (4002), AW_E_REFUSED (4003: invalid link message, credit
 * exceeded), AW_E_CLOSED (4001: a newer connection took over; nothing was
 * looked at), AW_E_NOMEM. AW_E_LIMIT: it is too long, and no scope can be told
 * so; a WebSocket is closed with 1009, on lines an error frame is the answer.
 * AW_E_OVERLOAD: the pool is full, and this mux holds more than its share; the
 * message was not taken and may come again (1013). */
int aw_mux_receive(aw_mux *mux, uint32_t generation, char *text, size_t len);

/* The same for a message of `len` bytes that the transport has skipped because
 * of its length; of its start it kept `head`, at most AW_HEADER_MAX bytes. */
int aw_mux_receive_skipped(aw_mux *mux, uint32_t generation, char *head,
                           size_t head_len, uint64_t len);

/* True while the transport should not read (base peers have no credit). */
bool aw_mux_choked(const aw_mux *mux);

/* Hands waiting messages to the sink, control first, then the scopes in turn,
 * until `room` bytes were given or nothing is left. Stops at the sink's first
 * error and returns it. */
int aw_mux_write(aw_mux *mux, const aw_mux_sink *sink, size_t room);
bool aw_mux_writable(const aw_mux *mux); /* has aw_mux_write anything to do? */

/* When aw_mux_tick wants to be called (UINT64_MAX: never). */
uint64_t aw_mux_deadline(const aw_mux *mux);
void aw_mux_tick(aw_mux *mux);

/* Opens a scope from this side; id NULL makes one. AW_E_EXISTS, AW_E_LIMIT,
 * AW_E_CLOSED, AW_E_NOMEM. An ended scope of a kind that may restart is opened
 * anew. */
int aw_mux_open(aw_mux *mux, enum aw_kind kind, const aw_uuid *id,
                aw_channel **out);

/* The scope, open or remembered, or NULL. */
aw_channel *aw_mux_find(aw_mux *mux, enum aw_kind kind, const aw_uuid *id);

/* The application lets go: what is queued for it is dropped, the memory goes
 * when the peer has all it needs. The pointer is dead after this. */
void aw_mux_release(aw_channel *channel);

/* Sending in two steps, so that the payload is written once, in its place:
 * begin, append the payload object to draft->out, then commit or cancel.
 * begin: AW_E_AGAIN (window full: AW_CHANNEL_WRITABLE will come), AW_E_ENDED,
 * AW_E_CLOSED (abandoned), AW_E_INVALID (type), AW_E_LIMIT (numbers used up),
 * AW_E_UNDELIVERABLE (given up after connections ended at its messages). A type
 * that is AW_TYPE_URGENT needs no credit. */
struct aw_draft {
  aw_mux *mux;
  aw_channel *channel; /* NULL: unsequenced */
  aw_buf *out;
  size_t mark;
  aw_uuid message_id;
  unsigned flags;
  bool urgent, folds, is_link;
  /* Of the payload, from whoever has written it; 0 is not looked at. */
  unsigned depth, values;
  /* Which of the peer's limits a commit refused with AW_E_LIMIT, what the
   * message has of it, and the limit. */
  enum aw_limit over;
  uint64_t has, most;
};
int aw_mux_begin(aw_channel *channel, const char *type, size_t type_len,
                 const aw_uuid *in_reply_to, aw_draft *draft);

/* While the peer is away, a server's full log need not stop its sender: a type
 * that is a state (AW_TYPE_STATE) takes the next number and the place of the
 * whole log. Who comes back and has not seen what it stands for is told of the
 * jump (`gap`) and goes on from the state. (docs/wire.md section 7)
 * begin_fold: AW_E_AGAIN unless aw_mux_may_fold, else as begin; a commit gives
 * AW_E_LIMIT for a state that is larger than what it replaces and with which
 * the session's or the process's logs would be over their bounds. */
bool aw_mux_may_fold(const aw_channel *channel);
int aw_mux_begin_fold(aw_channel *channel, const char *type, size_t type_len,
                      aw_draft *draft);

/* The other way out of a full log: the scope ends with AW_E_LOST here, and at
 * the peer when it comes back. */
void aw_mux_give_up(aw_channel *channel);

/* The same as begin for a message outside the numbering. AW_E_AGAIN: the
 * control queue is full. */
int aw_mux_begin_control(aw_mux *mux, enum aw_kind kind, const aw_uuid *id,
                         const char *type, size_t type_len,
                         const aw_uuid *in_reply_to, aw_draft *draft);
/* commit: AW_E_AGAIN when only a small message had room and this one is not, or
 * while the peer's limits are not known yet (AW_CHANNEL_WRITABLE will come);
 * AW_E_LIMIT when the peer would not take it: nothing was numbered. */
int aw_draft_commit(aw_draft *draft);
void aw_draft_cancel(aw_draft *draft);

/* Appends the connection's error frame to the control queue. */
int aw_mux_send_error(aw_mux *mux, const char *code, const char *message,
                      size_t message_len);

/* Takes the oldest message of the channel's inbox as consumed. */
void aw_mux_consume(aw_channel *channel);

/* From now on what is consumed is acknowledged when it is confirmed, and not
 * before: the peer keeps it, and its credit for the scope stands still. Memory
 * here is free, so the connection's credit goes on. */
void aw_mux_confirm_manually(aw_channel *channel);
/* Confirms all that was consumed so far. */
void aw_mux_confirm(aw_channel *channel);

/* The next channel with news; *events are its aw_channel_event bits. */
aw_channel *aw_mux_poll(aw_mux *mux, unsigned *events);
bool aw_mux_control(aw_mux *mux, aw_control *out); /* oldest, false: none */
void aw_mux_control_drop(aw_mux *mux);
bool aw_mux_refusal(aw_mux *mux, aw_refusal *out); /* takes the oldest */
enum aw_mux_notice aw_mux_notice(aw_mux *mux);     /* takes the oldest */
bool aw_mux_has_news(const aw_mux *mux); /* is any of the four not empty? */

/* Becomes a member of the pool of a server's sessions, or of none (NULL): what
 * the mux holds counts there, and the pool's bounds hold for it as well as its
 * own (aw_pool_has_room). `owner` is what aw_mux_wake_waiting gives. */
void aw_mux_join(aw_mux *mux, aw_pool *pool, void *owner);

/* Wakes the senders of the mux that waits longest for the pool's room; its
 * owner has to look for news. NULL: nobody waits. */
void *aw_mux_wake_waiting(aw_pool *pool);

/* Is it that there is nothing in the mux that a resume could go on with? */
bool aw_mux_is_blank(const aw_mux *mux);

/* What it holds of what came in: inboxes and scopes, in memory. */
size_t aw_mux_in_bytes(const aw_mux *mux);

/* What this end takes, and what the peer is known to take. For peers that tell
 * nothing (base) but are known all the same: the ends of a pair. */
aw_limits aw_mux_limits(const aw_mux *mux);
void aw_mux_set_peer_limits(aw_mux *mux, const aw_limits *limits);

const aw_mux_stats *aw_mux_stats_get(const aw_mux *mux);
bool aw_mux_is_extended(const aw_mux *mux);

/* Trace: called for every envelope, when set. `sent` or received; kind, id,
 * type and sequence as on the wire; text and payload span (may be empty). */
typedef struct aw_trace {
  bool sent;
  const char *text;
  size_t len;
} aw_trace;
void aw_mux_set_trace(aw_mux *mux, void (*trace)(void *user, const aw_trace *),
                      void *user);

#pragma GCC visibility pop

#endif
