/* What the client of an exchange can make grow or wait: each limit at it, after
 * it and ten times beyond; slow ends; failing allocations. */
#include "http_stage.h"
#include "tls_files.h"
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define HOST "Host: a\r\n"
#define GET "GET /g HTTP/1.1\r\n" HOST "\r\n"
#define POST "POST / HTTP/1.1\r\n" HOST
#define CHUNKED POST "Transfer-Encoding: chunked\r\n\r\n"
#define KIB 1024u
#define MIB (1024u * KIB)

/* What a body that waits takes at most, and what the output does: buffers that
 * double, and the old one while the new one is filled. */
#define IN_FLAT (256 * KIB)
#define OUT_FLAT (800 * KIB)

static char body[HTTP_BODY_MAX + 1];
static char block[1 * MIB];

static void assert_status(raw_peer *raw, const char *status) {
  raw_until_ended(raw);
  if (strstr(raw->in, status) == NULL) {
    fail_msg("%s instead of %s", raw->in, status);
  }
  assert_int_equal(raw->error, 0);
  raw_free(raw);
}

/* Sizes */

static void post(http_stage *stage, raw_peer *raw, size_t len, bool chunked) {
  char head[128];

  if (chunked) {
    (void)http_come(stage, raw, CHUNKED);
    snprintf(head, sizeof head, "%zx\r\n", len);
    raw_say(raw, head);
  } else {
    raw_dial(raw, stage->loop, stage->port);
    snprintf(head, sizeof head, POST "Content-Length: %zu\r\n\r\n", len);
    raw_say(raw, head);
  }
}

static void body_has_a_limit(void **state) {
  http_stage *stage = *state;
  raw_peer raw;

  http_listen(stage, (aw_listener_options){.body_max = 1000});
  for (int chunked = 0; chunked <= 1; chunked++) {
    unsigned number = stage->count;
    size_t len = 0;
    int error;

    post(stage, &raw, 1000, chunked);
    raw_put(&raw, block, 1000);
    raw_say(&raw, chunked ? "\r\n0\r\n\r\n" : "");
    aw_exchange *x = http_request(stage, &raw, number);
    HTTP_UNTIL(&raw, http_read(x, body, &len, &error));
    assert_int_equal(len, 1000);
    http_answer(x, 200, "");
    raw_free(&raw);
    for (size_t much = 1001; much <= 10000; much += 8999) {
      post(stage, &raw, much, chunked);
      raw_put(&raw, block, much);
      HTTP_UNTIL(&raw, strstr(raw.in, "body_max") != NULL);
      assert_status(&raw, "HTTP/1.1 413");
      if (chunked) {
        assert_true(http_is_over(stage->x[stage->count - 1], AW_E_LIMIT));
      }
    }
  }
}

/* It cannot be said any more that the body is too long. */
static void body_that_gets_too_long_ends_a_response(void **state) {
  http_stage *stage = *state;
  raw_peer raw;

  http_listen(stage, (aw_listener_options){.body_max = 1000});
  aw_exchange *x = http_come(stage, &raw, CHUNKED);
  assert_int_equal(aw_exchange_respond(x, 200, NULL, AW_EXCHANGE_UNKNOWN),
                   AW_OK);
  HTTP_UNTIL(&raw, http_count(&raw, "HTTP/1.1 200") == 1);
  raw_say(&raw, "3e9\r\n");
  raw_put(&raw, block, 1001);
  http_until_over(stage, x, AW_E_LIMIT);
  raw_until_ended(&raw);
  assert_int_equal(http_count(&raw, "HTTP/1.1"), 1);
  raw_free(&raw);
}

/* `len` of all of them, their last line end included. */
static void say_trailers(raw_peer *raw, size_t len) {
  static char line[50 * KIB];

  raw_say(raw, "0\r\n");
  memset(line, 'x', len);
  memcpy(line, "X: ", 3);
  memcpy(line + len - 4, "\r\n\r\n", 4);
  raw_put(raw, line, len);
}

static void trailers_have_a_limit(void **state) {
  static const size_t beyond[] = {4097, 40960};
  http_stage *stage = *state;
  raw_peer raw;
  size_t len = 0;
  int error;

  http_listen(stage, (aw_listener_options){0});
  aw_exchange *x = http_come(stage, &raw, CHUNKED);
  say_trailers(&raw, 4096);
  HTTP_UNTIL(&raw, http_read(x, body, &len, &error));
  http_answer(x, 200, "");
  raw_free(&raw);
  for (int i = 0; i < 2; i++) {
    x = http_come(stage, &raw, CHUNKED);
    say_trailers(&raw, beyond[i]);
    HTTP_UNTIL(&raw, http_is_over(x, AW_E_LIMIT));
    assert_status(&raw, "HTTP/1.1 413");
  }
}

static void head_has_a_limit(void **state) {
  http_stage *stage = *state;
  raw_peer raw;

  http_listen(stage, (aw_listener_options){.head_max = 200});
  memset(block, 'a', sizeof block);
  for (int i = 0; i < 2; i++) {
    http_dial(stage, &raw, "GET / HTTP/1.1\r\nHost: a\r\nX: ");
    raw_put(&raw, block, i == 0 ? 200 : 2000);
    assert_status(&raw, "HTTP/1.1 431");
  }
  http_dial(stage, &raw, "GET / HTTP/1.1\r\nHost: a\r\nX: ");
  raw_put(&raw, block, 200 - 28 - 4);
  raw_say(&raw, "\r\n\r\n");
  http_request(stage, &raw, 0);
  raw_free(&raw);
  http_dial(stage, &raw, "GET / HTTP/1.1\r\nHost: a\r\n");
  for (int i = 0; i < 64; i++) {
    raw_say(&raw, "a:\r\n");
  }
  assert_status(&raw, "HTTP/1.1 431");
}

static void connections_have_a_limit(void **state) {
  http_stage *stage = *state;
  raw_peer first, second;

  http_listen(stage, (aw_listener_options){.connections_max = 1});
  http_answer(http_come(stage, &first, GET), 200, "");
  for (int i = 0; i < 10; i++) {
    http_dial(stage, &second, GET);
    assert_status(&second, "HTTP/1.1 503");
  }
  raw_say(&first, GET);
  http_request(stage, &first, 1); /* has its place all the time */
  raw_free(&first);
}

/* What the system takes without our reading, as much as comes. */
static size_t flood(http_stage *stage, raw_peer *raw, const char *text,
                    size_t most) {
  size_t len = strlen(text), sent = 0;
  unsigned stuck = 0;

  for (size_t i = 0; i < sizeof block; i++) {
    block[i] = text[i % len];
  }
  while (sent < most && stuck < 50) {
    ssize_t n = send(raw->fd, block + sent % len,
                     sizeof block - sizeof block % len - len, MSG_NOSIGNAL);
    stuck = n > 0 ? 0 : stuck + 1;
    sent += n > 0 ? (size_t)n : 0;
    aw_loop_wait(stage->loop, 1);
  }
  return sent;
}

static void requests_behind_an_unanswered_one_wait_outside(void **state) {
  http_stage *stage = *state;
  raw_peer raw;

  http_listen(stage, (aw_listener_options){.stall_ms = 20});
  aw_exchange *x = http_come(stage, &raw, GET);
  size_t before = stage->live;
  assert_in_range(flood(stage, &raw, GET, 64 * MIB), 1, 63 * MIB);
  assert_in_range(stage->peak - before, 0, IN_FLAT);
  assert_int_equal(stage->count, 1);
  assert_null(aw_exchange_end_of(x)); /* that is no stall of the client's */
  raw_free(&raw);
}

static void body_that_nobody_reads_waits_outside(void **state) {
  http_stage *stage = *state;
  raw_peer raw;

  http_listen(stage,
              (aw_listener_options){.stall_ms = 20, .body_max = 64 * MIB});
  aw_exchange *x =
      http_come(stage, &raw, POST "Content-Length: 67108864\r\n\r\n");
  size_t before = stage->live;
  assert_in_range(flood(stage, &raw, "x", 64 * MIB), 1, 63 * MIB);
  assert_in_range(stage->peak - before, 0, IN_FLAT);
  assert_null(aw_exchange_end_of(x));
  raw_free(&raw);
}

/* Ten times what is kept at most goes through. */
static void long_body_goes_through_in_little_memory(void **state) {
  http_stage *stage = *state;
  raw_peer raw;
  size_t sent = 0, got = 0;
  int rc = AW_E_AGAIN;

  http_listen(stage, (aw_listener_options){0});
  aw_exchange *x =
      http_come(stage, &raw, POST "Content-Length: 16777216\r\n\r\n");
  size_t before = stage->live;
  while (rc == AW_E_AGAIN) {
    const char *bytes;
    size_t len = 0;

    for (size_t i = 0; i < sizeof block; i++) {
      block[i] = (char)((sent + i) % 251);
    }
    if (sent < 16 * MIB) {
      size_t left =
          16 * MIB - sent < sizeof block ? 16 * MIB - sent : sizeof block;
      ssize_t n = send(raw.fd, block, left, MSG_NOSIGNAL);
      sent += n > 0 ? (size_t)n : 0;
    }
    aw_loop_wait(stage->loop, 1);
    while ((rc = aw_exchange_peek(x, &bytes, &len)) == AW_OK && len > 0) {
      len = len < 5000 ? len : 5000;
      for (size_t i = 0; i < len; i += 97) {
        assert_int_equal((uint8_t)bytes[i], (got + i) % 251);
      }
      got += len;
      aw_exchange_consume(x, len);
    }
  }
  assert_int_equal(rc, AW_OK);
  assert_int_equal(got, 16 * MIB);
  assert_in_range(stage->peak - before, 0, IN_FLAT);
  raw_free(&raw);
}

static size_t write_all_it_takes(http_stage *stage, aw_exchange *x) {
  size_t sent = 0;

  for (unsigned quiet = 0; quiet < 20; quiet++) {
    while (aw_exchange_write(x, block, 10 * KIB) == AW_OK) {
      sent += 10 * KIB;
      quiet = 0;
      assert_in_range(sent, 0, 64 * MIB);
    }
    assert_int_equal(aw_exchange_room(x), 0);
    aw_loop_wait(stage->loop, 1);
  }
  return sent;
}

static void slow_reader_costs_little_memory(void **state) {
  http_stage *stage = *state;
  raw_peer raw;

  http_listen(stage, (aw_listener_options){0});
  aw_exchange *x = http_come(stage, &raw, GET);
  assert_int_equal(aw_exchange_respond(x, 200, NULL, AW_EXCHANGE_UNKNOWN),
                   AW_OK);
  size_t before = stage->live, sent = write_all_it_takes(stage, x);
  (void)http_events(stage, x);
  assert_in_range(stage->peak - before, 0, OUT_FLAT);
  for (size_t read = 0; read + AW_EXCHANGE_OUT_BYTES < sent;) {
    ssize_t n = recv(raw.fd, body, 50 * KIB, 0);
    read += n > 0 ? (size_t)n : 0;
    aw_loop_wait(stage->loop, 1);
  }
  uint64_t deadline = uv_hrtime() + 5000000000u;
  while ((http_events(stage, x) & AW_EXCHANGE_WRITABLE) == 0) {
    assert_true(uv_hrtime() < deadline);
    (void)recv(raw.fd, body, 50 * KIB, 0);
    aw_loop_wait(stage->loop, 1);
  }
  assert_in_range(aw_exchange_room(x), AW_EXCHANGE_OUT_BYTES / 2,
                  AW_EXCHANGE_OUT_BYTES);
  assert_int_equal(aw_exchange_write(x, block, 1), AW_OK);
  raw_free(&raw);
}

static void rest_of_a_body_is_drained_up_to_a_limit(void **state) {
  static const size_t rows[] = {AW_EXCHANGE_DRAIN_BYTES,
                                AW_EXCHANGE_DRAIN_BYTES + 1,
                                AW_EXCHANGE_DRAIN_BYTES * 10};
  http_stage *stage = *state;
  raw_peer raw;

  http_listen(stage, (aw_listener_options){0});
  for (int i = 0; i < 3; i++) {
    unsigned number = stage->count;
    post(stage, &raw, rows[i], false);
    aw_exchange *x = http_request(stage, &raw, number);
    assert_int_equal(aw_exchange_respond(x, i == 2 ? 200 : 413, NULL, 0),
                     AW_OK);
    assert_int_equal(aw_exchange_finish(x), AW_OK);
    if (i > 0) { /* that is known at once; by a refusal it is said, too */
      assert_status(&raw, i == 2 ? "HTTP/1.1 200" : "Connection: close");
      continue;
    }
    for (size_t at = 0; at < rows[i]; at += KIB) {
      raw_put(&raw, block, KIB);
    }
    raw_say(&raw, GET);
    http_request(stage, &raw, number + 1);
    assert_null(strstr(raw.in, "close"));
    raw_free(&raw);
  }
}

static void rest_in_chunks_is_drained_up_to_a_limit(void **state) {
  http_stage *stage = *state;
  raw_peer raw;
  size_t len = 0;
  int error;

  http_listen(stage, (aw_listener_options){0});
  for (unsigned chunks = 250; chunks <= 2500; chunks *= 10) {
    unsigned number = stage->count;
    aw_exchange *x = http_come(stage, &raw, CHUNKED);
    http_answer(x, 200, "enough");
    for (unsigned i = 0; i < chunks && !raw.ended; i++) {
      raw_say(&raw, "400\r\n");
      raw_put(&raw, block, KIB);
      raw_say(&raw, "\r\n");
      raw_turn(&raw);
    }
    raw_say(&raw, "0\r\n\r\n" GET);
    if (chunks == 250) {
      http_request(stage, &raw, number + 1);
      assert_false(http_read(x, body, &len, &error)); /* not all of it */
      assert_int_equal(error, AW_E_CLOSED);
    } else {
      raw_until_ended(&raw);
      assert_int_equal(stage->count, number + 1);
    }
    assert_int_equal(http_count(&raw, "enough"), 1);
    raw_free(&raw);
  }
}

/* Time */

static void turn_until(raw_peer *raw, uint64_t time) {
  while (uv_hrtime() < time) {
    raw_turn(raw);
  }
}

static void body_that_stalls_is_given_up(void **state) {
  http_stage *stage = *state;
  raw_peer raw;

  http_listen(stage, (aw_listener_options){.stall_ms = 60});
  uint64_t before = uv_hrtime();
  aw_exchange *x = http_come(stage, &raw, POST "Content-Length: 9\r\n\r\nhalf");
  http_until_over(stage, x, AW_E_TIMEOUT);
  assert_in_range(uv_hrtime() - before, 50000000u, 2000000000u);
  assert_status(&raw, "HTTP/1.1 408");
}

static void body_that_comes_slowly_is_no_stall(void **state) {
  http_stage *stage = *state;
  raw_peer raw;
  size_t len = 0;
  int error;

  http_listen(stage, (aw_listener_options){.stall_ms = 1000});
  aw_exchange *x = http_come(stage, &raw, POST "Content-Length: 4\r\n\r\n");
  for (int i = 0; i < 4; i++) { /* in more than the time of a stall */
    turn_until(&raw, uv_hrtime() + 400000000u);
    raw_say(&raw, "x");
  }
  HTTP_UNTIL(&raw, http_read(x, body, &len, &error));
  http_answer(x, 200, "fine");
  HTTP_UNTIL(&raw, http_count(&raw, "fine") == 1);
  raw_free(&raw);
}

/* While nobody wants more of the body its client is not late with it. */
static void time_begins_when_more_is_read(void **state) {
  http_stage *stage = *state;
  raw_peer raw;
  uint64_t begin = uv_hrtime();
  size_t len = 0;
  int error;

  http_listen(stage, (aw_listener_options){.stall_ms = 1000});
  aw_exchange *x = http_come(stage, &raw, POST "Content-Length: 65537\r\n\r\n");
  raw_put(&raw, block, AW_EXCHANGE_IN_BYTES);
  turn_until(&raw, begin + 800000000u);
  assert_false(http_read(x, body, &len, &error));
  turn_until(&raw, begin + 1300000000u);
  raw_put(&raw, block, 1);
  HTTP_UNTIL(&raw, http_read(x, body, &len, &error));
  assert_int_equal(len, 65537);
  raw_free(&raw);
}

static void response_that_is_not_read_is_given_up(void **state) {
  http_stage *stage = *state;
  raw_peer raw;

  http_listen(stage, (aw_listener_options){.stall_ms = 60});
  aw_exchange *x = http_come(stage, &raw, GET);
  assert_int_equal(aw_exchange_respond(x, 200, NULL, AW_EXCHANGE_UNKNOWN),
                   AW_OK);
  while (aw_exchange_end_of(x) == NULL) {
    while (aw_exchange_write(x, block, sizeof block) == AW_OK) {
    }
    aw_loop_wait(stage->loop, 10);
  }
  assert_true(http_is_over(x, AW_E_TIMEOUT));
  raw_free(&raw);
}

static void speaking_gains_no_time_for_reading(void **state) {
  http_stage *stage = *state;
  raw_peer raw;

  http_listen(stage, (aw_listener_options){.stall_ms = 300});
  aw_exchange *x = http_come(stage, &raw, GET);
  assert_int_equal(aw_exchange_respond(x, 200, NULL, AW_EXCHANGE_UNKNOWN),
                   AW_OK);
  uint64_t before = uv_hrtime(), next = before;
  while (aw_exchange_end_of(x) == NULL) {
    assert_true(uv_hrtime() - before < 5000000000u);
    /* What the system has room for changes. */
    while (aw_exchange_write(x, block, 10 * KIB) == AW_OK) {
    }
    if (uv_hrtime() >= next) {
      (void)send(raw.fd, "\n", 1, MSG_NOSIGNAL);
      next = uv_hrtime() + 20000000u;
    }
    aw_loop_wait(stage->loop, 10);
  }
  assert_true(http_is_over(x, AW_E_TIMEOUT));
  raw_free(&raw);
}

static void silent_response_is_no_stall(void **state) {
  http_stage *stage = *state;
  raw_peer raw;

  http_listen(stage, (aw_listener_options){.stall_ms = 20});
  aw_exchange *x = http_come(stage, &raw, GET);
  assert_int_equal(aw_exchange_respond(x, 200, NULL, AW_EXCHANGE_UNKNOWN),
                   AW_OK);
  assert_int_equal(aw_exchange_write(x, "one", 3), AW_OK);
  http_idle(&raw, 100);
  assert_null(aw_exchange_end_of(x));
  assert_int_equal(aw_exchange_write(x, "two", 3), AW_OK);
  HTTP_UNTIL(&raw, http_count(&raw, "two") == 1);
  raw_free(&raw);
}

static void connection_without_a_next_request_is_ended(void **state) {
  http_stage *stage = *state;
  raw_peer raw;

  http_listen(stage, (aw_listener_options){.keep_alive_ms = 80});
  http_answer(http_come(stage, &raw, GET), 200, "one");
  HTTP_UNTIL(&raw, http_count(&raw, "one") == 1);
  raw_say(&raw, GET);
  aw_exchange *x = http_request(stage, &raw, 1);
  turn_until(&raw, uv_hrtime() + 200000000u); /* an answer may take longer */
  http_answer(x, 200, "two");
  uint64_t before = uv_hrtime();
  raw_until_ended(&raw);
  assert_in_range(uv_hrtime() - before, 60000000u, 2000000000u);
  assert_int_equal(http_count(&raw, "two"), 1);
  assert_int_equal(raw.error, 0);
  raw_free(&raw);
}

static void head_has_its_time_from_the_first_byte_on(void **state) {
  http_stage *stage = *state;
  raw_peer raw;

  http_listen(stage, (aw_listener_options){.handshake_ms = 80});
  for (int later = 0; later <= 1; later++) {
    raw_dial(&raw, stage->loop, stage->port);
    if (later) {
      raw_say(&raw, GET);
      http_answer(http_request(stage, &raw, 0), 200, "one");
      HTTP_UNTIL(&raw, http_count(&raw, "one") == 1);
    }
    uint64_t before = uv_hrtime(), next = before;
    raw_say(&raw, "GET / HTTP/1.1\r\nX: ");
    while (!raw.ended) {
      if (uv_hrtime() >= next) {
        raw_say(&raw, "x");
        next = uv_hrtime() + 10000000u;
      }
      raw_turn(&raw);
      assert_true(uv_hrtime() - before < 2000000000u);
    }
    assert_int_equal(http_count(&raw, "431"), 0);
    assert_true(uv_hrtime() - before > 60000000u);
    raw_free(&raw);
  }
}

/* Over TLS, both ways at once. */
static void exchanges_are_secure(void **state) {
  http_stage *stage = *state;
  tls_files files;
  raw_peer raw;
  size_t len = 0;
  int error;

  tls_files_make(&files);
  aw_tls_options tls = {.cert_file = files.server};
  http_listen(stage, (aw_listener_options){.tls = &tls});
  raw_dial(&raw, stage->loop, stage->port);
  raw_secure(&raw, NULL);
  for (unsigned i = 0; i < 2; i++) {
    memset(block, 'b', sizeof block);
    raw_say(&raw, POST "Content-Length: 300000\r\n\r\n");
    aw_exchange *x = http_request(stage, &raw, i);
    for (size_t sent = 0; sent < 300000; sent += 10000) {
      raw_put(&raw, block, 10000);
      (void)http_read(x, body, &len, &error);
    }
    HTTP_UNTIL(&raw, http_read(x, body, &len, &error));
    assert_int_equal(len, 300000 * (i + 1));
    assert_int_equal(aw_exchange_respond(x, 200, NULL, AW_EXCHANGE_UNKNOWN),
                     AW_OK);
    assert_int_equal(aw_exchange_write(x, block, 200000), AW_OK);
    assert_int_equal(aw_exchange_finish(x), AW_OK);
    HTTP_UNTIL(&raw, http_count(&raw, "\r\n0\r\n\r\n") == i + 1);
    http_let_go(stage, x);
  }
  raw_free(&raw);
  tls_files_remove(&files);
}

/* Every allocation of a conversation fails once. */

static void keep(void *user, aw_exchange *x) {
  http_stage *stage = user;

  assert_in_range(stage->count, 0, HTTP_STAGE_MAX - 1);
  stage->x[stage->count++] = x;
}

static void go_on(http_stage *stage) {
  size_t len = 0;
  int error;

  for (unsigned i = 0; i < stage->count; i++) {
    aw_exchange *x = stage->x[i];
    if (x == NULL ||
        (!http_read(x, body, &len, &error) && error == AW_E_AGAIN)) {
      continue;
    }
    if (error == AW_OK &&
        aw_exchange_respond(x, 200, "X: y\r\n", AW_EXCHANGE_UNKNOWN) == AW_OK &&
        aw_exchange_write(x, "hello", 5) == AW_OK) {
      (void)aw_exchange_finish(x);
    }
    http_let_go(stage, x);
  }
}

static void converse(http_stage *stage) {
  raw_peer raw;
  uint64_t deadline = uv_hrtime() + 10000000000u;

  raw_dial(&raw, stage->loop, stage->port);
  raw_say(&raw, POST "Expect: 100-continue\r\nContent-Length: 5\r\n\r\n");
  for (int i = 0; i < 3 && !raw.ended; i++) {
    raw_turn(&raw);
    go_on(stage);
  }
  raw_say(&raw, "hello" CHUNKED "2\r\nhi\r\n0\r\n\r\n"
                "GET / HTTP/1.0\r\n\r\n");
  while (!raw.ended) {
    assert_true(uv_hrtime() < deadline);
    raw_turn(&raw);
    go_on(stage);
  }
  raw_free(&raw);
}

static void run_once(http_stage *stage) {
  aw_listener_options options = {
      .url = "ws://127.0.0.1:0", .handshake_ms = 500, .stall_ms = 500};
  aw_listener_sink sink = {.request = keep};
  const char *why;

  if (aw_loop_new(&stage->loop, &stage->mem) != AW_OK) {
    return;
  }
  if (aw_listener_new(stage->loop, &options, &sink, stage, &stage->listener,
                      &why) == AW_OK) {
    stage->port = aw_listener_port(stage->listener);
    converse(stage);
    aw_listener_free(stage->listener);
    stage->listener = NULL;
  }
  for (unsigned i = 0; i < stage->count; i++) {
    aw_exchange_free(stage->x[i]);
  }
  stage->count = 0;
  aw_loop_free(stage->loop);
  stage->loop = NULL;
}

static void every_allocation_may_fail(void **state) {
  http_stage *stage = *state;
  size_t at = 0;

  aw_loop_free(stage->loop);
  stage->loop = NULL;
  do {
    stage->calls = 0;
    stage->fail_at = ++at;
    run_once(stage);
    assert_int_equal(stage->live, 0);
  } while (stage->calls >= at);
  assert_in_range(at, 20, 500);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      HTTP_TEST(body_has_a_limit),
      HTTP_TEST(body_that_gets_too_long_ends_a_response),
      HTTP_TEST(trailers_have_a_limit),
      HTTP_TEST(head_has_a_limit),
      HTTP_TEST(connections_have_a_limit),
      HTTP_TEST(requests_behind_an_unanswered_one_wait_outside),
      HTTP_TEST(body_that_nobody_reads_waits_outside),
      HTTP_TEST(long_body_goes_through_in_little_memory),
      HTTP_TEST(slow_reader_costs_little_memory),
      HTTP_TEST(rest_of_a_body_is_drained_up_to_a_limit),
      HTTP_TEST(rest_in_chunks_is_drained_up_to_a_limit),
      HTTP_TEST(body_that_stalls_is_given_up),
      HTTP_TEST(body_that_comes_slowly_is_no_stall),
      HTTP_TEST(time_begins_when_more_is_read),
      HTTP_TEST(response_that_is_not_read_is_given_up),
      HTTP_TEST(speaking_gains_no_time_for_reading),
      HTTP_TEST(silent_response_is_no_stall),
      HTTP_TEST(connection_without_a_next_request_is_ended),
      HTTP_TEST(head_has_its_time_from_the_first_byte_on),
      HTTP_TEST(exchanges_are_secure),
      HTTP_TEST(every_allocation_may_fail),
  };

  signal(SIGPIPE, SIG_IGN);
  return cmocka_run_group_tests(tests, NULL, NULL);
}
