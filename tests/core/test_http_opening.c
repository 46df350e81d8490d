/* The rows of http_cases.h, whole and byte by byte, without sockets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "aw_error.h"
#include "aw_http.h"
#include "http_cases.h"
#include <stdio.h>
#include <stdlib.h>

/* As a server would: the status of the first answer. */
static int status_of(const http_request_case *row, size_t len, char *target) {
  aw_http_head head;
  size_t used;
  int rc = aw_http_parse(&head, row->text, len, 0, true, &used);

  if (rc != 0) {
    return rc == AW_E_AGAIN ? AW_E_AGAIN : 400;
  }
  rc = aw_http_check_request(&head, "/chat");
  if (rc != 0) {
    return rc;
  }
  size_t path = aw_http_normal_path(head.path, target);

  snprintf(target + path, 64, "%s%.*s", head.query.bytes != NULL ? "?" : "",
           (int)head.query.len,
           head.query.bytes != NULL ? head.query.bytes : "");
  return 101;
}

static void requests_get_what_they_deserve(void **state) {
  char target[512];

  (void)state;
  for (size_t i = 0; i < http_request_case_count; i++) {
    const http_request_case *row = &http_request_cases[i];
    int status = status_of(row, row->len, target);

    if (status != row->status) {
      fail_msg("%s: %d", row->name, status);
    }
    if (status == 101 && strcmp(target, row->target) != 0) {
      fail_msg("%s: %s", row->name, target);
    }
    /* A head that is cut is never accepted. */
    for (size_t len = 0; len + 1 < row->len; len++) {
      assert_int_not_equal(status_of(row, len, target), 101);
    }
  }
}

static char *fill_in(const http_response_case *row, size_t *len) {
  char *text = malloc(row->len + 64);
  const char *accept = memchr(row->text, '$', row->len);

  assert_non_null(text);
  *len = row->len;
  memcpy(text, row->text, row->len);
  while ((accept = memchr(text, '$', *len)) != NULL) {
    size_t at = (size_t)(accept - text), extra = strlen(HTTP_CASE_ACCEPT) - 1;

    text = realloc(text, *len + extra + 64);
    memmove(text + at + extra + 1, text + at + 1, *len - at - 1);
    memcpy(text + at, HTTP_CASE_ACCEPT, extra + 1);
    *len += extra;
  }
  return text;
}

/* As a client would, interim answers left out. */
static int error_of(const char *text, size_t len) {
  aw_http_span protocol;
  aw_http_head head;
  size_t used = 0;
  int rc;

  do {
    text += used;
    len -= used;
    rc = aw_http_parse(&head, text, len, 0, false, &used);
  } while (rc == 0 && head.status < 200 && head.status != 101);
  if (rc == 0) {
    rc = aw_http_check_response(&head, HTTP_CASE_KEY, "agentwire.v1, makai.v1",
                                &protocol);
  }
  return rc == AW_E_INVALID ? AW_E_REFUSED : rc;
}

static void answers_open_or_refuse(void **state) {
  (void)state;
  for (size_t i = 0; i < http_response_case_count; i++) {
    size_t len;
    char *text = fill_in(&http_response_cases[i], &len);
    int rc = error_of(text, len);

    if (rc != http_response_cases[i].error) {
      fail_msg("%s: %d", http_response_cases[i].name, rc);
    }
    free(text);
  }
}

static void bodies_are_cut_and_made_one_line(void **state) {
  static const struct {
    const char *head, *body, *out;
    bool whole;
  } rows[] = {
      {"Content-Length: 3\r\n", "abc", "abc", true},
      {"Content-Length: 3\r\n", "abcdef", "abc", true},
      {"Content-Length: 3\r\n", "ab", "ab", false},
      {"Content-Length: x\r\n", "ab", "ab", false},
      {"Content-Length: 99999999999999999999999\r\n", "ab", "ab", false},
      {"Content-Length: 0\r\n", "", "", true},
      {"", "0123456789abcdefX", "0123456789abcdef", true},
      {"Transfer-Encoding: chunked\r\n", "3\r\nabc\r\n0\r\n\r\n", "abc", true},
      {"Transfer-Encoding: chunked\r\n", "3\r\nabc\r\n", "abc", false},
      {"Transfer-Encoding: chunked\r\n", "3\r\nab", "ab", false},
      {"Transfer-Encoding: chunked\r\n", "a", "", false},
      {"Transfer-Encoding: chunked\r\n", "zz\r\n", "", true},
      {"Transfer-Encoding: chunked\r\n", "ffffffffffffffffff\r\nab", "", true},
      {"Transfer-Encoding: chunked\r\n", "7fffffff\r\nab", "ab", false},
      {"Transfer-Encoding: gzip, chunked\r\nContent-Length: 1\r\n",
       "1\r\na\r\n1\r\nb\r\n0\r\n\r\n", "ab", true},
  };
  char out[16], text[256];

  (void)state;
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
    aw_http_head head;
    size_t used, got, len;

    snprintf(text, sizeof text, "HTTP/1.1 400 x\r\n%s\r\n", rows[i].head);
    assert_int_equal(aw_http_parse(&head, text, strlen(text), 0, false, &used),
                     0);
    len = strlen(rows[i].body);
    char *body = malloc(len + 1); /* ASan guards the end */
    memcpy(body, rows[i].body, len);
    assert_int_equal(aw_http_read_body(&head, body, len, out, sizeof out, &got),
                     rows[i].whole);
    assert_int_equal(got, strlen(rows[i].out));
    assert_memory_equal(out, rows[i].out, got);
    free(body);
  }
}

static void urls_are_shown_without_secrets(void **state) {
  static const char *const rows[][2] = {
      {"wss://u:p@h.example:1/a/b?token=x#y", "wss://h.example:1/a/b"},
      {"http://a@b@c/d@e", "http://c/d@e"},
      {"/login?next=/x", "/login"},
      {"//h/x#y", "//h/x"},
      {"http://h", "http://h"},
      {"http://h\x1B[31m/", "http://h"},
      {"", ""},
  };
  char out[64];

  (void)state;
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
    aw_http_span url = {rows[i][0], strlen(rows[i][0])};
    size_t len = aw_http_public_url(url, out, sizeof out);

    assert_int_equal(len, strlen(rows[i][1]));
    assert_memory_equal(out, rows[i][1], len);
  }
  assert_int_equal(
      aw_http_public_url((aw_http_span){"http://host/", 12}, out, 9), 9);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(requests_get_what_they_deserve),
      cmocka_unit_test(answers_open_or_refuse),
      cmocka_unit_test(bodies_are_cut_and_made_one_line),
      cmocka_unit_test(urls_are_shown_without_secrets),
  };

  return cmocka_run_group_tests(tests, NULL, NULL);
}
