/* The table of RFC 6455's frames over real sockets, against both roles of the
 * WebSocket engine. Each case is a test of its own in each role and each way of
 * sending, so that the results say what an engine cannot do. */
#include "aw_error.h"
#include "aw_websocket.h"
#include "raw_peer.h"
#include "tls_files.h"
#include "ws_cases.h"
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Bytes that are sent one by one with a turn of the loop for each; a long case
 * says nothing new after them. */
#define BYTEWISE_MAX 20000

/* Server and client, whole and byte by byte; and whole over TLS. */
#define WAYS 6

static tls_files files;

struct run {
  const ws_case *c;
  enum aw_ws_role role;
  bool bytewise, secure;
  char name[160];
};

struct end {
  const struct run *run;
  const ws_case *c;
  aw_loop *loop;
  aw_listener *listener; /* of a server */
  int listener_fd;       /* of a client's peer */
  aw_transport *t;
  raw_peer raw;
  size_t texts, wrong, opens, closes;
  int error, code;
  char reason[128];
};

static const ws_answer *text_answer(const ws_case *c, size_t index) {
  for (size_t i = 0; i < c->answer_count; i++) {
    unsigned times = c->answers[i].times == 0 ? 1 : c->answers[i].times;

    if (c->answers[i].kind != WS_SAYS_TEXT) {
      continue;
    }
    if (index < times) {
      return &c->answers[i];
    }
    index -= times;
  }
  return NULL;
}

static size_t count_answers(const ws_case *c, enum ws_answer_kind kind) {
  size_t count = 0;

  for (size_t i = 0; i < c->answer_count; i++) {
    if (c->answers[i].kind == kind) {
      count += c->answers[i].times == 0 ? 1 : c->answers[i].times;
    }
  }
  return count;
}

static void on_open(void *user, const aw_transport_info *info) {
  struct end *end = user;

  (void)info;
  end->opens++;
}

static void on_message(void *user, char *bytes, size_t len) {
  struct end *end = user;
  const ws_answer *answer = text_answer(end->c, end->texts++);
  size_t want_len;
  char *want;

  if (answer == NULL) {
    end->wrong++;
    return;
  }
  want = ws_answer_bytes(answer, &want_len);
  end->wrong += len != want_len || memcmp(bytes, want, len) != 0;
  free(want);
}

static void on_closed(void *user, int error, int code, const char *reason) {
  struct end *end = user;

  end->closes++;
  end->error = error;
  end->code = code;
  snprintf(end->reason, sizeof end->reason, "%s", reason);
}

static void attach(struct end *end, aw_transport *t) {
  static const aw_transport_sink sink = {
      .open = on_open, .message = on_message, .closed = on_closed};

  end->t = t;
  t->sink = sink;
  t->user = end;
}

static void on_accepted(void *user, aw_transport *t) {
  attach(user, t);
}

static void fail_case(const struct end *end, const char *why) {
  fail_msg("%s: %s (error %d, code %d, \"%s\")", end->run->name, why,
           end->error, end->code, end->reason);
}

static void send_wire(raw_peer *raw, const char *wire, size_t len,
                      bool bytewise) {
  size_t at = 0;

  while (bytewise && at < len && at < BYTEWISE_MAX) {
    raw_put(raw, wire + at, 1);
    aw_loop_step(raw->loop);
    at++;
  }
  raw_put(raw, wire + at, len - at);
}

static void check_pong(struct end *end, const raw_frame *frame, size_t index) {
  const ws_case *c = end->c;

  for (size_t i = 0; i < c->answer_count; i++) {
    unsigned times = c->answers[i].times == 0 ? 1 : c->answers[i].times;

    if (c->answers[i].kind != WS_SAYS_PONG) {
      continue;
    }
    if (index < times) {
      size_t len;
      char *want = ws_answer_bytes(&c->answers[i], &len);
      bool right = len == frame->len && memcmp(want, frame->bytes, len) == 0;
      free(want);
      if (!right) {
        fail_case(end, "another pong");
      }
      return;
    }
    index -= times;
  }
  fail_case(end, "one pong too many");
}

/* Reads what the end under test says until it says close. */
static void hear_out(struct end *end, raw_peer *raw, raw_frame *frame,
                     bool masked) {
  size_t pongs = 0;

  while (raw_take_frame(raw, frame)) {
    if (frame->masked != masked) {
      fail_case(end, "the mask is not what its role demands");
    }
    if (frame->opcode == 8) {
      if (pongs != count_answers(end->c, WS_SAYS_PONG)) {
        fail_case(end, "pongs are missing");
      }
      return;
    }
    if (frame->opcode != 10) {
      fail_case(end, "neither a pong nor a close frame");
    }
    check_pong(end, frame, pongs++);
  }
  fail_case(end, "no close frame");
}

static void check_end(struct end *end, const raw_frame *frame, bool ours) {
  const ws_case *c = end->c;
  int code = ours ? 1000 : c->end_code;

  if (end->texts != count_answers(c, WS_SAYS_TEXT) || end->wrong != 0) {
    fail_case(end, "other messages");
  }
  if (frame->code != code || end->code != code) {
    fail_case(end, "another close code");
  }
  if ((end->error == AW_OK) != (ours || c->end == WS_CLOSED)) {
    fail_case(end, "an orderly end for a violation, or the reverse");
  }
  if (!ours && c->end == WS_CLOSED &&
      strncmp(end->reason, ws_case_reason(c), sizeof end->reason - 1) != 0) {
    fail_case(end, "another reason");
  }
}

static bool is_closed(raw_peer *raw) {
  const struct end *end =
      (const struct end *)((const char *)raw - offsetof(struct end, raw));
  return end->closes > 0;
}

/* The peer hangs up first only where it plays the server. */
static void run_frames(struct end *end) {
  raw_peer *raw = &end->raw;
  bool ours = end->c->end == WS_STAYS_OPEN;
  bool is_server = end->run->role == AW_WS_SERVER;
  raw_frame frame;
  size_t len;
  char *wire = ws_case_wire(end->c, end->run->role, 1, &len);

  assert_non_null(wire);
  send_wire(raw, wire, len, end->run->bytewise);
  free(wire);
  if (ours) {
    raw_put_frame(raw, 0x88, is_server, "\x03\xE8", 2);
  }
  hear_out(end, raw, &frame, !is_server);
  if (is_server) {
    raw_until_ended(raw);
    assert_int_equal(raw->error, 0);
  }
  raw_hang_up(raw);
  raw_until(raw, is_closed);
  check_end(end, &frame, ours);
}

static void test_server(void **state) {
  static const aw_listener_sink sink = {.accepted = on_accepted};
  aw_listener_options options = {.url = "ws://127.0.0.1:0"};
  aw_tls_options tls = {.cert_file = files.server, .key_file = files.server};
  struct end *end = *state;
  const char *why;

  if (end->run->secure) {
    options.url = "wss://127.0.0.1:0";
    options.tls = &tls;
  }
  assert_int_equal(
      aw_listener_new(end->loop, &options, &sink, end, &end->listener, &why),
      0);
  raw_dial(&end->raw, end->loop, aw_listener_port(end->listener));
  if (end->run->secure) {
    raw_secure(&end->raw, NULL);
  }
  raw_upgrade(&end->raw);
  run_frames(end);
}

static void test_client(void **state) {
  struct end *end = *state;
  aw_transport *t;
  const char *why;
  unsigned port;
  char url[64];

  end->listener_fd = raw_listen(&port);
  snprintf(url, sizeof url, "%s://127.0.0.1:%u/",
           end->run->secure ? "wss" : "ws", port);
  aw_tls_options tls = {.ca_file = files.ca};
  aw_websocket_options options = {.url = url,
                                  .tls = end->run->secure ? &tls : NULL};
  assert_int_equal(aw_websocket_connect(end->loop, &options, &t, &why), 0);
  attach(end, t);
  raw_accept(&end->raw, end->loop, end->listener_fd);
  if (end->run->secure) {
    raw_secure(&end->raw, files.server);
  }
  raw_answer_upgrade(&end->raw, AW_PROTOCOL_BASE);
  run_frames(end);
  assert_int_equal(end->opens, 1);
}

static int set_up(void **state) {
  static struct end end;
  const struct run *run = *state;

  end = (struct end){
      .run = run, .c = run->c, .listener_fd = -1, .raw = {.fd = -1}};
  *state = &end;
  return aw_loop_new(&end.loop, aw_mem_default());
}

static int tear_down(void **state) {
  struct end *end = *state;

  if (end->t != NULL) {
    aw_transport_free(end->t);
  }
  aw_listener_free(end->listener);
  raw_free(&end->raw);
  if (end->listener_fd >= 0) {
    close(end->listener_fd);
  }
  aw_loop_free(end->loop);
  return 0;
}

static bool is_ours(const ws_case *c) {
  return c->binary != WS_BINARY_ACCEPTED;
}

/* One test for each way of running a case. */
static void add_case(struct CMUnitTest *tests, struct run *runs, size_t *count,
                     const ws_case *c) {
  for (unsigned way = 0; way < WAYS; way++) {
    struct run *run = &runs[*count];
    bool secure = way >= 4;
    bool is_server = secure ? way == 4 : way < 2;

    *run = (struct run){.c = c,
                        .role = is_server ? AW_WS_SERVER : AW_WS_CLIENT,
                        .bytewise = !secure && way % 2 == 1,
                        .secure = secure};
    snprintf(run->name, sizeof run->name, "%s, %s: %s",
             is_server ? "server" : "client",
             run->secure     ? "TLS"
             : run->bytewise ? "byte by byte"
                             : "whole",
             c->name);
    tests[(*count)++] =
        (struct CMUnitTest){.name = run->name,
                            .test_func = is_server ? test_server : test_client,
                            .setup_func = set_up,
                            .teardown_func = tear_down,
                            .initial_state = run};
  }
}

/* Arguments: every case, or share K of N (from 0), so that an engine which
 * takes its time over each end can be asked by several processes at once. */
int main(int argc, char **argv) {
  size_t share = argc == 3 ? strtoul(argv[1], NULL, 10) : 0;
  size_t shares = argc == 3 ? strtoul(argv[2], NULL, 10) : 1;
  struct CMUnitTest *tests = calloc(WAYS * ws_case_count, sizeof *tests);
  struct run *runs = calloc(WAYS * ws_case_count, sizeof *runs);
  size_t count = 0;
  int failed = 1;

  if (tests != NULL && runs != NULL && shares > 0) {
    for (size_t i = 0; i < ws_case_count; i++) {
      if (is_ours(&ws_cases[i]) && i % shares == share) {
        add_case(tests, runs, &count, &ws_cases[i]);
      }
    }
    signal(SIGPIPE, SIG_IGN); /* OpenSSL's sockets of the raw peer */
    tls_files_make(&files);
    failed = _cmocka_run_group_tests("ws_cases", tests, count, NULL, NULL);
    tls_files_remove(&files);
  }
  free(runs);
  free(tests);
  return failed;
}
