#include "aw_envelope.h"
#include "aw_envelope_plain.h"
#include "aw_error.h"
#include "aw_types.h"
#include <string.h>

static const struct {
  const char *name, *key;
  size_t name_len, key_len;
} kinds[AW_KIND_COUNT] = {
    {"provider", "stream_id", 8, 9},
    {"agent", "session_id", 5, 10},
    {"tool", "server_id", 4, 9},
    {"link", "connection_id", 4, 13},
};

const char *aw_kind_name(enum aw_kind kind) {
  return kinds[kind].name;
}

const char *aw_kind_key(enum aw_kind kind) {
  return kinds[kind].key;
}

int aw_kind_find(const char *name, size_t len) {
  for (int kind = 0; kind < AW_KIND_COUNT; kind++) {
    if (kinds[kind].name_len == len &&
        memcmp(kinds[kind].name, name, len) == 0) {
      return kind;
    }
  }
  return -1;
}

/* The top-level members, as token indices of their values; 0 is absent. */
typedef struct members {
  uint32_t type, message_id, sequence, timestamp, version, reply, payload;
  uint32_t scope[AW_KIND_COUNT];
} members;

/* Keys are told apart by length first; only one comparison is then left. */
static uint32_t *find_member(members *m, const char *key, size_t len) {
#define AW_MEMBER(name, slot)                                                  \
  (memcmp(key, name, sizeof(name) - 1) == 0 ? &(slot) : NULL)
  switch (len) {
  case 4:
    return AW_MEMBER("type", m->type);
  case 7:
    return key[0] == 'p' ? AW_MEMBER("payload", m->payload)
                         : AW_MEMBER("version", m->version);
  case 8:
    return AW_MEMBER("sequence", m->sequence);
  case 9:
    if (key[1] == 't') {
      return AW_MEMBER("stream_id", m->scope[AW_KIND_PROVIDER]);
    }
    return key[0] == 's' ? AW_MEMBER("server_id", m->scope[AW_KIND_TOOL])
                         : AW_MEMBER("timestamp", m->timestamp);
  case 10:
    return key[0] == 'm' ? AW_MEMBER("message_id", m->message_id)
                         : AW_MEMBER("session_id", m->scope[AW_KIND_AGENT]);
  case 11:
    return AW_MEMBER("in_reply_to", m->reply);
  case 13:
    return AW_MEMBER("connection_id", m->scope[AW_KIND_LINK]);
  default:
    return NULL;
  }
#undef AW_MEMBER
}

/* A string token's bytes; escapes are resolved in place (never grows). */
static char *string_bytes(aw_json_token *token, char *text) {
  char *bytes = text + token->start;
  if (token->escaped) {
    token->len = (uint32_t)aw_json_unescape(token, text, bytes);
    token->escaped = 0;
  }
  return bytes;
}

static void collect_members(members *m, const aw_json_tape *tape, char *text) {
  *m = (members){0};
  uint32_t end = tape->tokens[0].next;
  for (uint32_t at = 1; at < end;) {
    aw_json_token *key = &tape->tokens[at];
    uint32_t value = at + 1;
    char *name = string_bytes(key, text); /* may shorten key->len */
    uint32_t *slot = find_member(m, name, key->len);
    if (slot != NULL && tape->tokens[value].kind != AW_JSON_NULL) {
      *slot = value; /* null reads as absent */
    }
    at = tape->tokens[value].next;
  }
}

static int refuse(aw_envelope_error *error, int code, const char *field,
                  const char *what) {
  error->code = code;
  error->field = field;
  error->what = what;
  return code;
}

static int read_uuid(const aw_json_tape *tape, char *text, uint32_t at,
                     aw_uuid *out) {
  aw_json_token *token = &tape->tokens[at];
  if (at == 0 || token->kind != AW_JSON_STRING) {
    return AW_E_INVALID;
  }
  char *bytes = string_bytes(token, text);
  return aw_uuid_parse(out, bytes, token->len);
}

/* What an answer needs is read first and leniently: type, scope, message id. */
static int read_scope(aw_envelope *out, const members *m,
                      const aw_json_tape *tape, char *text,
                      aw_envelope_error *error) {
  int found = -1;
  for (int kind = 0; kind < AW_KIND_COUNT; kind++) {
    if (m->scope[kind] == 0) {
      continue;
    }
    if (found >= 0) {
      return refuse(error, AW_E_INVALID_REQUEST, kinds[kind].key,
                    "an envelope has exactly one scope key");
    }
    found = kind;
  }
  if (found < 0) {
    return refuse(error, AW_E_INVALID_REQUEST, NULL, "no scope key");
  }
  out->kind = (enum aw_kind)found;
  if (read_uuid(tape, text, m->scope[found], &out->id) != AW_OK) {
    return refuse(error, AW_E_INVALID_REQUEST, kinds[found].key,
                  "the scope key is not a UUID");
  }
  out->has_scope = true;
  return AW_OK;
}

static int check_version(const members *m, const aw_json_tape *tape,
                         const char *text, aw_envelope_error *error) {
  if (m->version == 0) {
    return AW_OK;
  }
  const aw_json_token *token = &tape->tokens[m->version];
  int64_t version = 0;
  if (token->kind == AW_JSON_INTEGER &&
      aw_json_int64(token, text, &version) == AW_OK && version == 1) {
    return AW_OK;
  }
  return refuse(error, AW_E_VERSION_MISMATCH, "version",
                "unsupported protocol version");
}

static int read_type(aw_envelope *out, const members *m,
                     const aw_json_tape *tape, char *text,
                     aw_envelope_error *error) {
  aw_json_token *token = &tape->tokens[m->type];
  if (m->type == 0 || token->kind != AW_JSON_STRING) {
    return refuse(error, AW_E_INVALID_REQUEST, "type", "type is not a string");
  }
  const char *bytes = string_bytes(token, text);
  if (token->len == 0 || token->len > AW_TYPE_NAME_MAX) {
    return refuse(error, AW_E_INVALID_REQUEST, "type",
                  "type is empty or too long");
  }
  out->type = bytes;
  out->type_len = token->len;
  return AW_OK;
}

static int read_numbers(aw_envelope *out, const members *m,
                        const aw_json_tape *tape, const char *text,
                        aw_envelope_error *error) {
  const aw_json_token *token = &tape->tokens[m->sequence];
  int64_t number = 0;
  if (m->sequence == 0 || token->kind != AW_JSON_INTEGER ||
      aw_json_int64(token, text, &number) != AW_OK || number < 0 ||
      number > (int64_t)AW_SEQ_MAX) {
    return refuse(error, AW_E_INVALID_REQUEST, "sequence",
                  "sequence is not an integer from 0 to 2^53-1");
  }
  out->sequence = (uint64_t)number;
  if (m->timestamp != 0) {
    token = &tape->tokens[m->timestamp];
    if (token->kind != AW_JSON_INTEGER ||
        aw_json_int64(token, text, &out->timestamp) != AW_OK) {
      return refuse(error, AW_E_INVALID_REQUEST, "timestamp",
                    "timestamp is not an integer");
    }
  }
  return AW_OK;
}

static int read_rest(aw_envelope *out, const members *m,
                     const aw_json_tape *tape, char *text,
                     aw_envelope_error *error) {
  if (!out->has_message_id) {
    return refuse(error, AW_E_INVALID_REQUEST, "message_id",
                  "message_id is not a UUID");
  }
  if (m->reply != 0) {
    if (read_uuid(tape, text, m->reply, &out->in_reply_to) != AW_OK) {
      return refuse(error, AW_E_INVALID_REQUEST, "in_reply_to",
                    "in_reply_to is not a UUID");
    }
    out->has_reply = true;
  }
  if (m->payload == 0 || tape->tokens[m->payload].kind != AW_JSON_OBJECT) {
    return refuse(error, AW_E_INVALID_REQUEST, "payload",
                  "payload is not an object");
  }
  out->payload = m->payload;
  return AW_OK;
}

static int read_members(aw_envelope *out, const members *m,
                        const aw_json_tape *tape, char *text,
                        aw_envelope_error *error) {
  out->has_message_id =
      read_uuid(tape, text, m->message_id, &out->message_id) == AW_OK;
  int scope = read_scope(out, m, tape, text, error);
  int type = read_type(out, m, tape, text, error);
  if (check_version(m, tape, text, error) != AW_OK) {
    return error->code;
  }
  if (scope != AW_OK || type != AW_OK) {
    return scope != AW_OK ? read_scope(out, m, tape, text, error) : type;
  }
  if (read_numbers(out, m, tape, text, error) != AW_OK) {
    return error->code;
  }
  return read_rest(out, m, tape, text, error);
}

/* A member of a text that was not scanned to its end; 0 when it is absent, or
 * there twice. Stops behind a container that is still open: its `next` is 0. */
static uint32_t find_loosely(const aw_json_tape *tape, const char *text,
                             const char *name) {
  uint32_t found = 0;
  for (uint32_t at = 1; at != 0 && at + 1 < tape->count;
       at = tape->tokens[at + 1].next) {
    if (aw_json_equal(&tape->tokens[at], text, name, strlen(name))) {
      if (found != 0) {
        return 0;
      }
      found = at + 1;
    }
  }
  return found;
}

/* A number at the very end of a text may have been cut. */
static void read_sequence_loosely(aw_envelope *out, const aw_json_tape *tape,
                                  const char *text, size_t len, uint32_t at) {
  const aw_json_token *token = &tape->tokens[at];
  int64_t number = -1;
  if (at != 0 && token->kind == AW_JSON_INTEGER &&
      token->start + (size_t)token->len < len &&
      aw_json_int64(token, text, &number) == AW_OK && number >= 0 &&
      number <= (int64_t)AW_SEQ_MAX) {
    out->has_sequence = true;
    out->sequence = (uint64_t)number;
  }
}

/* What the answer to a refused message has to know, as far as it can be read.
 * Cold: what is read well does not pay for it. */
static int read_refused(aw_envelope *out, const aw_json_tape *tape, char *text,
                        size_t len, int code) {
  aw_envelope_error ignored = {0};
  if (code == AW_E_NOMEM || tape->count == 0 ||
      tape->tokens[0].kind != AW_JSON_OBJECT) {
    return code;
  }
  members m = {.type = find_loosely(tape, text, "type")};
  for (int kind = 0; kind < AW_KIND_COUNT; kind++) {
    m.scope[kind] = find_loosely(tape, text, kinds[kind].key);
  }
  (void)read_scope(out, &m, tape, text, &ignored);
  (void)read_type(out, &m, tape, text, &ignored);
  out->has_message_id =
      read_uuid(tape, text, find_loosely(tape, text, "message_id"),
                &out->message_id) == AW_OK;
  out->has_reply =
      read_uuid(tape, text, find_loosely(tape, text, "in_reply_to"),
                &out->in_reply_to) == AW_OK;
  read_sequence_loosely(out, tape, text, len,
                        find_loosely(tape, text, "sequence"));
  return code;
}

int aw_envelope_read(aw_envelope *out, aw_json_tape *tape, char *text,
                     size_t len, unsigned max_depth, aw_envelope_error *error) {
  *error = (aw_envelope_error){0};
  int plain = envelope_read_plain(out, tape, text, len, max_depth);
  if (plain == AW_OK) {
    return AW_OK;
  }
  if (plain == AW_E_NOMEM) {
    return refuse(error, plain, NULL, "out of memory");
  }
  *out = (aw_envelope){0};
  aw_json_error json = {0};
  if (aw_json_scan(tape, text, len, max_depth, &json) != AW_OK) {
    error->offset = json.offset;
    refuse(error, json.code, NULL, json.what);
    return read_refused(out, tape, text, len, json.code);
  }
  if (tape->tokens[0].kind != AW_JSON_OBJECT) {
    return refuse(error, AW_E_INVALID_REQUEST, NULL,
                  "an envelope is an object");
  }
  members m;
  collect_members(&m, tape, text);
  int rc = read_members(out, &m, tape, text, error);
  return rc == AW_OK ? rc : read_refused(out, tape, text, len, rc);
}

bool aw_envelope_is_link(const char *text, size_t len) {
  static const char start[] = "{\"type\":\"";
  static const char rest[] = "\",\"connection_id\":";
  size_t at = sizeof start - 1;
  if (len < at || memcmp(text, start, at) != 0) {
    return false;
  }
  while (at < len && at < AW_HEADER_MAX && text[at] != '"') {
    at++;
  }
  return len - at >= sizeof rest - 1 &&
         memcmp(text + at, rest, sizeof rest - 1) == 0;
}

static char *put_text(char *at, const char *text, size_t len) {
  memcpy(at, text, len);
  return at + len;
}

#define PUT(at, literal) put_text(at, literal, sizeof(literal) - 1)

static char *put_uuid(char *at, const aw_uuid *id) {
  aw_uuid_format(id, at);
  return at + AW_UUID_TEXT;
}

static char *put_number(char *at, uint64_t value) {
  char digits[AW_JSON_DIGITS];
  char *end = digits + sizeof digits;
  char *first = aw_json_digits(end, value);
  return put_text(at, first, (size_t)(end - first));
}

static bool type_is_plain(const char *type, size_t len) {
  if (len == 0 || len > AW_TYPE_NAME_MAX) {
    return false;
  }
  for (size_t i = 0; i < len; i++) {
    unsigned char c = (unsigned char)type[i];
    if (c < 0x20 || c > 0x7e || c == '"' || c == '\\') {
      return false;
    }
  }
  return true;
}

int aw_envelope_write(aw_buf *out, const aw_header *header) {
  if (!type_is_plain(header->type, header->type_len)) {
    return AW_E_INVALID;
  }
  /* Room for the longest header there is, so that nothing below can fail. */
  int rc = aw_buf_reserve(out, 384);
  if (rc != AW_OK) {
    return rc;
  }
  char *at = out->data + out->tail;
  at = PUT(at, "{\"type\":\"");
  at = put_text(at, header->type, header->type_len);
  at = PUT(at, "\",\"");
  at = put_text(at, kinds[header->kind].key, kinds[header->kind].key_len);
  at = PUT(at, "\":\"");
  at = put_uuid(at, header->id);
  at = PUT(at, "\",\"message_id\":\"");
  at = put_uuid(at, header->message_id);
  at = PUT(at, "\",\"sequence\":");
  at = put_number(at, header->sequence);
  at = PUT(at, ",\"timestamp\":");
  at = put_number(at, header->timestamp < 0 ? 0 : (uint64_t)header->timestamp);
  at = PUT(at, ",\"version\":1");
  if (header->in_reply_to != NULL) {
    at = PUT(at, ",\"in_reply_to\":\"");
    at = put_uuid(at, header->in_reply_to);
    at = PUT(at, "\"");
  }
  at = PUT(at, ",\"payload\":");
  out->tail = (size_t)(at - out->data);
  return AW_OK;
}

int aw_envelope_write_error(aw_buf *out, const char *code, const char *message,
                            size_t message_len) {
  static const char head[] = "{\"type\":\"error\",\"version\":\"1\",\"code\":";
  static const char middle[] = ",\"message\":";
  int rc = aw_buf_append(out, head, sizeof head - 1);
  if (rc == AW_OK) {
    rc = aw_json_put_string(out, code, strlen(code));
  }
  if (rc == AW_OK) {
    rc = aw_buf_append(out, middle, sizeof middle - 1);
  }
  if (rc == AW_OK) {
    rc = aw_json_put_string(out, message, message_len);
  }
  return rc == AW_OK ? aw_buf_append(out, "}", 1) : rc;
}
