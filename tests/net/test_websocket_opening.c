/* The rows of http_cases.h against sockets: a bare client asks our listener, a
 * bare server answers our client. */
#include "aw_http.h"
#include "http_cases.h"
#include "stage.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char seen_target[512];

static void note_target(test_stage *stage, aw_upgrade *upgrade) {
  (void)stage;
  snprintf(seen_target, sizeof seen_target, "%s", aw_upgrade_target(upgrade));
  assert_int_equal(aw_upgrade_accept(upgrade, NULL), 0);
}

static unsigned listen_at_chat(test_stage *stage) {
  aw_listener_sink sink = {.accepted = stage_accepted,
                           .requested = stage_requested};
  aw_listener_options options = {.url = "ws://127.0.0.1:0/%63hat"};
  const char *why;

  assert_int_equal(aw_listener_new(stage->loop, &options, &sink, stage,
                                   &stage->listener, &why),
                   0);
  return aw_listener_port(stage->listener);
}

static void requests_get_what_they_deserve(void **state) {
  test_stage *stage = *state;
  unsigned port = listen_at_chat(stage);

  stage->on_request = note_target;
  for (size_t i = 0; i < http_request_case_count; i++) {
    const http_request_case *row = &http_request_cases[i];
    raw_peer raw;
    int status;

    raw_dial(&raw, stage->loop, port);
    seen_target[0] = '\0';
    raw_put(&raw, row->text, row->len);
    raw_head(&raw);
    if (sscanf(raw.in, "HTTP/1.1 %d", &status) != 1 || status != row->status) {
      fail_msg("%s: %.40s", row->name, raw.in);
    }
    if (status == 101) {
      assert_string_equal(seen_target, row->target);
      aw_upgrade_free(stage->upgrade);
      stage->upgrade = NULL;
      for (unsigned j = 0; j < stage->accepted; j++) {
        aw_transport_free(stage->servers[j].t);
      }
      memset(stage->servers, 0, sizeof stage->servers);
      stage->accepted = 0;
    } else {
      assert_string_equal(seen_target, "");
    }
    raw_free(&raw);
  }
}

/* Replaces each `$` by the accept value of the key in the request. */
static void put_answer(raw_peer *raw, const http_response_case *row) {
  char accept[AW_HTTP_ACCEPT_TEXT];
  const char *key = strstr(raw->in, "Sec-WebSocket-Key: ") + 19;
  const char *at = row->text, *end = at + row->len;

  aw_http_make_accept(key, accept);
  while (at < end) {
    const char *stop = memchr(at, '$', (size_t)(end - at));

    stop = stop != NULL ? stop : end;
    raw_put(raw, at, (size_t)(stop - at));
    if (stop < end) {
      raw_put(raw, accept, sizeof accept);
      stop++;
    }
    at = stop;
  }
}

static void answers_open_or_refuse(void **state) {
  test_stage *stage = *state;
  int listener = raw_listen(&stage->port);

  for (size_t i = 0; i < http_response_case_count; i++) {
    const http_response_case *row = &http_response_cases[i];
    stage_end *client = &stage->client;
    raw_peer raw;

    stage_connect(stage);
    raw_accept(&raw, stage->loop, listener);
    raw_head(&raw);
    uint64_t start = uv_hrtime();
    put_answer(&raw, row);
    stage_until(stage, client, end_is_settled);
    if ((client->opens == 1) != (row->error == 0)) {
      fail_msg("%s: %s", row->name, client->reason);
    }
    if (row->error != 0) {
      assert_int_equal(client->error, row->error);
      if (strstr(client->reason, row->why) == NULL) {
        fail_msg("%s: %s", row->name, client->reason);
      }
      assert_null(strstr(client->reason, "SECRET"));
      assert_null(strstr(client->reason, "pw"));
      assert_null(strpbrk(client->reason, "\r\n\x1B"));
    }
    assert_in_range((uv_hrtime() - start) / 1000000, 0, 1500);
    aw_transport_free(client->t);
    memset(client, 0, sizeof *client);
    raw_free(&raw);
  }
  close(listener);
}

static void a_server_of_no_protocol_is_told_at_once(void **state) {
  test_stage *stage = *state;
  int listener = raw_listen(&stage->port);
  raw_frame frame;
  raw_peer raw;

  stage_connect(stage);
  raw_accept(&raw, stage->loop, listener);
  uint64_t start = uv_hrtime();
  raw_answer_upgrade(&raw, NULL);
  stage_until(stage, &stage->client, end_is_closed);
  assert_in_range((uv_hrtime() - start) / 1000000, 0, 1000);
  assert_end(&stage->client, AW_E_WS_PROTOCOL, 1002, "no subprotocol");
  assert_true(raw_take_frame(&raw, &frame));
  assert_int_equal(frame.code, 1002);
  raw_free(&raw);
  close(listener);
}

static void interim_answers_end(void **state) {
  test_stage *stage = *state;
  int listener = raw_listen(&stage->port);
  raw_peer raw;

  stage_connect(stage);
  raw_accept(&raw, stage->loop, listener);
  raw_head(&raw);
  for (int i = 0; i < 17; i++) {
    raw_say(&raw, "HTTP/1.1 103 Early Hints\r\n\r\n");
  }
  stage_until(stage, &stage->client, end_is_closed);
  assert_end(&stage->client, AW_E_REFUSED, 1006, "too many interim answers");
  raw_free(&raw);
  close(listener);
}

static void a_body_is_not_waited_for_for_long(void **state) {
  test_stage *stage = *state;
  int listener = raw_listen(&stage->port);
  raw_peer raw;

  stage_connect(stage);
  raw_accept(&raw, stage->loop, listener);
  raw_head(&raw);
  raw_say(&raw, "HTTP/1.1 500 Oh\r\nContent-Length: 100\r\n\r\nit is ");
  raw_turn(&raw);
  raw_say(&raw, "broken");
  uint64_t start = uv_hrtime();
  stage_until(stage, &stage->client, end_is_closed);
  assert_in_range((uv_hrtime() - start) / 1000000, 0, 2000);
  assert_end(&stage->client, AW_E_REFUSED, 1006, "HTTP 500 Oh: it is broken");
  raw_free(&raw);
  close(listener);
}

static void of_a_body_160_bytes_are_told(void **state) {
  test_stage *stage = *state;
  int listener = raw_listen(&stage->port);
  char body[201] = "";
  raw_peer raw;

  memset(body, 'x', 160);
  memset(body + 160, 'y', 40);
  stage_connect(stage);
  raw_accept(&raw, stage->loop, listener);
  raw_head(&raw);
  raw_say(&raw, "HTTP/1.1 500 Oh\r\nContent-Length: 200\r\n\r\n");
  raw_say(&raw, body);
  stage_until(stage, &stage->client, end_is_closed);
  assert_non_null(strchr(stage->client.reason, 'x'));
  assert_null(strchr(stage->client.reason, 'y'));
  raw_free(&raw);
  close(listener);
}

static void a_server_that_just_closes_is_named_as_such(void **state) {
  test_stage *stage = *state;
  int listener = raw_listen(&stage->port);
  raw_peer raw;

  stage_connect(stage);
  raw_accept(&raw, stage->loop, listener);
  raw_head(&raw);
  raw_free(&raw);
  stage_until(stage, &stage->client, end_is_closed);
  assert_end(&stage->client, AW_E_CLOSED, 1006,
             "closed by the peer while waiting for the answer");
  close(listener);
}

static void every_path_is_served_when_that_is_wanted(void **state) {
  test_stage *stage = *state;
  raw_peer raw;

  stage_listen_with(stage, (aw_listener_options){.any_path = true}, true);
  stage->on_request = note_target;
  raw_dial(&raw, stage->loop, stage->port);
  raw_say(&raw, "GET http://a/any/%7Ewhere HTTP/1.1\r\nHost: a\r\n"
                "Upgrade: websocket\r\nConnection: Upgrade\r\n"
                "Sec-WebSocket-Version: 13\r\n"
                "Sec-WebSocket-Key: " HTTP_CASE_KEY "\r\n\r\n");
  stage_until_accepted(stage, 1);
  assert_string_equal(seen_target, "/any/~where");
  raw_free(&raw);
}

/* Until it has said for whom it speaks, a proxy's connections are nobody's. */
static void a_proxy_may_open_more_than_one_address_may(void **state) {
  test_stage *stage = *state;
  raw_peer silent, speaking;

  stage_listen_with(stage,
                    (aw_listener_options){.trusted_proxies = "127.0.0.1",
                                          .per_address_max = 1},
                    false);
  raw_dial(&silent, stage->loop, stage->port);
  raw_turn(&silent);
  raw_dial(&speaking, stage->loop, stage->port);
  raw_say(&speaking, "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n"
                     "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                     "X-Forwarded-For: 203.0.113.7\r\n"
                     "Sec-WebSocket-Key: " HTTP_CASE_KEY "\r\n\r\n");
  stage_until_accepted(stage, 1);
  assert_string_equal(stage->servers[0].t->info.peer, "203.0.113.7");
  raw_free(&silent);
  raw_free(&speaking);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      STAGED(requests_get_what_they_deserve),
      STAGED(answers_open_or_refuse),
      STAGED(a_server_of_no_protocol_is_told_at_once),
      STAGED(interim_answers_end),
      STAGED(a_body_is_not_waited_for_for_long),
      STAGED(of_a_body_160_bytes_are_told),
      STAGED(a_server_that_just_closes_is_named_as_such),
      STAGED(every_path_is_served_when_that_is_wanted),
      STAGED(a_proxy_may_open_more_than_one_address_may),
  };

  return cmocka_run_group_tests(tests, NULL, NULL);
}
