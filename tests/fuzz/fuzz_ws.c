/* The first byte picks role and options, the second how the rest is cut. Fed
 * whole and in pieces, the same bytes must give the same events and end. */
#include "aw_utf8.h"
#include "aw_ws.h"
#include <stdlib.h>

struct outcome {
  uint64_t hash;
  int error;
};

static void demand(int holds) {
  if (!holds) {
    abort();
  }
}

static void mix(struct outcome *outcome, uint64_t value) {
  outcome->hash = (outcome->hash ^ value) * UINT64_C(0x100000001B3);
}

static void take_event(struct outcome *outcome, const aw_ws *ws,
                       const aw_ws_event *event) {
  bool text = event->kind == AW_WS_EVENT_MESSAGE && event->opcode == AW_WS_TEXT;

  mix(outcome, event->kind);
  mix(outcome, event->len);
  for (size_t i = 0; i < event->len; i++) {
    mix(outcome, (uint8_t)event->bytes[i]);
  }
  if (event->kind == AW_WS_EVENT_CLOSE) {
    demand(event->code == 1005 || aw_ws_code_legal(event->code));
    mix(outcome, event->code);
  }
  if (event->kind == AW_WS_EVENT_SKIPPED) {
    demand(event->len <= AW_WS_HEAD_MAX &&
           event->whole > ws->options.message_max);
    mix(outcome, event->whole);
    return;
  }
  demand(event->len <= (event->kind == AW_WS_EVENT_MESSAGE
                            ? ws->options.message_max
                            : AW_WS_CONTROL_MAX));
  demand(!(text || event->kind == AW_WS_EVENT_CLOSE) ||
         aw_utf8_check(AW_UTF8_START, event->bytes, event->len) ==
             AW_UTF8_START);
}

static void feed(struct outcome *outcome, aw_ws *ws, const uint8_t *data,
                 size_t len) {
  char *piece = malloc(len > 0 ? len : 1);
  size_t at = 0, used;
  aw_ws_event event;

  demand(piece != NULL);
  memcpy(piece, data, len);
  do {
    int rc = aw_ws_parse(ws, piece + at, len - at, &used, &event);

    demand(used <= len - at && (outcome->error == 0 || rc == outcome->error));
    outcome->error = rc;
    at += used;
    if (rc == 0 && event.kind != AW_WS_EVENT_NONE) {
      take_event(outcome, ws, &event);
    }
  } while (outcome->error == 0 && event.kind != AW_WS_EVENT_NONE);
  demand(at == len);
  free(piece);
}

static struct outcome run(uint8_t setting, uint32_t cuts, const uint8_t *data,
                          size_t len) {
  aw_ws_options options = {.role = setting & 1 ? AW_WS_SERVER : AW_WS_CLIENT,
                           .refuse_binary = (setting & 2) != 0,
                           .message_max = setting & 4 ? 100 : 0,
                           .fragments_max = setting & 8 ? 3 : 0,
                           .skip_large = (setting & 16) != 0};
  struct outcome outcome = {0, 0};
  aw_ws ws;

  aw_ws_init(&ws, aw_mem_default(), &options);
  for (size_t at = 0, piece; at < len; at += piece) {
    piece = len - at;
    if (cuts != 0) {
      cuts = cuts * 1664525u + 1013904223u;
      piece = 1 + (cuts >> 24) % (piece < 20 ? piece : 20);
    }
    feed(&outcome, &ws, data + at, piece);
  }
  aw_ws_fini(&ws);
  return outcome;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
  struct outcome whole, pieces;

  if (len < 2) {
    return 0;
  }
  whole = run(data[0], 0, data + 2, len - 2);
  pieces = run(data[0], data[1] + 1u, data + 2, len - 2);
  demand(whole.hash == pieces.hash && whole.error == pieces.error);
  return 0;
}
