/* The first byte picks the limits, the second how the rest is cut. Fed whole
 * and in pieces, the same bytes must give the same events and end. */
#include "aw_error.h"
#include "aw_sse.h"
#include <stdlib.h>

typedef struct outcome {
  uint64_t hash;
  int error;
} outcome;

static void demand(int holds) {
  if (!holds) {
    abort();
  }
}

static void mix(outcome *out, const char *bytes, size_t len) {
  out->hash = (out->hash ^ len) * UINT64_C(0x100000001B3);
  for (size_t i = 0; i < len; i++) {
    out->hash = (out->hash ^ (uint8_t)bytes[i]) * UINT64_C(0x100000001B3);
  }
}

static void take_event(outcome *out, const aw_sse *sse,
                       const aw_sse_event *event) {
  demand(event->data_len + event->type_len + event->id_len <=
         sse->options.event_max);
  demand(event->type_len <= sse->options.line_max &&
         event->id_len <= sse->options.line_max);
  demand(event->retry_ms >= -1 && event->retry_ms <= AW_SSE_RETRY_MAX);
  demand(event->id_len == 0 || memchr(event->id, '\0', event->id_len) == NULL);
  mix(out, event->type, event->type_len);
  mix(out, event->data, event->data_len);
  mix(out, event->id, event->id_len);
  mix(out, (const char *)&event->retry_ms, sizeof event->retry_ms);
}

static void feed(outcome *out, aw_sse *sse, const uint8_t *data, size_t len) {
  char *piece = malloc(len > 0 ? len : 1);
  size_t at = 0, used = 0;
  aw_sse_event event;
  demand(piece != NULL);
  memcpy(piece, data, len);
  do {
    out->error = aw_sse_next(sse, piece + at, len - at, &used, &event);
    demand(used <= len - at && aw_buf_len(&sse->line) <= sse->options.line_max);
    at += used;
    if (out->error == AW_OK) {
      take_event(out, sse, &event);
    }
  } while (out->error == AW_OK);
  demand(at == len || out->error == AW_E_LIMIT);
  free(piece);
}

static outcome run(uint8_t setting, uint32_t cuts, const uint8_t *data,
                   size_t len) {
  aw_sse_options options = {.line_max = setting & 1 ? 20 : 0,
                            .event_max = setting & 2 ? 30 : 0};
  outcome out = {0, AW_E_AGAIN};
  aw_sse sse;
  aw_sse_init(&sse, aw_mem_default(), &options);
  for (size_t at = 0, piece; at < len && out.error == AW_E_AGAIN; at += piece) {
    piece = len - at;
    if (cuts != 0) {
      cuts = cuts * 1664525u + 1013904223u;
      piece = 1 + (cuts >> 24) % (piece < 20 ? piece : 20);
    }
    feed(&out, &sse, data + at, piece);
  }
  aw_sse_fini(&sse);
  return out;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
  if (len < 2) {
    return 0;
  }
  outcome whole = run(data[0], 0, data + 2, len - 2);
  outcome pieces = run(data[0], data[1] + 1u, data + 2, len - 2);
  demand(whole.hash == pieces.hash && whole.error == pieces.error);
  return 0;
}
