/* What RFC 6455 says about frames, as data: any engine on any transport can be
 * run against it, in both roles with each case. A case is what the peer sends,
 * what the end under test has to answer if it echoes messages and pongs, and
 * how it ends. */
#ifndef WS_CASES_H
#define WS_CASES_H

#include "aw_ws.h"

typedef struct ws_frame ws_frame;
typedef struct ws_answer ws_answer;
typedef struct ws_case ws_case;

enum ws_length { WS_MINIMAL, WS_16_BIT, WS_64_BIT };

/* A frame that the peer sends. Payload: `code` (two bytes, in a close frame),
 * then `bytes` or `fill_len` times `fill`. */
struct ws_frame {
  uint8_t opcode;
  bool final;
  uint8_t reserved; /* the three bits: 4, 2, 1 */
  bool wrong_mask;  /* unmasked to a server, masked to a client */
  enum ws_length length;
  uint64_t declared; /* the header's length where the payload's is not meant */
  bool with_code;
  uint16_t code;
  const char *bytes;
  size_t len;
  char fill;
  size_t fill_len;
  unsigned times; /* 0: once */
};

enum ws_answer_kind { WS_SAYS_TEXT, WS_SAYS_BINARY, WS_SAYS_PONG };

/* An echoed message or a pong; its bytes are given like a frame's. */
struct ws_answer {
  enum ws_answer_kind kind;
  const char *bytes;
  size_t len;
  char fill;
  size_t fill_len;
  unsigned times;
};

enum ws_end {
  WS_STAYS_OPEN,
  WS_REFUSED, /* it sends a close frame with end_code and hangs up */
  WS_CLOSED   /* it answers the peer's close; end_code is the peer's, 1005 for
                 none */
};

enum ws_binary { WS_BINARY_ANY, WS_BINARY_ACCEPTED, WS_BINARY_REFUSED };

struct ws_case {
  const char *name;
  enum ws_binary binary; /* what the end under test must be set to */
  bool bytewise;         /* meant to be sent one byte at a time */
  const ws_frame *frames;
  size_t frame_count;
  const ws_answer *answers;
  size_t answer_count;
  enum ws_end end;
  uint16_t end_code;
  const char *reason; /* of a WS_CLOSED; NULL: none */
};

extern const ws_case ws_cases[];
extern const size_t ws_case_count;

/* The case's bytes on the wire, masked as the role under test has to get them.
 * The seed picks the masks. malloc'd; NULL when out of memory. */
char *ws_case_wire(const ws_case *c, enum aw_ws_role under_test, uint32_t seed,
                   size_t *len);

/* The bytes of one answer. malloc'd; NULL when out of memory. */
char *ws_answer_bytes(const ws_answer *answer, size_t *len);

/* The close reason of a WS_CLOSED; "" for none. */
const char *ws_case_reason(const ws_case *c);

#endif
