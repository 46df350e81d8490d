/* The limits of a mux that is told none, by what they do: each is the one that
 * DESIGN.md section 5 has. */
#include "mux_pair.h"
#include <stdlib.h>

static pair p;

static int set_up(void **state) {
  (void)state;
  pair_init(&p);
  return 0;
}

static int tear_down(void **state) {
  (void)state;
  pair_fini(&p);
  return 0;
}

/* A payload of about this many bytes. */
static char *payload_of(size_t bytes) {
  char *text = malloc(bytes + 8);
  assert_non_null(text);
  memcpy(text, "{\"x\":\"", 6);
  memset(text + 6, 'x', bytes);
  memcpy(text + 6 + bytes - 8, "\"}", 3);
  return text;
}

static void limits_are_told_at_the_opening(void **state) {
  static const char *const each[] = {
      "\"message_max\":16777216", "\"depth_max\":128", "\"values_max\":262144",
      "\"max_inbound_bytes\":4194304"};
  (void)state;
  assert_int_equal(aw_mux_attach(p.client, true, &p.client_generation), 0);
  kit_write(p.client, &p.up, SIZE_MAX);
  for (size_t i = 0; i < sizeof each / sizeof each[0]; i++) {
    assert_non_null(strstr(wire_at(&p.up, 0), each[i]));
  }
  assert_int_equal(kit_accept(p.server, &p.up, "epoch", &p.server_generation),
                   0);
  kit_write(p.server, &p.down, SIZE_MAX);
  for (size_t i = 0; i < sizeof each / sizeof each[0]; i++) {
    assert_non_null(strstr(wire_at(&p.down, 0), each[i]));
  }
  assert_non_null(strstr(wire_at(&p.down, 0), "\"window_ms\":120000"));
}

static void scope_has_64_messages_or_256_kib_on_their_way(void **state) {
  char *large = payload_of(64 << 10);
  (void)state;
  pair_connect(&p);
  aw_channel *small = kit_open(p.client, AW_KIND_PROVIDER, NULL);
  aw_channel *wide = kit_open(p.client, AW_KIND_PROVIDER, NULL);
  pair_settle(&p);
  for (unsigned round = 0; round < 3; round++) {
    kit_consume_all(pair_at_server(&p, small));
    kit_consume_all(pair_at_server(&p, wide));
    pair_settle(&p);
    assert_int_equal(kit_fill(small, "{}"), 64);
    assert_in_range(kit_fill(wide, large), 4, 5); /* the last one overdraws */
    pair_settle(&p);
  }
  free(large);
}

static void connection_has_4_mib_on_their_way(void **state) {
  char *large = payload_of(64 << 10);
  (void)state;
  pair_connect(&p);
  for (unsigned i = 0; i < 40; i++) {
    aw_channel *channel = kit_open(p.client, AW_KIND_PROVIDER, NULL);
    while (kit_send(channel, "note", large) == AW_OK) {
    }
    kit_write(p.client, &p.up, SIZE_MAX);
    (void)kit_deliver(p.server, p.server_generation, &p.up);
  }
  assert_in_range(aw_mux_stats_get(p.server)->inbox_bytes, 4u << 20,
                  (4u << 20) + (128u << 10));
  free(large);
}

/* While its peer is away a scope's log takes what it can hold. */
static void scope_logs_4096_messages_or_1_mib(void **state) {
  char *large = payload_of(64 << 10);
  (void)state;
  pair_connect(&p);
  aw_channel *small = kit_open(p.client, AW_KIND_PROVIDER, NULL);
  aw_channel *wide = kit_open(p.client, AW_KIND_PROVIDER, NULL);
  pair_settle(&p);
  pair_cut(&p);
  assert_in_range(kit_fill(small, "{}"), 4095, 4096);
  assert_in_range(kit_fill(wide, large), 16, 17);
  free(large);
}

static void session_logs_8_mib(void **state) {
  char *large = payload_of(64 << 10);
  unsigned sent = 0;
  (void)state;
  pair_connect(&p);
  aw_channel *channels[12];
  for (unsigned i = 0; i < 12; i++) {
    channels[i] = kit_open(p.client, AW_KIND_PROVIDER, NULL);
  }
  pair_settle(&p);
  pair_cut(&p);
  for (unsigned i = 0; i < 12; i++) {
    sent += kit_fill(channels[i], large);
  }
  assert_in_range(sent, 127, 129);
  free(large);
}

static void say(unsigned n, const char *type, uint64_t sequence) {
  aw_uuid id = kit_id(n);
  kit_say(&p.up, "session_id", &id, type, sequence, "{}");
  assert_int_equal(kit_deliver(p.server, p.server_generation, &p.up), 0);
}

/* Of a base peer, which settles nothing. */
static void ten_thousand_scopes_are_open_and_1024_remembered(void **state) {
  (void)state;
  assert_int_equal(aw_mux_attach(p.server, false, &p.server_generation), 0);
  for (unsigned n = 1; n <= 10001; n++) {
    say(n, "open", 1);
  }
  assert_int_equal(aw_mux_stats_get(p.server)->open_scopes, 10000);
  for (unsigned n = 1; n <= 1100; n++) {
    aw_uuid id = kit_id(n);
    say(n, "end", 2);
    aw_mux_release(aw_mux_find(p.server, AW_KIND_AGENT, &id));
  }
  assert_int_equal(aw_mux_stats_get(p.server)->ended_scopes, 1024);
}

static void unsequenced_messages_wait_in_64_kib(void **state) {
  aw_uuid id = kit_id(1);
  unsigned sent = 0;
  (void)state;
  pair_connect(&p);
  while (kit_send_control(p.client, AW_KIND_AGENT, &id, "ping") == AW_OK) {
    sent++;
  }
  kit_write(p.client, &p.up, SIZE_MAX);
  assert_int_equal(wire_len(&p.up), sent);
  size_t bytes = 0;
  for (size_t i = 0; i < sent; i++) {
    bytes += strlen(wire_at(&p.up, i));
  }
  /* Each takes a header beside its text. */
  assert_in_range(bytes, 48 << 10, 65 << 10);
}

/* Though the session's logs are full. */
static void every_scope_has_4_messages_of_1_kib_in_reserve(void **state) {
  char *large = payload_of(60000), *more = payload_of(1100);
  char *fits = payload_of(700); /* with a header */
  (void)state;
  pair_anew(&p);
  p.client_options.session_bytes = 40000;
  pair_make(&p);
  pair_connect(&p);
  aw_channel *full = kit_open(p.client, AW_KIND_PROVIDER, NULL);
  aw_channel *small = kit_open(p.client, AW_KIND_PROVIDER, NULL);
  pair_settle(&p);
  kit_consume_all(pair_at_server(&p, full));
  kit_consume_all(pair_at_server(&p, small));
  pair_settle(&p);
  assert_int_equal(kit_send(full, "note", large), AW_OK);
  assert_int_equal(kit_send(small, "note", more), AW_E_AGAIN);
  assert_int_equal(kit_fill(small, fits), 4);
  free(large);
  free(more);
  free(fits);
}

/* Beyond the credit, so that no window is too full for an abort. */
static void urgent_messages_have_64_kib_more(void **state) {
  char *large = payload_of(10000);
  unsigned sent = 0;
  (void)state;
  pair_connect(&p);
  aw_channel *channel = kit_open(p.client, AW_KIND_PROVIDER, NULL);
  pair_settle(&p);
  (void)kit_fill(channel, "{}");
  while (kit_send(channel, "stop", large) == AW_OK) {
    sent++;
  }
  assert_int_equal(sent, 7); /* the last one overdraws */
  free(large);
}

static int send_counted(aw_channel *channel, const char *payload,
                        unsigned depth, unsigned values) {
  aw_draft draft;
  assert_int_equal(aw_mux_begin(channel, "note", 4, NULL, &draft), AW_OK);
  assert_int_equal(aw_buf_append(draft.out, payload, strlen(payload)), 0);
  draft.depth = depth;
  draft.values = values;
  return aw_draft_commit(&draft);
}

/* Before the server has told its own. */
static void every_server_takes_64_kib_32_levels_and_4096_values(void **state) {
  char *fits = payload_of(65000), *large = payload_of(66000);
  (void)state;
  assert_int_equal(aw_mux_attach(p.client, true, &p.client_generation), 0);
  aw_channel *channel = kit_open(p.client, AW_KIND_PROVIDER, NULL);
  assert_int_equal(send_counted(channel, fits, 1, 2), AW_OK);
  assert_int_equal(send_counted(channel, large, 1, 2), AW_E_AGAIN);
  assert_int_equal(send_counted(channel, "{}", 31, 2), AW_OK);
  assert_int_equal(send_counted(channel, "{}", 32, 2), AW_E_AGAIN);
  assert_int_equal(send_counted(channel, "{}", 1, 4096 - 18), AW_OK);
  assert_int_equal(send_counted(channel, "{}", 1, 4096 - 17), AW_E_AGAIN);
  free(fits);
  free(large);
}

int main(void) {
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
  const struct CMUnitTest tests[] = {
      CASE(limits_are_told_at_the_opening),
      CASE(scope_has_64_messages_or_256_kib_on_their_way),
      CASE(connection_has_4_mib_on_their_way),
      CASE(scope_logs_4096_messages_or_1_mib),
      CASE(session_logs_8_mib),
      CASE(ten_thousand_scopes_are_open_and_1024_remembered),
      CASE(unsequenced_messages_wait_in_64_kib),
      CASE(every_scope_has_4_messages_of_1_kib_in_reserve),
      CASE(urgent_messages_have_64_kib_more),
      CASE(every_server_takes_64_kib_32_levels_and_4096_values),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
