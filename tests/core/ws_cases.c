#include "ws_cases.h"

#include <stdlib.h>
#include <string.h>

/* Frames; WITH takes further members. */
#define FRAME(op, fin, text)                                                   \
  { .opcode = (op), .final = (fin), .bytes = (text), .len = sizeof(text) - 1 }
#define FRAME_WITH(op, fin, text, ...)                                         \
  {                                                                            \
    .opcode = (op), .final = (fin), .bytes = (text), .len = sizeof(text) - 1,  \
    __VA_ARGS__                                                                \
  }
#define TEXT(text) FRAME(1, true, text)
#define BINARY(text) FRAME(2, true, text)
#define START(text) FRAME(1, false, text)
#define MORE(text) FRAME(0, false, text)
#define LAST(text) FRAME(0, true, text)
#define PING(text) FRAME(9, true, text)
#define PONG(text) FRAME(10, true, text)
#define CLOSE(number, text)                                                    \
  FRAME_WITH(8, true, text, .with_code = true, .code = (number))
#define FILLED(op, fin, count)                                                 \
  { .opcode = (op), .final = (fin), .fill = 'x', .fill_len = (count) }
#define FILLED_WITH(op, fin, count, ...)                                       \
  {                                                                            \
    .opcode = (op), .final = (fin), .fill = 'x', .fill_len = (count),          \
    __VA_ARGS__                                                                \
  }

/* Answers. */
#define SAYS(what, text)                                                       \
  { .kind = (what), .bytes = (text), .len = sizeof(text) - 1 }
#define SAYS_FILLED(what, count)                                               \
  { .kind = (what), .fill = 'x', .fill_len = (count) }
#define ECHO(text) SAYS(WS_SAYS_TEXT, text)

/* Members of a case. */
#define SENDS(...)                                                             \
  .frames = (const ws_frame[]){__VA_ARGS__},                                   \
  .frame_count = sizeof((const ws_frame[]){__VA_ARGS__}) / sizeof(ws_frame)
#define GETS(...)                                                              \
  .answers = (const ws_answer[]){__VA_ARGS__},                                 \
  .answer_count = sizeof((const ws_answer[]){__VA_ARGS__}) / sizeof(ws_answer)
#define REFUSED(number) .end = WS_REFUSED, .end_code = (number)
#define CLOSED(number) .end = WS_CLOSED, .end_code = (number)

/* Whole cases. */
#define REFUSES(title, number, ...)                                            \
  { .name = (title), SENDS(__VA_ARGS__), REFUSED(number) }
#define REFUSES_TEXT(title, bytes) REFUSES(title, 1007, TEXT(bytes))
#define REFUSES_CODE(number)                                                   \
  { .name = "close code " #number, SENDS(CLOSE(number, "")), REFUSED(1002) }
#define CLOSES_WITH(number)                                                    \
  { .name = "close code " #number, SENDS(CLOSE(number, "")), CLOSED(number) }
#define ECHOES_LENGTH(count)                                                   \
  {                                                                            \
    .name = "text of " #count " bytes", SENDS(FILLED(1, true, count)),         \
    GETS(SAYS_FILLED(WS_SAYS_TEXT, count))                                     \
  }
#define ECHOES_BINARY(count)                                                   \
  {                                                                            \
    .name = "binary of " #count " bytes", .binary = WS_BINARY_ACCEPTED,        \
    SENDS(FILLED(2, true, count)), GETS(SAYS_FILLED(WS_SAYS_BINARY, count))    \
  }
#define ECHOES_TEXT(title, text)                                               \
  { .name = (title), SENDS(TEXT(text)), GETS(ECHO(text)) }

#define X30 "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
#define X123 X30 X30 X30 X30 "xxx"
#define KAPPA "\xCE\xBA"
#define EURO "\xE2\x82\xAC"
#define CLEF "\xF0\x9D\x84\x9E"

const ws_case ws_cases[] = {
    /* Section 5.2: reserved bits without an extension. */
    REFUSES("reserved bit 1", 1002, FRAME_WITH(1, true, "a", .reserved = 4)),
    REFUSES("reserved bit 2", 1002, FRAME_WITH(1, true, "a", .reserved = 2)),
    REFUSES("reserved bit 3", 1002, FRAME_WITH(1, true, "a", .reserved = 1)),
    REFUSES("all reserved bits", 1002, FRAME_WITH(1, true, "a", .reserved = 7)),
    REFUSES("reserved bit in a ping", 1002,
            FRAME_WITH(9, true, "", .reserved = 4)),
    REFUSES("reserved bit in a close", 1002,
            FRAME_WITH(8, true, "", .reserved = 1)),
    REFUSES("reserved bit in a continuation", 1002, START("a"),
            FRAME_WITH(0, true, "b", .reserved = 4)),
    {.name = "reserved bit after a good message",
     SENDS(TEXT("good"), FRAME_WITH(1, true, "bad", .reserved = 2)),
     GETS(ECHO("good")),
     REFUSED(1002)},

    /* Section 5.2: reserved opcodes. */
    REFUSES("opcode 3", 1002, FRAME(3, true, "a")),
    REFUSES("opcode 4", 1002, FRAME(4, true, "a")),
    REFUSES("opcode 5", 1002, FRAME(5, true, "a")),
    REFUSES("opcode 6", 1002, FRAME(6, true, "a")),
    REFUSES("opcode 7", 1002, FRAME(7, true, "a")),
    REFUSES("opcode 11", 1002, FRAME(11, true, "a")),
    REFUSES("opcode 12", 1002, FRAME(12, true, "a")),
    REFUSES("opcode 13", 1002, FRAME(13, true, "a")),
    REFUSES("opcode 14", 1002, FRAME(14, true, "a")),
    REFUSES("opcode 15", 1002, FRAME(15, true, "a")),
    REFUSES("reserved opcode inside a message", 1002, START("a"),
            FRAME(3, true, "b")),

    /* Section 5.1: who masks. */
    REFUSES("text with the wrong mask bit", 1002,
            FRAME_WITH(1, true, "abc", .wrong_mask = true)),
    REFUSES("empty text with the wrong mask bit", 1002,
            FRAME_WITH(1, true, "", .wrong_mask = true)),
    REFUSES("ping with the wrong mask bit", 1002,
            FRAME_WITH(9, true, "", .wrong_mask = true)),
    REFUSES("close with the wrong mask bit", 1002,
            FRAME_WITH(8, true, "", .wrong_mask = true)),
    REFUSES("second fragment with the wrong mask bit", 1002, START("a"),
            FRAME_WITH(0, true, "b", .wrong_mask = true)),

    /* Section 5.5: control frames are whole and short. */
    REFUSES("fragmented ping", 1002, FRAME(9, false, "a")),
    REFUSES("fragmented pong", 1002, FRAME(10, false, "a")),
    REFUSES("fragmented close", 1002, FRAME(8, false, "")),
    REFUSES("ping of 126 bytes", 1002, FILLED(9, true, 126)),
    REFUSES("pong of 126 bytes", 1002, FILLED(10, true, 126)),
    REFUSES("close of 126 bytes", 1002,
            FILLED_WITH(8, true, 124, .with_code = true, .code = 1000)),
    REFUSES("ping of 65536 bytes", 1002, FILLED(9, true, 65536)),
    REFUSES("ping of 125 bytes in a 16-bit length", 1002,
            FILLED_WITH(9, true, 125, .length = WS_16_BIT)),

    /* Section 5.4: fragments. */
    REFUSES("continuation without a start", 1002, LAST("a")),
    REFUSES("open continuation without a start", 1002, MORE("a")),
    {.name = "continuation after a whole message",
     SENDS(TEXT("a"), LAST("b")),
     GETS(ECHO("a")),
     REFUSED(1002)},
    {.name = "continuation after a finished message",
     SENDS(START("a"), LAST("b"), LAST("c")),
     GETS(ECHO("ab")),
     REFUSED(1002)},
    REFUSES("text inside a fragmented message", 1002, START("a"), TEXT("b")),
    REFUSES("start inside a fragmented message", 1002, START("a"), START("b")),
    {.name = "binary inside a fragmented text",
     .binary = WS_BINARY_ACCEPTED,
     SENDS(START("a"), BINARY("b")),
     REFUSED(1002)},
    REFUSES("text inside an empty fragmented message", 1002, START(""),
            TEXT("b")),

    /* Section 5.2: the shortest length that does. */
    REFUSES("16-bit length for 0 bytes", 1002,
            FRAME_WITH(1, true, "", .length = WS_16_BIT)),
    REFUSES("16-bit length for 125 bytes", 1002,
            FILLED_WITH(1, true, 125, .length = WS_16_BIT)),
    REFUSES("64-bit length for 0 bytes", 1002,
            FRAME_WITH(1, true, "", .length = WS_64_BIT)),
    REFUSES("64-bit length for 125 bytes", 1002,
            FILLED_WITH(1, true, 125, .length = WS_64_BIT)),
    REFUSES("64-bit length for 126 bytes", 1002,
            FILLED_WITH(1, true, 126, .length = WS_64_BIT)),
    REFUSES("64-bit length for 65535 bytes", 1002,
            FILLED_WITH(1, true, 65535, .length = WS_64_BIT)),
    REFUSES("64-bit length with the top bit", 1002,
            FRAME_WITH(1, true, "a", .length = WS_64_BIT,
                       .declared = UINT64_C(1) << 63)),
    REFUSES(
        "64-bit length with all bits", 1002,
        FRAME_WITH(1, true, "a", .length = WS_64_BIT, .declared = UINT64_MAX)),

    /* Section 8.1: UTF-8. */
    REFUSES_TEXT("lone continuation byte", "a\x80z"),
    REFUSES_TEXT("lone lead byte", "a\xC3z"),
    REFUSES_TEXT("byte FE", "\xFE"),
    REFUSES_TEXT("byte FF", "\xFF"),
    REFUSES_TEXT("overlong of two bytes", "\xC0\xAF"),
    REFUSES_TEXT("overlong of two bytes, last", "\xC1\xBF"),
    REFUSES_TEXT("overlong of three bytes", "\xE0\x80\xAF"),
    REFUSES_TEXT("overlong of three bytes, last", "\xE0\x9F\xBF"),
    REFUSES_TEXT("overlong of four bytes", "\xF0\x80\x80\xAF"),
    REFUSES_TEXT("overlong of four bytes, last", "\xF0\x8F\xBF\xBF"),
    REFUSES_TEXT("first high surrogate", "\xED\xA0\x80"),
    REFUSES_TEXT("last low surrogate", "\xED\xBF\xBF"),
    REFUSES_TEXT("surrogate pair", "\xED\xA0\x80\xED\xB0\x80"),
    REFUSES_TEXT("above U+10FFFF", "\xF4\x90\x80\x80"),
    REFUSES_TEXT("lead byte F5", "\xF5\x80\x80\x80"),
    REFUSES_TEXT("five-byte form", "\xF8\x88\x80\x80\x80"),
    REFUSES_TEXT("six-byte form", "\xFC\x84\x80\x80\x80\x80"),
    REFUSES_TEXT("text cut after one byte of two", KAPPA "\xCE"),
    REFUSES_TEXT("text cut after one byte of three", KAPPA "\xE2"),
    REFUSES_TEXT("text cut after two bytes of three", KAPPA "\xE2\x82"),
    REFUSES_TEXT("text cut after three bytes of four", KAPPA "\xF0\x9D\x84"),
    REFUSES_TEXT("wrong byte behind a long ASCII run", X123 "\xFFz"),
    REFUSES_TEXT("wrong byte as the last of a long run", X123 "\x80"),
    {.name = "wrong byte after a good message",
     SENDS(TEXT("good"), TEXT("\xFF")),
     GETS(ECHO("good")),
     REFUSED(1007)},
    REFUSES("wrong byte in the second fragment", 1007, START("a"),
            LAST("\xFF")),
    REFUSES("wrong byte in a first fragment that stays open", 1007,
            START("a\xFF")),
    REFUSES("wrong byte across fragments", 1007, START("\xE2\x82"),
            LAST("\x28")),
    REFUSES("ASCII fragment inside a cut character", 1007, START("\xE2\x82"),
            MORE("a"), LAST("\xAC")),
    REFUSES("ASCII inside a cut character of an open message", 1007,
            START("\xE2\x82"), MORE("a")),
    REFUSES("surrogate across fragments", 1007, START("\xED"),
            MORE("\xA0\x80")),
    REFUSES("overlong across fragments", 1007, START("\xE0"), MORE("\x80")),
    REFUSES("cut inside a character in the last fragment", 1007, START("a"),
            LAST("\xE2\x82")),
    REFUSES("cut inside a character before an empty last fragment", 1007,
            START("\xE2\x82"), LAST("")),
    REFUSES("character continued in the next message", 1007, TEXT("\xE2\x82"),
            TEXT("\xAC")),
    {.name = "wrong byte after a ping inside the message",
     SENDS(START("\xE2"), PING("p"), LAST("z")),
     GETS(SAYS(WS_SAYS_PONG, "p")),
     REFUSED(1007)},

    /* Sections 5.5.1 and 7.4: close frames. */
    REFUSES("close of one byte", 1002, FRAME(8, true, "\x03")),
    REFUSES_CODE(0),
    REFUSES_CODE(1),
    REFUSES_CODE(999),
    REFUSES_CODE(1004),
    REFUSES_CODE(1005),
    REFUSES_CODE(1006),
    REFUSES_CODE(1015),
    REFUSES_CODE(1016),
    REFUSES_CODE(1100),
    REFUSES_CODE(2000),
    REFUSES_CODE(2999),
    REFUSES_CODE(5000),
    REFUSES_CODE(65535),
    REFUSES("wrong byte in a close reason", 1007, CLOSE(1000, "a\xFF")),
    REFUSES("close reason cut inside a character", 1007,
            CLOSE(1000, "\xE2\x82")),

    /* Limits. */
    REFUSES("declared length above the limit", 1009,
            FRAME_WITH(1, true, "", .declared = AW_WS_MESSAGE_MAX + 1)),
    REFUSES("declared length of 2^63-1", 1009,
            FRAME_WITH(1, true, "", .declared = INT64_MAX)),
    REFUSES("second fragment above the limit", 1009, START("a"),
            FRAME_WITH(0, true, "", .declared = AW_WS_MESSAGE_MAX)),
    REFUSES("empty fragments without end", 1008, START(""),
            FRAME_WITH(0, false, "", .times = AW_WS_FRAGMENTS_MAX)),
    {.name = "binary where it is refused",
     .binary = WS_BINARY_REFUSED,
     SENDS(BINARY("a")),
     REFUSED(1003)},
    {.name = "fragmented binary where it is refused",
     .binary = WS_BINARY_REFUSED,
     SENDS(FRAME(2, false, "a")),
     REFUSED(1003)},

    /* Legal: lengths. */
    ECHOES_LENGTH(0),
    ECHOES_LENGTH(1),
    ECHOES_LENGTH(3),
    ECHOES_LENGTH(4),
    ECHOES_LENGTH(7),
    ECHOES_LENGTH(8),
    ECHOES_LENGTH(15),
    ECHOES_LENGTH(16),
    ECHOES_LENGTH(17),
    ECHOES_LENGTH(33),
    ECHOES_LENGTH(125),
    ECHOES_LENGTH(126),
    ECHOES_LENGTH(127),
    ECHOES_LENGTH(128),
    ECHOES_LENGTH(65535),
    ECHOES_LENGTH(65536),
    ECHOES_LENGTH(65537),
    ECHOES_BINARY(0),
    ECHOES_BINARY(1),
    ECHOES_BINARY(125),
    ECHOES_BINARY(126),
    ECHOES_BINARY(65535),
    ECHOES_BINARY(65536),
    {.name = "binary of bytes that are not UTF-8",
     .binary = WS_BINARY_ACCEPTED,
     SENDS(BINARY("\xFF\xFE\0\x80")),
     GETS(SAYS(WS_SAYS_BINARY, "\xFF\xFE\0\x80"))},
    {.name = "fragmented binary that is not UTF-8",
     .binary = WS_BINARY_ACCEPTED,
     SENDS(FRAME(2, false, "\xFF"), LAST("\xC3")),
     GETS(SAYS(WS_SAYS_BINARY, "\xFF\xC3"))},

    /* Legal: text. */
    ECHOES_TEXT("text with NUL", "a\0b"),
    ECHOES_TEXT("characters of each length", "a" KAPPA EURO CLEF),
    ECHOES_TEXT("edges of two bytes", "\xC2\x80\xDF\xBF"),
    ECHOES_TEXT("edges of three bytes", "\xE0\xA0\x80\xEF\xBF\xBF"),
    ECHOES_TEXT("around the surrogates", "\xED\x9F\xBF\xEE\x80\x80"),
    ECHOES_TEXT("edges of four bytes", "\xF0\x90\x80\x80\xF4\x8F\xBF\xBF"),
    ECHOES_TEXT("noncharacters and BOM", "\xEF\xBF\xBE\xEF\xBB\xBF"),
    ECHOES_TEXT("character behind a long ASCII run", X123 EURO X30),
    {.name = "characters cut by fragments",
     SENDS(START("\xF0"), MORE("\x9D\x84"), MORE("\x9E\xE2\x82"), LAST("\xAC")),
     GETS(ECHO(CLEF EURO))},

    /* Legal: fragments and control frames between them. */
    {.name = "two fragments",
     SENDS(START("ab"), LAST("cd")),
     GETS(ECHO("abcd"))},
    {.name = "empty fragments around",
     SENDS(START(""), MORE(""), MORE("mid"), MORE(""), LAST("")),
     GETS(ECHO("mid"))},
    {.name = "empty fragments only",
     SENDS(START(""), MORE(""), LAST("")),
     GETS(ECHO(""))},
    {.name = "as many fragments as the limit",
     SENDS(START("x"),
           FRAME_WITH(0, false, "x", .times = AW_WS_FRAGMENTS_MAX - 2),
           LAST("x")),
     GETS(SAYS_FILLED(WS_SAYS_TEXT, AW_WS_FRAGMENTS_MAX))},
    {.name = "fragment that is longer than 65535",
     SENDS(FILLED(1, false, 70000), FILLED(0, true, 70000)),
     GETS(SAYS_FILLED(WS_SAYS_TEXT, 140000))},
    {.name = "control frames between fragments",
     SENDS(START("a"), PING("1"), MORE("b"), PONG("2"), PING(""), LAST("c")),
     GETS(SAYS(WS_SAYS_PONG, "1"), SAYS(WS_SAYS_PONG, ""), ECHO("abc"))},
    {.name = "ping of any bytes inside a cut character",
     SENDS(START("\xE2\x82"), PING("\xFF\0"), LAST("\xAC")),
     GETS(SAYS(WS_SAYS_PONG, "\xFF\0"), ECHO(EURO))},
    {.name = "close inside a fragmented message",
     SENDS(START("a"), CLOSE(1000, "")),
     CLOSED(1000)},
    {.name = "close inside a cut character",
     SENDS(START("\xE2"), CLOSE(1000, "")),
     CLOSED(1000)},
    {.name = "messages after messages",
     SENDS(TEXT("a"), TEXT(""), START("b"), LAST("c"), TEXT("d")),
     GETS(ECHO("a"), ECHO(""), ECHO("bc"), ECHO("d"))},
    {.name = "one byte at a time",
     .bytewise = true,
     SENDS(TEXT("first"), PING("p"), START(EURO), LAST("end"),
           FILLED(1, true, 300)),
     GETS(ECHO("first"), SAYS(WS_SAYS_PONG, "p"), ECHO(EURO "end"),
          SAYS_FILLED(WS_SAYS_TEXT, 300))},

    /* Legal: pings and pongs. */
    {.name = "empty ping", SENDS(PING("")), GETS(SAYS(WS_SAYS_PONG, ""))},
    {.name = "ping of 125 bytes",
     SENDS(FILLED(9, true, 125)),
     GETS(SAYS_FILLED(WS_SAYS_PONG, 125))},
    {.name = "binary ping",
     SENDS(PING("\0\xFF\xFE\x80")),
     GETS(SAYS(WS_SAYS_PONG, "\0\xFF\xFE\x80"))},
    {.name = "ten pings at once",
     SENDS(FRAME_WITH(9, true, "p", .times = 10)),
     GETS({.kind = WS_SAYS_PONG, .bytes = "p", .len = 1, .times = 10})},
    {.name = "unsolicited pong", SENDS(PONG("?"), TEXT("a")), GETS(ECHO("a"))},
    {.name = "empty unsolicited pong",
     SENDS(PONG(""), TEXT("a")),
     GETS(ECHO("a"))},
    {.name = "pong of 125 bytes",
     SENDS(FILLED(10, true, 125), TEXT("a")),
     GETS(ECHO("a"))},

    /* Legal: close frames. */
    {.name = "close without a code", SENDS(FRAME(8, true, "")), CLOSED(1005)},
    CLOSES_WITH(1000),
    CLOSES_WITH(1001),
    CLOSES_WITH(1002),
    CLOSES_WITH(1003),
    CLOSES_WITH(1007),
    CLOSES_WITH(1008),
    CLOSES_WITH(1009),
    CLOSES_WITH(1010),
    CLOSES_WITH(1011),
    CLOSES_WITH(1012),
    CLOSES_WITH(1013),
    CLOSES_WITH(1014),
    CLOSES_WITH(3000),
    CLOSES_WITH(3999),
    CLOSES_WITH(4000),
    CLOSES_WITH(4999),
    {.name = "close with a reason",
     SENDS(CLOSE(1000, "going " EURO)),
     CLOSED(1000),
     .reason = "going " EURO},
    {.name = "close of 125 bytes",
     SENDS(CLOSE(1000, X123)),
     CLOSED(1000),
     .reason = X123},
    {.name = "text after close",
     SENDS(CLOSE(1000, ""), TEXT("late")),
     CLOSED(1000)},
    {.name = "ping after close",
     SENDS(CLOSE(1001, ""), PING("late")),
     CLOSED(1001)},
    {.name = "second close after close",
     SENDS(CLOSE(1000, ""), CLOSE(1001, "")),
     CLOSED(1000)},
    {.name = "malformed frame after close",
     SENDS(CLOSE(1000, ""), FRAME_WITH(15, false, "late", .reserved = 7)),
     CLOSED(1000)},
};

const size_t ws_case_count = sizeof ws_cases / sizeof ws_cases[0];

const char *ws_case_reason(const ws_case *c) {
  return c->reason != NULL ? c->reason : "";
}

static size_t payload_size(const ws_frame *frame) {
  return (frame->with_code ? 2 : 0) + frame->len + frame->fill_len;
}

static unsigned repeats(unsigned times) {
  return times == 0 ? 1 : times;
}

static char *put_header(char *at, const ws_frame *frame, bool masked) {
  uint64_t len = frame->declared != 0 ? frame->declared : payload_size(frame);
  int bytes = len <= 125 ? 0 : len <= 0xFFFF ? 2 : 8;
  unsigned short_len;

  if (frame->length != WS_MINIMAL) {
    bytes = frame->length == WS_16_BIT ? 2 : 8;
  }
  short_len = bytes == 0 ? (unsigned)len : bytes == 2 ? 126 : 127;
  *at++ =
      (char)((frame->final ? 0x80 : 0) | frame->reserved << 4 | frame->opcode);
  *at++ = (char)((masked ? 0x80 : 0) | short_len);
  while (bytes > 0) {
    bytes--;
    *at++ = (char)(len >> 8 * bytes & 0xFF);
  }
  return at;
}

static char *put_payload(char *at, const ws_frame *frame) {
  if (frame->with_code) {
    *at++ = (char)(frame->code >> 8);
    *at++ = (char)(frame->code & 0xFF);
  }
  if (frame->len > 0) {
    memcpy(at, frame->bytes, frame->len);
    at += frame->len;
  }
  memset(at, frame->fill, frame->fill_len);
  return at + frame->fill_len;
}

static char *put_frame(char *at, const ws_frame *frame, bool masked,
                       uint32_t mask) {
  char *payload;

  at = put_header(at, frame, masked);
  if (!masked) {
    return put_payload(at, frame);
  }
  for (int shift = 24; shift >= 0; shift -= 8) {
    *at++ = (char)(mask >> shift & 0xFF);
  }
  payload = at;
  at = put_payload(at, frame);
  for (size_t i = 0; payload + i < at; i++) {
    payload[i] = (char)(payload[i] ^ (char)(mask >> (24 - 8 * (i % 4)) & 0xFF));
  }
  return at;
}

char *ws_case_wire(const ws_case *c, enum aw_ws_role under_test, uint32_t seed,
                   size_t *len) {
  size_t most = 1;
  char *wire, *at;

  for (size_t i = 0; i < c->frame_count; i++) {
    most += repeats(c->frames[i].times) *
            (AW_WS_HEADER_MAX + payload_size(&c->frames[i]));
  }
  wire = at = malloc(most);
  for (size_t i = 0; wire != NULL && i < c->frame_count; i++) {
    const ws_frame *frame = &c->frames[i];

    for (unsigned j = 0; j < repeats(frame->times); j++) {
      seed = seed * 1664525u + 1013904223u;
      at = put_frame(at, frame,
                     (under_test == AW_WS_SERVER) != frame->wrong_mask, seed);
    }
  }
  *len = (size_t)(at - wire);
  return wire;
}

char *ws_answer_bytes(const ws_answer *answer, size_t *len) {
  char *bytes = malloc(answer->len + answer->fill_len + 1);

  *len = answer->len + answer->fill_len;
  if (bytes != NULL && answer->len > 0) {
    memcpy(bytes, answer->bytes, answer->len);
  }
  if (bytes != NULL) {
    memset(bytes + answer->len, answer->fill, answer->fill_len);
  }
  return bytes;
}
