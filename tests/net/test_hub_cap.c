/* What a server holds in all, and who gives way: the logs of its sessions, and
 * the moments at which one of them may go. */
#include "failing_mem.h"
#include "house.h"
#include <stdio.h>
#include <string.h>

/* Scopes of the server with messages that nobody acknowledges: few and small
 * ones in each, which go however full the logs are. */
static void burden(aw_conn *conn, size_t bytes) {
  enum { SIZE = 700 };
  aw_channel *channel = NULL;
  aw_draft draft;

  for (size_t put = 0; put < bytes; put += SIZE) {
    char text[SIZE + 20];
    int len = snprintf(text, sizeof text, "{\"t\":\"%0*d\"}", (int)SIZE, 0);

    if (put % (AW_MUX_RESERVE_MESSAGES * SIZE) == 0) {
      assert_int_equal(
          aw_mux_open(aw_conn_mux(conn), AW_KIND_PROVIDER, NULL, &channel), 0);
    }
    assert_int_equal(aw_mux_begin(channel, "note", 4, NULL, &draft), 0);
    assert_int_equal(aw_buf_append(draft.out, text, (size_t)len), 0);
    assert_int_equal(aw_draft_commit(&draft), 0);
  }
}

static void come_as(raw_peer *raw, unsigned number, unsigned attempt) {
  house_come(raw);
  house_greet_as(raw, number, HOUSE_KEY, attempt, HOUSE_NO_SCOPES);
  assert_welcomed(raw, attempt);
}

static unsigned wanted;

static bool has_wanted_sessions(void) {
  return aw_hub_sessions(house.hub) == wanted;
}

static void until_sessions(unsigned count) {
  wanted = count;
  house_until(has_wanted_sessions);
}

static bool all_are_gone(void) {
  unsigned open = 0;

  for (unsigned i = 0; i < house.accepted; i++) {
    open += house.conns[i] != NULL && !aw_conn_is_closed(house.conns[i]);
  }
  return open == 0;
}

/* A twin takes a session over while the cap is passed: the session that loses
 * its transport for a moment is the longest detached one, and stays. */
static void twin_keeps_its_session_above_the_cap(void **state) {
  raw_peer first, second;

  (void)state;
  house_open((aw_hub_options){.log_bytes = 1000});
  come_as(&first, 1, 1);
  burden(house.conns[0], 20000);
  come_as(&second, 1, 2);
  assert_farewell(&first, 4001, "superseded");
  assert_true(aw_conn_is_up(house.conns[0]));
  assert_int_equal(aw_hub_sessions(house.hub), 1);
  raw_free(&first);
  raw_free(&second);
  until_sessions(0);
  assert_true(aw_conn_is_closed(house.conns[0]));
  assert_non_null(strstr(aw_conn_last_end(house.conns[0])->reason, "memory"));
}

static void longest_detached_gives_way_first(void **state) {
  raw_peer peers[3];

  (void)state;
  house_open((aw_hub_options){.log_bytes = 25000});
  for (unsigned i = 0; i < 3; i++) {
    come_as(&peers[i], i + 1, 1);
    burden(house.conns[i], 10000);
  }
  raw_free(&peers[1]);
  until_sessions(2);
  assert_true(aw_conn_is_closed(house.conns[1]));
  raw_free(&peers[0]);
  raw_free(&peers[2]);
  until_sessions(2); /* what is left is below the cap */
  assert_false(aw_conn_is_closed(house.conns[0]));
  assert_false(aw_conn_is_closed(house.conns[2]));
}

/* One after the other, more than there is room for: the first ones go, as many
 * as have to. */
static void sessions_in_sequence_leave_nothing_behind(void **state) {
  enum { ALL = 30, CAP = 250000 };
  size_t one = 0;
  raw_peer raw;

  (void)state;
  house_open((aw_hub_options){.log_bytes = CAP});
  for (unsigned i = 0; i < ALL; i++) {
    come_as(&raw, i + 1, 1);
    burden(house.conns[i], 10000);
    one = i == 0 ? aw_hub_log_bytes(house.hub) : one;
    raw_free(&raw);
  }
  unsigned room = (unsigned)(CAP / one);
  assert_in_range(room, 10, ALL - 5);
  until_sessions(room);
  for (unsigned i = 0; i < ALL; i++) {
    assert_int_equal(aw_conn_is_closed(house.conns[i]), i < ALL - room);
    aw_conn_abandon(house.conns[i], AW_E_CLOSED, "test");
  }
  assert_int_equal(aw_hub_sessions(house.hub), 0);
  assert_int_equal(aw_hub_log_bytes(house.hub), 0);
}

/* Connections belong to whoever accepted them, who may free them at any time:
 * up, superseded a moment ago, detached, over. */
static void freed_connections_take_their_sessions_along(void **state) {
  raw_peer peers[3], twin;

  (void)state;
  house_open((aw_hub_options){.log_bytes = 1000});
  for (unsigned i = 0; i < 3; i++) {
    come_as(&peers[i], i + 1, 1);
    burden(house.conns[i], 5000);
  }
  aw_conn_cut(house.conns[0], "test");
  aw_conn_free(house.conns[0]);
  aw_conn_close(house.conns[1], 1000, "test");
  aw_conn_free(house.conns[1]);
  aw_conn_free(house.conns[2]);
  house.conns[0] = house.conns[1] = house.conns[2] = NULL;
  come_as(&twin, 1, 1); /* the same session, anew */
  assert_int_equal(aw_hub_sessions(house.hub), 1);
  assert_int_equal(aw_hub_log_bytes(house.hub), 0);
  for (unsigned i = 0; i < 3; i++) {
    raw_free(&peers[i]);
  }
  raw_free(&twin);
}

/* The same attempt twice is stale; the present connection goes on. */
static void repeated_attempt_changes_nothing(void **state) {
  raw_peer first, again;

  (void)state;
  house_open((aw_hub_options){.log_bytes = 1000});
  come_as(&first, 1, 1);
  burden(house.conns[0], 5000);
  house_come(&again);
  house_greet(&again, HOUSE_KEY, 1, HOUSE_NO_SCOPES);
  assert_farewell(&again, 4001, "a newer connection");
  assert_true(aw_conn_is_up(house.conns[0]));
  raw_free(&first);
  raw_free(&again);
}

/* Takeover upon takeover, with the cap passed all the time. */
static void takeovers_end_with_the_last_one(void **state) {
  enum { TIMES = 30 };
  raw_peer peers[TIMES];

  (void)state;
  house_open((aw_hub_options){.log_bytes = 1});
  for (unsigned i = 0; i < TIMES; i++) {
    come_as(&peers[i], 1, i + 1);
    burden(house.conns[0], 2000);
  }
  assert_int_equal(house.accepted, 1);
  for (unsigned i = 0; i < TIMES; i++) {
    raw_free(&peers[i]);
  }
  house_until(all_are_gone);
  assert_int_equal(aw_hub_sessions(house.hub), 0);
  assert_int_equal(aw_hub_log_bytes(house.hub), 0);
}

/* Nine peers begin messages of a million bytes and say no more: who began first
 * gives way, the others and a small message go on. */
static void unfinished_messages_are_bounded_together(void **state) {
  enum { PEERS = 9, PART = 100000, CAP = 1000000 };
  static char part[PART];
  static const char head[] = {1,    (char)0xff, 0,    0, 0, 0, 0,
                              0x0f, 0x42,       0x40, 0, 0, 0, 0};
  raw_peer peers[PEERS];

  (void)state;
  memset(part, ' ', sizeof part);
  house_open((aw_hub_options){.in_bytes = CAP});
  for (unsigned i = 0; i < PEERS; i++) {
    come_as(&peers[i], i + 1, 1);
    raw_put(&peers[i], head, sizeof head);
    raw_put(&peers[i], part, sizeof part);
    for (int turns = 0; turns < 20; turns++) {
      aw_loop_wait(house.loop, 1);
    }
    assert_in_range(aw_hub_in_bytes(house.hub), 0, CAP);
  }
  assert_farewell(&peers[0], 1013, "inbound_process_bytes");
  assert_true(aw_conn_is_up(house.conns[PEERS - 1]));
  for (unsigned i = 0; i < PEERS; i++) {
    raw_free(&peers[i]);
  }
  until_sessions(0);
  assert_int_equal(aw_hub_in_bytes(house.hub), 0);
}

static void takes_nobody(void *user, aw_conn *conn) {
  (void)user;
  (void)conn;
}

static int open_and_close(const aw_mem *mem) {
  const aw_hub_options options = {.log_bytes = 0};
  aw_loop *loop;
  aw_hub *hub = NULL;
  int rc = aw_loop_new(&loop, mem);
  if (rc == AW_OK) {
    rc = aw_hub_new(&hub, loop, &options, takes_nobody, NULL);
    if (rc == AW_OK) {
      aw_hub_free(hub);
    }
    aw_loop_free(loop);
  }
  return rc;
}

static void hub_that_cannot_be_made_leaves_nothing(void **state) {
  (void)state;
  fail_each_allocation(open_and_close);
}

int main(void) {
#define CASE(name)                                                             \
  cmocka_unit_test_setup_teardown(name, house_set_up, house_tear_down)
  const struct CMUnitTest tests[] = {
      CASE(twin_keeps_its_session_above_the_cap),
      CASE(longest_detached_gives_way_first),
      CASE(sessions_in_sequence_leave_nothing_behind),
      CASE(freed_connections_take_their_sessions_along),
      CASE(repeated_attempt_changes_nothing),
      CASE(takeovers_end_with_the_last_one),
      CASE(unfinished_messages_are_bounded_together),
      cmocka_unit_test(hub_that_cannot_be_made_leaves_nothing),
  };

  return cmocka_run_group_tests_name("hub_cap", tests, NULL, NULL);
}
