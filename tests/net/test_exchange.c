/* Requests that are no upgrades, over sockets: what the owner of a listener
 * sees of them, and what their clients see of the answers. */
#include "exchange_cases.h"
#include "http_stage.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define HOST "Host: a\r\n"
#define GET "GET /g HTTP/1.1\r\n" HOST "\r\n"

static char body[HTTP_BODY_MAX + 1];

static void assert_holds(const raw_peer *raw, const char *text) {
  if (strstr(raw->in, text) == NULL) {
    fail_msg("no %s in %.500s", text, raw->in);
  }
}

static void assert_holds_not(const raw_peer *raw, const char *text) {
  if (strstr(raw->in, text) != NULL) {
    fail_msg("%s in %.500s", text, raw->in);
  }
}

/* The request */

static void owner_sees_what_is_asked_for(void **state) {
  http_stage *stage = *state;
  aw_upgrade_field field;
  raw_peer raw;
  size_t len;

  http_listen(stage, (aw_listener_options){0});
  aw_exchange *x = http_come(stage, &raw,
                             "PUT http://b/%7ea?q=%20 HTTP/1.1\r\nHost: b\r\n"
                             "X-One:  1 \r\nContent-Length: 3\r\n\r\nabc");
  const char *method = aw_exchange_method(x, &len);
  assert_int_equal(len, 3);
  assert_memory_equal(method, "PUT", 3);
  assert_string_equal(aw_exchange_target(x), "/~a?q=%20");
  assert_int_equal(aw_exchange_minor(x), 1);
  assert_string_equal(aw_exchange_peer(x), "127.0.0.1");
  assert_null(aw_exchange_tls_subject(x));
  assert_int_equal(aw_exchange_length(x), 3);
  const char *one = aw_exchange_header(x, "x-one", &len);
  assert_int_equal(len, 1);
  assert_memory_equal(one, "1", 1);
  assert_null(aw_exchange_header(x, "X-Two", &len));
  assert_true(aw_exchange_headers(x, 2, &field));
  assert_memory_equal(field.name, "Content-Length", field.name_len);
  assert_false(aw_exchange_headers(x, 3, &field));
  assert_null(aw_exchange_end_of(x));
  raw_free(&raw);
}

/* A server of the rows: answers each whole body with itself. */
static void serve(http_stage *stage, unsigned *next) {
  size_t len = 0;
  int error;

  while (*next < stage->count) {
    aw_exchange *x = stage->x[*next];
    if (http_read(x, stage->extra, &len, &error)) {
      http_answer(x, 200, stage->extra);
    } else if (error == AW_E_AGAIN) {
      return;
    }
    ++*next;
  }
}

static void play(http_stage *stage, const exchange_case *row, bool by_byte) {
  raw_peer raw;
  unsigned next = stage->count, before = next;
  char *kept = calloc(1, HTTP_BODY_MAX + 1);
  uint64_t deadline = uv_hrtime() + 5000000000u;
  char status[32];

  assert_non_null(kept);
  stage->extra = kept;
  raw_dial(&raw, stage->loop, stage->port);
  for (size_t at = 0; at < row->len && !raw.ended;
       at += by_byte ? 1 : row->len) {
    raw_put(&raw, row->text + at, by_byte ? 1 : row->len);
    if (by_byte) {
      aw_loop_wait(stage->loop, 0);
    }
  }
  while (http_count(&raw, "HTTP/1.1 200 OK") < row->requests ||
         (row->status != 0 && !raw.ended)) {
    if (uv_hrtime() > deadline) {
      fail_msg("%s: %.300s", row->name, raw.in);
    }
    raw_turn(&raw);
    serve(stage, &next);
  }
  http_idle(&raw, row->status == 0 ? 3 : 0);
  snprintf(status, sizeof status, "HTTP/1.1 %d ", row->status);
  if (http_count(&raw, "HTTP/1.1 200 OK") != row->requests ||
      http_count(&raw, status) != (row->status != 0) ||
      (row->requests > 0 && strstr(raw.in, row->body) == NULL)) {
    fail_msg("%s: %s", row->name, raw.in);
  }
  raw_free(&raw);
  for (unsigned i = before; i < stage->count; i++) {
    aw_exchange_free(stage->x[i]);
  }
  stage->count = before;
  free(kept);
}

static void requests_are_told_apart(void **state) {
  http_stage *stage = *state;

  http_listen(stage, (aw_listener_options){.body_max = EXCHANGE_BODY_MAX});
  for (size_t i = 0; i < exchange_case_count; i++) {
    play(stage, &exchange_cases[i], false);
  }
}

static void requests_are_told_apart_byte_by_byte(void **state) {
  http_stage *stage = *state;

  http_listen(stage, (aw_listener_options){.body_max = EXCHANGE_BODY_MAX});
  for (size_t i = 0; i < exchange_case_count; i++) {
    play(stage, &exchange_cases[i], true);
  }
}

/* Without anybody who wants requests nothing is different from before. */
static void refuse_request(http_stage *stage, const char *text,
                           const char *status) {
  raw_peer raw;

  http_dial(stage, &raw, text);
  raw_until_ended(&raw);
  assert_holds(&raw, status);
  raw_free(&raw);
}

static void nobody_wants_requests(void **state) {
  http_stage *stage = *state;
  aw_listener_options options = {.url = "ws://127.0.0.1:0"};
  aw_listener_sink sink = {.accepted = NULL};
  const char *why;

  assert_int_equal(aw_listener_new(stage->loop, &options, &sink, stage,
                                   &stage->listener, &why),
                   AW_OK);
  stage->port = aw_listener_port(stage->listener);
  refuse_request(stage, "GET / HTTP/1.1\r\n" HOST "\r\n", "HTTP/1.1 426");
  refuse_request(stage, "POST / HTTP/1.1\r\n" HOST "\r\n", "HTTP/1.1 405");
}

/* The answer */

static void answer_with_a_length(void **state) {
  http_stage *stage = *state;
  raw_peer raw;

  http_listen(stage, (aw_listener_options){0});
  aw_exchange *x = http_come(stage, &raw, GET);
  assert_int_equal(aw_exchange_respond(x, 201, "X-A: b\r\n", 5), AW_OK);
  assert_int_equal(aw_exchange_write(x, "hello!", 6), AW_E_INVALID);
  assert_int_equal(aw_exchange_write(x, "he", 2), AW_OK);
  assert_int_equal(aw_exchange_finish(x), AW_E_INVALID);
  assert_int_equal(aw_exchange_write(x, "llo", 3), AW_OK);
  assert_int_equal(aw_exchange_write(x, "!", 1), AW_E_INVALID);
  assert_int_equal(aw_exchange_finish(x), AW_OK);
  HTTP_UNTIL(&raw, http_is_over(x, AW_OK));
  HTTP_UNTIL(&raw, http_count(&raw, "hello") == 1);
  assert_holds(&raw, "HTTP/1.1 201 Created\r\nDate: ");
  assert_holds(&raw, "X-A: b\r\nContent-Length: 5\r\n\r\nhello");
  assert_holds_not(&raw, "close");
  assert_false(raw.ended);
  raw_free(&raw);
}

static void answer_in_pieces(void **state) {
  http_stage *stage = *state;
  raw_peer raw;

  http_listen(stage, (aw_listener_options){0});
  aw_exchange *x = http_come(stage, &raw, GET);
  assert_int_equal(aw_exchange_write(x, "early", 5), AW_E_INVALID);
  assert_int_equal(aw_exchange_finish(x), AW_E_INVALID);
  assert_int_equal(aw_exchange_respond(x, 200, NULL, AW_EXCHANGE_UNKNOWN),
                   AW_OK);
  assert_int_equal(aw_exchange_respond(x, 200, NULL, 0), AW_E_INVALID);
  assert_int_equal(aw_exchange_write(x, "one", 3), AW_OK);
  HTTP_UNTIL(&raw, http_count(&raw, "3\r\none\r\n") == 1);
  assert_int_equal(aw_exchange_write(x, "", 0), AW_OK);
  assert_int_equal(aw_exchange_write(x, "0123456789abcdef", 16), AW_OK);
  HTTP_UNTIL(&raw, http_count(&raw, "10\r\n0123456789abcdef\r\n") == 1);
  assert_holds_not(&raw, "0\r\n\r\n");
  assert_int_equal(aw_exchange_finish(x), AW_OK);
  assert_int_equal(aw_exchange_write(x, "late", 4), AW_E_INVALID);
  assert_int_equal(aw_exchange_finish(x), AW_E_INVALID);
  HTTP_UNTIL(&raw, http_count(&raw, "\r\n0\r\n\r\n") == 1);
  assert_holds(&raw, "Transfer-Encoding: chunked\r\n\r\n3\r\n");
  raw_free(&raw);
}

static void old_client_reads_to_the_end_of_the_connection(void **state) {
  http_stage *stage = *state;
  raw_peer raw;

  http_listen(stage, (aw_listener_options){0});
  aw_exchange *x = http_come(stage, &raw, "GET / HTTP/1.0\r\n\r\n");
  assert_int_equal(aw_exchange_minor(x), 0);
  assert_int_equal(aw_exchange_respond(x, 200, NULL, AW_EXCHANGE_UNKNOWN),
                   AW_OK);
  assert_int_equal(aw_exchange_write(x, "all of it", 9), AW_OK);
  assert_int_equal(aw_exchange_finish(x), AW_OK);
  raw_until_ended(&raw);
  assert_holds(&raw, "Connection: close\r\n\r\nall of it");
  assert_holds_not(&raw, "chunked");
  assert_int_equal(raw.error, 0);
  raw_free(&raw);
}

/* What follows has to be the next head. */
static void check_bodiless(http_stage *stage, const char *request, int status,
                           uint64_t length, const char *ends) {
  raw_peer raw;

  aw_exchange *x = http_come(stage, &raw, request);
  assert_int_equal(aw_exchange_respond(x, status, NULL, length), AW_OK);
  assert_int_equal(aw_exchange_write(x, "unseen", 6), AW_OK);
  assert_int_equal(aw_exchange_finish(x), AW_OK);
  http_answer(http_request(stage, &raw, stage->count), 200, "next");
  HTTP_UNTIL(&raw, http_count(&raw, "next") == 1);
  assert_holds_not(&raw, "unseen");
  assert_holds(&raw, ends);
  raw_free(&raw);
}

#define AFTER "\r\n\r\nHTTP/1.1 200"

static void some_responses_have_no_body(void **state) {
  http_stage *stage = *state;

  http_listen(stage, (aw_listener_options){0});
  check_bodiless(stage, "HEAD / HTTP/1.1\r\n" HOST "\r\n" GET, 200, 6,
                 "Content-Length: 6" AFTER);
  check_bodiless(stage, "HEAD / HTTP/1.1\r\n" HOST "\r\n" GET, 200,
                 AW_EXCHANGE_UNKNOWN, " GMT" AFTER);
  check_bodiless(stage, GET GET, 204, AW_EXCHANGE_UNKNOWN, " GMT" AFTER);
  check_bodiless(stage, GET GET, 304, 6, " GMT" AFTER);
}

static void headers_that_split_the_response_are_refused(void **state) {
  static const char *const headers[] = {
      "X: a\r\n\r\nHTTP/1.1 200 OK\r\n", "X: a\nY: b\r\n",
      "Content-Length: 9\r\n",           "Transfer-Encoding: chunked\r\n",
      "Connection: close\r\n",           "X: a"};
  http_stage *stage = *state;
  raw_peer raw;

  http_listen(stage, (aw_listener_options){0});
  aw_exchange *x = http_come(stage, &raw, GET);
  for (size_t i = 0; i < sizeof headers / sizeof headers[0]; i++) {
    assert_int_equal(aw_exchange_respond(x, 200, headers[i], 0), AW_E_INVALID);
  }
  assert_int_equal(aw_exchange_respond(x, 101, NULL, 0), AW_E_INVALID);
  http_answer(x, 200, "fine");
  HTTP_UNTIL(&raw, http_count(&raw, "fine") == 1);
  assert_int_equal(http_count(&raw, "HTTP/1.1"), 1);
  raw_free(&raw);
}

/* One after the other */

static void connection_is_used_again(void **state) {
  http_stage *stage = *state;
  raw_peer raw;

  http_listen(stage, (aw_listener_options){0});
  raw_dial(&raw, stage->loop, stage->port);
  for (unsigned i = 0; i < 20; i++) {
    raw_say(&raw, "POST / HTTP/1.1\r\n" HOST "Content-Length: 2\r\n\r\nhi");
    aw_exchange *x = http_request(stage, &raw, i);
    http_answer(x, 200, "again"); /* without having looked at the body */
    HTTP_UNTIL(&raw, http_is_over(x, AW_OK));
    HTTP_UNTIL(&raw, http_count(&raw, "again") == i + 1);
    http_let_go(stage, x);
  }
  raw_free(&raw);
}

static void next_request_waits_for_the_end_of_the_response(void **state) {
  http_stage *stage = *state;
  raw_peer raw;

  http_listen(stage, (aw_listener_options){0});
  aw_exchange *x =
      http_come(stage, &raw,
                GET "PUT /2 HTTP/1.1\r\n" HOST "Content-Length: 3\r\n\r\nabc");
  assert_int_equal(aw_exchange_respond(x, 200, NULL, 2), AW_OK);
  assert_int_equal(aw_exchange_write(x, "1.", 2), AW_OK);
  http_idle(&raw, 5);
  assert_int_equal(stage->count, 1);
  assert_int_equal(aw_exchange_finish(x), AW_OK);
  http_let_go(stage, x);
  x = http_request(stage, &raw, 1);
  assert_string_equal(aw_exchange_target(x), "/2");
  size_t len = 0;
  int error;
  assert_true(http_read(x, body, &len, &error));
  assert_string_equal(body, "abc");
  http_answer(x, 200, "2.");
  HTTP_UNTIL(&raw, http_count(&raw, "2.") == 1);
  raw_free(&raw);
}

static void answer_at_once(http_stage *stage, aw_exchange *x) {
  unsigned *served = stage->extra;

  ++*served;
  http_answer(x, 200, "at once");
  aw_exchange_free(x);
}

static void pipeline_is_answered_inside_the_upcall(void **state) {
  http_stage *stage = *state;
  unsigned served = 0;
  raw_peer raw;

  stage->on_request = answer_at_once;
  stage->extra = &served;
  http_listen(stage, (aw_listener_options){0});
  raw_dial(&raw, stage->loop, stage->port);
  for (int i = 0; i < 1000; i++) {
    raw_put(&raw, GET, sizeof GET - 1);
  }
  HTTP_UNTIL(&raw, served == 1000 && http_count(&raw, "at once") == 1000);
  raw_free(&raw);
}

static void upgrade_may_follow_a_request(void **state) {
  http_stage *stage = *state;
  raw_peer raw;

  http_listen(stage, (aw_listener_options){0});
  aw_exchange *x = http_come(stage, &raw, GET);
  http_answer(x, 200, "");
  size_t len = raw_head(&raw);
  raw_consume(&raw, len);
  raw_upgrade(&raw);
  HTTP_UNTIL(&raw, stage->socket != NULL);
  assert_int_equal(aw_transport_send(stage->socket, "{}", 2), AW_OK);
  raw_frame frame;
  assert_true(raw_take_frame(&raw, &frame));
  assert_memory_equal(frame.bytes, "{}", 2);
  raw_free(&raw);
}

static void upgrade_elsewhere_is_refused_as_ever(void **state) {
  http_stage *stage = *state;

  http_listen(stage, (aw_listener_options){0});
  refuse_request(stage,
                 "GET /else HTTP/1.1\r\n" HOST
                 "Upgrade: websocket\r\nConnection: upgrade\r\n\r\n",
                 "HTTP/1.1 404");
  assert_int_equal(stage->count, 0);
}

/* RFC 9110 section 10.1.1 */

#define EXPECTING                                                              \
  "POST / HTTP/1.1\r\n" HOST "Expect: 100-continue\r\nContent-Length: "        \
  "2\r\n\r\n"

static void client_goes_on_when_the_body_is_asked_for(void **state) {
  http_stage *stage = *state;
  size_t len = 0;
  int error;
  raw_peer raw;

  http_listen(stage, (aw_listener_options){.stall_ms = 40});
  aw_exchange *x = http_come(stage, &raw, EXPECTING);
  http_idle(&raw, 80); /* which is no stall */
  assert_int_equal(raw.len, 0);
  assert_false(http_read(x, body, &len, &error));
  assert_int_equal(error, AW_E_AGAIN);
  assert_false(http_read(x, body, &len, &error));
  HTTP_UNTIL(&raw, raw.len > 0);
  assert_string_equal(raw.in, "HTTP/1.1 100 Continue\r\n\r\n");
  raw_say(&raw, "hi" GET);
  HTTP_UNTIL(&raw, http_read(x, body, &len, &error));
  assert_string_equal(body, "hi");
  http_answer(x, 200, "thanks");
  http_answer(http_request(stage, &raw, 1), 200, "next");
  HTTP_UNTIL(&raw, http_count(&raw, "next") == 1);
  assert_int_equal(http_count(&raw, "100 Continue"), 1);
  raw_free(&raw);
}

static void body_that_was_not_asked_for_is_not_waited_for(void **state) {
  http_stage *stage = *state;
  size_t len = 0;
  int error;
  raw_peer raw;

  http_listen(stage, (aw_listener_options){0});
  aw_exchange *x = http_come(stage, &raw, EXPECTING);
  assert_int_equal(aw_exchange_respond(x, 401, NULL, 2), AW_OK);
  assert_false(http_read(x, body, &len, &error));
  assert_int_equal(error, AW_E_CLOSED);
  assert_int_equal(aw_exchange_write(x, "no", 2), AW_OK);
  assert_int_equal(aw_exchange_finish(x), AW_OK);
  raw_until_ended(&raw);
  assert_holds(&raw, "Connection: close\r\n\r\nno");
  assert_holds_not(&raw, "100 Continue");
  raw_free(&raw);
}

static void body_that_comes_unasked_is_read(void **state) {
  http_stage *stage = *state;
  size_t len = 0;
  int error;
  raw_peer raw;

  http_listen(stage, (aw_listener_options){0});
  aw_exchange *x = http_come(stage, &raw, EXPECTING "h");
  HTTP_UNTIL(&raw, !http_read(x, body, &len, &error) && len == 1);
  http_idle(&raw, 5);
  assert_int_equal(raw.len, 0); /* it has gone on already */
  raw_say(&raw, "i");
  HTTP_UNTIL(&raw, http_read(x, body, &len, &error));
  assert_string_equal(body, "hi");
  http_answer(x, 200, "thanks");
  HTTP_UNTIL(&raw, http_count(&raw, "thanks") == 1);
  raw_free(&raw);
}

/* Ends */

static void assert_gone(http_stage *stage, raw_peer *raw, aw_exchange *x) {
  uint64_t before = uv_hrtime();

  (void)http_events(stage, x);
  raw_free(raw);
  http_until_over(stage, x, AW_E_CLOSED);
  assert_true(uv_hrtime() - before < 1000000000u);
  assert_true((http_events(stage, x) & AW_EXCHANGE_OVER) != 0);
  http_let_go(stage, x);
}

static void client_goes_before_the_answer(void **state) {
  http_stage *stage = *state;
  raw_peer raw;

  http_listen(stage, (aw_listener_options){0});
  aw_exchange *x = http_come(stage, &raw, GET);
  raw_free(&raw);
  http_until_over(stage, x, AW_E_CLOSED);
  assert_int_equal(aw_exchange_respond(x, 200, NULL, 0), AW_E_CLOSED);
}

static void client_goes_in_the_middle_of_its_body(void **state) {
  http_stage *stage = *state;
  size_t len = 0;
  int error;
  raw_peer raw;

  http_listen(stage, (aw_listener_options){0});
  aw_exchange *x = http_come(
      stage, &raw, "POST / HTTP/1.1\r\n" HOST "Content-Length: 9\r\n\r\nhalf");
  raw_free(&raw);
  http_until_over(stage, x, AW_E_CLOSED);
  assert_string_equal(aw_exchange_end_of(x)->reason, "the client has gone");
  assert_false(http_read(x, body, &len, &error));
  assert_string_equal(body, "half");
  assert_int_equal(error, AW_E_CLOSED);
}

static void client_goes_while_a_response_streams(void **state) {
  http_stage *stage = *state;
  raw_peer raw;

  http_listen(stage, (aw_listener_options){0});
  aw_exchange *x = http_come(stage, &raw, GET);
  assert_int_equal(aw_exchange_respond(x, 200, NULL, AW_EXCHANGE_UNKNOWN),
                   AW_OK);
  assert_int_equal(aw_exchange_write(x, "data", 4), AW_OK);
  HTTP_UNTIL(&raw, http_count(&raw, "data") == 1);
  assert_gone(stage, &raw, x);
}

static void choke(aw_exchange *x) {
  static char block[64 << 10];

  memset(block, 'x', sizeof block);
  assert_int_equal(aw_exchange_respond(x, 200, NULL, AW_EXCHANGE_UNKNOWN),
                   AW_OK);
  for (int i = 0; i < 1000; i++) {
    int rc = aw_exchange_write(x, block, sizeof block);
    if (rc == AW_E_AGAIN) {
      return;
    }
    assert_int_equal(rc, AW_OK);
  }
  fail_msg("there was always room");
}

static void client_goes_without_having_read(void **state) {
  http_stage *stage = *state;
  raw_peer raw;

  http_listen(stage, (aw_listener_options){0});
  aw_exchange *x = http_come(stage, &raw, GET);
  choke(x);
  for (int i = 0; i < 5; i++) {
    aw_loop_wait(stage->loop, 5);
  }
  assert_gone(stage, &raw, x);
}

/* Nothing is read from it, and it has to be noticed all the same. */
static void check_unread(http_stage *stage, bool by_reset) {
  static char block[90 << 10]; /* the system has room for the rest */
  struct linger now = {.l_onoff = by_reset};
  raw_peer raw;

  aw_exchange *x =
      http_come(stage, &raw,
                "POST / HTTP/1.1\r\n" HOST "Content-Length: 9999999\r\n\r\n");
  raw_put(&raw, block, sizeof block);
  http_idle(&raw, 20);
  assert_int_equal(setsockopt(raw.fd, SOL_SOCKET, SO_LINGER, &now, sizeof now),
                   0);
  assert_gone(stage, &raw, x);
}

static void client_goes_whose_body_nobody_reads(void **state) {
  http_listen(*state, (aw_listener_options){0});
  check_unread(*state, false);
  check_unread(*state, true);
}

static void forgotten_exchange_is_answered(void **state) {
  http_stage *stage = *state;
  raw_peer raw;

  http_listen(stage, (aw_listener_options){0});
  http_let_go(stage, http_come(stage, &raw, GET));
  raw_until_ended(&raw);
  assert_holds(&raw, "HTTP/1.1 503");
  assert_int_equal(raw.error, 0);
  raw_free(&raw);
}

static void response_that_is_given_up_is_cut(void **state) {
  http_stage *stage = *state;
  raw_peer raw;

  http_listen(stage, (aw_listener_options){0});
  aw_exchange *x = http_come(stage, &raw, GET);
  assert_int_equal(aw_exchange_respond(x, 200, NULL, AW_EXCHANGE_UNKNOWN),
                   AW_OK);
  assert_int_equal(aw_exchange_write(x, "data", 4), AW_OK);
  HTTP_UNTIL(&raw, http_count(&raw, "data") == 1);
  http_let_go(stage, x);
  raw_until_ended(&raw);
  assert_holds_not(&raw, "\r\n0\r\n\r\n");
  raw_free(&raw);
}

static void response_that_has_ended_goes_out(void **state) {
  static char block[300 << 10];
  http_stage *stage = *state;
  raw_peer raw;

  memset(block, 'x', sizeof block);
  http_listen(stage, (aw_listener_options){0});
  aw_exchange *x = http_come(stage, &raw, GET);
  assert_int_equal(aw_exchange_respond(x, 200, NULL, sizeof block), AW_OK);
  assert_int_equal(aw_exchange_write(x, block, sizeof block), AW_OK);
  assert_int_equal(aw_exchange_finish(x), AW_OK);
  http_let_go(stage, x);
  HTTP_UNTIL(&raw, raw.len > sizeof block);
  raw_say(&raw, GET);
  http_request(stage, &raw, 1);
  raw_free(&raw);
}

/* The rest of the body still comes then, and the answer still goes. */
static void owner_that_has_let_go_is_told_nothing(void **state) {
  http_stage *stage = *state;
  raw_peer raw;
  unsigned events;

  http_listen(stage, (aw_listener_options){0});
  aw_exchange *x = http_come(
      stage, &raw, "POST / HTTP/1.1\r\n" HOST "Content-Length: 4\r\n\r\nha");
  choke(x);
  assert_int_equal(aw_exchange_finish(x), AW_OK);
  http_let_go(stage, x);
  raw_say(&raw, "lf");
  while (strstr(raw.in, "\r\n0\r\n\r\n") == NULL) {
    assert_null(aw_loop_ready(stage->loop, &events));
    raw_turn(&raw);
    if (raw.len > 100) {
      raw_consume(&raw, raw.len - 100);
    }
  }
  assert_null(aw_loop_ready(stage->loop, &events));
  raw_free(&raw);
}

static void response_outlives_the_listener(void **state) {
  http_stage *stage = *state;
  raw_peer raw, idle;

  http_listen(stage, (aw_listener_options){0});
  raw_dial(&idle, stage->loop, stage->port);
  aw_exchange *x = http_come(stage, &raw, GET GET);
  aw_listener_free(stage->listener);
  stage->listener = NULL;
  raw_until_ended(&idle);
  http_answer(x, 200, "the last");
  raw_until_ended(&raw);
  assert_holds(&raw, "Connection: close\r\n\r\nthe last");
  assert_int_equal(stage->count, 1);
  raw_free(&idle);
  raw_free(&raw);
}

/* What still goes out when the loop is freed does not leak. */
static void loop_ends_before_a_response_is_out(void **state) {
  static char block[8 << 20];
  http_stage *stage = *state;
  raw_peer raw;

  http_listen(stage, (aw_listener_options){0});
  aw_exchange *x = http_come(stage, &raw, GET);
  assert_int_equal(aw_exchange_respond(x, 200, NULL, sizeof block), AW_OK);
  assert_int_equal(aw_exchange_write(x, block, sizeof block), AW_OK);
  assert_int_equal(aw_exchange_finish(x), AW_OK);
  http_let_go(stage, x);
  aw_loop_wait(stage->loop, 1);
  aw_listener_free(stage->listener);
  stage->listener = NULL;
  aw_loop_wait(stage->loop, 1);
  aw_loop_free(stage->loop);
  stage->loop = NULL;
  assert_int_equal(stage->live, 0);
  raw_free(&raw);
}

/* Whom a proxy speaks for */

#define FOR(address) "GET / HTTP/1.1\r\n" HOST address "\r\n"

static void each_request_of_a_proxy_has_its_client(void **state) {
  static const char *const requests[] = {FOR("X-Forwarded-For: 192.0.2.1\r\n"),
                                         FOR(""),
                                         FOR("X-Forwarded-For: 192.0.2.2\r\n"),
                                         FOR("X-Forwarded-For: 192.0.2.2\r\n")};
  static const char *const peers[] = {"192.0.2.1", "127.0.0.1", "192.0.2.2",
                                      "192.0.2.2"};
  http_stage *stage = *state;
  raw_peer raw;

  http_listen(stage, (aw_listener_options){.trusted_proxies = "127.0.0.1",
                                           .per_address_max = 1});
  raw_dial(&raw, stage->loop, stage->port);
  for (unsigned i = 0; i < 4; i++) {
    raw_say(&raw, requests[i]);
    aw_exchange *x = http_request(stage, &raw, i);
    assert_string_equal(aw_exchange_peer(x), peers[i]);
    http_answer(x, 200, "");
  }
  raw_free(&raw);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      HTTP_TEST(owner_sees_what_is_asked_for),
      HTTP_TEST(requests_are_told_apart),
      HTTP_TEST(requests_are_told_apart_byte_by_byte),
      HTTP_TEST(nobody_wants_requests),
      HTTP_TEST(answer_with_a_length),
      HTTP_TEST(answer_in_pieces),
      HTTP_TEST(old_client_reads_to_the_end_of_the_connection),
      HTTP_TEST(some_responses_have_no_body),
      HTTP_TEST(headers_that_split_the_response_are_refused),
      HTTP_TEST(connection_is_used_again),
      HTTP_TEST(next_request_waits_for_the_end_of_the_response),
      HTTP_TEST(pipeline_is_answered_inside_the_upcall),
      HTTP_TEST(upgrade_may_follow_a_request),
      HTTP_TEST(upgrade_elsewhere_is_refused_as_ever),
      HTTP_TEST(client_goes_on_when_the_body_is_asked_for),
      HTTP_TEST(body_that_was_not_asked_for_is_not_waited_for),
      HTTP_TEST(body_that_comes_unasked_is_read),
      HTTP_TEST(client_goes_before_the_answer),
      HTTP_TEST(client_goes_in_the_middle_of_its_body),
      HTTP_TEST(client_goes_while_a_response_streams),
      HTTP_TEST(client_goes_without_having_read),
      HTTP_TEST(client_goes_whose_body_nobody_reads),
      HTTP_TEST(forgotten_exchange_is_answered),
      HTTP_TEST(response_that_is_given_up_is_cut),
      HTTP_TEST(response_that_has_ended_goes_out),
      HTTP_TEST(owner_that_has_let_go_is_told_nothing),
      HTTP_TEST(response_outlives_the_listener),
      HTTP_TEST(loop_ends_before_a_response_is_out),
      HTTP_TEST(each_request_of_a_proxy_has_its_client),
  };

  return cmocka_run_group_tests(tests, NULL, NULL);
}
