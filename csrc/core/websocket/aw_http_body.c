/* The body of a refusal, as much of it as its reader wants to be told. */
#include "aw_http_text.h"
#include "aw_utf8.h"

enum framing { UNTIL_CLOSED, COUNTED, CHUNKED };

typedef struct chunked chunked;

struct chunked {
  const char *at, *end;
  char *out;
  size_t room, len;
};

static void copy(chunked *body, size_t len) {
  size_t room = body->room - body->len;
  size_t taken = len < room ? len : room;
  memcpy(body->out + body->len, body->at, taken);
  body->len += taken;
  body->at += len;
}

static int hex_digit(char c) {
  c = aw_http_lower(c);
  return c >= '0' && c <= '9'   ? c - '0'
         : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                : -1;
}

/* RFC 9112 section 7.1. False: more is needed, or it is malformed. */
static bool take_chunk_size(chunked *body, size_t *size) {
  const char *line = body->at;
  const char *end = memchr(line, '\n', (size_t)(body->end - line));
  *size = 0;
  if (end == NULL || hex_digit(*line) < 0) {
    return false;
  }
  for (; hex_digit(*line) >= 0; line++) {
    if (*size > SIZE_MAX / 32) {
      return false;
    }
    *size = *size * 16 + (size_t)hex_digit(*line);
  }
  body->at = end + 1;
  return true;
}

/* True once the last chunk is seen. */
static bool read_chunks(chunked *body) {
  size_t size;
  while (take_chunk_size(body, &size)) {
    size_t left = (size_t)(body->end - body->at);
    if (size == 0) {
      return true;
    }
    copy(body, size < left ? size : left);
    if (left < size + 2) {
      return false;
    }
    body->at += 2;
  }
  return false;
}

static enum framing framing_of(const aw_http_head *head, size_t *count) {
  aw_http_span text = aw_http_find(head, "Content-Length");
  if (aw_http_has_token(head, "Transfer-Encoding", "chunked")) {
    return CHUNKED;
  }
  *count = 0;
  for (size_t i = 0; i < text.len; i++) {
    if (text.bytes[i] < '0' || text.bytes[i] > '9' || *count > SIZE_MAX / 32) {
      return UNTIL_CLOSED;
    }
    *count = *count * 10 + (size_t)(text.bytes[i] - '0');
  }
  return text.len > 0 ? COUNTED : UNTIL_CLOSED;
}

bool aw_http_read_body(const aw_http_head *head, const char *bytes, size_t len,
                       char *out, size_t room, size_t *got) {
  chunked body = {bytes, bytes + len, out, room, 0};
  size_t count = 0;
  bool whole = false;
  switch (framing_of(head, &count)) {
  case CHUNKED:
    whole = read_chunks(&body);
    break;
  case COUNTED:
    whole = len >= count;
    copy(&body, whole ? count : len);
    break;
  case UNTIL_CLOSED:
    copy(&body, len);
    break;
  }
  *got = body.len;
  return whole || body.len == room || head->status == 204 ||
         head->status == 304;
}

static bool is_space(char c) {
  return c == ' ' || (c >= '\t' && c <= '\r');
}

size_t aw_http_excerpt(const char *bytes, size_t len, char *out, size_t room) {
  uint32_t state = AW_UTF8_START;
  size_t used = 0, whole = 0;
  for (size_t i = 0; i < len && used < room; i++) {
    char c = bytes[i];
    if (state == AW_UTF8_START && is_space(c)) {
      if (used > 0 && out[used - 1] != ' ') {
        out[used++] = ' ';
      }
      continue;
    }
    state = aw_utf8_check(state, &bytes[i], 1);
    if (state == AW_UTF8_BAD || (unsigned char)c < ' ' || c == 0x7F) {
      break;
    }
    out[used++] = c;
    whole = state == AW_UTF8_START ? used : whole;
  }
  return whole;
}

/* Without user, query and fragment: these are where secrets are kept. */
size_t aw_http_public_url(aw_http_span url, char *out, size_t room) {
  size_t len = 0;
  while (len < url.len && url.bytes[len] != '?' && url.bytes[len] != '#') {
    len++;
  }
  for (size_t i = 0; i + 2 < len; i++) {
    if (memcmp(url.bytes + i, "://", 3) == 0) {
      size_t start = i + 3, at = start, end = start;
      while (end < len && url.bytes[end] != '/') {
        at = url.bytes[end] == '@' ? end + 1 : at;
        end++;
      }
      size_t used = aw_http_excerpt(url.bytes, start, out, room);
      return used +
             aw_http_excerpt(url.bytes + at, len - at, out + used, room - used);
    }
  }
  return aw_http_excerpt(url.bytes, len, out, room);
}
