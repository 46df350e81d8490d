/* Who comes to a server of agentwire.v1, and what becomes of the sessions: bare
 * sockets on one side, a listener and a hub on the other. */
#include "house.h"
#include "limit_kit.h"
#include <stdio.h>
#include <string.h>

static void hello_makes_a_session(void **state) {
  raw_peer raw;

  (void)state;
  house_open((aw_hub_options){.log_bytes = 0});
  house_come(&raw);
  house_greet(&raw, HOUSE_KEY, 1, HOUSE_NO_SCOPES);
  assert_welcomed(&raw, 1);
  assert_int_equal(house.accepted, 1);
  assert_int_equal(aw_hub_sessions(house.hub), 1);
  raw_free(&raw);
}

static void who_says_nothing_is_closed_at_the_deadline(void **state) {
  raw_peer raw;

  (void)state;
  house_open((aw_hub_options){.greeting_ms = 30});
  house_come(&raw);
  assert_farewell(&raw, 4003, "no hello came in time");
  assert_int_equal(house.accepted, 0);
  raw_free(&raw);
}

static void hello_without_an_end_is_closed_at_the_deadline(void **state) {
  raw_peer raw;
  raw_frame frame;

  (void)state;
  house_open((aw_hub_options){.greeting_ms = 30});
  house_come(&raw);
  while (!raw_poll_frame(&raw, &frame)) {
    house_greet(&raw, HOUSE_KEY, 1, "[],\"more\":true");
    raw_turn(&raw);
  }
  assert_int_equal(frame.code, 4003);
  assert_int_equal(house.accepted, 0);
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
  house_open((aw_hub_options){.log_bytes = 0});
  for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
    raw_peer raw;

    house_come(&raw);
    house_say(&raw, wrong[i]);
    assert_farewell(&raw, 4003, "");
    raw_free(&raw);
  }
  assert_int_equal(house.accepted, 0);
}

static void malformed_hello_is_refused_with_the_reason(void **state) {
  static const struct {
    const char *key, *scopes, *why;
  } cases[] = {
      {"short", HOUSE_NO_SCOPES, "key is not 32 hex digits"},
      {HOUSE_KEY, "7", "malformed scopes"},
      {HOUSE_KEY, "[[\"agent\"]],\"more\":false", "malformed scopes"},
  };

  (void)state;
  house_open((aw_hub_options){.log_bytes = 0});
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    raw_peer raw;

    house_come(&raw);
    house_greet(&raw, cases[i].key, 1, cases[i].scopes);
    assert_farewell(&raw, 4003, cases[i].why);
    raw_free(&raw);
  }
  assert_int_equal(aw_hub_sessions(house.hub), 0);
}

static void hello_with_too_many_scopes_is_refused(void **state) {
  static const char one[] =
      "[\"agent\",\"c0000000-0000-4000-8000-000000000001\",0,64,262144,1,1]";
  char scopes[400];
  raw_peer raw;

  (void)state;
  house_open((aw_hub_options){.mux = {.scopes_max = 1}});
  house_come(&raw);
  snprintf(scopes, sizeof scopes, "[%s,%s],\"more\":false", one, one);
  house_greet(&raw, HOUSE_KEY, 1, scopes);
  assert_farewell(&raw, 4003, "more scopes");
  raw_free(&raw);
}

static void newer_connection_takes_the_session_over(void **state) {
  raw_peer first, second;

  (void)state;
  house_open((aw_hub_options){.log_bytes = 0});
  house_come(&first);
  house_greet(&first, HOUSE_KEY, 1, HOUSE_NO_SCOPES);
  assert_welcomed(&first, 1);
  house_come(&second);
  house_greet(&second, HOUSE_KEY, 2, HOUSE_NO_SCOPES);
  assert_welcomed(&second, 2);
  assert_farewell(&first, 4001, "");
  assert_int_equal(house.accepted, 1);
  assert_int_equal(aw_hub_sessions(house.hub), 1);
  raw_free(&first);
  raw_free(&second);
}

static void late_hello_of_an_older_connection_does_not(void **state) {
  raw_peer first, late;

  (void)state;
  house_open((aw_hub_options){.log_bytes = 0});
  house_come(&late); /* its hello is held up */
  house_come(&first);
  house_greet(&first, HOUSE_KEY, 2, HOUSE_NO_SCOPES);
  assert_welcomed(&first, 1);
  house_greet(&late, HOUSE_KEY, 1, HOUSE_NO_SCOPES);
  assert_farewell(&late, 4001, "a newer connection");
  house_greet(&first, HOUSE_KEY, 3,
              HOUSE_NO_SCOPES); /* in mid-session: still heard */
  assert_farewell(&first, 4003, "");
  raw_free(&first);
  raw_free(&late);
}

static void who_does_not_know_the_key_is_refused(void **state) {
  raw_peer first, thief;

  (void)state;
  house_open((aw_hub_options){.log_bytes = 0});
  house_come(&first);
  house_greet(&first, HOUSE_KEY, 1, HOUSE_NO_SCOPES);
  assert_welcomed(&first, 1);
  house_come(&thief);
  house_greet(&thief, HOUSE_OTHER_KEY, 2, HOUSE_NO_SCOPES);
  assert_farewell(&thief, 4003, "not the key");
  assert_true(aw_conn_is_up(house.conns[0]));
  raw_free(&first);
  raw_free(&thief);
}

static bool is_empty(void) {
  return aw_hub_sessions(house.hub) == 0;
}

static raw_peer visitors[8];
static unsigned greeted; /* sessions that were ever asked for */
static const char *no_room;
static unsigned expected; /* sessions that are left */

static bool greet_from(unsigned place) {
  unsigned accepted = house.accepted;
  house_come(&visitors[place]);
  house_greet_as(&visitors[place], ++greeted, HOUSE_KEY, 1, HOUSE_NO_SCOPES);
  if (place < 3) {
    assert_welcomed(&visitors[place], 1);
    return true;
  }
  assert_farewell(&visitors[place], 1013, no_room);
  assert_int_equal(house.accepted, accepted);
  raw_free(&visitors[place]);
  return false;
}

static bool has_fewer(void) {
  return aw_hub_sessions(house.hub) == expected;
}

static void leave(unsigned place) {
  expected = (unsigned)aw_hub_sessions(house.hub) - 1;
  raw_free(&visitors[place]);
  house_until(has_fewer);
}

static unsigned count_sessions(void) {
  return (unsigned)aw_hub_sessions(house.hub);
}

static void one_session_too_many_is_told_to_come_later(void **state) {
  (void)state;
  house_open((aw_hub_options){.sessions_max = 3});
  no_room = "too many sessions";
  limit_check(&(limit){3, greet_from, leave, count_sessions});
}

static void one_session_too_many_of_a_peer_is_as_well(void **state) {
  (void)state;
  house_open((aw_hub_options){.sessions_per_peer_max = 3});
  no_room = "of one peer";
  limit_check(&(limit){3, greet_from, leave, count_sessions});
}

static void session_ends_when_its_window_has_passed(void **state) {
  raw_peer raw;
  aw_channel *channel = NULL;

  (void)state;
  house_open((aw_hub_options){.mux = {.window_ms = 20}});
  house_come(&raw);
  house_greet(&raw, HOUSE_KEY, 1, HOUSE_NO_SCOPES);
  assert_welcomed(&raw, 1);
  assert_int_equal(aw_mux_open(aw_conn_mux(house.conns[0]), AW_KIND_PROVIDER,
                               NULL, &channel),
                   0);
  raw_free(&raw);
  for (int i = 0; i < 1000 && aw_hub_sessions(house.hub) > 0; i++) {
    unsigned events = 0;
    aw_loop_wait(house.loop, 10);
    while (aw_loop_ready(house.loop, &events) != NULL) {
    }
  }
  assert_int_equal(aw_hub_sessions(house.hub), 0);
  assert_true(aw_conn_is_closed(house.conns[0]));
  assert_non_null(strstr(aw_conn_last_end(house.conns[0])->reason, "window"));
}

static void session_of_nothing_goes_with_its_connection(void **state) {
  raw_peer raw;

  (void)state;
  house_open((aw_hub_options){.log_bytes = 0});
  house_come(&raw);
  house_greet(&raw, HOUSE_KEY, 1, HOUSE_NO_SCOPES);
  assert_welcomed(&raw, 1);
  raw_free(&raw);
  house_until(is_empty);
  assert_true(aw_conn_is_closed(house.conns[0]));
}

/* Three detached sessions and room for two: who went first gives way. */
static void longest_detached_gives_way_to_newcomers(void **state) {
  raw_peer raw;
  aw_channel *channel = NULL;

  (void)state;
  house_open((aw_hub_options){.sessions_max = 2});
  for (unsigned i = 0; i < 3; i++) {
    house_come(&raw);
    house_greet_as(&raw, i + 1, HOUSE_KEY, 1, HOUSE_NO_SCOPES);
    assert_welcomed(&raw, 1);
    assert_int_equal(aw_mux_open(aw_conn_mux(house.conns[i]), AW_KIND_PROVIDER,
                                 NULL, &channel),
                     0);
    raw_free(&raw);
    while (aw_conn_is_up(house.conns[i])) {
      aw_loop_wait(house.loop, 10);
    }
  }
  assert_true(aw_conn_is_closed(house.conns[0]));
  assert_false(aw_conn_is_closed(house.conns[1]));
  assert_int_equal(aw_hub_sessions(house.hub), 2);
}

/* `number` has opened something and is away. */
static void visit(unsigned number) {
  aw_channel *channel = NULL;
  unsigned before = house.accepted;
  raw_peer raw;

  house_come(&raw);
  house_greet_as(&raw, number, HOUSE_KEY, 1, HOUSE_NO_SCOPES);
  assert_welcomed(&raw, 1);
  aw_conn *conn = house.conns[before];
  assert_int_equal(
      aw_mux_open(aw_conn_mux(conn), AW_KIND_PROVIDER, NULL, &channel), 0);
  raw_free(&raw);
  while (aw_conn_is_up(conn)) {
    aw_loop_wait(house.loop, 10);
  }
}

/* Somebody who is away for a moment keeps a place, whatever number of sessions
 * another one makes; those give way to each other. */
static void peer_of_many_sessions_gives_way_first(void **state) {
  enum { ROOM = 4, VISITS = 10 };
  aw_identity *mallory = NULL;
  aw_conn *honest = NULL;

  (void)state;
  assert_int_equal(aw_identity_new(&mallory, aw_mem_default(), "mallory", ""),
                   0);
  house_open((aw_hub_options){.sessions_max = ROOM});
  visit(1);
  honest = house.conns[0];
  house_identity = mallory;
  for (unsigned i = 0; i < ROOM + VISITS; i++) {
    visit(2 + i);
    assert_false(aw_conn_is_closed(honest));
    assert_in_range(aw_hub_sessions(house.hub), 1, ROOM);
  }
  assert_true(aw_conn_is_closed(house.conns[1]));
  house_identity = NULL;
  aw_identity_drop(mallory);
}

static void hub_may_go_while_somebody_greets(void **state) {
  raw_peer raw;

  (void)state;
  house_open((aw_hub_options){.log_bytes = 0});
  house_come(&raw);
  aw_hub_free(house.hub);
  house.hub = NULL;
  raw_until_ended(&raw);
  raw_free(&raw);
}

int main(void) {
#define CASE(name)                                                             \
  cmocka_unit_test_setup_teardown(name, house_set_up, house_tear_down)
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
      CASE(one_session_too_many_of_a_peer_is_as_well),
      CASE(session_ends_when_its_window_has_passed),
      CASE(session_of_nothing_goes_with_its_connection),
      CASE(longest_detached_gives_way_to_newcomers),
      CASE(peer_of_many_sessions_gives_way_first),
      CASE(hub_may_go_while_somebody_greets),
  };

  return cmocka_run_group_tests_name("hub", tests, NULL, NULL);
}
