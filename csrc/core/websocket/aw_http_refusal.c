/* What a refusal tells people: its body, as much of it as they are shown, and
 * where it points. */
#include "aw_error.h"
#include "aw_http_body.h"
#include "aw_utf8.h"

bool aw_http_read_body(const aw_http_head *head, const char *bytes, size_t len,
                       char *out, size_t room, size_t *got) {
  aw_http_body body;
  aw_http_span content;
  size_t used, at = 0;
  *got = 0;
  aw_http_begin_response_body(&body, head);
  while (at < len && *got < room && !aw_http_is_body_whole(&body)) {
    if (aw_http_take_body(&body, bytes + at, len - at, &used, &content) !=
        AW_OK) {
      return true;
    }
    size_t taken = content.len < room - *got ? content.len : room - *got;
    if (taken > 0) {
      memcpy(out + *got, content.bytes, taken);
    }
    *got += taken;
    at += used;
  }
  return *got == room || aw_http_is_body_whole(&body);
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
