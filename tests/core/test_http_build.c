#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "aw_error.h"
#include "aw_http.h"
#include "failing_mem.h"

#define COUNT(rows) (sizeof(rows) / sizeof(rows)[0])

/* RFC 6455 section 1.3. */
#define KEY "dGhlIHNhbXBsZSBub25jZQ=="
#define ACCEPT "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

#define SPAN(text) ((aw_http_span){(text), strlen(text)})

static void assert_span(aw_http_span span, const char *text) {
  if (text == NULL) {
    assert_null(span.bytes);
    return;
  }
  assert_non_null(span.bytes);
  assert_int_equal(span.len, strlen(text));
  assert_memory_equal(span.bytes, text, span.len);
}

static void a_built_handshake_passes_our_checks(void **state) {
  aw_http_span protocol;
  aw_http_head head;
  size_t used;
  aw_buf out;

  (void)state;
  aw_buf_init(&out, aw_mem_default());
  assert_int_equal(aw_http_build_request(&out, "[::1]:7450", "/a?b", KEY,
                                         "x, y",
                                         "Authorization: Bearer t\r\n"
                                         "X: \r\n"),
                   0);
  assert_int_equal(aw_http_parse(&head, aw_buf_bytes(&out), aw_buf_len(&out), 0,
                                 true, &used),
                   0);
  assert_int_equal(used, aw_buf_len(&out));
  assert_int_equal(aw_http_check_request(&head, NULL), 0);
  assert_span(head.target, "/a?b");
  assert_span(aw_http_find(&head, "Host"), "[::1]:7450");
  assert_span(aw_http_find(&head, "Authorization"), "Bearer t");
  protocol = aw_http_pick_protocol(&head, "y");
  assert_span(protocol, "y");
  aw_buf_reset(&out, 0);
  assert_int_equal(aw_http_build_accept(&out, ACCEPT, protocol, "X: 1\r\n"), 0);
  assert_int_equal(aw_http_parse(&head, aw_buf_bytes(&out), aw_buf_len(&out), 0,
                                 false, &used),
                   0);
  assert_int_equal(used, aw_buf_len(&out));
  assert_int_equal(aw_http_check_response(&head, KEY, "x, y", &protocol), 0);
  assert_span(protocol, "y");
  aw_buf_fini(&out);
}

static void a_query_without_a_path_gets_one(void **state) {
  static const char start[] = "GET /?q HTTP/1.1\r\nHost: h\r\n";
  aw_buf out;

  (void)state;
  aw_buf_init(&out, aw_mem_default());
  assert_int_equal(aw_http_build_request(&out, "h", "?q", KEY, NULL, NULL), 0);
  assert_memory_equal(aw_buf_bytes(&out), start, sizeof start - 1);
  aw_buf_fini(&out);
}

static void builders_refuse_header_injection(void **state) {
  static const struct {
    const char *host, *target, *protocols, *extra;
  } rows[] = {
      {"h\r\nX: y", "/", NULL, NULL},
      {"h\nX: y", "/", NULL, NULL},
      {"h h", "/", NULL, NULL},
      {"", "/", NULL, NULL},
      {"h", "/\r\nX: y", NULL, NULL},
      {"h", "/ HTTP/1.1\r\nX: y", NULL, NULL},
      {"h", "/a b", NULL, NULL},
      {"h", "", NULL, NULL},
      {"h", "/", "p\r\nX: y", NULL},
      {"h", "/", "p\nX: y", NULL},
      {"h", "/", "p\rX: y", NULL},
      {"h", "/", NULL, "X: y"},
      {"h", "/", NULL, "X: y\n"},
      {"h", "/", NULL, "X: a\nY: b\r\n"},
      {"h", "/", NULL, "X: a\rY: b\r\n"},
      {"h", "/", NULL, "X: y\r\n\r\n"},
      {"h", "/", NULL, "\r\nbody"},
      {"h", "/", NULL, "\r\n"},
      {"h", "/", NULL, "no colon\r\n"},
      {"h", "/", NULL, " folded: y\r\n"},
      {"h", "/", NULL, "X : y\r\n"},
      {"h", "/", NULL, "Host: other\r\n"},
      {"h", "/", NULL, "sec-websocket-key: " KEY "\r\n"},
      {"h", "/", "p", "Sec-WebSocket-Protocol: q\r\n"},
  };
  aw_buf out;

  (void)state;
  aw_buf_init(&out, aw_mem_default());
  aw_buf_append(&out, "kept", 4);
  for (size_t i = 0; i < COUNT(rows); i++) {
    if (aw_http_build_request(&out, rows[i].host, rows[i].target, KEY,
                              rows[i].protocols,
                              rows[i].extra) != AW_E_INVALID) {
      fail_msg("row %zu", i);
    }
    if (rows[i].extra != NULL && rows[i].protocols == NULL &&
        strstr(rows[i].extra, "Host") == NULL &&
        strstr(rows[i].extra, "key") == NULL) {
      assert_int_equal(
          aw_http_build_accept(&out, ACCEPT, SPAN("p"), rows[i].extra),
          AW_E_INVALID);
    }
  }
  assert_int_equal(aw_http_build_request(&out, "h", "/",
                                         "dGhlIHNhbXB\r\nSBub25jZQ==", NULL,
                                         NULL),
                   AW_E_INVALID);
  assert_int_equal(aw_http_build_accept(&out, ACCEPT, SPAN("p\r\nX: y"), NULL),
                   AW_E_INVALID);
  assert_int_equal(
      aw_http_build_accept(&out, ACCEPT, (aw_http_span){"p\0q", 3}, NULL),
      AW_E_INVALID);
  assert_int_equal(aw_buf_len(&out), 4);
  aw_buf_fini(&out);
}

static void headers_of_a_caller_are_checked(void **state) {
  static const struct {
    const char *name, *value;
    bool fine;
  } rows[] = {
      {"X-A", "b", true},
      {"X-A", "", true},
      {"x!#$%&'*+-.^_`|~9", "caf\xC3\xA9\t\"", true},
      {"Sec-WebSocke", "", true},
      {"Hosts", "", true},
      {"", "b", false},
      {"X A", "b", false},
      {"X:", "b", false},
      {"X\r\n", "b", false},
      {"X\xC3\xA9", "b", false},
      {"X", "b\r\nY: c", false},
      {"X", "b\n", false},
      {"X", "b\r", false},
      {"X", "\x7F", false},
      {"host", "b", false},
      {"UPGRADE", "b", false},
      {"Connection", "b", false},
      {"Content-length", "0", false},
      {"Transfer-Encoding", "b", false},
      {"sec-websocket-key", "b", false},
      {"Sec-WebSocket-", "b", false},
  };

  (void)state;
  for (size_t i = 0; i < COUNT(rows); i++) {
    const char *why =
        aw_http_check_header(SPAN(rows[i].name), SPAN(rows[i].value));

    if ((why == NULL) != rows[i].fine) {
      fail_msg("%s: %s", rows[i].name, why);
    }
  }
  assert_non_null(aw_http_check_header(SPAN("X"), (aw_http_span){"a\0b", 3}));
  assert_non_null(aw_http_check_header((aw_http_span){"a\0b", 3}, SPAN("X")));
}

static void refusals_are_complete_responses(void **state) {
  static const struct {
    int status;
    const char *header, *value; /* NULL: absent */
  } rows[] = {
      {400, "Upgrade", NULL},
      {403, "Allow", NULL},
      {405, "Allow", "GET"},
      {426, "Upgrade", "websocket"},
      {426, "Sec-WebSocket-Version", "13"},
      {503, "Sec-WebSocket-Version", NULL},
      {418, "Connection", "close"},
  };

  (void)state;
  for (size_t i = 0; i < COUNT(rows); i++) {
    aw_http_head head;
    size_t used;
    aw_buf out;

    aw_buf_init(&out, aw_mem_default());
    assert_int_equal(aw_http_build_refusal(&out, rows[i].status, "why\r\nX: y"),
                     0);
    assert_int_equal(aw_http_parse(&head, aw_buf_bytes(&out), aw_buf_len(&out),
                                   0, false, &used),
                     0);
    assert_int_equal(head.status, rows[i].status);
    assert_true(head.reason.len > 0);
    assert_span(aw_http_find(&head, rows[i].header), rows[i].value);
    assert_span(aw_http_find(&head, "Content-Length"), "10");
    assert_true(aw_http_has_token(&head, "Connection", "close"));
    assert_null(aw_http_find(&head, "X").bytes);
    assert_int_equal(aw_buf_len(&out) - used, 10);
    assert_memory_equal(aw_buf_bytes(&out) + used, "why\r\nX: y\n", 10);
    assert_int_equal(aw_http_build_refusal(&out, 101, "why"), AW_E_INVALID);
    assert_int_equal(aw_http_build_refusal(&out, 600, "why"), AW_E_INVALID);
    aw_buf_fini(&out);
  }
}

static int build_all(const aw_mem *mem) {
  aw_buf out;
  int rc;

  aw_buf_init(&out, mem);
  rc = aw_http_build_request(&out, "h", "/", KEY, "p", NULL);
  if (rc == 0) {
    rc = aw_http_build_accept(&out, ACCEPT, SPAN("p"), NULL);
  }
  if (rc == 0) {
    rc = aw_http_build_refusal(&out, 426, "a sentence that says why");
  }
  aw_buf_fini(&out);
  return rc;
}

static void builders_survive_every_failed_allocation(void **state) {
  (void)state;
  fail_each_allocation(build_all);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_built_handshake_passes_our_checks),
      cmocka_unit_test(a_query_without_a_path_gets_one),
      cmocka_unit_test(builders_refuse_header_injection),
      cmocka_unit_test(headers_of_a_caller_are_checked),
      cmocka_unit_test(refusals_are_complete_responses),
      cmocka_unit_test(builders_survive_every_failed_allocation),
  };

  return cmocka_run_group_tests(tests, NULL, NULL);
}
