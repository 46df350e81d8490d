/* What protects a server that is told no limits, and a client, by what it does:
 * each is the one that DESIGN.md section 5 has. Times are read off the loop,
 * which knows how long it may sleep. */
#include "aw_memory.h"
#include "aw_mux_impl.h"
#include "aw_socket.h"
#include "house.h"
#include "stage.h"
#include <stdio.h>
#include <string.h>

/* The timer that is due next has at most `ms` left, and little less. */
static void assert_due_in(aw_loop *loop, int ms) {
  for (int turns = 0; turns < 20; turns++) {
    aw_loop_wait(loop, 1);
  }
  assert_in_range(aw_loop_timeout_ms(loop), ms * 9 / 10, ms);
}

static void who_says_nothing_has_10_s_to_open(void **state) {
  test_stage *stage = *state;
  raw_peer raw;
  stage_listen(stage);
  raw_dial(&raw, stage->loop, stage->port);
  assert_due_in(stage->loop, 10000);
  raw_free(&raw);
}

static void server_that_does_not_answer_has_10_s(void **state) {
  test_stage *stage = *state;
  raw_peer raw;
  int listener = raw_listen(&stage->port);
  stage_connect(stage);
  raw_accept(&raw, stage->loop, listener);
  assert_int_not_equal(raw_head(&raw), 0);
  assert_due_in(stage->loop, 10000);
  raw_free(&raw);
  close(listener);
}

static void silent_client_is_pinged_after_15_s(void **state) {
  test_stage *stage = *state;
  raw_peer raw;
  stage_listen(stage);
  raw_dial(&raw, stage->loop, stage->port);
  raw_upgrade(&raw);
  assert_due_in(stage->loop, 15000);
  raw_free(&raw);
}

static void silent_server_is_pinged_after_15_s(void **state) {
  test_stage *stage = *state;
  raw_peer raw;
  int listener = raw_listen(&stage->port);
  stage_connect(stage);
  raw_accept(&raw, stage->loop, listener);
  raw_answer_upgrade(&raw, "makai.v1");
  stage_until(stage, &stage->client, end_is_settled);
  assert_due_in(stage->loop, 15000);
  raw_free(&raw);
  close(listener);
}

static void pong_has_15_s_to_come(void **state) {
  test_stage *stage = *state;
  raw_peer raw;
  raw_frame frame;
  stage_listen_with(stage, (aw_listener_options){.ping_interval_ms = 10},
                    false);
  raw_dial(&raw, stage->loop, stage->port);
  raw_upgrade(&raw);
  assert_true(raw_take_frame(&raw, &frame));
  assert_int_equal(frame.opcode, AW_WS_PING);
  assert_due_in(stage->loop, 15000);
  raw_free(&raw);
}

static void closing_lingers_for_2_s(void **state) {
  test_stage *stage = *state;
  raw_peer raw;
  stage_listen(stage);
  raw_dial(&raw, stage->loop, stage->port);
  raw_upgrade(&raw);
  stage_until_accepted(stage, 1);
  aw_transport_close(stage->servers[0].t, 1000, "test");
  assert_due_in(stage->loop, 2000);
  raw_free(&raw);
}

/* A request whose head is so long. */
static void ask(raw_peer *raw, test_stage *stage, size_t len) {
  static const char start[] =
      "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
      "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
      "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nX: ";
  char fill[8192];
  size_t rest = len - strlen(start) - 4;
  memset(fill, 'x', sizeof fill);
  raw_dial(raw, stage->loop, stage->port);
  raw_say(raw, start);
  raw_put(raw, fill, rest);
  raw_say(raw, "\r\n\r\n");
}

static void request_has_8_kib(void **state) {
  test_stage *stage = *state;
  raw_peer fits, longer;
  stage_listen(stage);
  ask(&fits, stage, 8192);
  assert_int_not_equal(raw_head(&fits), 0);
  assert_memory_equal(fits.in, "HTTP/1.1 101", 12);
  ask(&longer, stage, 8193);
  assert_refused(&longer, "431");
  raw_free(&fits);
  raw_free(&longer);
}

/* Seats are as good as connections, and need no descriptors. */
static void ten_thousand_are_connected(void **state) {
  enum { MOST = 10000 };
  static aw_seat seats[MOST];
  test_stage *stage = *state;
  raw_peer first, last, late;
  stage_listen(stage);
  raw_dial(&first, stage->loop, stage->port);
  raw_upgrade(&first);
  stage_until_accepted(stage, 1);
  aw_roster *roster = ((aw_socket *)stage->servers[0].t)->seat.roster;
  const struct sockaddr_in other = {.sin_family = AF_INET};
  for (unsigned i = 0; i < MOST - 2; i++) {
    aw_seat_take(&seats[i], roster, (const struct sockaddr *)&other);
  }
  raw_dial(&last, stage->loop, stage->port);
  raw_upgrade(&last);
  raw_dial(&late, stage->loop, stage->port);
  raw_ask_upgrade(&late, "makai.v1");
  assert_refused(&late, "503");
  for (unsigned i = 0; i < MOST - 2; i++) {
    aw_seat_leave(&seats[i]);
  }
  raw_free(&first);
  raw_free(&last);
  raw_free(&late);
}

/* A frame's head that says how long it is. */
static void begin_frame(raw_peer *raw, uint32_t len) {
  char head[14] = {1, (char)0xff};
  for (int i = 0; i < 4; i++) {
    head[6 + i] = (char)(len >> (24 - 8 * i));
  }
  head[0] = (char)0x81;
  raw_put(raw, head, sizeof head);
}

static void message_has_16_mib(void **state) {
  test_stage *stage = *state;
  raw_peer fits, longer;
  raw_frame frame;
  stage_listen(stage);
  raw_dial(&fits, stage->loop, stage->port);
  raw_upgrade(&fits);
  begin_frame(&fits, 16u << 20);
  raw_dial(&longer, stage->loop, stage->port);
  raw_upgrade(&longer);
  begin_frame(&longer, (16u << 20) + 1);
  assert_true(raw_take_frame(&longer, &frame));
  assert_int_equal(frame.code, 1009);
  assert_int_equal(stage->servers[0].closes, 0);
  raw_free(&fits);
  raw_free(&longer);
}

static void who_was_upgraded_has_10_s_to_say_hello(void **state) {
  raw_peer raw;
  (void)state;
  house_open((aw_hub_options){0});
  house_come(&raw);
  assert_due_in(house.loop, 10000);
  raw_free(&raw);
}

static bool is_down(void) {
  return !aw_conn_is_up(house.conns[0]);
}

static void session_lives_for_120_s_without_a_connection(void **state) {
  raw_peer raw;
  aw_channel *channel = NULL;
  (void)state;
  house_open((aw_hub_options){0});
  house_come(&raw);
  house_greet(&raw, HOUSE_KEY, 1, HOUSE_NO_SCOPES);
  assert_welcomed(&raw, 1);
  assert_int_equal(
      aw_mux_open(aw_conn_mux(house.conns[0]), AW_KIND_TOOL, NULL, &channel),
      0);
  raw_free(&raw);
  house_until(is_down);
  assert_due_in(house.loop, 120000);
}

/* To hold so much would take long; what it does at its bound is test_hub_cap's.
 */
static void sessions_hold_256_mib_each_way(void **state) {
  raw_peer raw;
  (void)state;
  house_open((aw_hub_options){0});
  house_come(&raw);
  house_greet(&raw, HOUSE_KEY, 1, HOUSE_NO_SCOPES);
  assert_welcomed(&raw, 1);
  const aw_pool *pool = aw_conn_mux(house.conns[0])->pool;
  assert_int_equal(pool->log_max, 256u << 20);
  assert_int_equal(pool->in_max, 256u << 20);
  raw_free(&raw);
}

enum { SESSIONS_MAX = 10000 };

static aw_transport *clients[SESSIONS_MAX + 1];
static aw_conn *conns[SESSIONS_MAX + 1];
static unsigned conns_count;
static int client_codes[SESSIONS_MAX + 1];

static void on_client_closed(void *user, int error, int code,
                             const char *reason) {
  (void)error;
  (void)reason;
  *(int *)user = code;
}

static void on_welcome(void *user, char *bytes, size_t len) {
  (void)user;
  (void)bytes;
  (void)len;
}

static void on_open(void *user, const aw_transport_info *info) {
  (void)user;
  (void)info;
}

static void on_session(void *user, aw_conn *conn) {
  (void)user;
  conns[conns_count++] = conn;
}

static void greet(aw_hub *hub, unsigned number) {
  static const aw_transport_sink sink = {
      .open = on_open, .message = on_welcome, .closed = on_client_closed};
  char text[400];
  aw_transport *server = NULL;
  assert_int_equal(aw_memory_pair(house.loop, true, &clients[number], &server),
                   0);
  clients[number]->sink = sink;
  clients[number]->user = &client_codes[number];
  aw_hub_take(hub, server);
  aw_loop_wait(house.loop, 0);
  int len =
      snprintf(text, sizeof text,
               "{\"type\":\"hello\","
               "\"connection_id\":\"a0000000-0000-4000-8000-%012u\","
               "\"message_id\":\"b0000000-0000-4000-8000-000000000001\","
               "\"sequence\":0,\"timestamp\":0,\"version\":1,\"payload\":{"
               "\"key\":\"" HOUSE_KEY
               "\",\"attempt\":1,\"scopes\":" HOUSE_NO_SCOPES "}}",
               number);
  assert_int_equal(aw_transport_send(clients[number], text, (size_t)len), 0);
  aw_loop_wait(house.loop, 0);
}

static void ten_thousand_have_sessions(void **state) {
  aw_hub_options options = {0};
  aw_hub *hub = NULL;
  (void)state;
  for (int kind = 0; kind < AW_KIND_SCOPES; kind++) {
    options.mux.types[kind] = &house.types;
  }
  assert_int_equal(aw_hub_new(&hub, house.loop, &options, on_session, NULL), 0);
  for (unsigned i = 0; i <= SESSIONS_MAX; i++) {
    greet(hub, i);
  }
  for (int turns = 0; turns < 10; turns++) {
    aw_loop_wait(house.loop, 1);
  }
  assert_int_equal(aw_hub_sessions(hub), SESSIONS_MAX);
  assert_int_equal(client_codes[SESSIONS_MAX - 1], 0);
  assert_int_not_equal(client_codes[SESSIONS_MAX], 0); /* closed */
  assert_int_equal(conns_count, SESSIONS_MAX);
  for (unsigned i = 0; i < conns_count; i++) {
    aw_conn_free(conns[i]);
  }
  for (unsigned i = 0; i <= SESSIONS_MAX; i++) {
    aw_transport_free(clients[i]);
  }
  aw_hub_free(hub);
}

int main(void) {
#define HOUSED(name)                                                           \
  cmocka_unit_test_setup_teardown(name, house_set_up, house_tear_down)
  const struct CMUnitTest tests[] = {
      STAGED(who_says_nothing_has_10_s_to_open),
      STAGED(server_that_does_not_answer_has_10_s),
      STAGED(silent_client_is_pinged_after_15_s),
      STAGED(silent_server_is_pinged_after_15_s),
      STAGED(pong_has_15_s_to_come),
      STAGED(closing_lingers_for_2_s),
      STAGED(request_has_8_kib),
      STAGED(ten_thousand_are_connected),
      STAGED(message_has_16_mib),
      HOUSED(who_was_upgraded_has_10_s_to_say_hello),
      HOUSED(session_lives_for_120_s_without_a_connection),
      HOUSED(sessions_hold_256_mib_each_way),
      HOUSED(ten_thousand_have_sessions),
  };

  return cmocka_run_group_tests_name("websocket_defaults", tests, NULL, NULL);
}
