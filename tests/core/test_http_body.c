/* The rows of exchange_cases.h against the parser, whole, by byte and by random
 * cuts; and what frames a response. */
#include "aw_http_body.h"

#include "aw_error.h"
#include "exchange_cases.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* A server without sockets: it keeps what it has not read, as one has to. */
typedef struct server {
  aw_buf in;
  aw_http_body body;
  bool in_body, over;
  unsigned requests;
  int status;
  char first[512], now[512];
  size_t len;
} server;

static void refuse(server *s, int status) {
  s->status = status;
  s->over = true;
}

static bool begin_request(server *s) {
  aw_http_head head;
  size_t used;
  int rc = aw_http_parse(&head, aw_buf_bytes(&s->in), aw_buf_len(&s->in), 0,
                         true, &used);

  if (rc != AW_OK) {
    if (rc != AW_E_AGAIN) {
      refuse(s, rc == AW_E_LIMIT ? 431 : 400);
    }
    return false;
  }
  int status = aw_http_check_plain(&head);
  status = status != 0 ? status : aw_http_begin_request_body(&s->body, &head);
  if (status != 0) {
    assert_true(head.why[0] != '\0');
    refuse(s, status);
    return false;
  }
  if (s->body.left > EXCHANGE_BODY_MAX) {
    refuse(s, 413);
    return false;
  }
  s->over = head.minor == 0 || aw_http_has_token(&head, "Connection", "close");
  s->in_body = true;
  s->len = 0;
  aw_buf_consume(&s->in, used);
  return true;
}

static bool go_on(server *s) {
  aw_http_span content;
  size_t used;

  if (!s->in_body) {
    return !s->over && begin_request(s);
  }
  if (!aw_http_is_body_whole(&s->body)) {
    if (aw_buf_len(&s->in) == 0) {
      return false;
    }
    int rc = aw_http_take_body(&s->body, aw_buf_bytes(&s->in),
                               aw_buf_len(&s->in), &used, &content);
    if (rc != AW_OK || s->len + content.len > EXCHANGE_BODY_MAX) {
      assert_true(rc == AW_OK || s->body.why[0] != '\0');
      refuse(s, rc == AW_E_INVALID ? 400 : 413);
      s->in_body = false;
      return false;
    }
    if (content.len > 0) {
      memcpy(s->now + s->len, content.bytes, content.len);
    }
    s->len += content.len;
    aw_buf_consume(&s->in, used);
    return true;
  }
  s->in_body = false;
  s->now[s->len] = '\0';
  if (s->requests++ == 0) {
    strcpy(s->first, s->now);
  }
  return true;
}

static void give(server *s, const char *bytes, size_t len) {
  assert_int_equal(aw_buf_append(&s->in, bytes, len), AW_OK);
  while (go_on(s)) {
  }
}

static void check(const exchange_case *row, const server *s) {
  if (s->requests != row->requests || s->status != row->status ||
      (row->body != NULL && strcmp(s->first, row->body) != 0)) {
    fail_msg("%s: %u requests, status %d, body %s", row->name, s->requests,
             s->status, s->first);
  }
}

/* `cut` gives how many bytes come next. */
static void serve(const exchange_case *row, size_t (*cut)(size_t left)) {
  server s = {.requests = 0};
  size_t at = 0;

  aw_buf_init(&s.in, aw_mem_default());
  while (at < row->len) {
    size_t len = cut(row->len - at);
    /* A copy of its own, so that the sanitizer sees its end. */
    char *piece = malloc(len);
    assert_non_null(piece);
    memcpy(piece, row->text + at, len);
    give(&s, piece, len);
    free(piece);
    at += len;
  }
  aw_buf_fini(&s.in);
  check(row, &s);
}

static size_t cut_nothing(size_t left) {
  return left;
}

static size_t cut_bytes(size_t left) {
  (void)left;
  return 1;
}

static size_t cut_at_random(size_t left) {
  return 1 + (size_t)rand() % (left < 40 ? left : 40);
}

static void requests_are_told_apart(void **state) {
  (void)state;
  srand(7);
  for (size_t i = 0; i < exchange_case_count; i++) {
    serve(&exchange_cases[i], cut_nothing);
    serve(&exchange_cases[i], cut_bytes);
    for (int j = 0; j < 20; j++) {
      serve(&exchange_cases[i], cut_at_random);
    }
  }
}

static void begin_chunked(aw_http_body *body) {
  static const char text[] = "POST / HTTP/1.1\r\n"
                             "Transfer-Encoding: chunked\r\n\r\n";
  aw_http_head head;
  size_t used;

  assert_int_equal(aw_http_parse(&head, text, sizeof text - 1, 0, true, &used),
                   AW_OK);
  assert_int_equal(aw_http_begin_request_body(body, &head), 0);
}

/* A small extension is no harm; one for each byte of content is. */
static void extensions_of_all_chunks_together_have_a_limit(void **state) {
  static const char chunk[] = "1;0123456789\r\nx\r\n";
  aw_http_body body;
  size_t chunks = 0;
  int rc = AW_OK;

  (void)state;
  begin_chunked(&body);
  while (rc == AW_OK && chunks < 10000) {
    size_t at = 0, used;
    aw_http_span content;
    chunks++;
    while (rc == AW_OK && at < sizeof chunk - 1) {
      rc = aw_http_take_body(&body, chunk + at, sizeof chunk - 1 - at, &used,
                             &content);
      at += used;
    }
  }
  assert_int_equal(rc, AW_E_LIMIT);
  assert_int_equal(chunks, AW_HTTP_EXTENSIONS_MAX / 10 + 1);
}

/* The head of a response to "GET / HTTP/1.1", read back. */
static void build(aw_buf *out, aw_http_response response, int expected) {
  aw_buf_init(out, aw_mem_default());
  int rc = aw_http_build_response(out, &response);
  if (rc != expected) {
    fail_msg("%d: %s", rc,
             response.headers != NULL ? response.headers : "no headers");
  }
  assert_int_equal(aw_buf_len(out) > 0, rc == AW_OK);
}

static void assert_response(aw_http_response response, const char *text) {
  aw_buf out;

  build(&out, response, AW_OK);
  assert_int_equal(aw_buf_append(&out, "", 1), AW_OK);
  assert_string_equal(aw_buf_bytes(&out), text);
  aw_buf_fini(&out);
}

#define DATE "Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n"

static void responses_have_one_frame(void **state) {
  (void)state;
  assert_response((aw_http_response){.status = 204},
                  "HTTP/1.1 204 No Content\r\n" DATE "\r\n");
  assert_response((aw_http_response){.status = 200,
                                     .headers = "X: y\r\nX: z\r\n",
                                     .framing = AW_HTTP_COUNTED,
                                     .length = 5},
                  "HTTP/1.1 200 OK\r\n" DATE "X: y\r\nX: z\r\n"
                  "Content-Length: 5\r\n\r\n");
  assert_response((aw_http_response){.status = 299,
                                     .framing = AW_HTTP_CHUNKED,
                                     .close = true},
                  "HTTP/1.1 299 Other\r\n" DATE
                  "Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n");
  assert_response((aw_http_response){.status = 500,
                                     .framing = AW_HTTP_UNTIL_CLOSED,
                                     .close = true},
                  "HTTP/1.1 500 Internal Server Error\r\n" DATE
                  "Connection: close\r\n\r\n");
}

static void responses_that_cannot_be_sent_are_not(void **state) {
  static const char *const headers[] = {
      "Content-Length: 5\r\n",
      "transfer-encoding: chunked\r\n",
      "Connection: close\r\n",
      "Keep-Alive: timeout=5\r\n",
      "Trailer: x\r\n",
      "Upgrade: h2c\r\n",
      "Date: x\r\n",
      "X: y",
      "X: y\n",
      "X: y\r\n\r\n",
      "X: y\r\nno header\r\n",
      "X: y\r\n z\r\n",
      " X: y\r\n",
      "X : y\r\n",
      "X: \1\r\n",
      "\r\n",
  };
  aw_buf out;

  (void)state;
  for (size_t i = 0; i < sizeof headers / sizeof headers[0]; i++) {
    build(&out, (aw_http_response){.status = 200, .headers = headers[i]},
          AW_E_INVALID);
    aw_buf_fini(&out);
  }
  for (int status = -1; status < 1000; status++) {
    build(&out, (aw_http_response){.status = status},
          status < 200 || status > 599 ? AW_E_INVALID : AW_OK);
    aw_buf_fini(&out);
  }
}

static void headers_of_a_response_have_a_limit(void **state) {
  char headers[(AW_HTTP_HEADERS_MAX + 1) * 6] = "";
  aw_buf out;

  (void)state;
  for (int i = 0; i < AW_HTTP_HEADERS_MAX - 1; i++) {
    strcat(headers, "X: y\r\n");
  }
  build(&out, (aw_http_response){.status = 200, .headers = headers}, AW_OK);
  aw_buf_fini(&out);
  strcat(headers, "X: y\r\n");
  build(&out, (aw_http_response){.status = 200, .headers = headers},
        AW_E_INVALID);
  aw_buf_fini(&out);
}

static void dates_are_those_of_the_calendar(void **state) {
  static const struct {
    int64_t seconds;
    const char *text;
  } rows[] = {
      {0, "Thu, 01 Jan 1970 00:00:00 GMT"},
      {784111777, "Sun, 06 Nov 1994 08:49:37 GMT"}, /* RFC 9110 section 5.6.7 */
      {951782399, "Mon, 28 Feb 2000 23:59:59 GMT"},
      {951782400, "Tue, 29 Feb 2000 00:00:00 GMT"},
      {951868800, "Wed, 01 Mar 2000 00:00:00 GMT"},
      {1709164800, "Thu, 29 Feb 2024 00:00:00 GMT"},
      {1735689599, "Tue, 31 Dec 2024 23:59:59 GMT"},
      {4107542400, "Mon, 01 Mar 2100 00:00:00 GMT"},
      {4107456000, "Sun, 28 Feb 2100 00:00:00 GMT"},
      {AW_HTTP_DATE_MAX, "Fri, 31 Dec 9999 23:59:59 GMT"},
      {AW_HTTP_DATE_MAX + 1, "Thu, 01 Jan 1970 00:00:00 GMT"},
      {-1, "Thu, 01 Jan 1970 00:00:00 GMT"},
  };
  char text[AW_HTTP_DATE_TEXT];

  (void)state;
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
    aw_http_format_date(rows[i].seconds, text);
    assert_string_equal(text, rows[i].text);
  }
}

static void chunks_are_read_back(void **state) {
  aw_http_body body;
  aw_buf out;
  char got[64] = "";
  size_t used, at = 0, len = 0;

  (void)state;
  aw_buf_init(&out, aw_mem_default());
  assert_int_equal(aw_http_build_chunk(&out, "hello, ", 7), AW_OK);
  assert_int_equal(aw_http_build_chunk(&out, "whole wide world", 16), AW_OK);
  assert_int_equal(aw_http_build_last_chunk(&out), AW_OK);
  begin_chunked(&body);
  while (!aw_http_is_body_whole(&body)) {
    aw_http_span content;
    assert_in_range(at, 0, aw_buf_len(&out) - 1);
    assert_int_equal(aw_http_take_body(&body, aw_buf_bytes(&out) + at,
                                       aw_buf_len(&out) - at, &used, &content),
                     AW_OK);
    memcpy(got + len, content.bytes, content.len);
    len += content.len;
    at += used;
  }
  assert_int_equal(at, aw_buf_len(&out));
  assert_string_equal(got, "hello, whole wide world");
  aw_buf_fini(&out);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(requests_are_told_apart),
      cmocka_unit_test(extensions_of_all_chunks_together_have_a_limit),
      cmocka_unit_test(responses_have_one_frame),
      cmocka_unit_test(responses_that_cannot_be_sent_are_not),
      cmocka_unit_test(headers_of_a_response_have_a_limit),
      cmocka_unit_test(dates_are_those_of_the_calendar),
      cmocka_unit_test(chunks_are_read_back),
  };

  return cmocka_run_group_tests_name("http_body", tests, NULL, NULL);
}
