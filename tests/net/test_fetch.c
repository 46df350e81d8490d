/* HTTP requests against a bare socket in the same process, which says exactly
 * what a test says. */
#include "aw_fetch.h"

#ifdef AW_WITH_CURL

#include "aw_error.h"
#include "failing_mem.h"
#include "raw_peer.h"
#include <dlfcn.h>
#include <netdb.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define HEAD "HTTP/1.1 200 OK\r\n"
#define SLOW_NAME "slow.test"
#define SLOW_MS 700

static failing_mem memory;
static aw_loop *loop;
static raw_peer peer;
static int listener = -1;
static unsigned port;
static char url[64];
static atomic_int lookups;

/* Stands in front of the C library's, also for other libraries: one name takes
 * its time. */
__attribute__((visibility("default"))) int
getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
            struct addrinfo **out) {
  int (*real)(const char *, const char *, const struct addrinfo *,
              struct addrinfo **);
  *(void **)&real = dlsym(RTLD_NEXT, "getaddrinfo");
  if (node != NULL && strcmp(node, SLOW_NAME) == 0) {
    atomic_fetch_add(&lookups, 1);
    usleep(SLOW_MS * 1000);
    return EAI_NONAME;
  }
  return real(node, service, hints, out);
}

static int set_up(void **state) {
  (void)state;
  failing_mem_init(&memory, 0);
  assert_int_equal(aw_loop_new(&loop, &memory.mem), AW_OK);
  listener = raw_listen(&port);
  snprintf(url, sizeof url, "http://127.0.0.1:%u/path", port);
  memset(&peer, 0, sizeof peer);
  peer.fd = -1;
  return 0;
}

static int tear_down(void **state) {
  (void)state;
  if (peer.fd >= 0) {
    raw_free(&peer);
  }
  close(listener);
  aw_loop_free(loop);
  assert_int_equal(memory.live, 0);
  return 0;
}

static aw_fetch *start(const aw_fetch_options *given) {
  aw_fetch_options options = *given;
  aw_fetch *fetch;
  const char *why;
  options.method = options.method != NULL ? options.method : "GET";
  options.url = options.url != NULL ? options.url : url;
  options.headers = options.headers != NULL ? options.headers : "";
  assert_int_equal(aw_fetch_new(&fetch, loop, &options, NULL, &why), AW_OK);
  return fetch;
}

/* With the request read. */
static aw_fetch *start_and_accept(const aw_fetch_options *options) {
  aw_fetch *fetch = start(options);
  aw_loop_step(loop);
  raw_accept(&peer, loop, listener);
  raw_head(&peer);
  return fetch;
}

/* Turns until the head is there, or none will come. */
static int await_head(aw_fetch *fetch, aw_fetch_head *head) {
  uint64_t end = aw_loop_clock(loop) + 10000;
  int rc;
  while ((rc = aw_fetch_head_of(fetch, head)) == AW_E_AGAIN) {
    assert_true(aw_loop_clock(loop) < end);
    aw_loop_wait(loop, 100);
  }
  return rc;
}

/* Reads all of the body; gives how it ended. */
static int read_all(aw_fetch *fetch, char *out, size_t size) {
  uint64_t end = aw_loop_clock(loop) + 10000;
  size_t at = 0;
  for (;;) {
    const char *bytes;
    size_t len;
    int rc = aw_fetch_peek(fetch, &bytes, &len);
    if (rc == AW_OK) {
      assert_true(at + len < size);
      memcpy(out + at, bytes, len);
      at += len;
      out[at] = '\0';
      aw_fetch_consume(fetch, len);
    } else if (rc == AW_E_AGAIN) {
      assert_true(aw_loop_clock(loop) < end);
      aw_loop_wait(loop, 100);
    } else {
      return rc;
    }
  }
}

static const aw_fetch_options plain = {0};

static void an_answer_may_come_byte_by_byte(void **state) {
  static const char text[] = "HTTP/1.1 103 Early\r\nLink: x\r\n\r\n" HEAD
                             "X-A: b\r\nTransfer-Encoding: chunked\r\n\r\n"
                             "3\r\nabc\r\n2\r\nde\r\n0\r\nX-Trailer: t\r\n\r\n";
  (void)state;
  aw_fetch *fetch = start_and_accept(&plain);
  for (size_t i = 0; i < sizeof text - 1; i++) {
    raw_put(&peer, text + i, 1);
    aw_loop_step(loop);
  }
  aw_fetch_head head;
  char body[16];
  assert_int_equal(await_head(fetch, &head), AW_OK);
  assert_int_equal(head.status, 200);
  assert_int_equal(head.len,
                   strlen("X-A: b\r\nTransfer-Encoding: chunked\r\n"));
  assert_memory_equal(head.lines, "X-A: b\r\n", 8);
  assert_null(head.redirect);
  assert_int_equal(read_all(fetch, body, sizeof body), AW_E_CLOSED);
  assert_string_equal(body, "abcde");
  aw_fetch_free(fetch);
}

typedef struct ending {
  const char *answer;
  int error;
  bool has_head;
} ending;

/* The server hangs up behind each of these. */
static void what_ends_too_early_is_told(void **state) {
  static const ending endings[] = {
      {"", AW_E_INCOMPLETE, false},
      {"HTTP/1.1 200", AW_E_INCOMPLETE, false},
      {HEAD "Content-Length: 5\r\n", AW_E_INCOMPLETE, false},
      {HEAD "Content-Length: 5\r\n\r\n", AW_E_INCOMPLETE, true},
      {HEAD "Content-Length: 5\r\n\r\nabcd", AW_E_INCOMPLETE, true},
      {HEAD "Content-Length: 5\r\n\r\nabcde", AW_E_CLOSED, true},
      {HEAD "Transfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n", AW_E_INCOMPLETE,
       true},
      {HEAD "Transfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\n\r\n",
       AW_E_CLOSED, true},
      {HEAD "\r\nuntil the end", AW_E_CLOSED, true},
      {"SSH-2.0-OpenSSH\r\n", AW_E_HTTP_PROTOCOL, false},
      {HEAD "Transfer-Encoding: chunked\r\n\r\nzz\r\n", AW_E_HTTP_PROTOCOL,
       true},
  };
  (void)state;
  for (size_t i = 0; i < sizeof endings / sizeof endings[0]; i++) {
    aw_fetch *fetch = start_and_accept(&plain);
    raw_say(&peer, endings[i].answer);
    raw_hang_up(&peer);
    aw_fetch_head head;
    char body[64];
    int rc = await_head(fetch, &head);
    if (rc == AW_OK) {
      assert_true(endings[i].has_head);
      rc = read_all(fetch, body, sizeof body);
    } else {
      assert_false(endings[i].has_head && rc != endings[i].error);
    }
    if (rc != endings[i].error) {
      fail_msg("%s: %d (%s)", endings[i].answer, rc, aw_fetch_why(fetch));
    }
    aw_fetch_free(fetch);
    raw_free(&peer);
    peer.fd = -1;
  }
}

/* What the peer can write without anybody reading, at most so much. */
static size_t write_ahead(size_t most) {
  static char piece[4096];
  size_t sent = 0;
  int refused = 0;
  while (sent < most && refused < 20) {
    ssize_t n = send(peer.fd, piece, sizeof piece, MSG_DONTWAIT);
    sent += n > 0 ? (size_t)n : 0;
    refused = n > 0 ? 0 : refused + 1;
    aw_loop_wait(loop, n > 0 ? 0 : 5);
  }
  return sent;
}

static void who_does_not_read_stops_the_sender(void **state) {
  aw_fetch_options options = {.buffer = 32768, .idle_ms = 200};
  (void)state;
  aw_fetch *fetch = start_and_accept(&options);
  raw_say(&peer, HEAD "Content-Length: 100000000\r\n\r\n");
  size_t sent = write_ahead(100000000);
  assert_true(sent < 20000000);
  const char *bytes;
  size_t len;
  assert_int_equal(aw_fetch_peek(fetch, &bytes, &len), AW_OK);
  assert_in_range(len, 32768, 32768 + 65536);
  /* Nothing is due, and no time runs, while nobody reads. */
  uint64_t began = aw_loop_clock(loop);
  while (aw_loop_clock(loop) < began + 400) {
    aw_loop_wait(loop, 50);
  }
  assert_int_equal(aw_fetch_peek(fetch, &bytes, &len), AW_OK);
  int rc;
  while ((rc = aw_fetch_peek(fetch, &bytes, &len)) == AW_OK) {
    aw_fetch_consume(fetch, len);
  }
  assert_int_equal(rc, AW_E_AGAIN);
  assert_true(write_ahead(1000000) > 0);
  aw_fetch_free(fetch);
  raw_until_ended(&peer);
}

/* Takes what is ready, as an application would, and what is due. */
static void settle(void) {
  unsigned events;
  for (int i = 0; i < 5; i++) {
    aw_loop_step(loop);
    while (aw_loop_ready(loop, &events) != NULL) {
    }
  }
}

static void a_request_that_is_freed_is_gone_at_once(void **state) {
  (void)state;
  aw_fetch *fetch = start_and_accept(&plain);
  raw_say(&peer, HEAD "Content-Length: 10\r\n\r\nabc");
  aw_fetch_head head;
  assert_int_equal(await_head(fetch, &head), AW_OK);
  aw_fetch_free(fetch);
  char byte;
  assert_int_equal(recv(peer.fd, &byte, 1, 0), 0); /* without a turn */
  settle();
  assert_int_equal(aw_loop_timeout_ms(loop), -1);
}

static void idle_costs_nothing(void **state) {
  (void)state;
  aw_fetch *fetch = start_and_accept(&plain);
  raw_say(&peer, HEAD "Content-Length: 2\r\n\r\nok");
  char body[8];
  assert_int_equal(read_all(fetch, body, sizeof body), AW_E_CLOSED);
  settle();
  assert_int_equal(aw_loop_timeout_ms(loop), -1);
  aw_fetch_free(fetch);
  /* An answer that is waited for without any limit of time. */
  fetch = start(&plain);
  raw_head(&peer);
  settle();
  assert_int_equal(aw_loop_timeout_ms(loop), -1);
  aw_fetch_free(fetch);
}

static int fails_with(const aw_fetch_options *options, const char *answer) {
  aw_fetch *fetch = start_and_accept(options);
  if (answer != NULL) {
    raw_say(&peer, answer);
  }
  char body[4096];
  aw_fetch_head head;
  int rc = await_head(fetch, &head);
  rc = rc == AW_OK ? read_all(fetch, body, sizeof body) : rc;
  assert_true(rc == AW_E_CLOSED || aw_fetch_why(fetch)[0] != '\0');
  aw_fetch_free(fetch);
  raw_free(&peer);
  peer.fd = -1;
  return rc;
}

static void each_time_has_a_code(void **state) {
  aw_fetch_options first = {.first_byte_ms = 30, .idle_ms = 5000},
                   idle = {.first_byte_ms = 5000, .idle_ms = 30},
                   whole = {.whole_ms = 30};
  (void)state;
  assert_int_equal(fails_with(&first, NULL), AW_E_TIMEOUT_FIRST_BYTE);
  assert_int_equal(fails_with(&first, "HTTP/1.1 103 Early\r\n\r\n"),
                   AW_E_TIMEOUT_FIRST_BYTE);
  assert_int_equal(fails_with(&idle, HEAD "Content-Length: 5\r\n\r\nab"),
                   AW_E_TIMEOUT_IDLE);
  assert_int_equal(fails_with(&whole, HEAD "Content-Length: 5\r\n\r\nab"),
                   AW_E_TIMEOUT);
}

static void interim_answers_give_no_more_time(void **state) {
  aw_fetch_options options = {.first_byte_ms = 60};
  (void)state;
  aw_fetch *fetch = start_and_accept(&options);
  uint64_t began = aw_loop_clock(loop);
  aw_fetch_head head;
  while (aw_fetch_head_of(fetch, &head) == AW_E_AGAIN) {
    assert_true(aw_loop_clock(loop) < began + 5000);
    raw_say(&peer, "HTTP/1.1 103 Early\r\n\r\n");
    aw_loop_wait(loop, 5);
  }
  assert_int_equal(aw_fetch_head_of(fetch, &head), AW_E_TIMEOUT_FIRST_BYTE);
  aw_fetch_free(fetch);
}

static void header_and_body_are_bounded(void **state) {
  aw_fetch_options head = {.head_max = 40}, body = {.body_max = 5};
  (void)state;
  assert_int_equal(
      fails_with(&head,
                 HEAD "Content-Length: 0\r\nX-Pad: 123456789012\r\n\r\n"),
      AW_E_CLOSED);
  assert_int_equal(
      fails_with(&head,
                 HEAD "Content-Length: 0\r\nX-Pad: 1234567890123\r\n\r\n"),
      AW_E_LIMIT);
  assert_int_equal(fails_with(&body, HEAD "Content-Length: 5\r\n\r\n12345"),
                   AW_E_CLOSED);
  assert_int_equal(fails_with(&body, HEAD "Content-Length: 6\r\n\r\n123456"),
                   AW_E_LIMIT);
  assert_int_equal(fails_with(&body, HEAD "Transfer-Encoding: chunked\r\n\r\n"
                                          "5\r\n12345\r\n1\r\n6\r\n0\r\n\r\n"),
                   AW_E_LIMIT);
}

static void what_cannot_be_sent_is_refused(void **state) {
  static const char *const urls[] = {
      "file:///etc/passwd", "ftp://x/",          "http//x", "HTTP ://x",
      "http://a b/",        "http://a/\r\nX: y", ""};
  (void)state;
  for (size_t i = 0; i < sizeof urls / sizeof urls[0]; i++) {
    aw_fetch_options options = {.url = urls[i], .method = "GET", .headers = ""};
    aw_fetch *fetch;
    const char *why;
    assert_int_equal(aw_fetch_new(&fetch, loop, &options, NULL, &why),
                     AW_E_INVALID);
    assert_non_null(why);
    assert_null(fetch);
  }
}

/* Nothing blocks while a name is looked up, nor when that is given up. */
static void a_slow_name_holds_nobody_up(void **state) {
  aw_fetch_options options = {.url = "http://" SLOW_NAME "/"},
                   hurried = {.url = "http://" SLOW_NAME "/", .connect_ms = 50};
  (void)state;
  uint64_t began = aw_loop_clock(loop);
  aw_fetch *fetch = start(&options), *late = start(&hurried);
  aw_fetch_head head;
  assert_int_equal(await_head(late, &head), AW_E_TIMEOUT_CONNECT);
  aw_fetch_free(late);
  assert_int_equal(aw_fetch_head_of(fetch, &head), AW_E_AGAIN);
  aw_fetch_free(fetch);
  assert_true(aw_loop_clock(loop) - began < SLOW_MS / 2);
  assert_int_equal(atomic_load(&lookups), 2);
  fetch = start(&options);
  assert_int_equal(await_head(fetch, &head), AW_E_RESOLVE);
  aw_fetch_free(fetch);
}

static bool has_body(raw_peer *raw) {
  return raw->len >= 4;
}

/* It was kept, takes the next request, and is gone without a word. */
static void a_connection_that_died_is_replaced(void **state) {
  aw_fetch_options options = {.method = "POST", .body = "body", .body_len = 4};
  (void)state;
  aw_fetch *fetch = start_and_accept(&plain);
  raw_say(&peer, HEAD "Content-Length: 2\r\n\r\nok");
  char got[8];
  assert_int_equal(read_all(fetch, got, sizeof got), AW_E_CLOSED);
  aw_fetch_free(fetch);
  raw_consume(&peer, peer.len);
  fetch = start(&options);
  raw_head(&peer);
  raw_free(&peer);
  settle();
  raw_accept(&peer, loop, listener);
  raw_consume(&peer, raw_head(&peer));
  raw_until(&peer, has_body);
  assert_memory_equal(peer.in, "body", 4);
  raw_say(&peer, HEAD "Content-Length: 2\r\n\r\nok");
  assert_int_equal(read_all(fetch, got, sizeof got), AW_E_CLOSED);
  aw_fetch_free(fetch);
}

/* The host's SIGPIPE is left alone, and never raised. */
static void a_peer_that_is_gone_raises_no_signal(void **state) {
  char *body = malloc(4000000);
  assert_non_null(body);
  memset(body, 'b', 4000000);
  aw_fetch_options options = {
      .method = "POST", .body = body, .body_len = 4000000};
  (void)state;
  signal(SIGPIPE, SIG_DFL);
  for (int i = 0; i < 5; i++) {
    aw_fetch *fetch = start_and_accept(&options);
    raw_free(&peer);
    peer.fd = -1;
    aw_fetch_head head;
    int rc = await_head(fetch, &head);
    assert_true(rc == AW_E_INCOMPLETE || rc == AW_E_IO);
    aw_fetch_free(fetch);
  }
  free(body);
}

static void a_loop_that_ends_takes_its_requests_along(void **state) {
  (void)state;
  aw_fetch *fetch = start_and_accept(&plain);
  raw_say(&peer, HEAD "Content-Length: 10\r\n\r\nabc");
  aw_fetch_head head;
  assert_int_equal(await_head(fetch, &head), AW_OK);
  aw_fetch *other = start(&plain);
  aw_fetch_free(other);
  aw_fetch_free(fetch);
}

/* Only what is allocated through the loop's allocator. */
static void every_allocation_may_fail(void **state) {
  (void)state;
  aw_fetch *first = start_and_accept(&plain); /* makes the client */
  raw_say(&peer, HEAD "Content-Length: 2\r\n\r\nok");
  char got[8];
  assert_int_equal(read_all(first, got, sizeof got), AW_E_CLOSED);
  aw_fetch_free(first);
  bool done = false;
  for (size_t nth = 1; !done; nth++) {
    aw_fetch_options options = {.method = "POST",
                                .url = url,
                                .headers = "X-A: b\r\n",
                                .body = "body",
                                .body_len = 4};
    aw_fetch *fetch;
    const char *why;
    raw_consume(&peer, peer.len);
    memory.fail_at = memory.calls + nth;
    int rc = aw_fetch_new(&fetch, loop, &options, NULL, &why);
    for (int i = 0; rc == AW_OK && i < 3; i++) {
      aw_loop_step(loop);
    }
    done = memory.calls < memory.fail_at;
    memory.fail_at = 0;
    assert_true(rc == AW_OK || rc == AW_E_NOMEM);
    aw_fetch_free(fetch);
    aw_loop_step(loop);
    assert_true(nth < 100);
  }
}

int main(void) {
#define WITH(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
  const struct CMUnitTest tests[] = {
      WITH(an_answer_may_come_byte_by_byte),
      WITH(what_ends_too_early_is_told),
      WITH(who_does_not_read_stops_the_sender),
      WITH(a_request_that_is_freed_is_gone_at_once),
      WITH(idle_costs_nothing),
      WITH(each_time_has_a_code),
      WITH(interim_answers_give_no_more_time),
      WITH(header_and_body_are_bounded),
      WITH(what_cannot_be_sent_is_refused),
      WITH(a_slow_name_holds_nobody_up),
      WITH(a_connection_that_died_is_replaced),
      WITH(a_peer_that_is_gone_raises_no_signal),
      WITH(a_loop_that_ends_takes_its_requests_along),
      WITH(every_allocation_may_fail),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

#else

#include <stdio.h>

int main(void) {
  puts("1..0 # SKIP built without libcurl");
  return 0;
}

#endif
