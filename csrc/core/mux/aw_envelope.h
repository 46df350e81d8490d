/* The envelope's header to and from bytes (docs/wire.md section 2). The
 * payload stays where it is: tokens on a tape, bytes in the text. */
#ifndef AW_ENVELOPE_H
#define AW_ENVELOPE_H

#include "aw_json.h"
#include "aw_uuid.h"

#pragma GCC visibility push(hidden)

enum aw_kind {
  AW_KIND_PROVIDER, /* stream_id */
  AW_KIND_AGENT,    /* session_id */
  AW_KIND_TOOL,     /* server_id */
  AW_KIND_LINK,     /* connection_id */
  AW_KIND_COUNT
};

#define AW_KIND_SCOPES AW_KIND_LINK /* kinds below this have scopes */

/* Numbers of messages: what every reader can hold, 2^53-1. */
#define AW_SEQ_MAX 9007199254740991u

/* A header fits into so much of a message (docs/wire.md section 7). */
#define AW_HEADER_MAX 512

typedef struct aw_envelope aw_envelope;
typedef struct aw_envelope_error aw_envelope_error;
typedef struct aw_header aw_header;

/* Spans point into the text that was read. */
struct aw_envelope {
  enum aw_kind kind;
  aw_uuid id, message_id, in_reply_to;
  bool has_scope, has_message_id, has_reply;
  bool has_sequence; /* after a failure: it could be read all the same */
  const char *type;  /* NULL when it could not be read */
  size_t type_len;
  uint64_t sequence;
  int64_t timestamp; /* milliseconds since the epoch, 0 when absent */
  uint32_t payload;  /* its token's index */
  /* Why the message is not taken although its number is; NULL: it is. */
  const aw_envelope_error *refused;
};

struct aw_envelope_error {
  int code;          /* AW_E_JSON_*, AW_E_VERSION_MISMATCH, ... */
  const char *field; /* offending key, or NULL */
  const char *what;  /* static sentence */
  size_t offset;     /* of a JSON error */
};

/* "provider", "agent", "tool", "link" and back (-1: no such kind). */
const char *aw_kind_name(enum aw_kind kind);
int aw_kind_find(const char *name, size_t len);

/* "stream_id", ... */
const char *aw_kind_key(enum aw_kind kind);

/* Scans one message and reads its header. Strings that hold escapes are
 * unescaped in place, so the text must be writable. After a failure `out`
 * holds what could be read (has_scope, has_message_id, has_sequence, has_reply,
 * type), so that the answer can name it; of what is no JSON, the members before
 * the place where it went wrong. Errors: AW_E_JSON_*, AW_E_NOMEM;
 * AW_E_VERSION_MISMATCH (looked at before anything else); AW_E_INVALID_REQUEST
 * with the field. */
int aw_envelope_read(aw_envelope *out, aw_json_tape *tape, char *text,
                     size_t len, unsigned max_depth, aw_envelope_error *error);

/* Does a message begin as the link messages do that aw_envelope_write makes?
 * Cheap, looks at the start alone. */
bool aw_envelope_is_link(const char *text, size_t len);

/* What a header is written from. */
struct aw_header {
  enum aw_kind kind;
  const aw_uuid *id, *message_id, *in_reply_to; /* in_reply_to may be NULL */
  const char *type;
  size_t type_len;
  uint64_t sequence;
  int64_t timestamp;
};

/* Appends everything up to and including `"payload":`; the caller appends the
 * payload object and the closing brace. AW_E_INVALID: the type is empty, too
 * long or needs escapes. */
int aw_envelope_write(aw_buf *out, const aw_header *header);

/* Appends a connection's error frame for a message that names no scope. */
int aw_envelope_write_error(aw_buf *out, const char *code, const char *message,
                            size_t message_len);

#pragma GCC visibility pop

#endif
