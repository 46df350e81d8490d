#include "aw_utf8.h"

#include "aw_bytes.h"

bool aw_utf8_ascii(const char *bytes, size_t len) {
  uint64_t seen = 0;
  if (len < AW_BLOCK) {
    for (size_t i = 0; i < len; i++) {
      seen |= (unsigned char)bytes[i];
    }
    return seen < 0x80;
  }
  /* The last block overlaps its neighbour: no tail of single bytes. */
  for (size_t i = 0; i < len - AW_BLOCK && seen == 0; i += AW_BLOCK) {
    seen = aw_block_not_ascii(bytes + i);
  }
  return seen == 0 && aw_block_not_ascii(bytes + len - AW_BLOCK) == 0;
}

/* Inside a character the state is its bytes so far, the latest lowest. A lead
 * byte is at least 0xC2, so that it is neither AW_UTF8_START nor AW_UTF8_BAD.
 */
static uint32_t continue_character(uint32_t state, char byte) {
  char text[4];
  size_t len = 0;
  for (int shift = 16; shift >= 0; shift -= 8) {
    if (state >> shift != 0) {
      text[len++] = (char)(state >> shift & 0xFF);
    }
  }
  text[len++] = byte;
  int step = aw_utf8_step(text, text + len);
  if (step > 0) {
    return AW_UTF8_START;
  }
  return step == 0 ? AW_UTF8_BAD : state << 8 | (unsigned char)byte;
}

static uint32_t keep_start(const char *at, const char *end) {
  uint32_t state = AW_UTF8_START;
  while (at < end) {
    state = state << 8 | (unsigned char)*at++;
  }
  return state;
}

uint32_t aw_utf8_check(uint32_t state, const char *bytes, size_t len) {
  const char *at = bytes, *end = bytes + len;
  while (at < end && state != AW_UTF8_START) {
    if (state == AW_UTF8_BAD) {
      return state;
    }
    state = continue_character(state, *at++);
  }
  while (state == AW_UTF8_START) {
    int step;
    at = aw_bytes_find_not_ascii(at, end);
    if (at == end) {
      break;
    }
    step = aw_utf8_step(at, end);
    if (step <= 0) {
      return step == 0 ? AW_UTF8_BAD : keep_start(at, end);
    }
    at += step;
  }
  return state;
}
