/* Who comes to a server of agentwire.v1, and what becomes of the sessions: bare
 * sockets on one side, a listener and a hub on the other. */
#include "aw_hub.h"
#include "stage.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CONNS_MAX 8
#define KEY "00112233445566778899aabbccddeeff"
#define OTHER_KEY "ffeeddccbbaa99887766554433221100"

typedef struct house {
  aw_loop *loop;
  aw_listener *listener;
  aw_hub *hub;
  aw_types types;
  aw_conn *conns[CONNS_MAX];
  unsigned accepted;
} house;

static house h;

static void on_conn(void *user, aw_conn *conn) {
  (void)user;
  assert_in_range(h.accepted, 0, CONNS_MAX - 1);
  h.conns[h.accepted++] = conn;
}

static void on_transport(void *user, aw_transport *transport) {
  (void)user;
  aw_hub_take(h.hub, transport);
}

static void open_house(aw_hub_options options) {
  aw_listener_options listen = {.url = "ws://127.0.0.1:0"};
  aw_listener_sink sink = {.accepted = on_transport};
  const char *why = NULL;

  for (int kind = 0; kind < AW_KIND_SCOPES; kind++) {
    options.mux.types[kind] = &h.types;
  }
  assert_int_equal(aw_hub_new(&h.hub, h.loop, &options, on_conn, NULL), 0);
  assert_int_equal(
      aw_listener_new(h.loop, &listen, &sink, NULL, &h.listener, &why), 0);
}

static int set_up(void **state) {
  (void)state;
  h = (house){.loop = NULL};
  aw_types_init(&h.types, aw_mem_default());
  return aw_loop_new(&h.loop, aw_mem_default());
}

static int tear_down(void **state) {
  (void)state;
  for (unsigned i = 0; i < h.accepted; i++) {
    aw_conn_free(h.conns[i]);
  }
  aw_listener_free(h.listener);
  aw_hub_free(h.hub);
  aw_loop_free(h.loop);
  aw_types_fini(&h.types);
  return 0;
}

static void come(raw_peer *raw) {
  raw_dial(raw, h.loop, aw_listener_port(h.listener));
  raw_upgrade_to(raw, "agentwire.v1");
}

static void say(raw_peer *raw, const char *text) {
  raw_put_frame(raw, 0x81, true, text, strlen(text));
}

/* `scopes` and what may follow: the rest of the payload. */
static void greet(raw_peer *raw, const char *key, unsigned attempt,
                  const char *scopes) {
  char text[1000];

  snprintf(text, sizeof text,
           "{\"type\":\"hello\","
           "\"connection_id\":\"a0000000-0000-4000-8000-000000000001\","
           "\"message_id\":\"b0000000-0000-4000-8000-000000000001\","
           "\"sequence\":0,\"timestamp\":0,\"version\":1,\"payload\":"
           "{\"key\":\"%s\",\"attempt\":%u,\"scopes\":%s}}",
           key, attempt, scopes);
  say(raw, text);
}

#define NO_SCOPES "[],\"more\":false"

static void assert_welcome(raw_peer *raw, unsigned generation) {
  char wanted[40];
  raw_frame frame;

  snprintf(wanted, sizeof wanted, "\"generation\":%u,", generation);
  assert_true(raw_take_frame(raw, &frame));
  assert_int_equal(frame.opcode, 1);
  assert_memory_equal(frame.bytes, "{\"type\":\"welcome\"", 17);
  frame.bytes[sizeof frame.bytes - 1] = '\0';
  assert_non_null(strstr(frame.bytes, wanted));
}

static void assert_close(raw_peer *raw, unsigned code, const char *why) {
  raw_frame frame;

  do { /* messages may have been on their way */
    assert_true(raw_take_frame(raw, &frame));
  } while (frame.opcode == 1);
  assert_int_equal(frame.opcode, 8);
  assert_int_equal(frame.code, code);
  frame.bytes[frame.len < sizeof frame.bytes ? frame.len
                                             : sizeof frame.bytes - 1] = '\0';
  assert_non_null(strstr(frame.bytes + 2, why));
}

/* ----------------------------------------------------------- greetings -- */

static void hello_makes_a_session(void **state) {
  raw_peer raw;

  (void)state;
  open_house((aw_hub_options){.log_bytes = 0});
  come(&raw);
  greet(&raw, KEY, 1, NO_SCOPES);
  assert_welcome(&raw, 1);
  assert_int_equal(h.accepted, 1);
  assert_int_equal(aw_hub_sessions(h.hub), 1);
  raw_free(&raw);
}

static void who_says_nothing_is_closed_at_the_deadline(void **state) {
  raw_peer raw;

  (void)state;
  open_house((aw_hub_options){.greeting_ms = 30});
  come(&raw);
  assert_close(&raw, 4003, "no hello came in time");
  assert_int_equal(h.accepted, 0);
  raw_free(&raw);
}

static void hello_without_an_end_is_closed_at_the_deadline(void **state) {
  raw_peer raw;
  raw_frame frame;

  (void)state;
  open_house((aw_hub_options){.greeting_ms = 30});
  come(&raw);
  while (!raw_poll_frame(&raw, &frame)) {
    greet(&raw, KEY, 1, "[],\"more\":true");
    raw_turn(&raw);
  }
  assert_int_equal(frame.code, 4003);
  assert_int_equal(h.accepted, 0);
  raw_free(&raw);
}

static void what_is_no_hello_is_refused_with_the_reason(void **state) {
  static const char *const wrong[] = {
      "hi",
      "{\"type\":\"ping\"}",
      "{\"type\":\"flow\",\"connection_id\":"
      "\"a0000000-0000-4000-8000-000000000001\",\"message_id\":"
      "\"b0000000-0000-4000-8000-000000000001\",\"sequence\":0,"
      "\"timestamp\":0,\"version\":1,\"payload\":{\"scopes\":[]}}",
  };

  (void)state;
  open_house((aw_hub_options){.log_bytes = 0});
  for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
    raw_peer raw;

    come(&raw);
    say(&raw, wrong[i]);
    assert_close(&raw, 4003, "");
    raw_free(&raw);
  }
  assert_int_equal(h.accepted, 0);
}

static void malformed_hello_is_refused_with_the_reason(void **state) {
  static const struct {
    const char *key, *scopes, *why;
  } cases[] = {
      {"short", NO_SCOPES, "key is not 32 hex digits"},
      {KEY, "7", "malformed scopes"},
      {KEY, "[[\"agent\"]],\"more\":false", "malformed scopes"},
  };

  (void)state;
  open_house((aw_hub_options){.log_bytes = 0});
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    raw_peer raw;

    come(&raw);
    greet(&raw, cases[i].key, 1, cases[i].scopes);
    assert_close(&raw, 4003, cases[i].why);
    raw_free(&raw);
  }
  assert_int_equal(aw_hub_sessions(h.hub), 0);
}

static void hello_with_too_many_scopes_is_refused(void **state) {
  static const char one[] =
      "[\"agent\",\"c0000000-0000-4000-8000-000000000001\",0,64,262144,1,1]";
  char scopes[400];
  raw_peer raw;

  (void)state;
  open_house((aw_hub_options){.mux = {.scopes_max = 1}});
  come(&raw);
  snprintf(scopes, sizeof scopes, "[%s,%s],\"more\":false", one, one);
  greet(&raw, KEY, 1, scopes);
  assert_close(&raw, 4003, "more scopes");
  raw_free(&raw);
}

/* ------------------------------------------------------------ sessions -- */

static void newer_connection_takes_the_session_over(void **state) {
  raw_peer first, second;

  (void)state;
  open_house((aw_hub_options){.log_bytes = 0});
  come(&first);
  greet(&first, KEY, 1, NO_SCOPES);
  assert_welcome(&first, 1);
  come(&second);
  greet(&second, KEY, 2, NO_SCOPES);
  assert_welcome(&second, 2);
  assert_close(&first, 4001, "");
  assert_int_equal(h.accepted, 1);
  assert_int_equal(aw_hub_sessions(h.hub), 1);
  raw_free(&first);
  raw_free(&second);
}

static void late_hello_of_an_older_connection_does_not(void **state) {
  raw_peer first, late;

  (void)state;
  open_house((aw_hub_options){.log_bytes = 0});
  come(&late); /* its hello is held up */
  come(&first);
  greet(&first, KEY, 2, NO_SCOPES);
  assert_welcome(&first, 1);
  greet(&late, KEY, 1, NO_SCOPES);
  assert_close(&late, 4001, "a newer connection");
  greet(&first, KEY, 3, NO_SCOPES); /* in mid-session: still heard */
  assert_close(&first, 4003, "");
  raw_free(&first);
  raw_free(&late);
}

static void who_does_not_know_the_key_is_refused(void **state) {
  raw_peer first, thief;

  (void)state;
  open_house((aw_hub_options){.log_bytes = 0});
  come(&first);
  greet(&first, KEY, 1, NO_SCOPES);
  assert_welcome(&first, 1);
  come(&thief);
  greet(&thief, OTHER_KEY, 2, NO_SCOPES);
  assert_close(&thief, 4003, "not the key");
  assert_true(aw_conn_is_up(h.conns[0]));
  raw_free(&first);
  raw_free(&thief);
}

static void one_session_too_many_is_told_to_come_later(void **state) {
  raw_peer first, second;

  (void)state;
  open_house((aw_hub_options){.sessions_max = 1});
  come(&first);
  greet(&first, KEY, 1, NO_SCOPES);
  assert_welcome(&first, 1);
  come(&second);
  say(&second, "{\"type\":\"hello\","
               "\"connection_id\":\"a0000000-0000-4000-8000-000000000002\","
               "\"message_id\":\"b0000000-0000-4000-8000-000000000002\","
               "\"sequence\":0,\"timestamp\":0,\"version\":1,\"payload\":"
               "{\"key\":\"" OTHER_KEY "\",\"attempt\":1,\"scopes\":[],"
               "\"more\":false}}");
  assert_close(&second, 1013, "too many sessions");
  assert_int_equal(h.accepted, 1);
  raw_free(&first);
  raw_free(&second);
}

static void session_ends_when_its_window_has_passed(void **state) {
  raw_peer raw;

  (void)state;
  open_house((aw_hub_options){.mux = {.window_ms = 20}});
  come(&raw);
  greet(&raw, KEY, 1, NO_SCOPES);
  assert_welcome(&raw, 1);
  raw_free(&raw);
  for (int i = 0; i < 1000 && aw_hub_sessions(h.hub) > 0; i++) {
    unsigned events = 0;
    aw_loop_wait(h.loop, 10);
    while (aw_loop_ready(h.loop, &events) != NULL) {
    }
  }
  assert_int_equal(aw_hub_sessions(h.hub), 0);
  assert_true(aw_conn_is_closed(h.conns[0]));
  assert_non_null(strstr(aw_conn_last_end(h.conns[0])->reason, "window"));
}

static void hub_may_go_while_somebody_greets(void **state) {
  raw_peer raw;

  (void)state;
  open_house((aw_hub_options){.log_bytes = 0});
  come(&raw);
  aw_hub_free(h.hub);
  h.hub = NULL;
  raw_until_ended(&raw);
  raw_free(&raw);
}

int main(void) {
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
  const struct CMUnitTest tests[] = {
      CASE(hello_makes_a_session),
      CASE(who_says_nothing_is_closed_at_the_deadline),
      CASE(hello_without_an_end_is_closed_at_the_deadline),
      CASE(what_is_no_hello_is_refused_with_the_reason),
      CASE(malformed_hello_is_refused_with_the_reason),
      CASE(hello_with_too_many_scopes_is_refused),
      CASE(newer_connection_takes_the_session_over),
      CASE(late_hello_of_an_older_connection_does_not),
      CASE(who_does_not_know_the_key_is_refused),
      CASE(one_session_too_many_is_told_to_come_later),
      CASE(session_ends_when_its_window_has_passed),
      CASE(hub_may_go_while_somebody_greets),
  };

  return cmocka_run_group_tests_name("hub", tests, NULL, NULL);
}
