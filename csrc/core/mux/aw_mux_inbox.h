/* Messages that were accepted and not taken yet: whole records with their
 * tokens, one behind the other. Embedded. */
#ifndef AW_MUX_INBOX_H
#define AW_MUX_INBOX_H

#include "aw_buf.h"
#include "aw_envelope.h"

#pragma GCC visibility push(hidden)

typedef struct aw_mux_inbox aw_mux_inbox;
typedef struct aw_message aw_message;

/* A record; followed by type, payload and tokens. */
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

const char *aw_message_type(const aw_message *message);
const char *aw_message_payload(const aw_message *message);
/* Token 0 is the payload object; offsets are into the payload. */
const aw_json_token *aw_message_tokens(const aw_message *message);

/* Read-only for others. */
struct aw_mux_inbox {
  aw_buf bytes; /* the records, oldest first */
  size_t count;
};

void aw_mux_inbox_init(aw_mux_inbox *inbox, const aw_mem *mem);
void aw_mux_inbox_fini(aw_mux_inbox *inbox);

/* Copies an accepted envelope of `len` bytes; of one that is refused
 * (envelope->refused) all but its payload. AW_E_NOMEM changes nothing. */
int aw_mux_inbox_put(aw_mux_inbox *inbox, const aw_envelope *envelope,
                     const aw_json_tape *tape, const char *text, size_t len,
                     bool ends);

/* The oldest message, or NULL. It lives until the next put or drop. */
static inline const aw_message *aw_mux_inbox_first(const aw_mux_inbox *inbox) {
  return inbox->count == 0
             ? NULL
             : (const aw_message *)(const void *)aw_buf_bytes(&inbox->bytes);
}

/* The one behind another; NULL at the end. */
const aw_message *aw_mux_inbox_after(const aw_mux_inbox *inbox,
                                     const aw_message *message);

/* Drops the oldest message; there has to be one. */
void aw_mux_inbox_drop(aw_mux_inbox *inbox);

/* Drops all, and gives the memory back. */
void aw_mux_inbox_clear(aw_mux_inbox *inbox);

#pragma GCC visibility pop

#endif
