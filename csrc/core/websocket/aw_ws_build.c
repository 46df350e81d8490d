#include "aw_error.h"
#include "aw_utf8.h"
#include "aw_ws.h"
#include "aw_ws_mask.h"

#define REASON_MAX (AW_WS_CONTROL_MAX - 2)

static char *put_length(char *at, uint8_t mask_bit, uint64_t len) {
  int bytes = len <= 125 ? 0 : len <= 0xFFFF ? 2 : 8;
  *at++ = (char)(mask_bit | (bytes == 0 ? len : bytes == 2 ? 126u : 127u));
  while (bytes > 0) {
    bytes--;
    *at++ = (char)(len >> 8 * bytes & 0xFF);
  }
  return at;
}

int aw_ws_build(aw_buf *out, enum aw_ws_opcode opcode, const char *bytes,
                size_t len, const uint8_t mask[4]) {
  if (opcode >= AW_WS_CLOSE && len > AW_WS_CONTROL_MAX) {
    return AW_E_INVALID;
  }
  if (len > SIZE_MAX - AW_WS_HEADER_MAX ||
      aw_buf_reserve(out, AW_WS_HEADER_MAX + len) != 0) {
    return AW_E_NOMEM;
  }
  char *at = out->data + out->tail;
  *at++ = (char)(0x80 | opcode);
  at = put_length(at, mask != NULL ? 0x80 : 0, len);
  if (mask != NULL) {
    memcpy(at, mask, 4);
    at += 4;
    aw_ws_mask(at, bytes, len, mask);
  } else if (len > 0) {
    memcpy(at, bytes, len);
  }
  out->tail = (size_t)(at - out->data) + len;
  return AW_OK;
}

/* A close frame has room for so much of the reason, and a peer fails the
 * connection over a character that is cut or wrong. */
static size_t fit_reason(const char *reason, size_t len) {
  uint32_t state = AW_UTF8_START;
  size_t fit = 0;
  for (size_t i = 0; i < len && i < REASON_MAX; i++) {
    state = aw_utf8_check(state, reason + i, 1);
    if (state == AW_UTF8_START) {
      fit = i + 1;
    }
  }
  return fit;
}

int aw_ws_build_close(aw_buf *out, uint16_t code, const char *reason,
                      size_t len, const uint8_t mask[4]) {
  char payload[AW_WS_CONTROL_MAX] = {(char)(code >> 8), (char)(code & 0xFF)};
  if (code == 1005) {
    return aw_ws_build(out, AW_WS_CLOSE, NULL, 0, mask);
  }
  if (!aw_ws_code_legal(code)) {
    return AW_E_INVALID;
  }
  size_t fit = fit_reason(reason, len);
  if (fit > 0) {
    memcpy(payload + 2, reason, fit);
  }
  return aw_ws_build(out, AW_WS_CLOSE, payload, fit + 2, mask);
}
