#include "transport_suite.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEADLINE_MS 20000
#define LETTERS 26

static const suite_factory *suite_kind;
static suite_pair the_pair;

const char *suite_message(size_t index, size_t len) {
  static char text[AW_TRANSPORT_MESSAGE_MAX + LETTERS];
  size_t i;

  if (text[0] == '\0') {
    for (i = 0; i < sizeof text; i++) {
      text[i] = (char)('a' + i % LETTERS);
    }
  }
  assert_true(len <= AW_TRANSPORT_MESSAGE_MAX);
  return text + index % LETTERS;
}

static uint64_t now_ms(void) {
  return uv_hrtime() / 1000000;
}

void suite_free(suite_end *end) {
  aw_transport *t = end->t;

  end->t = NULL;
  aw_transport_free(t);
}

static void note(suite_end *end, enum suite_upcall upcall) {
  assert_true(end->pair->in_loop);
  assert_non_null(end->t);
  assert_true(upcall == SUITE_CLOSED || end->closes == 0);
  if (end->free_in == upcall) {
    suite_free(end);
  }
}

static void on_open(void *user, const aw_transport_info *info) {
  suite_end *end = user;

  end->opens++;
  end->info = *info;
  assert_int_equal(end->messages, 0);
  note(end, SUITE_OPEN);
}

static void on_message(void *user, char *bytes, size_t len) {
  suite_end *end = user;
  size_t index = end->messages++;

  end->bytes += len;
  if (end->size_of != NULL &&
      (len != end->size_of(index) ||
       memcmp(bytes, suite_message(index, len), len) != 0)) {
    end->wrong++;
  }
  if (end->on_message != NULL) {
    end->on_message(end, bytes, len);
  }
  memset(bytes, '#', len); /* the contract lets the reader change them */
  if (end->t != NULL) {
    note(end, SUITE_MESSAGE);
  }
}

static void on_garbage(void *user, int error, const char *what) {
  suite_end *end = user;

  end->garbage++;
  end->garbage_error = error;
  snprintf(end->garbage_what, sizeof end->garbage_what, "%s", what);
  note(end, SUITE_GARBAGE);
}

static void on_writable(void *user) {
  suite_end *end = user;

  end->writables++;
  end->writable_room = aw_transport_room(end->t);
  note(end, SUITE_WRITABLE);
  if (end->t != NULL) {
    suite_pump(end);
  }
}

static void on_closed(void *user, int error, int code, const char *reason) {
  suite_end *end = user;

  end->closes++;
  end->closed_error = error;
  end->closed_code = code;
  snprintf(end->closed_reason, sizeof end->closed_reason, "%s", reason);
  assert_int_equal(end->closes, 1);
  note(end, SUITE_CLOSED);
}

void suite_attach(suite_end *end, aw_transport *t) {
  static const aw_transport_sink sink = {.open = on_open,
                                         .message = on_message,
                                         .garbage = on_garbage,
                                         .writable = on_writable,
                                         .closed = on_closed};

  end->t = t;
  t->sink = sink;
  t->user = end;
  if (end == &end->pair->server && end->pair->factory->silent_server) {
    end->opens = 1;
    end->info = t->info;
  }
}

void suite_turn(suite_pair *pair, int timeout_ms) {
  pair->in_loop = true;
  aw_loop_wait(pair->loop, timeout_ms);
  pair->in_loop = false;
}

void suite_until(suite_pair *pair, bool (*done)(suite_pair *pair)) {
  uint64_t deadline = now_ms() + DEADLINE_MS;

  while (!done(pair)) {
    assert_true(now_ms() < deadline);
    suite_pump(&pair->client);
    suite_pump(&pair->server);
    suite_turn(pair, 1000);
  }
}

bool suite_both_open(suite_pair *pair) {
  return pair->client.opens == 1 && pair->server.opens == 1;
}

bool suite_both_closed(suite_pair *pair) {
  return pair->client.closes == 1 && pair->server.closes == 1;
}

void suite_pump(suite_end *end) {
  while (end->t != NULL && end->closes == 0 && end->opens == 1 &&
         end->sent < end->send_total && aw_transport_room(end->t) > 0) {
    size_t len = end->size_of(end->sent);
    int rc = aw_transport_send(end->t, suite_message(end->sent, len), len);

    if (rc == AW_E_CLOSED) {
      return;
    }
    assert_int_equal(rc, AW_OK);
    end->sent++;
  }
}

static void count_handle(uv_handle_t *handle, void *arg) {
  (void)handle;
  ++*(unsigned *)arg;
}

static unsigned open_handles(aw_loop *loop) {
  unsigned count = 0;

  uv_walk(aw_loop_uv(loop), count_handle, &count);
  return count;
}

static unsigned handles_at_start;

void suite_start(suite_pair *pair, const suite_factory *factory) {
  *pair = (suite_pair){.factory = factory};
  pair->client.pair = pair->server.pair = pair;
  assert_int_equal(aw_loop_new(&pair->loop, aw_mem_default()), AW_OK);
  handles_at_start = open_handles(pair->loop);
}

static bool is_quiet(suite_pair *pair) {
  return open_handles(pair->loop) == handles_at_start;
}

void suite_stop(suite_pair *pair) {
  suite_free(&pair->client);
  suite_free(&pair->server);
  if (pair->factory->unmake != NULL) {
    pair->factory->unmake(pair);
  }
  if (!pair->factory->keeps_handles) {
    suite_until(pair, is_quiet);
  }
  aw_loop_free(pair->loop);
}

static int setup(void **state) {
  suite_start(&the_pair, suite_kind);
  suite_kind->make(&the_pair);
  *state = &the_pair;
  return 0;
}

static int setup_open(void **state) {
  setup(state);
  suite_until(&the_pair, suite_both_open);
  return 0;
}

static int teardown(void **state) {
  suite_stop(*state);
  return 0;
}

static size_t size_small(size_t index) {
  return 1 + index % 40;
}

static size_t size_kilo(size_t index) {
  (void)index;
  return 1024;
}

static size_t size_block(size_t index) {
  (void)index;
  return 64u << 10;
}

static size_t size_largest(size_t index) {
  return index == 1 ? AW_TRANSPORT_MESSAGE_MAX : 3;
}

/* Every length form of every framing, mostly short. */
static size_t size_mixed(size_t index) {
  static const size_t sizes[] = {1,   2,   125, 126,  127, 160,  200,
                                 255, 256, 500, 1000, 211, 4096, 17};

  if (index % 1000 == 999) {
    return 1u << 20;
  }
  if (index % 100 == 50) {
    return 65535 + index / 100 % 2;
  }
  return sizes[index % (sizeof sizes / sizeof sizes[0])];
}

static void send_between(suite_end *from, suite_end *to, size_t count,
                         size_t (*size_of)(size_t)) {
  from->size_of = to->size_of = size_of;
  from->send_total = count;
}

static bool all_arrived(suite_pair *pair) {
  return pair->server.messages == pair->client.send_total &&
         pair->client.messages == pair->server.send_total;
}

static void assert_all_right(suite_pair *pair) {
  assert_true(all_arrived(pair));
  assert_int_equal(pair->client.wrong, 0);
  assert_int_equal(pair->server.wrong, 0);
}

static bool client_heard(suite_pair *pair) {
  return pair->client.messages == pair->server.send_total;
}

static void opens_both_ends_once(void **state) {
  suite_pair *pair = *state;

  suite_until(pair, suite_both_open);
  suite_turn(pair, 0);
  assert_true(suite_both_open(pair));
  assert_string_equal(pair->client.info.kind, suite_kind->name);
  assert_false(pair->client.info.is_server);
  assert_true(pair->server.info.is_server);
  assert_int_equal(pair->client.closes + pair->server.closes, 0);
}

static void refuses_to_send_before_open(void **state) {
  suite_pair *pair = *state;

  if (pair->client.opens == 0) {
    assert_int_equal(aw_transport_send(pair->client.t, "x", 1), AW_E_CLOSED);
  }
}

static void free_before_open_is_seen_by_the_other_end(void **state) {
  suite_pair *pair = *state;

  suite_free(&pair->client);
  assert_int_equal(pair->client.closes, 0);
}

static bool server_closed(suite_pair *pair) {
  return pair->server.closes == 1;
}

static bool client_closed(suite_pair *pair) {
  return pair->client.closes == 1;
}

static void close_before_open_ends_with_closed(void **state) {
  suite_pair *pair = *state;

  aw_transport_close(pair->client.t, 1000, NULL);
  suite_until(pair, client_closed);
}

static void delivers_in_order_both_ways(void **state) {
  suite_pair *pair = *state;

  send_between(&pair->client, &pair->server, 10000, size_mixed);
  send_between(&pair->server, &pair->client, 10000, size_mixed);
  suite_until(pair, all_arrived);
  assert_all_right(pair);
}

static void carries_the_largest_message(void **state) {
  suite_pair *pair = *state;

  send_between(&pair->client, &pair->server, 3, size_largest);
  send_between(&pair->server, &pair->client, 3, size_largest);
  suite_until(pair, all_arrived);
  assert_all_right(pair);
}

static void refuses_empty_and_oversized_messages(void **state) {
  suite_pair *pair = *state;
  const char *bytes = suite_message(0, 1);

  assert_int_equal(aw_transport_send(pair->client.t, bytes, 0), AW_E_INVALID);
  assert_int_equal(
      aw_transport_send(pair->client.t, bytes, AW_TRANSPORT_MESSAGE_TOP + 1),
      AW_E_LIMIT);
  assert_int_equal(pair->client.t->pending, 0);
}

static void gathers_a_turn_into_few_writes(void **state) {
  suite_pair *pair = *state;
  size_t writes = pair->client.t->writes;

  send_between(&pair->client, &pair->server, 1000, size_small);
  suite_pump(&pair->client);
  assert_int_equal(pair->client.sent, 1000);
  assert_true(pair->client.t->pending > 0);
  suite_until(pair, all_arrived);
  assert_all_right(pair);
  assert_in_range(pair->client.t->writes - writes, 1, 4);
}

static void counts_bytes_and_notes_the_time(void **state) {
  suite_pair *pair = *state;
  size_t out = pair->client.t->bytes_out, in = pair->server.t->bytes_in;

  send_between(&pair->client, &pair->server, 100, size_kilo);
  suite_until(pair, all_arrived);
  assert_int_equal(pair->client.t->pending, 0);
  assert_in_range(pair->client.t->bytes_out - out, 100 * 1024, 110 * 1024);
  assert_in_range(pair->server.t->bytes_in - in, 100 * 1024, 110 * 1024);
  assert_true(pair->server.t->last_in_ms > 0);
  assert_true(pair->server.t->last_in_ms <= aw_loop_now(pair->loop));
}

static void answer(suite_end *end, char *bytes, size_t len) {
  if (end->messages < 1000) {
    assert_int_equal(aw_transport_send(end->t, bytes, len), AW_OK);
  }
}

static bool served_1000(suite_pair *pair) {
  return pair->server.messages == 1000;
}

static void sends_from_inside_upcalls(void **state) {
  suite_pair *pair = *state;

  pair->client.on_message = pair->server.on_message = answer;
  assert_int_equal(aw_transport_send(pair->client.t, "ping", 4), AW_OK);
  suite_until(pair, served_1000);
  assert_int_equal(pair->client.messages, 999);
}

/* A round trip in the other direction, so that whatever was on its way to the
 * paused server has had its chance. */
static void hear_from_server(suite_pair *pair) {
  pair->server.send_total++;
  suite_pump(&pair->server);
  suite_until(pair, client_heard);
}

static void pause_stops_delivery_and_resume_loses_nothing(void **state) {
  suite_pair *pair = *state;

  aw_transport_pause(pair->server.t, true);
  suite_turn(pair, 0);
  send_between(&pair->client, &pair->server, 200, size_kilo);
  suite_pump(&pair->client);
  hear_from_server(pair);
  hear_from_server(pair);
  assert_int_equal(pair->server.messages, 0);
  pair->client.size_of = size_kilo;
  aw_transport_pause(pair->server.t, false);
  suite_until(pair, all_arrived);
  assert_int_equal(pair->server.wrong, 0);
}

static void pause_in_the_middle(suite_end *end, char *bytes, size_t len) {
  (void)bytes;
  (void)len;
  if (end->messages % 1000 == 10) {
    aw_transport_pause(end->t, true);
  }
}

static void pausing_in_an_upcall_keeps_order(void **state) {
  suite_pair *pair = *state;
  size_t rounds;

  pair->server.on_message = pause_in_the_middle;
  send_between(&pair->client, &pair->server, 5000, size_kilo);
  suite_pump(&pair->client);
  for (rounds = 0; rounds < 5000 && !all_arrived(pair); rounds++) {
    suite_turn(pair, 20);
    suite_pump(&pair->client);
    aw_transport_pause(pair->server.t, false);
  }
  assert_all_right(pair);
}

/* Sends until the system takes no more. */
static void fill(suite_pair *pair) {
  unsigned refused = 0;

  send_between(&pair->client, &pair->server, 4096, size_block);
  while (refused < 2) {
    suite_pump(&pair->client);
    assert_true(pair->client.sent < 4096);
    /* Asked after a round trip: real sockets swallow the first MiB. */
    hear_from_server(pair);
    refused = aw_transport_room(pair->client.t) == 0 ? refused + 1 : 0;
  }
}

static void room_ends_at_high_water_and_writable_comes(void **state) {
  suite_pair *pair = *state;
  unsigned writables;

  assert_int_equal(aw_transport_room(pair->client.t), 1u << 20);
  aw_transport_pause(pair->server.t, true);
  fill(pair);
  writables = pair->client.writables;
  assert_true(pair->client.t->pending >= AW_TRANSPORT_HIGH_WATER / 2);
  assert_true(pair->client.t->pending <
              AW_TRANSPORT_HIGH_WATER + size_block(0) + 1024);
  pair->client.send_total = pair->client.sent;
  aw_transport_pause(pair->server.t, false);
  suite_until(pair, all_arrived);
  assert_int_equal(pair->server.wrong, 0);
  assert_int_equal(pair->client.writables, writables + 1);
  assert_true(pair->client.writable_room > AW_TRANSPORT_HIGH_WATER / 2);
}

static void close_flushes_what_waits(void **state) {
  suite_pair *pair = *state;
  size_t i;

  pair->server.size_of = size_block;
  pair->client.send_total = 128;
  for (i = 0; i < 128; i++) {
    assert_int_equal(aw_transport_send(pair->client.t,
                                       suite_message(i, size_block(i)),
                                       size_block(i)),
                     AW_OK);
  }
  pair->client.sent = 128;
  aw_transport_close(pair->client.t, 1000, "done");
  suite_until(pair, suite_both_closed);
  assert_int_equal(pair->server.messages, 128);
  assert_int_equal(pair->server.wrong, 0);
  assert_int_equal(pair->server.closed_error, AW_OK);
  assert_int_equal(pair->client.closed_error, AW_OK);
}

static void check_close_by(suite_end *closer, suite_end *other) {
  aw_transport_close(closer->t, 4001, "because");
  suite_until(closer->pair, suite_both_closed);
  assert_int_equal(closer->closed_error, AW_OK);
  assert_int_equal(closer->closed_code, 4001);
  assert_int_equal(other->closed_error, AW_OK);
  assert_int_equal(other->closed_code, suite_kind->has_codes ? 4001 : 1000);
  if (suite_kind->has_codes) {
    assert_string_equal(other->closed_reason, "because");
  }
}

static void close_by_the_client_is_seen_by_the_server(void **state) {
  suite_pair *pair = *state;

  check_close_by(&pair->client, &pair->server);
}

static void close_by_the_server_is_seen_by_the_client(void **state) {
  suite_pair *pair = *state;

  check_close_by(&pair->server, &pair->client);
}

static void close_is_idempotent_and_the_first_code_counts(void **state) {
  suite_pair *pair = *state;

  aw_transport_close(pair->client.t, 4001, "first");
  aw_transport_close(pair->client.t, 4002, "second");
  suite_turn(pair, 0);
  if (pair->client.t != NULL) {
    aw_transport_close(pair->client.t, 4003, "third");
  }
  suite_until(pair, suite_both_closed);
  assert_int_equal(pair->client.closed_code, 4001);
  aw_transport_close(pair->client.t, 4004, "after the end");
  suite_turn(pair, 0);
  suite_turn(pair, 0);
}

static void simultaneous_close_ends_both_in_order(void **state) {
  suite_pair *pair = *state;

  aw_transport_close(pair->client.t, 1000, NULL);
  aw_transport_close(pair->server.t, 1000, NULL);
  suite_until(pair, suite_both_closed);
  assert_int_equal(pair->client.closed_error, AW_OK);
  assert_int_equal(pair->server.closed_error, AW_OK);
  assert_int_equal(pair->client.closed_code, 1000);
  assert_int_equal(pair->server.closed_code, 1000);
}

static void simultaneous_close_with_traffic_ends_both(void **state) {
  suite_pair *pair = *state;

  send_between(&pair->client, &pair->server, 10, size_block);
  send_between(&pair->server, &pair->client, 10, size_block);
  suite_pump(&pair->client);
  suite_pump(&pair->server);
  aw_transport_close(pair->client.t, 1000, NULL);
  aw_transport_close(pair->server.t, 1000, NULL);
  suite_until(pair, suite_both_closed);
  assert_int_equal(pair->client.closed_error, AW_OK);
  assert_int_equal(pair->server.closed_error, AW_OK);
}

static void close_in_message(suite_end *end, char *bytes, size_t len) {
  (void)bytes;
  (void)len;
  if (end->messages == 3) {
    aw_transport_close(end->t, 1000, NULL);
  }
}

static void closes_from_inside_an_upcall(void **state) {
  suite_pair *pair = *state;

  pair->server.on_message = close_in_message;
  send_between(&pair->client, &pair->server, 10, size_small);
  suite_pump(&pair->client);
  suite_until(pair, suite_both_closed);
  assert_int_equal(pair->server.closed_error, AW_OK);
}

static void send_after_close_is_refused(void **state) {
  suite_pair *pair = *state;

  aw_transport_close(pair->client.t, 1000, NULL);
  assert_int_equal(aw_transport_send(pair->client.t, "x", 1), AW_E_CLOSED);
  suite_until(pair, suite_both_closed);
  assert_int_equal(aw_transport_send(pair->client.t, "x", 1), AW_E_CLOSED);
  assert_int_equal(aw_transport_send(pair->server.t, "x", 1), AW_E_CLOSED);
  assert_int_equal(pair->server.messages, 0);
}

/* The close of one that cannot get rid of its output is bounded. */
static void close_against_a_peer_that_does_not_read_ends(void **state) {
  suite_pair *pair = *state;
  uint64_t start;

  aw_transport_pause(pair->server.t, true);
  fill(pair);
  start = now_ms();
  aw_transport_close(pair->client.t, 1000, NULL);
  suite_until(pair, client_closed);
  assert_in_range(now_ms() - start, AW_TRANSPORT_LINGER_MS / 2,
                  AW_TRANSPORT_LINGER_MS * 3);
  assert_int_not_equal(pair->client.closed_error, AW_OK);
}

static void peer_that_vanishes_gives_closed_once(void **state) {
  suite_pair *pair = *state;

  suite_free(&pair->client);
  suite_until(pair, server_closed);
  suite_turn(pair, 0);
  if (!suite_kind->free_looks_orderly) {
    assert_int_not_equal(pair->server.closed_error, AW_OK);
    assert_int_equal(pair->server.closed_code, 1006);
  }
}

static void peer_that_vanishes_in_traffic_gives_closed_once(void **state) {
  suite_pair *pair = *state;

  send_between(&pair->client, &pair->server, 1000, size_block);
  send_between(&pair->server, &pair->client, 1000, size_block);
  suite_turn(pair, 0);
  suite_pump(&pair->client);
  suite_pump(&pair->server);
  suite_turn(pair, 0);
  suite_free(&pair->server);
  suite_until(pair, client_closed);
  suite_turn(pair, 0);
}

static bool someone_freed(suite_pair *pair) {
  return pair->client.t == NULL || pair->server.t == NULL;
}

static void provoke(suite_pair *pair, enum suite_upcall upcall, bool client) {
  suite_end *self = client ? &pair->client : &pair->server;
  suite_end *other = client ? &pair->server : &pair->client;

  self->free_in = upcall;
  if (upcall == SUITE_OPEN) {
    return;
  }
  suite_until(pair, suite_both_open);
  switch (upcall) {
  case SUITE_MESSAGE:
    send_between(other, self, 5, size_small);
    suite_pump(other);
    break;
  case SUITE_WRITABLE:
    send_between(self, other, 64, size_block);
    suite_pump(self);
    break;
  case SUITE_CLOSED:
    aw_transport_close(other->t, 1000, NULL);
    break;
  default:
    break;
  }
}

static void check_free_in(enum suite_upcall upcall, bool client) {
  suite_pair *pair = &the_pair;
  suite_end *self = client ? &pair->client : &pair->server;

  suite_start(pair, suite_kind);
  self->free_in = upcall == SUITE_OPEN ? SUITE_OPEN : SUITE_NONE;
  suite_kind->make(pair);
  if (upcall == SUITE_OPEN && !client && suite_kind->silent_server) {
    suite_stop(pair);
    return;
  }
  provoke(pair, upcall, client);
  suite_until(pair, someone_freed);
  assert_null(self->t);
  suite_until(pair, client ? server_closed : client_closed);
  suite_stop(pair);
}

static void free_is_legal_in_each_upcall(void **state) {
  static const enum suite_upcall upcalls[] = {SUITE_OPEN, SUITE_MESSAGE,
                                              SUITE_WRITABLE, SUITE_CLOSED};
  size_t i;

  (void)state;
  for (i = 0; i < sizeof upcalls / sizeof upcalls[0]; i++) {
    check_free_in(upcalls[i], true);
    check_free_in(upcalls[i], false);
  }
}

#define WITH(setup, test)                                                      \
  { #test, test, setup, teardown, NULL }

int suite_run(const suite_factory *factory) {
  static const struct CMUnitTest tests[] = {
      WITH(setup, opens_both_ends_once),
      WITH(setup, refuses_to_send_before_open),
      WITH(setup, free_before_open_is_seen_by_the_other_end),
      WITH(setup, close_before_open_ends_with_closed),
      WITH(setup_open, delivers_in_order_both_ways),
      WITH(setup_open, carries_the_largest_message),
      WITH(setup_open, refuses_empty_and_oversized_messages),
      WITH(setup_open, gathers_a_turn_into_few_writes),
      WITH(setup_open, counts_bytes_and_notes_the_time),
      WITH(setup_open, sends_from_inside_upcalls),
      WITH(setup_open, pause_stops_delivery_and_resume_loses_nothing),
      WITH(setup_open, pausing_in_an_upcall_keeps_order),
      WITH(setup_open, room_ends_at_high_water_and_writable_comes),
      WITH(setup_open, close_flushes_what_waits),
      WITH(setup_open, close_by_the_client_is_seen_by_the_server),
      WITH(setup_open, close_by_the_server_is_seen_by_the_client),
      WITH(setup_open, close_is_idempotent_and_the_first_code_counts),
      WITH(setup_open, simultaneous_close_ends_both_in_order),
      WITH(setup_open, simultaneous_close_with_traffic_ends_both),
      WITH(setup_open, closes_from_inside_an_upcall),
      WITH(setup_open, send_after_close_is_refused),
      WITH(setup_open, close_against_a_peer_that_does_not_read_ends),
      WITH(setup_open, peer_that_vanishes_gives_closed_once),
      WITH(setup_open, peer_that_vanishes_in_traffic_gives_closed_once),
      {"free_is_legal_in_each_upcall", free_is_legal_in_each_upcall, NULL, NULL,
       NULL},
  };

  suite_kind = factory;
  return cmocka_run_group_tests_name(factory->name, tests, NULL, NULL);
}
