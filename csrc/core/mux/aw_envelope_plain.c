#include "aw_envelope_plain.h"

#include "aw_bytes.h"
#include "aw_error.h"
#include "aw_types.h"

/* Tokens of an envelope but for its payload: itself, a name and a value of each
 * member, the payload's name. */
#define TOKENS 14
#define TOKENS_OF_REPLY 2

/* Digits of AW_SEQ_MAX; more do not overflow here. */
#define DIGITS 16

/* Where to go on; NULL once the text was not what it should be. */
typedef struct cursor {
  const char *at, *end;
} cursor;

static inline bool take_bytes(cursor *c, const char *bytes, size_t len) {
  if ((size_t)(c->end - c->at) < len || memcmp(c->at, bytes, len) != 0) {
    return false;
  }
  c->at += len;
  return true;
}

#define TAKE(c, literal) take_bytes(c, literal, sizeof(literal) - 1)

static bool take_type(cursor *c, aw_envelope *out) {
  size_t left = (size_t)(c->end - c->at);
  size_t most = left < AW_TYPE_NAME_MAX + 1 ? left : AW_TYPE_NAME_MAX + 1;
  const char *end = aw_bytes_find_special(c->at, c->at, c->at + most);
  out->type = c->at;
  out->type_len = (size_t)(end - c->at);
  if (out->type_len == 0 || out->type_len == most || *end != '"') {
    return false;
  }
  c->at = end;
  return true;
}

static bool take_kind(cursor *c, aw_envelope *out) {
  for (int kind = 0; kind < AW_KIND_COUNT; kind++) {
    const char *key = aw_kind_key((enum aw_kind)kind);
    if (take_bytes(c, key, strlen(key))) {
      out->kind = (enum aw_kind)kind;
      return true;
    }
  }
  return false;
}

static bool take_uuid(cursor *c, aw_uuid *out) {
  if (c->end - c->at < AW_UUID_TEXT ||
      aw_uuid_parse(out, c->at, AW_UUID_TEXT) != AW_OK) {
    return false;
  }
  c->at += AW_UUID_TEXT;
  return true;
}

static bool take_number(cursor *c, uint64_t *out) {
  const char *at = c->at, *start = at;
  const char *end = c->end - at < DIGITS ? c->end : at + DIGITS;
  uint64_t value = 0;
  for (; at < end && (unsigned char)(*at - '0') < 10; at++) {
    value = value * 10 + (unsigned char)(*at - '0');
  }
  c->at = at;
  *out = value;
  return at - start == 1 || (at > start && *start != '0');
}

static bool take_header(cursor *c, aw_envelope *out) {
  uint64_t timestamp = 0;
  bool taken = TAKE(c, "{\"type\":\"") && take_type(c, out) &&
               TAKE(c, "\",\"") && take_kind(c, out) && TAKE(c, "\":\"") &&
               take_uuid(c, &out->id) && TAKE(c, "\",\"message_id\":\"") &&
               take_uuid(c, &out->message_id) && TAKE(c, "\",\"sequence\":") &&
               take_number(c, &out->sequence) && out->sequence <= AW_SEQ_MAX &&
               TAKE(c, ",\"timestamp\":") && take_number(c, &timestamp) &&
               TAKE(c, ",\"version\":1,\"");
  if (!taken) {
    return false;
  }
  out->timestamp = (int64_t)timestamp;
  out->has_scope = out->has_message_id = true;
  out->has_reply = TAKE(c, "in_reply_to\":\"");
  if (out->has_reply &&
      !(take_uuid(c, &out->in_reply_to) && TAKE(c, "\",\""))) {
    return false;
  }
  return TAKE(c, "payload\":") && c->at < c->end && *c->at == '{';
}

int envelope_read_plain(aw_envelope *out, aw_json_tape *tape, const char *text,
                        size_t len, unsigned max_depth) {
  cursor c = {text, text + len};
  *out = (aw_envelope){0};
  if (max_depth == 0 || max_depth > AW_JSON_DEPTH_MAX ||
      !take_header(&c, out)) {
    return AW_E_INVALID;
  }
  size_t end = 0;
  out->payload = TOKENS + (out->has_reply ? TOKENS_OF_REPLY : 0);
  int rc = aw_json_scan_part(tape, out->payload, text, len,
                             (size_t)(c.at - text), max_depth - 1, &end);
  if (rc != AW_OK) {
    return rc;
  }
  return end + 1 == len && text[end] == '}' ? AW_OK : AW_E_INVALID;
}
