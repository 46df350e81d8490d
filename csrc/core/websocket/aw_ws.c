#include "aw_ws.h"

#include "aw_error.h"
#include "aw_utf8.h"
#include "aw_ws_mask.h"

/* Capacity kept between messages in pieces: an envelope's worth, so that ten
 * thousand idle connections stay cheap. */
#define MESSAGE_KEEP 4096

/* A state's function gives this when it wants bytes that are not there. */
#define NEED_MORE 1

enum state {
  STATE_HEADER,
  STATE_DATA,
  STATE_CONTROL,
  STATE_CLOSED,
  STATE_FAILED
};

typedef struct input input;

struct input {
  char *at, *end;
};

void aw_ws_init(aw_ws *ws, const aw_mem *mem, const aw_ws_options *options) {
  *ws = (aw_ws){.options = *options, .why = ""};
  if (ws->options.message_max == 0) {
    ws->options.message_max = AW_WS_MESSAGE_MAX;
  }
  if (ws->options.fragments_max == 0) {
    ws->options.fragments_max = AW_WS_FRAGMENTS_MAX;
  }
  aw_buf_init(&ws->message, mem);
}

void aw_ws_fini(aw_ws *ws) {
  aw_buf_fini(&ws->message);
}

const char *aw_ws_why(const aw_ws *ws) {
  return ws->why;
}

uint16_t aw_ws_close_code(int error) {
  switch (error) {
  case AW_E_WS_PROTOCOL:
    return 1002;
  case AW_E_WS_UNSUPPORTED:
    return 1003;
  case AW_E_WS_UTF8:
    return 1007;
  case AW_E_WS_POLICY:
    return 1008;
  case AW_E_WS_TOO_BIG:
    return 1009;
  default:
    return 1011;
  }
}

bool aw_ws_code_legal(unsigned code) {
  return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) ||
         (code >= 3000 && code <= 4999);
}

static int fail(aw_ws *ws, int error, const char *why) {
  ws->state = STATE_FAILED;
  ws->error = error;
  ws->why = why;
  return error;
}

static size_t header_size(const aw_ws *ws, const uint8_t *head) {
  unsigned len = head[1] & 0x7F;
  size_t mask = ws->options.role == AW_WS_SERVER ? 4 : 0;
  return mask + (len < 126 ? 2 : len == 126 ? 4 : 10);
}

static int check_control(aw_ws *ws, const uint8_t *head) {
  if ((head[0] & 0x0F) > AW_WS_PONG) {
    return fail(ws, AW_E_WS_PROTOCOL, "reserved control opcode");
  }
  if ((head[0] & 0x80) == 0) {
    return fail(ws, AW_E_WS_PROTOCOL, "control frame is fragmented");
  }
  if ((head[1] & 0x7F) > AW_WS_CONTROL_MAX) {
    return fail(ws, AW_E_WS_PROTOCOL, "control frame above 125 bytes");
  }
  return AW_OK;
}

static int check_data(aw_ws *ws, unsigned opcode) {
  if (opcode > AW_WS_BINARY) {
    return fail(ws, AW_E_WS_PROTOCOL, "reserved data opcode");
  }
  if (opcode == AW_WS_CONTINUATION && !ws->under_way) {
    return fail(ws, AW_E_WS_PROTOCOL, "continuation without a message");
  }
  if (opcode != AW_WS_CONTINUATION && ws->under_way) {
    return fail(ws, AW_E_WS_PROTOCOL, "new message inside a fragmented one");
  }
  if (opcode == AW_WS_BINARY && ws->options.refuse_binary) {
    return fail(ws, AW_E_WS_UNSUPPORTED, "binary messages are not accepted");
  }
  return AW_OK;
}

/* All that the first two bytes can show. */
static int check_start(aw_ws *ws, const uint8_t *head) {
  bool masked = (head[1] & 0x80) != 0;
  unsigned opcode = head[0] & 0x0F;
  if ((head[0] & 0x70) != 0) {
    return fail(ws, AW_E_WS_PROTOCOL, "reserved bit is set");
  }
  if (masked != (ws->options.role == AW_WS_SERVER)) {
    return fail(ws, AW_E_WS_PROTOCOL,
                masked ? "frame from a server is masked"
                       : "frame from a client is not masked");
  }
  return opcode >= AW_WS_CLOSE ? check_control(ws, head)
                               : check_data(ws, opcode);
}

/* Section 5.2: in network order, in the fewest bytes that hold it. */
static int read_length(aw_ws *ws, const uint8_t *head) {
  unsigned len = head[1] & 0x7F;
  uint64_t wide = 0;
  if (len < 126) {
    ws->frame_left = len;
    return AW_OK;
  }
  for (unsigned i = 0; i < (len == 126 ? 2u : 8u); i++) {
    wide = wide << 8 | head[2 + i];
  }
  if (wide >> 63 != 0) {
    return fail(ws, AW_E_WS_PROTOCOL, "top bit of the length is set");
  }
  if (wide <= (len == 126 ? 125u : 0xFFFFu)) {
    return fail(ws, AW_E_WS_PROTOCOL, "length is not minimal");
  }
  ws->frame_left = wide;
  return AW_OK;
}

/* A message becomes too large with this frame: of what was kept of it only the
 * start is of use. */
static int begin_skipping(aw_ws *ws) {
  size_t len = aw_buf_len(&ws->message);
  if (!ws->options.skip_large) {
    return fail(ws, AW_E_WS_TOO_BIG, "message is too big");
  }
  ws->skipping = true;
  ws->skipped = len;
  if (len > AW_WS_HEAD_MAX) {
    ws->message.tail -= len - AW_WS_HEAD_MAX;
  }
  return AW_OK;
}

static int check_size(aw_ws *ws) {
  int rc = AW_OK;
  if (!ws->skipping &&
      ws->frame_left > ws->options.message_max - aw_buf_len(&ws->message)) {
    rc = begin_skipping(ws);
  }
  if (rc == AW_OK && ws->skipping) {
    if (ws->frame_left > AW_WS_SKIP_MAX - ws->skipped) {
      return fail(ws, AW_E_WS_TOO_BIG, "message is too big");
    }
    ws->skipped += ws->frame_left;
  }
  return rc;
}

static int open_data(aw_ws *ws) {
  int rc = check_size(ws);
  if (rc != AW_OK) {
    return rc;
  }
  if (ws->frame_left < AW_WS_FRAGMENT_SMALL &&
      ws->fragments++ == ws->options.fragments_max) {
    return fail(ws, AW_E_WS_POLICY, "message has too many small fragments");
  }
  ws->under_way = true;
  if (ws->opcode != AW_WS_CONTINUATION) {
    ws->message_opcode = ws->opcode;
  }
  ws->state = STATE_DATA;
  return AW_OK;
}

static int open_frame(aw_ws *ws, const uint8_t *head) {
  int rc = check_start(ws, head);
  if (rc == AW_OK) {
    rc = read_length(ws, head);
  }
  if (rc != AW_OK) {
    return rc;
  }
  if (ws->options.role == AW_WS_SERVER) {
    memcpy(ws->mask, head + header_size(ws, head) - 4, 4);
  }
  ws->fin = (head[0] & 0x80) != 0;
  ws->opcode = head[0] & 0x0F;
  if (ws->opcode < AW_WS_CLOSE) {
    return open_data(ws);
  }
  ws->control_len = 0;
  ws->state = STATE_CONTROL;
  return AW_OK;
}

/* A header that a read has cut; its start is judged without waiting for the
 * rest. */
static int gather_header(aw_ws *ws, input *in) {
  size_t want = ws->header_len < 2 ? 2 : header_size(ws, ws->header);
  while (ws->header_len < want) {
    if (in->at == in->end) {
      return NEED_MORE;
    }
    ws->header[ws->header_len++] = (uint8_t)*in->at++;
    if (ws->header_len == 2) {
      int rc = check_start(ws, ws->header);
      if (rc != AW_OK) {
        return rc;
      }
      want = header_size(ws, ws->header);
    }
  }
  ws->header_len = 0;
  return open_frame(ws, ws->header);
}

static int take_header(aw_ws *ws, input *in) {
  const uint8_t *head = (const uint8_t *)in->at;
  size_t left = (size_t)(in->end - in->at), size;
  if (ws->header_len > 0 || left < 2) {
    return gather_header(ws, in);
  }
  size = header_size(ws, head);
  if (left < size) {
    return gather_header(ws, in);
  }
  in->at += size;
  return open_frame(ws, head);
}

static void rotate_mask(uint8_t mask[4], size_t steps) {
  uint8_t old[4];
  memcpy(old, mask, 4);
  for (size_t i = 0; i < 4; i++) {
    mask[i] = old[(i + steps) & 3];
  }
}

/* Unmasks and checks the next bytes of a data frame where they lie. */
static int decode_data(aw_ws *ws, char *bytes, size_t len) {
  bool text = ws->message_opcode == AW_WS_TEXT, ascii = false;
  if (ws->options.role == AW_WS_SERVER) {
    ascii = aw_ws_mask(bytes, bytes, len, ws->mask);
  } else if (text) {
    ascii = aw_utf8_ascii(bytes, len);
  }
  if (text && !(ascii && ws->utf8_state == AW_UTF8_START)) {
    ws->utf8_state = aw_utf8_check(ws->utf8_state, bytes, len);
    if (ws->utf8_state == AW_UTF8_BAD) {
      return fail(ws, AW_E_WS_UTF8, "text is not UTF-8");
    }
  }
  return AW_OK;
}

static int finish_message(aw_ws *ws, char *bytes, size_t len,
                          aw_ws_event *event) {
  if (ws->utf8_state != AW_UTF8_START) {
    return fail(ws, AW_E_WS_UTF8, "text ends inside a character");
  }
  ws->fragments = 0;
  ws->under_way = false;
  event->kind = AW_WS_EVENT_MESSAGE;
  event->opcode = (enum aw_ws_opcode)ws->message_opcode;
  event->bytes = bytes;
  event->len = len;
  return AW_OK;
}

static int keep_data(aw_ws *ws, const char *bytes, size_t len) {
  if (ws->skipping) {
    size_t room = AW_WS_HEAD_MAX - aw_buf_len(&ws->message);
    len = len < room ? len : room;
  }
  if (aw_buf_append(&ws->message, bytes, len) != 0) {
    return fail(ws, AW_E_NOMEM, "out of memory");
  }
  return AW_OK;
}

static int finish_pieces(aw_ws *ws, aw_ws_event *event) {
  int rc = finish_message(ws, aw_buf_bytes(&ws->message),
                          aw_buf_len(&ws->message), event);
  ws->delivered = true;
  if (rc == AW_OK && ws->skipping) {
    ws->skipping = false;
    event->kind = AW_WS_EVENT_SKIPPED;
    event->whole = ws->skipped;
  }
  return rc;
}

static int take_data(aw_ws *ws, input *in, aw_ws_event *event) {
  size_t len = (size_t)(in->end - in->at);
  bool rest = len >= ws->frame_left;
  char *bytes = in->at;
  if (rest) {
    len = (size_t)ws->frame_left;
    ws->state = STATE_HEADER;
  }
  int rc = decode_data(ws, bytes, len);
  if (rc != AW_OK) {
    return rc;
  }
  in->at += len;
  if (rest && ws->fin && aw_buf_len(&ws->message) == 0 && !ws->skipping) {
    return finish_message(ws, bytes, len, event);
  }
  rc = keep_data(ws, bytes, len);
  if (rc != AW_OK) {
    return rc;
  }
  if (!rest) {
    ws->frame_left -= len;
    rotate_mask(ws->mask, len);
    return NEED_MORE;
  }
  if (!ws->fin) {
    return AW_OK;
  }
  return finish_pieces(ws, event);
}

static int finish_close(aw_ws *ws, char *bytes, size_t len,
                        aw_ws_event *event) {
  event->code = 1005;
  if (len == 1) {
    return fail(ws, AW_E_WS_PROTOCOL, "close frame of one byte");
  }
  if (len >= 2) {
    event->code = (uint16_t)((uint8_t)bytes[0] << 8 | (uint8_t)bytes[1]);
    if (!aw_ws_code_legal(event->code)) {
      return fail(ws, AW_E_WS_PROTOCOL, "illegal close code");
    }
    bytes += 2;
    len -= 2;
  }
  if (aw_utf8_check(AW_UTF8_START, bytes, len) != AW_UTF8_START) {
    return fail(ws, AW_E_WS_UTF8, "close reason is not UTF-8");
  }
  event->kind = AW_WS_EVENT_CLOSE;
  event->bytes = bytes;
  event->len = len;
  ws->state = STATE_CLOSED;
  return AW_OK;
}

static int finish_control(aw_ws *ws, char *bytes, size_t len,
                          aw_ws_event *event) {
  if (ws->options.role == AW_WS_SERVER) {
    aw_ws_mask(bytes, bytes, len, ws->mask);
  }
  ws->state = STATE_HEADER;
  if (ws->opcode == AW_WS_CLOSE) {
    return finish_close(ws, bytes, len, event);
  }
  event->kind = ws->opcode == AW_WS_PING ? AW_WS_EVENT_PING : AW_WS_EVENT_PONG;
  event->bytes = bytes;
  event->len = len;
  return AW_OK;
}

static int take_control(aw_ws *ws, input *in, aw_ws_event *event) {
  size_t len = (size_t)(in->end - in->at);
  size_t want = (size_t)ws->frame_left - ws->control_len;
  char *bytes = in->at;
  if (len > want) {
    len = want;
  }
  in->at += len;
  if (len == want && ws->control_len == 0) {
    return finish_control(ws, bytes, len, event);
  }
  memcpy(ws->control + ws->control_len, bytes, len);
  ws->control_len = (uint8_t)(ws->control_len + len);
  if (len < want) {
    return NEED_MORE;
  }
  return finish_control(ws, ws->control, ws->control_len, event);
}

static int take_next(aw_ws *ws, input *in, aw_ws_event *event) {
  switch (ws->state) {
  case STATE_HEADER:
    return take_header(ws, in);
  case STATE_DATA:
    return take_data(ws, in, event);
  case STATE_CONTROL:
    return take_control(ws, in, event);
  case STATE_CLOSED:
    return NEED_MORE;
  default:
    return ws->error;
  }
}

int aw_ws_parse(aw_ws *ws, char *bytes, size_t len, size_t *used,
                aw_ws_event *event) {
  input in = {bytes, bytes};
  int rc;
  if (bytes == NULL) {
    in.at = in.end = ws->control; /* an empty payload still needs an address */
  }
  in.end += len;
  event->kind = AW_WS_EVENT_NONE;
  if (ws->delivered) {
    ws->delivered = false;
    aw_buf_reset(&ws->message, MESSAGE_KEEP);
  }
  do {
    rc = take_next(ws, &in, event);
  } while (rc == AW_OK && event->kind == AW_WS_EVENT_NONE);
  *used = rc == AW_OK ? len - (size_t)(in.end - in.at) : len;
  return rc == NEED_MORE ? 0 : rc;
}
