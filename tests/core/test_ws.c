#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "aw_error.h"
#include "aw_ws.h"
#include "aw_ws_mask.h"
#include "failing_mem.h"
#include "ws_cases.h"
#include <stdio.h>
#include <stdlib.h>

#define RANDOM_CUTS 50

static const uint8_t mask_key[4] = {0x37, 0xFA, 0x21, 0x3D};

static uint32_t next_random(uint32_t *seed) {
  *seed = *seed * 1664525u + 1013904223u;
  return *seed >> 8;
}

static aw_ws_options options_for(enum aw_ws_role role) {
  return (aw_ws_options){.role = role};
}

/* One run of a case: what has been seen of its answers, and how it ended. */
struct run {
  const ws_case *c;
  const char *how; /* for failure messages */
  aw_ws ws;
  size_t answer;
  unsigned times; /* of a repeated answer */
  int error;
  bool closed;
};

#define RUN_FAIL(run, what)                                                    \
  fail_msg("%s (%s, %s): %s; %s", (run)->c->name,                              \
           (run)->ws.options.role == AW_WS_SERVER ? "server" : "client",       \
           (run)->how, what, aw_ws_why(&(run)->ws))

static void meet_answer(struct run *run, enum ws_answer_kind kind,
                        const aw_ws_event *event) {
  const ws_answer *answer = &run->c->answers[run->answer];
  size_t len;
  char *bytes;

  if (run->answer >= run->c->answer_count || answer->kind != kind) {
    RUN_FAIL(run, "unexpected event");
  }
  bytes = ws_answer_bytes(answer, &len);
  assert_non_null(bytes);
  if (event->len != len || memcmp(event->bytes, bytes, len) != 0) {
    RUN_FAIL(run, "other bytes than expected");
  }
  free(bytes);
  if (++run->times >= answer->times) {
    run->answer++;
    run->times = 0;
  }
}

static void meet_close(struct run *run, const aw_ws_event *event) {
  const char *reason = ws_case_reason(run->c);

  if (run->c->end != WS_CLOSED || run->c->end_code != event->code ||
      event->len != strlen(reason) ||
      memcmp(event->bytes, reason, event->len) != 0) {
    RUN_FAIL(run, "unexpected close");
  }
  if (run->closed) {
    RUN_FAIL(run, "closed twice");
  }
  run->closed = true;
}

static void meet_event(struct run *run, const aw_ws_event *event) {
  switch (event->kind) {
  case AW_WS_EVENT_MESSAGE:
    meet_answer(run,
                event->opcode == AW_WS_TEXT ? WS_SAYS_TEXT : WS_SAYS_BINARY,
                event);
    break;
  case AW_WS_EVENT_PING:
    meet_answer(run, WS_SAYS_PONG, event);
    break;
  case AW_WS_EVENT_CLOSE:
    meet_close(run, event);
    break;
  default:
    break;
  }
}

/* A copy of its own for each piece: nothing may be read beyond it, nor be
 * pointed to after it is gone. */
static void feed_piece(struct run *run, const char *bytes, size_t len) {
  char *piece = malloc(len > 0 ? len : 1);
  size_t at = 0, used;
  aw_ws_event event;

  assert_non_null(piece);
  if (len > 0) {
    memcpy(piece, bytes, len);
  }
  do {
    int rc = aw_ws_parse(&run->ws, piece + at, len - at, &used, &event);

    if (used > len - at || (rc != 0 && used != len - at)) {
      RUN_FAIL(run, "wrong count of used bytes");
    }
    if (run->error != 0 && rc != run->error) {
      RUN_FAIL(run, "a violation was not final");
    }
    run->error = rc;
    at += used;
    if (rc == 0) {
      meet_event(run, &event);
    }
  } while (run->error == 0 && event.kind != AW_WS_EVENT_NONE);
  if (at != len) {
    RUN_FAIL(run, "bytes were left over");
  }
  free(piece);
}

static void check_end(struct run *run) {
  const ws_case *c = run->c;

  if (run->answer != c->answer_count) {
    RUN_FAIL(run, "an answer is missing");
  }
  if ((run->error != 0) != (c->end == WS_REFUSED) ||
      (run->error != 0 && aw_ws_close_code(run->error) != c->end_code)) {
    RUN_FAIL(run, "wrong verdict");
  }
  if ((run->error != 0) != (aw_ws_why(&run->ws)[0] != '\0')) {
    RUN_FAIL(run, "wrong explanation");
  }
  if (run->closed != (c->end == WS_CLOSED)) {
    RUN_FAIL(run, "no close");
  }
}

/* `next` gives the length of the next piece. */
static void run_case(const ws_case *c, enum aw_ws_role role, const char *how,
                     size_t (*next)(size_t left, uint32_t *seed),
                     uint32_t seed) {
  aw_ws_options options = options_for(role);
  struct run run = {.c = c, .how = how};
  size_t len;
  char *wire = ws_case_wire(c, role, seed, &len);

  assert_non_null(wire);
  options.refuse_binary = c->binary == WS_BINARY_REFUSED;
  aw_ws_init(&run.ws, aw_mem_default(), &options);
  for (size_t at = 0, piece; at < len; at += piece) {
    piece = next(len - at, &seed);
    feed_piece(&run, wire + at, piece);
  }
  feed_piece(&run, NULL, 0);
  check_end(&run);
  aw_ws_fini(&run.ws);
  free(wire);
}

static size_t all_of_it(size_t left, uint32_t *seed) {
  (void)seed;
  return left;
}

static size_t one_byte(size_t left, uint32_t *seed) {
  (void)left;
  (void)seed;
  return 1;
}

/* Half of the pieces are short, so that cuts inside headers are frequent. */
static size_t some_of_it(size_t left, uint32_t *seed) {
  uint32_t random = next_random(seed);
  size_t most = random & 1 ? 8 : left;

  return 1 + (random >> 1) % (most < left ? most : left);
}

static void every_case_whole(void **state) {
  (void)state;
  for (size_t i = 0; i < ws_case_count; i++) {
    run_case(&ws_cases[i], AW_WS_SERVER, "whole", all_of_it, 1);
    run_case(&ws_cases[i], AW_WS_CLIENT, "whole", all_of_it, 1);
  }
}

static void every_case_byte_by_byte(void **state) {
  (void)state;
  for (size_t i = 0; i < ws_case_count; i++) {
    run_case(&ws_cases[i], AW_WS_SERVER, "byte by byte", one_byte, 2);
    run_case(&ws_cases[i], AW_WS_CLIENT, "byte by byte", one_byte, 2);
  }
}

static void every_case_with_random_cuts(void **state) {
  char how[32];

  (void)state;
  for (size_t i = 0; i < ws_case_count; i++) {
    for (uint32_t seed = 1; seed <= RANDOM_CUTS; seed++) {
      snprintf(how, sizeof how, "cuts of seed %u", (unsigned)seed);
      run_case(&ws_cases[i], AW_WS_SERVER, how, some_of_it, seed);
      run_case(&ws_cases[i], AW_WS_CLIENT, how, some_of_it, seed);
    }
  }
}

/* Parses one event off the front of the buffer. */
static int parse_one(aw_ws *ws, aw_buf *in, aw_ws_event *event) {
  size_t used;
  int rc = aw_ws_parse(ws, aw_buf_bytes(in), aw_buf_len(in), &used, event);

  assert_true(used <= aw_buf_len(in));
  in->head += used;
  return rc;
}

static char *make_pattern(size_t len) {
  char *bytes = malloc(len + 1);

  assert_non_null(bytes);
  for (size_t i = 0; i <= len; i++) {
    bytes[i] = (char)('!' + i * 7 % 90);
  }
  return bytes;
}

static void round_trip(enum aw_ws_opcode opcode, size_t len,
                       const uint8_t *mask) {
  aw_ws_options options =
      options_for(mask != NULL ? AW_WS_SERVER : AW_WS_CLIENT);
  size_t header = (len < 126 ? 2u : len < 65536 ? 4u : 10u) + (mask ? 4u : 0u);
  char *payload = make_pattern(len);
  aw_ws_event event;
  aw_buf wire;
  aw_ws ws;

  aw_buf_init(&wire, aw_mem_default());
  aw_ws_init(&ws, aw_mem_default(), &options);
  assert_int_equal(aw_ws_build(&wire, opcode, payload, len, mask), 0);
  assert_int_equal(aw_buf_len(&wire), header + len);
  if (mask != NULL && len > 8) {
    assert_memory_not_equal(aw_buf_bytes(&wire) + header, payload, len);
  }
  assert_int_equal(parse_one(&ws, &wire, &event), 0);
  assert_int_equal(event.kind, AW_WS_EVENT_MESSAGE);
  assert_int_equal(event.opcode, opcode);
  assert_int_equal(event.len, len);
  assert_memory_equal(event.bytes, payload, len);
  /* Without a copy. */
  assert_ptr_equal(event.bytes, wire.data + header);
  assert_int_equal(aw_buf_len(&wire), 0);
  aw_ws_fini(&ws);
  aw_buf_fini(&wire);
  free(payload);
}

static void what_is_built_is_parsed_at_every_length_form(void **state) {
  static const size_t lengths[] = {0,     1,     15,    16,      17,
                                   125,   126,   127,   211,     65534,
                                   65535, 65536, 65537, 1 << 20, 16 << 20};

  (void)state;
  for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
    round_trip(AW_WS_TEXT, lengths[i], NULL);
    round_trip(AW_WS_TEXT, lengths[i], mask_key);
    round_trip(AW_WS_BINARY, lengths[i], NULL);
    round_trip(AW_WS_BINARY, lengths[i], mask_key);
  }
}

/* The examples of RFC 6455 section 5.7. */
static void built_frames_are_those_of_the_rfc(void **state) {
  aw_buf out;

  (void)state;
  aw_buf_init(&out, aw_mem_default());
  assert_int_equal(aw_ws_build(&out, AW_WS_TEXT, "Hello", 5, NULL), 0);
  assert_int_equal(aw_buf_len(&out), 7);
  assert_memory_equal(aw_buf_bytes(&out), "\x81\x05Hello", 7);
  aw_buf_reset(&out, 0);
  assert_int_equal(aw_ws_build(&out, AW_WS_TEXT, "Hello", 5, mask_key), 0);
  assert_int_equal(aw_buf_len(&out), 11);
  assert_memory_equal(aw_buf_bytes(&out),
                      "\x81\x85\x37\xFA\x21\x3D\x7F\x9F\x4D\x51\x58", 11);
  aw_buf_fini(&out);
}

static void masks_keep_their_phase_across_any_two_cuts(void **state) {
  aw_ws_options options = options_for(AW_WS_SERVER);
  char *payload = make_pattern(41);
  char wire[64];
  aw_ws_event event;
  aw_buf frame;
  size_t used;
  aw_ws ws;

  (void)state;
  aw_buf_init(&frame, aw_mem_default());
  aw_ws_init(&ws, aw_mem_default(), &options);
  assert_int_equal(aw_ws_build(&frame, AW_WS_TEXT, payload, 41, mask_key), 0);
  for (size_t first = 0; first < 47; first++) {
    for (size_t second = first; second < 47; second++) {
      memcpy(wire, aw_buf_bytes(&frame), 47);
      aw_ws_parse(&ws, wire, first, &used, &event);
      assert_int_equal(event.kind, AW_WS_EVENT_NONE);
      aw_ws_parse(&ws, wire + first, second - first, &used, &event);
      assert_int_equal(event.kind, AW_WS_EVENT_NONE);
      aw_ws_parse(&ws, wire + second, 47 - second, &used, &event);
      assert_int_equal(event.kind, AW_WS_EVENT_MESSAGE);
      assert_int_equal(event.len, 41);
      assert_memory_equal(event.bytes, payload, 41);
    }
  }
  aw_ws_fini(&ws);
  aw_buf_fini(&frame);
  free(payload);
}

static void mask_agrees_with_its_definition(void **state) {
  char from[96], to[96], in_place[96];

  (void)state;
  for (size_t len = 0; len <= 80; len++) {
    for (size_t high = 0; high <= len; high++) {
      size_t shift = high % 8;

      for (size_t i = 0; i < len; i++) {
        from[shift + i] =
            (char)((uint8_t)(i * 11 % 128 + (i == high ? 128 : 0)) ^
                   mask_key[i % 4]);
      }
      memcpy(in_place + shift, from + shift, len);
      assert_int_equal(aw_ws_mask(to, from + shift, len, mask_key),
                       high == len);
      assert_int_equal(
          aw_ws_mask(in_place + shift, in_place + shift, len, mask_key),
          high == len);
      for (size_t i = 0; i < len; i++) {
        assert_int_equal((uint8_t)to[i], i * 11 % 128 + (i == high ? 128 : 0));
      }
      assert_memory_equal(in_place + shift, to, len);
    }
  }
}

/* One frame of `len` bytes into `ws`; its rc. */
static int feed_frame(aw_ws *ws, uint8_t first, size_t len,
                      aw_ws_event *event) {
  static const uint8_t mask[4] = {0};
  static char payload[4096];
  aw_buf frame;
  char head[4] = {(char)first, (char)(0x80 | 126), (char)(len >> 8), (char)len};
  size_t used;
  int rc;

  aw_buf_init(&frame, aw_mem_default());
  if (len < 126) {
    head[1] = (char)(0x80 | len);
  }
  aw_buf_append(&frame, head, len < 126 ? 2 : 4);
  aw_buf_append(&frame, (const char *)mask, 4);
  memset(payload, 'x', len);
  aw_buf_append(&frame, payload, len);
  rc = aw_ws_parse(ws, aw_buf_bytes(&frame), aw_buf_len(&frame), &used, event);
  aw_buf_fini(&frame);
  return rc;
}

/* A message of `count` pieces of `size` bytes; the rc of the last one fed. */
static int feed_message(aw_ws *ws, size_t count, size_t size, size_t *total) {
  aw_ws_event event = {.kind = AW_WS_EVENT_NONE};
  int rc = 0;

  for (size_t i = 0; i < count && rc == 0; i++) {
    uint8_t first = (uint8_t)((i == 0 ? 1 : 0) | (i + 1 == count ? 0x80 : 0));

    rc = feed_frame(ws, first, size, &event);
  }
  *total = rc == 0 && event.kind == AW_WS_EVENT_MESSAGE ? event.len : 0;
  return rc;
}

/* What a frame costs does not depend on its size: small ones are counted, and
 * large ones only until the message is full. */
static void only_small_frames_are_counted(void **state) {
  static const struct {
    size_t count, size;
    int rc;
  } rows[] = {
      {16384, 1024, 0},
      {16385, 1024, AW_E_WS_TOO_BIG},
      {4100, 4096, AW_E_WS_TOO_BIG},
      {131072, 128, 0},
      {4096, 127, 0},
      {4097, 127, AW_E_WS_POLICY},
      {4096, 0, 0},
      {4097, 0, AW_E_WS_POLICY},
  };
  aw_ws_options options = {.role = AW_WS_SERVER};

  (void)state;
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
    size_t total;
    aw_ws ws;

    aw_ws_init(&ws, aw_mem_default(), &options);
    int rc = feed_message(&ws, rows[i].count, rows[i].size, &total);

    if (rc != rows[i].rc ||
        (rc == 0 && total != rows[i].count * rows[i].size)) {
      fail_msg("%zu of %zu: %d", rows[i].count, rows[i].size, rc);
    }
    if (rc == 0) { /* and counted anew for the next one */
      assert_int_equal(feed_message(&ws, 4096, 0, &total), 0);
    }
    aw_ws_fini(&ws);
  }
}

static void message_limit_counts_all_fragments(void **state) {
  /* first fragment, second fragment, limit, result */
  static const struct {
    size_t first, second, max;
    int rc;
  } rows[] = {
      {10, 0, 10, 0},
      {11, 0, 10, AW_E_WS_TOO_BIG},
      {4, 6, 10, 0},
      {4, 7, 10, AW_E_WS_TOO_BIG},
      {0, 11, 10, AW_E_WS_TOO_BIG},
      {200, 100, 300, 0},
      {200, 101, 300, AW_E_WS_TOO_BIG},
  };

  (void)state;
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
    aw_ws_options options = options_for(AW_WS_CLIENT);
    char *payload = make_pattern(300);
    aw_ws_event event;
    aw_buf wire;
    aw_ws ws;

    options.message_max = rows[i].max;
    aw_buf_init(&wire, aw_mem_default());
    aw_ws_init(&ws, aw_mem_default(), &options);
    aw_ws_build(&wire, AW_WS_TEXT, payload, rows[i].first, NULL);
    wire.data[0] = AW_WS_TEXT; /* not the last one */
    aw_ws_build(&wire, AW_WS_CONTINUATION, payload, rows[i].second, NULL);
    assert_int_equal(parse_one(&ws, &wire, &event), rows[i].rc);
    assert_int_equal(event.kind == AW_WS_EVENT_MESSAGE, rows[i].rc == 0);
    aw_ws_fini(&ws);
    aw_buf_fini(&wire);
    free(payload);
  }
}

static void fragment_limit_is_an_option_and_starts_anew(void **state) {
  aw_ws_options options = options_for(AW_WS_CLIENT);
  char good[] = "\x01\x01"
                "a\x00\x01"
                "b\x89\x00\x80\x01"
                "c";
  char bad[] = "\x01\x00\x00\x00\x00\x00\x80\x00";
  aw_ws_event event;
  size_t used, at;
  aw_ws ws;

  (void)state;
  options.fragments_max = 3;
  aw_ws_init(&ws, aw_mem_default(), &options);
  for (int i = 0; i < 2; i++) {
    assert_int_equal(aw_ws_parse(&ws, good, sizeof good - 1, &used, &event), 0);
    assert_int_equal(event.kind, AW_WS_EVENT_PING);
    at = used;
    assert_int_equal(
        aw_ws_parse(&ws, good + at, sizeof good - 1 - at, &used, &event), 0);
    assert_int_equal(event.kind, AW_WS_EVENT_MESSAGE);
    assert_memory_equal(event.bytes, "abc", 3);
  }
  assert_int_equal(aw_ws_parse(&ws, bad, sizeof bad - 1, &used, &event),
                   AW_E_WS_POLICY);
  aw_ws_fini(&ws);
}

static void *largest_realloc(void *user, void *block, size_t size) {
  size_t *largest = user;

  *largest = size > *largest ? size : *largest;
  return aw_mem_realloc(aw_mem_default(), block, size);
}

static void declared_length_does_not_allocate(void **state) {
  size_t largest = 0;
  aw_mem mem = {largest_realloc, &largest};
  aw_ws_options options = options_for(AW_WS_CLIENT);
  char header[] = "\x81\x7F\0\0\0\0\x01\0\0\0";
  char piece[1000];
  aw_ws_event event;
  size_t used;
  aw_ws ws;

  (void)state;
  memset(piece, 'x', sizeof piece);
  aw_ws_init(&ws, &mem, &options);
  assert_int_equal(aw_ws_parse(&ws, header, 10, &used, &event), 0);
  assert_int_equal(largest, 0);
  for (size_t arrived = 1000; arrived <= 100000; arrived += 1000) {
    assert_int_equal(aw_ws_parse(&ws, piece, 1000, &used, &event), 0);
    assert_true(largest <= 2 * arrived);
  }
  aw_ws_fini(&ws);
}

static void a_large_message_in_pieces_is_not_kept(void **state) {
  aw_ws_options options = options_for(AW_WS_CLIENT);
  char *payload = make_pattern(100000);
  aw_ws_event event;
  aw_buf wire;
  size_t used;
  aw_ws ws;

  (void)state;
  aw_buf_init(&wire, aw_mem_default());
  aw_ws_init(&ws, aw_mem_default(), &options);
  aw_ws_build(&wire, AW_WS_TEXT, payload, 100000, NULL);
  aw_ws_parse(&ws, aw_buf_bytes(&wire), 50000, &used, &event);
  aw_ws_parse(&ws, aw_buf_bytes(&wire) + 50000, aw_buf_len(&wire) - 50000,
              &used, &event);
  assert_int_equal(event.kind, AW_WS_EVENT_MESSAGE);
  assert_int_equal(event.len, 100000);
  aw_ws_parse(&ws, NULL, 0, &used, &event);
  assert_true(ws.message.size < 8192);
  aw_ws_fini(&ws);
  aw_buf_fini(&wire);
  free(payload);
}

static int parse_in_pieces(const aw_mem *mem) {
  aw_ws_options options = options_for(AW_WS_SERVER);
  char *payload = make_pattern(3000);
  aw_ws_event event;
  aw_buf wire;
  size_t used;
  int rc = 0;
  aw_ws ws;

  aw_buf_init(&wire, aw_mem_default());
  aw_ws_init(&ws, mem, &options);
  aw_ws_build(&wire, AW_WS_TEXT, payload, 3000, mask_key);
  for (size_t at = 0; at < aw_buf_len(&wire) && rc == 0; at += used) {
    size_t left = aw_buf_len(&wire) - at;

    rc = aw_ws_parse(&ws, aw_buf_bytes(&wire) + at, left < 100 ? left : 100,
                     &used, &event);
  }
  if (rc == 0) {
    assert_int_equal(event.kind, AW_WS_EVENT_MESSAGE);
    assert_memory_equal(event.bytes, payload, 3000);
  } else {
    assert_int_equal(aw_ws_close_code(rc), 1011);
    assert_int_equal(aw_ws_parse(&ws, NULL, 0, &used, &event), rc);
  }
  aw_buf_fini(&wire);
  aw_ws_fini(&ws);
  free(payload);
  return rc;
}

static void every_failed_allocation_of_a_parse_is_final(void **state) {
  (void)state;
  fail_each_allocation(parse_in_pieces);
}

static void a_failed_build_leaves_the_buffer_as_it_was(void **state) {
  char *payload = make_pattern(1000);
  failing_mem failing;
  aw_buf out;

  (void)state;
  failing_mem_init(&failing, 2);
  aw_buf_init(&out, &failing.mem);
  assert_int_equal(aw_ws_build(&out, AW_WS_TEXT, "ab", 2, NULL), 0);
  assert_int_equal(aw_ws_build(&out, AW_WS_TEXT, payload, 1000, mask_key),
                   AW_E_NOMEM);
  assert_int_equal(aw_ws_build(&out, AW_WS_TEXT, payload, SIZE_MAX - 3, NULL),
                   AW_E_NOMEM);
  assert_int_equal(aw_ws_build(&out, AW_WS_PING, payload, 126, NULL),
                   AW_E_INVALID);
  assert_int_equal(aw_buf_len(&out), 4);
  assert_memory_equal(aw_buf_bytes(&out),
                      "\x81\x02"
                      "ab",
                      4);
  assert_int_equal(aw_ws_build(&out, AW_WS_PING, payload, 125, NULL), 0);
  aw_buf_fini(&out);
  free(payload);
}

static void close_frames_fit_their_reason(void **state) {
#define X30 "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
#define X120 X30 X30 X30 X30
  static const struct {
    uint16_t code;
    const char *reason, *sent; /* NULL: refused */
  } rows[] = {
      {1000, "", ""},
      {1001, "bye", "bye"},
      {4999, X120 "abc", X120 "abc"},
      {1000, X120 "abcd", X120 "abc"},
      {1000, X120 "a\xE2\x82\xAC", X120 "a"},
      {1000, X120 "\xE2\x82\xAC!", X120 "\xE2\x82\xAC"},
      {1000, "bad \xFF byte", "bad "},
      {1000, "cut \xE2\x82", "cut "},
      {1005, "", ""},
      {1005, "dropped", ""},
      {999, "", NULL},
      {1004, "", NULL},
      {1006, "", NULL},
      {1015, "", NULL},
      {2999, "", NULL},
      {5000, "", NULL},
  };

  (void)state;
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
    aw_ws_options options = options_for(AW_WS_SERVER);
    aw_ws_event event;
    aw_buf wire;
    aw_ws ws;
    int rc;

    aw_buf_init(&wire, aw_mem_default());
    aw_ws_init(&ws, aw_mem_default(), &options);
    rc = aw_ws_build_close(&wire, rows[i].code, rows[i].reason,
                           strlen(rows[i].reason), mask_key);
    assert_int_equal(rc, rows[i].sent != NULL ? 0 : AW_E_INVALID);
    if (rc == 0) {
      assert_int_equal(parse_one(&ws, &wire, &event), 0);
      assert_int_equal(event.kind, AW_WS_EVENT_CLOSE);
      assert_int_equal(event.code, rows[i].code);
      assert_int_equal(event.len, strlen(rows[i].sent));
      assert_memory_equal(event.bytes, rows[i].sent, event.len);
    }
    assert_int_equal(aw_buf_len(&wire), 0);
    aw_ws_fini(&ws);
    aw_buf_fini(&wire);
  }
}

static void start_of_a_header_is_judged_without_the_rest(void **state) {
  aw_ws_options options = options_for(AW_WS_SERVER);
  char start[] = "\x89\xFE"; /* a ping with a 16-bit length to come */
  aw_ws_event event;
  size_t used;
  aw_ws ws;

  (void)state;
  aw_ws_init(&ws, aw_mem_default(), &options);
  assert_int_equal(aw_ws_parse(&ws, start, 2, &used, &event), AW_E_WS_PROTOCOL);
  aw_ws_fini(&ws);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_case_whole),
      cmocka_unit_test(every_case_byte_by_byte),
      cmocka_unit_test(every_case_with_random_cuts),
      cmocka_unit_test(what_is_built_is_parsed_at_every_length_form),
      cmocka_unit_test(built_frames_are_those_of_the_rfc),
      cmocka_unit_test(masks_keep_their_phase_across_any_two_cuts),
      cmocka_unit_test(mask_agrees_with_its_definition),
      cmocka_unit_test(only_small_frames_are_counted),
      cmocka_unit_test(message_limit_counts_all_fragments),
      cmocka_unit_test(fragment_limit_is_an_option_and_starts_anew),
      cmocka_unit_test(declared_length_does_not_allocate),
      cmocka_unit_test(a_large_message_in_pieces_is_not_kept),
      cmocka_unit_test(every_failed_allocation_of_a_parse_is_final),
      cmocka_unit_test(a_failed_build_leaves_the_buffer_as_it_was),
      cmocka_unit_test(close_frames_fit_their_reason),
      cmocka_unit_test(start_of_a_header_is_judged_without_the_rest),
  };

  return cmocka_run_group_tests(tests, NULL, NULL);
}
