/* The table of RFC 6455's frames over real sockets, against both roles of the
 * WebSocket engine. */
#include "aw_error.h"
#include "aw_websocket.h"
#include "raw_peer.h"
#include "ws_cases.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Bytes that are sent one by one with a turn of the loop for each; a long case
 * says nothing new after them. */
#define BYTEWISE_MAX 20000

struct end {
  aw_loop *loop;
  aw_transport *t;
  const ws_case *c;
  char what[160];
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
  static const aw_transport_sink sink = {on_open, on_message, NULL, NULL,
                                         on_closed};

  end->t = t;
  t->sink = sink;
  t->user = end;
}

static void on_accepted(void *user, aw_transport *t) {
  attach(user, t);
}

static void fail_case(const struct end *end, const char *why) {
  fail_msg("%s: %s (error %d, code %d, \"%s\")", end->what, why, end->error,
           end->code, end->reason);
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

/* The peer hangs up first only where it plays the server. */
static void run_frames(struct end *end, raw_peer *raw, enum aw_ws_role role,
                       bool bytewise) {
  size_t len;
  char *wire = ws_case_wire(end->c, role, 1, &len);
  bool ours = end->c->end == WS_STAYS_OPEN;
  bool is_server = role == AW_WS_SERVER;
  raw_frame frame;

  assert_non_null(wire);
  send_wire(raw, wire, len, bytewise);
  free(wire);
  if (ours) {
    raw_put_frame(raw, 0x88, is_server, "\x03\xE8", 2);
  }
  hear_out(end, raw, &frame, !is_server);
  if (is_server) {
    raw_until_ended(raw);
    assert_int_equal(raw->error, 0);
  }
  shutdown(raw->fd, SHUT_WR);
  while (end->closes == 0) {
    raw_turn(raw);
  }
  check_end(end, &frame, ours);
}

static bool is_ours(const ws_case *c) {
  return c->binary != WS_BINARY_ACCEPTED;
}

static void name_run(struct end *end, const char *role, bool bytewise) {
  snprintf(end->what, sizeof end->what, "%s, %s, %s", end->c->name, role,
           bytewise ? "byte by byte" : "whole");
}

static void run_server_cases(bool bytewise) {
  static const aw_listener_sink sink = {.accepted = on_accepted};
  aw_listener_options options = {.url = "ws://127.0.0.1:0"};
  struct end end = {0};
  aw_listener *listener;
  const char *why;
  raw_peer raw;

  assert_int_equal(aw_loop_new(&end.loop, aw_mem_default()), 0);
  assert_int_equal(
      aw_listener_new(end.loop, &options, &sink, &end, &listener, &why), 0);
  for (size_t i = 0; i < ws_case_count; i++) {
    if (!is_ours(&ws_cases[i])) {
      continue;
    }
    end = (struct end){.loop = end.loop, .c = &ws_cases[i]};
    name_run(&end, "server", bytewise);
    raw_dial(&raw, end.loop, aw_listener_port(listener));
    raw_upgrade(&raw);
    run_frames(&end, &raw, AW_WS_SERVER, bytewise);
    aw_transport_free(end.t);
    raw_free(&raw);
  }
  aw_listener_free(listener);
  aw_loop_free(end.loop);
}

static void run_client_cases(bool bytewise) {
  aw_websocket_options options = {0};
  struct end end = {0};
  aw_transport *t;
  const char *why;
  unsigned port;
  char url[64];
  raw_peer raw;
  int listener = raw_listen(&port);

  snprintf(url, sizeof url, "ws://127.0.0.1:%u/", port);
  options.url = url;
  assert_int_equal(aw_loop_new(&end.loop, aw_mem_default()), 0);
  for (size_t i = 0; i < ws_case_count; i++) {
    if (!is_ours(&ws_cases[i])) {
      continue;
    }
    end = (struct end){.loop = end.loop, .c = &ws_cases[i]};
    name_run(&end, "client", bytewise);
    assert_int_equal(aw_websocket_connect(end.loop, &options, &t, &why), 0);
    attach(&end, t);
    raw_accept(&raw, end.loop, listener);
    raw_answer_upgrade(&raw, AW_PROTOCOL_BASE);
    run_frames(&end, &raw, AW_WS_CLIENT, bytewise);
    assert_int_equal(end.opens, 1);
    aw_transport_free(end.t);
    raw_free(&raw);
  }
  shutdown(listener, SHUT_RDWR);
  close(listener);
  aw_loop_free(end.loop);
}

static void server_takes_every_case_whole(void **state) {
  (void)state;
  run_server_cases(false);
}

static void server_takes_every_case_byte_by_byte(void **state) {
  (void)state;
  run_server_cases(true);
}

static void client_takes_every_case_whole(void **state) {
  (void)state;
  run_client_cases(false);
}

static void client_takes_every_case_byte_by_byte(void **state) {
  (void)state;
  run_client_cases(true);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(server_takes_every_case_whole),
      cmocka_unit_test(server_takes_every_case_byte_by_byte),
      cmocka_unit_test(client_takes_every_case_whole),
      cmocka_unit_test(client_takes_every_case_byte_by_byte),
  };

  return cmocka_run_group_tests(tests, NULL, NULL);
}
