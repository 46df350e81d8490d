/* RFC 6455 framing, both roles, sans I/O: bytes in, messages out; messages in,
 * bytes out. The opening handshake is aw_http's. */
#ifndef AW_WS_H
#define AW_WS_H

#include "aw_buf.h"
#include <stdbool.h>
#include <stdint.h>

#pragma GCC visibility push(hidden)

/* A message of 16 MiB is the protocol's limit (docs/wire.md). */
#define AW_WS_MESSAGE_MAX (16u << 20)
/* Small frames of one message: RFC 6455 sets no limit, so that empty fragments
 * for ever would be legal. What costs is the frame, not its bytes, which
 * message_max bounds: frames from AW_WS_FRAGMENT_SMALL bytes on, of which a
 * message may need any number, are not counted. */
#define AW_WS_FRAGMENTS_MAX 4096
#define AW_WS_FRAGMENT_SMALL 128
#define AW_WS_CONTROL_MAX 125 /* payload of a control frame, section 5.5 */
#define AW_WS_HEADER_MAX 14   /* 2 + 8 + 4, section 5.2 */

enum aw_ws_role { AW_WS_SERVER, AW_WS_CLIENT };

enum aw_ws_opcode {
  AW_WS_CONTINUATION = 0x0,
  AW_WS_TEXT = 0x1,
  AW_WS_BINARY = 0x2,
  AW_WS_CLOSE = 0x8,
  AW_WS_PING = 0x9,
  AW_WS_PONG = 0xA
};

enum aw_ws_event_kind {
  AW_WS_EVENT_NONE,    /* all input consumed, nothing complete */
  AW_WS_EVENT_MESSAGE, /* opcode is AW_WS_TEXT or AW_WS_BINARY */
  AW_WS_EVENT_PING,    /* answer with a pong of the same bytes */
  AW_WS_EVENT_PONG,
  AW_WS_EVENT_SKIPPED, /* a message above message_max, if skip_large is set */
  AW_WS_EVENT_CLOSE    /* code is 1005 when the frame had none */
};

typedef struct aw_ws aw_ws;
typedef struct aw_ws_options aw_ws_options;
typedef struct aw_ws_event aw_ws_event;

struct aw_ws_options {
  enum aw_ws_role role; /* ours: a server wants masks, a client forbids them */
  size_t message_max;   /* bytes of one assembled message; 0 = default */
  unsigned fragments_max; /* small frames of one message; 0 = default */
  bool refuse_binary;     /* binary data is AW_E_WS_UNSUPPORTED */
  bool skip_large;        /* go on behind a message above message_max */
};

/* What is kept of a message that is skipped; of one above the second bound
 * nothing is, it is AW_E_WS_TOO_BIG. */
#define AW_WS_HEAD_MAX 512
#define AW_WS_SKIP_MAX ((uint64_t)UINT32_MAX)

/* Bytes live until the next call with this aw_ws, or until the caller changes
 * its own input buffer, whichever is first. */
struct aw_ws_event {
  enum aw_ws_event_kind kind;
  enum aw_ws_opcode opcode; /* of MESSAGE */
  char *bytes;              /* payload; CLOSE: the reason; SKIPPED: its start */
  size_t len;
  uint16_t code;  /* of CLOSE */
  uint64_t whole; /* of SKIPPED: its length */
};

/* Embedded; fields are private. */
struct aw_ws {
  aw_ws_options options;
  aw_buf message; /* payload of a data message that came in pieces */
  int state;
  int error;           /* the first violation */
  uint64_t frame_left; /* payload bytes of the current frame still to come */
  unsigned fragments;  /* small frames of the message under way */
  bool under_way;      /* a message in pieces */
  uint32_t utf8_state; /* of the text message under way */
  uint8_t mask[4];     /* rotated to the next payload byte */
  uint8_t opcode;      /* of the current frame */
  uint8_t message_opcode;
  bool fin, delivered;
  bool skipping;    /* the message under way is too large to be kept */
  uint64_t skipped; /* its length, as far as its frames were announced */
  uint8_t header_len, control_len;
  uint8_t header[AW_WS_HEADER_MAX]; /* of a frame whose header was cut */
  char control[AW_WS_CONTROL_MAX];  /* of a control frame that was cut */
  const char *why;
};

void aw_ws_init(aw_ws *ws, const aw_mem *mem, const aw_ws_options *options);
void aw_ws_fini(aw_ws *ws);

/* Takes bytes that came from the socket and gives the next event. `bytes` is
 * unmasked in place; a message that lies whole and unfragmented in it is given
 * without a copy. Call again with the rest (bytes + *used, len - *used) until
 * kind is AW_WS_EVENT_NONE. Zero-length input is legal.
 *
 * 0, or the first violation, which is final (every later call gives the same):
 *   AW_E_WS_PROTOCOL     close with 1002: reserved bits or opcodes, mask
 *                        missing or forbidden, non-minimal length, 64-bit
 *                        length with the top bit, control frame fragmented or
 *                        above 125 bytes, continuation out of place, data
 *                        frame inside a fragmented message, 1-byte close,
 *                        illegal close code (5.2-5.5, 7.4)
 *   AW_E_WS_UNSUPPORTED  1003: binary where refuse_binary is set
 *   AW_E_WS_UTF8         1007: text or close reason is not UTF-8 (8.1); found
 *                        at the first wrong byte of a fragmented message
 *   AW_E_WS_POLICY       1008: more than fragments_max small frames
 *   AW_E_WS_TOO_BIG      1009: above message_max, found from the header, before
 *                        a byte of it was stored (or skip_large, above)
 *   AW_E_NOMEM           1011
 * After a CLOSE event or a violation every later byte is consumed and ignored.
 * A message in pieces costs memory as its bytes arrive, never as its header
 * declares them. */
int aw_ws_parse(aw_ws *ws, char *bytes, size_t len, size_t *used,
                aw_ws_event *event);

/* A sentence for the last violation ("control frame is fragmented"); static. */
const char *aw_ws_why(const aw_ws *ws);

/* The close code (1002, ...) that answers an error of aw_ws_parse. */
uint16_t aw_ws_close_code(int error);

/* May this code stand in a close frame? 1000-1003, 1007-1014, 3000-4999. */
bool aw_ws_code_legal(unsigned code);

/* Appends one whole frame (FIN set). mask NULL: unmasked, as a server sends;
 * else the four mask bytes in wire order, as a client must (5.3). The payload
 * is masked while it is copied. AW_E_INVALID for a control frame above 125
 * bytes. AW_E_NOMEM leaves `out` as it was. */
int aw_ws_build(aw_buf *out, enum aw_ws_opcode opcode, const char *bytes,
                size_t len, const uint8_t mask[4]);

/* Appends a close frame. code 1005 gives an empty one. A reason above 123
 * bytes is cut at a character's start, one that is not UTF-8 before its first
 * wrong character. AW_E_INVALID for an illegal code. */
int aw_ws_build_close(aw_buf *out, uint16_t code, const char *reason,
                      size_t len, const uint8_t mask[4]);

#pragma GCC visibility pop

#endif
