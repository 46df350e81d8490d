/* agentwire.v1 as its rules say: greeting, replay, credit. What becomes of
 * scopes that only one side knows is in test_resume_scopes.c. */
#include "mux_pair.h"
#include <stdio.h>
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

static aw_channel *open_at_both(enum aw_kind kind) {
  aw_channel *channel = kit_open(p.client, kind, NULL);

  pair_settle(&p);
  assert_non_null(pair_at_server(&p, channel));
  return channel;
}

static void make_payload(char *out, size_t size) {
  memset(out, 'x', size);
  memcpy(out, "{\"text\":\"", 9);
  memcpy(out + size - 3, "\"}", 3);
}

static void first_hello_is_followed_at_once(void **state) {
  (void)state;
  aw_channel *channel = kit_open(p.client, AW_KIND_AGENT, NULL);
  assert_int_equal(aw_mux_attach(p.client, true, &p.client_generation), 0);
  kit_sends(channel, "note", 1);
  kit_write(p.client, &p.up, SIZE_MAX);
  assert_int_equal(wire_len(&p.up), 3);
  const char *hello = wire_at(&p.up, 0);
  assert_true(aw_hello_is(hello, strlen(hello)));
  assert_non_null(strstr(hello, "\"scopes\":[],\"more\":false"));
  assert_null(strstr(hello, "epoch"));
  assert_int_equal(kit_accept(p.server, &p.up, "e", &p.server_generation), 0);
  assert_int_equal(kit_deliver(p.server, p.server_generation, &p.up), 0);
  assert_int_equal(pair_at_server(&p, channel)->received, 2);
  assert_int_equal(aw_mux_notice(p.server), AW_MUX_RENEWED);
  assert_true(aw_uuid_equal(aw_mux_connection_id(p.server),
                            aw_mux_connection_id(p.client)));
  pair_settle(&p);
  assert_int_equal(aw_mux_notice(p.client), AW_MUX_RENEWED);
  assert_int_equal(aw_mux_notice(p.client), AW_MUX_NOTICE_NONE);
}

static void later_hellos_wait_for_the_welcome(void **state) {
  (void)state;
  pair_connect(&p);
  aw_channel *channel = open_at_both(AW_KIND_AGENT);
  pair_cut(&p);
  assert_int_equal(aw_mux_attach(p.client, true, &p.client_generation), 0);
  kit_sends(channel, "note", 1);
  kit_open(p.client, AW_KIND_PROVIDER, NULL);
  kit_write(p.client, &p.up, SIZE_MAX);
  assert_int_equal(wire_len(&p.up), 1);
  assert_false(aw_mux_writable(p.client));
  assert_non_null(strstr(wire_at(&p.up, 0), "\"epoch\":\"epoch"));
  /* What comes before the welcome breaks the protocol. */
  wire early = {0};
  kit_say(&early, "session_id", &channel->id, "note", 1, "{}");
  assert_int_equal(kit_deliver(p.client, p.client_generation, &early),
                   AW_E_REFUSED);
  wire_fini(&early);
  assert_int_equal(kit_accept(p.server, &p.up, "e", &p.server_generation), 0);
  pair_settle(&p);
  assert_int_equal(pair_at_server(&p, channel)->received, 2);
  assert_int_equal(aw_mux_stats_get(p.server)->open_scopes, 2);
}

static void session_that_was_kept_is_resumed(void **state) {
  (void)state;
  pair_connect(&p);
  while (aw_mux_notice(p.client) != 0 || aw_mux_notice(p.server) != 0) {
  }
  pair_cut(&p);
  pair_connect(&p);
  assert_int_equal(aw_mux_notice(p.client), AW_MUX_RESUMED);
  assert_int_equal(aw_mux_notice(p.server), AW_MUX_RESUMED);
  pair_restart_server(&p);
  pair_connect(&p);
  assert_int_equal(aw_mux_notice(p.client), AW_MUX_RENEWED);
}

/* The welcome may be lost as often as it likes. */
static void session_survives_lost_welcomes(void **state) {
  uint64_t last = 0;

  (void)state;
  aw_channel *channel = kit_open(p.client, AW_KIND_AGENT, NULL);
  for (unsigned n = 0; n < 5; n++) {
    assert_int_equal(aw_mux_attach(p.client, true, &p.client_generation), 0);
    kit_sends(channel, "note", 1);
    kit_write(p.client, &p.up, SIZE_MAX);
    assert_int_equal(kit_accept(p.server, &p.up, "e", &p.server_generation), 0);
    assert_int_equal(kit_deliver(p.server, p.server_generation, &p.up), 0);
    pair_cut(&p);
  }
  pair_connect(&p);
  pair_consume(pair_at_server(&p, channel), &last);
  assert_int_equal(last, 6);
}

static void tail_that_was_lost_is_sent_again_once(void **state) {
  uint64_t up = 0, down = 0;

  (void)state;
  pair_connect(&p);
  aw_channel *mine = open_at_both(AW_KIND_AGENT);
  aw_channel *theirs = pair_at_server(&p, mine);
  for (unsigned round = 1; round <= 20; round++) {
    kit_sends(mine, "note", 10);
    kit_sends(theirs, "note", 7);
    kit_write(p.client, &p.up, SIZE_MAX);
    kit_write(p.server, &p.down, SIZE_MAX);
    for (unsigned n = 0; n < round % 11; n++) {
      char *text = wire_take(&p.up);
      assert_int_equal(kit_hear(p.server, p.server_generation, text), 0);
      free(text);
    }
    pair_cut(&p);
    pair_connect(&p);
    pair_consume(theirs, &up);
    pair_consume(mine, &down);
    assert_int_equal(up, 1 + 10 * round);
    assert_int_equal(down, 7 * round);
    pair_settle(&p);
  }
  assert_true(aw_mux_stats_get(p.client)->replayed > 0);
  assert_int_equal(aw_mux_stats_get(p.server)->replayed, 20 * 7);
  assert_int_equal(aw_mux_stats_get(p.client)->log_bytes, 0);
  assert_int_equal(aw_mux_stats_get(p.server)->log_bytes, 0);
}

static void what_is_sent_while_detached_comes_later(void **state) {
  uint64_t last = 0;

  (void)state;
  pair_connect(&p);
  aw_channel *channel = open_at_both(AW_KIND_AGENT);
  pair_cut(&p);
  kit_sends(channel, "note", 30);
  kit_sends(channel, "end", 1);
  pair_connect(&p);
  pair_consume(pair_at_server(&p, channel), &last);
  assert_int_equal(last, 32);
  assert_int_equal(pair_at_server(&p, channel)->error, 0);
  assert_true(aw_channel_is_over(pair_at_server(&p, channel)));
}

static void duplicates_are_dropped_and_gaps_end_the_connection(void **state) {
  wire w = {0};

  (void)state;
  pair_connect(&p);
  aw_channel *channel = open_at_both(AW_KIND_AGENT);
  kit_say(&w, "session_id", &channel->id, "note", 1, "{}");
  assert_int_equal(kit_deliver(p.server, p.server_generation, &w), 0);
  assert_int_equal(aw_mux_stats_get(p.server)->duplicates, 1);
  assert_int_equal(pair_at_server(&p, channel)->inbox.count, 1);
  kit_say(&w, "session_id", &channel->id, "note", 3, "{}");
  assert_int_equal(kit_deliver(p.server, p.server_generation, &w),
                   AW_E_SEQUENCE_GAP);
  assert_int_equal(pair_at_server(&p, channel)->received, 1);
  wire_fini(&w);
}

static void sender_stops_at_the_window_and_flows_move_it_on(void **state) {
  uint64_t last = 0;

  (void)state;
  pair_connect(&p);
  aw_channel *mine = open_at_both(AW_KIND_AGENT);
  aw_channel *theirs = pair_at_server(&p, mine);
  kit_consume_all(theirs);
  last = 1;
  pair_settle(&p);
  kit_no_events(p.client);
  assert_int_equal(kit_fill(mine, "{}"), 64);
  pair_settle(&p);
  assert_int_equal(theirs->inbox.count, 64);
  kit_no_events(p.client);
  for (unsigned n = 0; n < 31; n++) {
    assert_int_equal(kit_consume(theirs), ++last);
  }
  assert_false(aw_mux_writable(p.server)); /* less than half a window */
  assert_int_equal(kit_consume(theirs), ++last);
  assert_true(aw_mux_writable(p.server));
  pair_settle(&p);
  assert_int_equal(kit_events(p.client, mine), AW_CHANNEL_WRITABLE);
  assert_int_equal(kit_fill(mine, "{}"), 32);
  pair_settle(&p);
  pair_consume(theirs, &last);
  assert_int_equal(last, 97);
}

static void bytes_use_up_the_window_too(void **state) {
  char payload[65536];
  uint64_t last = 1;

  (void)state;
  make_payload(payload, sizeof payload);
  pair_connect(&p);
  aw_channel *mine = open_at_both(AW_KIND_AGENT);
  aw_channel *theirs = pair_at_server(&p, mine);
  kit_consume_all(theirs);
  pair_settle(&p);
  assert_int_equal(kit_fill(mine, payload), 4);
  pair_settle(&p);
  pair_consume(theirs, &last);
  pair_settle(&p);
  assert_int_equal(kit_events(p.client, mine), AW_CHANNEL_WRITABLE);
  assert_int_equal(kit_fill(mine, payload), 4);
  /* What was logged while detached is bound to the same credit. */
  pair_cut(&p);
  assert_true(kit_fill(mine, payload) > 8);
  pair_connect(&p);
  assert_int_equal(theirs->inbox.count, 4);
  while (last < mine->log.last) {
    pair_consume(theirs, &last);
    pair_settle(&p);
    assert_true(theirs->inbox.count <= 5);
  }
}

/* A message larger than the whole window overdraws it; nothing waits for the
 * 50 ms then. */
static void overdrawn_credit_is_given_back_at_once(void **state) {
  static char payload[600000];

  (void)state;
  make_payload(payload, sizeof payload);
  pair_connect(&p);
  aw_channel *mine = open_at_both(AW_KIND_AGENT);
  kit_consume_all(pair_at_server(&p, mine));
  pair_settle(&p);
  for (unsigned n = 0; n < 3; n++) {
    assert_int_equal(kit_send(mine, "note", payload), 0);
    assert_int_equal(kit_send(mine, "note", "{}"), AW_E_AGAIN);
    kit_write(p.client, &p.up, SIZE_MAX);
    assert_int_equal(kit_deliver(p.server, p.server_generation, &p.up), 0);
    assert_int_equal(kit_consume_all(pair_at_server(&p, mine)), 1);
    assert_true(aw_mux_writable(p.server));
    kit_write(p.server, &p.down, SIZE_MAX);
    assert_int_equal(kit_deliver(p.client, p.client_generation, &p.down), 0);
    assert_int_equal(kit_events(p.client, mine), AW_CHANNEL_WRITABLE);
  }
}

static void acknowledgement_waits_fifty_milliseconds(void **state) {
  (void)state;
  pair_connect(&p);
  aw_channel *mine = open_at_both(AW_KIND_AGENT);
  assert_int_equal(aw_mux_log_count(&mine->log), 1);
  assert_true(aw_mux_deadline(p.server) == UINT64_MAX);
  assert_int_equal(kit_consume(pair_at_server(&p, mine)), 1);
  assert_true(aw_mux_deadline(p.server) == p.now_ms + 50);
  pair_wait(&p, AW_FLOW_DELAY_MS - 1);
  assert_false(aw_mux_writable(p.server));
  pair_wait(&p, 1);
  assert_true(aw_mux_writable(p.server));
  kit_write(p.server, &p.down, SIZE_MAX);
  assert_int_equal(wire_len(&p.down), 1);
  assert_int_equal(kit_deliver(p.client, p.client_generation, &p.down), 0);
  assert_int_equal(aw_mux_log_count(&mine->log), 0);
  assert_true(aw_mux_deadline(p.server) == UINT64_MAX);
}

/* Every order, with losses and repetitions, of the flows of one connection:
 * the last one alone says all. */
static void flows_may_be_lost_repeated_and_reordered(void **state) {
  static const char *const orders[] = {"2",    "02",   "210",
                                       "2222", "1202", "20101"};
  aw_credit want = {0, 0};

  (void)state;
  for (size_t i = 0; i < sizeof orders / sizeof orders[0]; i++) {
    char *flows[3];

    pair_anew(&p);
    pair_make(&p);
    pair_connect(&p);
    aw_channel *mine = open_at_both(AW_KIND_AGENT);
    kit_sends(mine, "note", 60);
    kit_write(p.client, &p.up, SIZE_MAX);
    assert_int_equal(kit_deliver(p.server, p.server_generation, &p.up), 0);
    for (unsigned n = 0; n < 3; n++) {
      for (unsigned k = 0; k < 10; k++) {
        kit_consume(pair_at_server(&p, mine));
      }
      pair_wait(&p, AW_FLOW_DELAY_MS);
      kit_write(p.server, &p.down, SIZE_MAX);
      assert_int_equal(wire_len(&p.down), 1);
      flows[n] = wire_take(&p.down);
    }
    for (const char *at = orders[i]; *at != '\0'; at++) {
      assert_int_equal(
          kit_hear(p.client, p.client_generation, flows[*at - '0']), 0);
    }
    assert_int_equal(mine->log.first, 31);
    assert_int_equal(mine->allowed.sequence, 30 + 64);
    assert_true(want.bytes == 0 || want.bytes == mine->allowed.bytes);
    want = mine->allowed;
    for (unsigned n = 0; n < 3; n++) {
      free(flows[n]);
    }
  }
}

static void abort_passes_a_window_that_is_used_up(void **state) {
  uint64_t last = 0;

  (void)state;
  pair_connect(&p);
  aw_channel *mine = open_at_both(AW_KIND_AGENT);
  pair_cut(&p);
  kit_sends(mine, "note", 200);
  pair_connect(&p);
  aw_channel *theirs = pair_at_server(&p, mine);
  assert_int_equal(theirs->received, 64);
  assert_int_equal(kit_send(mine, "note", "{}"), AW_E_AGAIN);
  assert_false(aw_mux_writable(p.client));
  assert_int_equal(kit_send_urgent(mine), 0);
  assert_true(aw_mux_writable(p.client));
  pair_settle(&p);
  /* Order is not given up for it. */
  pair_consume(theirs, &last);
  assert_int_equal(last, 202);
}

static void abort_finds_no_log_too_full(void **state) {
  static char payload[2 << 20];

  (void)state;
  make_payload(payload, sizeof payload);
  pair_connect(&p);
  aw_channel *mine = open_at_both(AW_KIND_AGENT);
  assert_int_equal(kit_send(mine, "note", payload), 0);
  assert_int_equal(kit_send(mine, "note", "{}"), AW_E_AGAIN);
  assert_int_equal(kit_send_urgent(mine), 0);
  pair_settle(&p);
  assert_int_equal(pair_at_server(&p, mine)->received, 3);
}

static void connection_credit_bounds_what_nobody_reads(void **state) {
  char payload[1000];
  uint64_t last[8] = {0};
  aw_channel *theirs[8];

  (void)state;
  pair_anew(&p);
  p.client_options.inbound_bytes = 50000;
  pair_make(&p);
  pair_connect(&p);
  make_payload(payload, sizeof payload);
  for (unsigned i = 0; i < 8; i++) {
    theirs[i] = kit_open(p.server, AW_KIND_TOOL, NULL);
    for (unsigned n = 0; n < 40; n++) {
      assert_int_equal(kit_send(theirs[i], "note", payload), 0);
    }
  }
  pair_settle(&p);
  /* 320 kB were sent; a few small or first messages may pass beyond. */
  const aw_mux_stats *stats = aw_mux_stats_get(p.client);
  assert_in_range(stats->inbox_bytes, 50000, 70000);
  /* Neither do reconnects let more in. */
  for (unsigned n = 0; n < 5; n++) {
    pair_cut(&p);
    pair_connect(&p);
    assert_in_range(stats->inbox_bytes, 50000, 70000);
  }
  /* An abort passes this credit as well. */
  aw_channel *held = theirs[7];
  assert_int_equal(kit_send_urgent(held), 0);
  assert_true(aw_mux_writable(p.server));
  pair_settle(&p);
  assert_int_equal(pair_at_client(&p, held)->received, 42);
  for (unsigned i = 0, left = 8; left > 0; i = (i + 1) % 8) {
    aw_channel *mine = pair_at_client(&p, theirs[i]);

    if (mine != NULL && last[i] < theirs[i]->log.last) {
      pair_consume(mine, &last[i]);
      left -= last[i] == theirs[i]->log.last;
    }
    pair_settle(&p);
  }
  assert_int_equal(stats->inbox_bytes, 0);
  assert_int_equal(aw_mux_stats_get(p.server)->log_bytes, 0);
}

static void detached_log_is_bounded_and_wakes_its_sender(void **state) {
  uint64_t last = 1;

  (void)state;
  pair_anew(&p);
  p.client_options.log_messages = 100;
  pair_make(&p);
  pair_connect(&p);
  aw_channel *mine = open_at_both(AW_KIND_AGENT);
  kit_consume_all(pair_at_server(&p, mine));
  pair_settle(&p);
  pair_cut(&p);
  assert_int_equal(kit_fill(mine, "{}"), 100);
  kit_no_events(p.client);
  pair_connect(&p);
  pair_consume(pair_at_server(&p, mine), &last);
  pair_settle(&p);
  pair_consume(pair_at_server(&p, mine), &last);
  pair_settle(&p);
  assert_int_equal(last, 101);
  assert_int_equal(kit_events(p.client, mine), AW_CHANNEL_WRITABLE);
}

/* The scope's window opens while the session's log is full: the sender has to
 * be woken when that has room again. */
static void sender_that_waits_for_two_things_is_woken(void **state) {
  char payload[60000];

  (void)state;
  pair_anew(&p);
  p.client_options.session_bytes = 40000;
  pair_make(&p);
  pair_connect(&p);
  make_payload(payload, sizeof payload);
  aw_channel *waiting = open_at_both(AW_KIND_AGENT);
  kit_fill(waiting, "{}");
  aw_channel *full = open_at_both(AW_KIND_AGENT);
  assert_int_equal(kit_send(full, "note", payload), 0);
  pair_settle(&p);
  while (aw_mux_log_count(&waiting->log) > AW_MUX_RESERVE_MESSAGES) {
    kit_consume(pair_at_server(&p, waiting));
    pair_settle(&p);
  }
  kit_no_events(p.client);
  kit_consume_all(pair_at_server(&p, full));
  pair_settle(&p);
  assert_int_equal(kit_events(p.client, waiting), AW_CHANNEL_WRITABLE);
}

/* The peer begins with the default, so it must not wait for the delay of an
 * acknowledgement once that is used up. */
static void larger_window_is_granted_with_the_first_message(void **state) {
  char payload[100000];

  (void)state;
  pair_anew(&p);
  p.client_options.window_bytes = 1u << 20;
  pair_make(&p);
  pair_connect(&p);
  aw_channel *mine = open_at_both(AW_KIND_AGENT);
  aw_channel *theirs = pair_at_server(&p, mine);
  make_payload(payload, sizeof payload);
  assert_int_equal(kit_fill(theirs, payload), 3);
  kit_write(p.server, &p.down, SIZE_MAX);
  kit_deliver(p.client, p.client_generation, &p.down);
  kit_consume(mine);
  kit_write(p.client, &p.up, SIZE_MAX); /* no time has passed */
  kit_deliver(p.server, p.server_generation, &p.up);
  assert_true(theirs->allowed.bytes > 1u << 20);
}

/* What is taken is not what is done. */
static void manual_confirmation_holds_the_credit_back(void **state) {
  (void)state;
  pair_connect(&p);
  aw_channel *mine = open_at_both(AW_KIND_AGENT);
  aw_channel *theirs = pair_at_server(&p, mine);
  aw_mux_confirm_manually(mine);
  unsigned sent = kit_fill(theirs, "{}");
  assert_int_equal(sent, AW_CHANNEL_WINDOW_MESSAGES);
  pair_settle(&p);
  assert_int_equal(kit_consume_all(mine), sent);
  pair_settle(&p);
  assert_int_equal(aw_mux_log_count(&theirs->log), sent);
  assert_int_equal(kit_send(theirs, "note", "{}"), AW_E_AGAIN);
  assert_int_equal(aw_mux_stats_get(p.client)->inbox_bytes, 0);
  aw_mux_confirm(mine);
  pair_settle(&p);
  assert_int_equal(aw_mux_log_count(&theirs->log), 0);
  assert_int_equal(kit_fill(theirs, "{}"), sent);
}

/* It is the peer's log that keeps it; nothing comes twice for that. */
static void unconfirmed_messages_are_not_sent_again(void **state) {
  uint64_t last = 0;

  (void)state;
  pair_connect(&p);
  aw_channel *mine = open_at_both(AW_KIND_AGENT);
  aw_channel *theirs = pair_at_server(&p, mine);
  aw_mux_confirm_manually(mine);
  kit_sends(theirs, "note", 10);
  pair_settle(&p);
  pair_consume(mine, &last);
  pair_cut(&p);
  pair_connect(&p);
  assert_int_equal(aw_mux_log_count(&theirs->log), 10);
  kit_sends(theirs, "note", 1);
  pair_settle(&p);
  pair_consume(mine, &last);
  assert_int_equal(last, 11);
  assert_int_equal(aw_mux_stats_get(p.client)->duplicates, 0);
  aw_mux_confirm(mine);
  pair_settle(&p);
  assert_int_equal(aw_mux_log_count(&theirs->log), 0);
}

static void letting_go_confirms_everything(void **state) {
  (void)state;
  pair_connect(&p);
  aw_channel *mine = open_at_both(AW_KIND_AGENT);
  aw_channel *theirs = pair_at_server(&p, mine);
  aw_mux_confirm_manually(mine);
  kit_sends(theirs, "note", 10);
  kit_sends(theirs, "end", 1);
  pair_settle(&p);
  kit_consume_all(mine);
  aw_mux_release(mine);
  pair_settle(&p);
  assert_int_equal(aw_mux_stats_get(p.server)->log_bytes, 0);
}

/* Whoever ignores the credit cannot fill the memory; and what was refused is
 * not claimed to have been received. */
static void peer_that_ignores_the_credit_is_refused(void **state) {
  static char payload[1 << 20];
  char uuid[AW_UUID_TEXT + 1] = {0};
  int rc = 0;
  unsigned n = 1;

  (void)state;
  pair_connect(&p);
  aw_channel *mine = open_at_both(AW_KIND_AGENT);
  aw_uuid_format(&mine->id, uuid);
  memset(payload, ' ', sizeof payload);
  while (rc == 0) {
    int len = snprintf(payload, sizeof payload,
                       "{\"type\":\"note\",\"session_id\":\"%s\","
                       "\"message_id\":\"%s\",\"sequence\":%u,\"payload\":{}}",
                       uuid, uuid, ++n);
    payload[len] = ' ';
    payload[sizeof payload - 1] = '\0';
    rc = kit_hear(p.server, p.server_generation, payload);
  }
  assert_int_equal(rc, AW_E_REFUSED);
  assert_in_range(n, 4, 40);
  assert_int_equal(pair_at_server(&p, mine)->received, n - 1);
  assert_int_equal(pair_at_server(&p, mine)->inbox.count, n - 1);
}

static void messages_of_an_older_connection_are_not_looked_at(void **state) {
  wire w = {0};

  (void)state;
  pair_connect(&p);
  aw_channel *mine = open_at_both(AW_KIND_AGENT);
  uint32_t old_client = p.client_generation, old = p.server_generation;
  /* The client is gone and back; the server still holds the old link. */
  aw_mux_detach(p.client, old_client, AW_E_IO);
  pair_connect(&p);
  assert_int_not_equal(p.server_generation, old);
  uint64_t before = aw_mux_stats_get(p.server)->messages_in;
  kit_say(&w, "session_id", &mine->id, "note", 2, "{}");
  assert_int_equal(kit_deliver(p.server, old, &w), AW_E_CLOSED);
  kit_say(&w, "session_id", &mine->id, "note", 1, "{}");
  assert_int_equal(kit_deliver(p.client, old_client, &w), AW_E_CLOSED);
  assert_int_equal(aw_mux_stats_get(p.server)->messages_in, before);
  assert_int_equal(pair_at_server(&p, mine)->received, 1);
  /* Nor does its end concern the new one. */
  aw_mux_detach(p.server, old, AW_E_IO);
  aw_mux_detach(p.client, old_client, AW_E_IO);
  kit_sends(mine, "note", 1);
  pair_settle(&p);
  assert_int_equal(pair_at_server(&p, mine)->received, 2);
  wire_fini(&w);
}

/* A hello that was held up on a connection long given up: it knows less than
 * what was acknowledged since, and must not take the session over. */
static void hello_that_comes_late_is_refused(void **state) {
  wire held = {0};
  uint32_t generation = 0;

  (void)state;
  pair_connect(&p);
  aw_channel *mine = open_at_both(AW_KIND_AGENT);
  aw_channel *theirs = pair_at_server(&p, mine);
  pair_cut(&p);
  assert_int_equal(aw_mux_attach(p.client, true, &p.client_generation), 0);
  kit_write(p.client, &held, SIZE_MAX);
  aw_mux_detach(p.client, p.client_generation, AW_E_TIMEOUT);
  pair_connect(&p);
  kit_sends(theirs, "note", 9);
  pair_settle(&p);
  kit_consume_all(mine);
  pair_settle(&p);
  assert_int_equal(aw_mux_log_count(&theirs->log), 0);
  assert_int_equal(kit_accept(p.server, &held, "e", &generation), AW_E_CLOSED);
  kit_sends(mine, "note", 1);
  kit_sends(theirs, "note", 1);
  pair_settle(&p);
  assert_int_equal(theirs->received, 2);
  assert_int_equal(mine->received, 10);
  pair_cut(&p);
  pair_connect(&p);
  assert_int_equal(mine->state, AW_CHANNEL_OPEN);
  wire_fini(&held);
}

static void abandoned_session_accepts_nobody(void **state) {
  (void)state;
  pair_connect(&p);
  pair_cut(&p);
  aw_mux_abandon(p.server, AW_E_TIMEOUT);
  assert_int_equal(aw_mux_attach(p.client, true, &p.client_generation), 0);
  kit_write(p.client, &p.up, SIZE_MAX);
  assert_int_equal(kit_accept(p.server, &p.up, "e", &p.server_generation),
                   AW_E_CLOSED);
}

static void base_peer_after_an_extended_one_loses_the_scopes(void **state) {
  (void)state;
  pair_connect(&p);
  aw_channel *mine = open_at_both(AW_KIND_AGENT);
  pair_cut(&p);
  kit_sends(mine, "note", 3);
  assert_int_equal(aw_mux_attach(p.client, false, &p.client_generation), 0);
  assert_int_equal(mine->error, AW_E_LOST);
  assert_int_equal(kit_send(mine, "note", "{}"), AW_E_LOST);
  assert_false(aw_mux_writable(p.client));
  assert_false(aw_mux_is_extended(p.client));
}

/* An absence that was too long: the client gives up what it had, and may come
 * back all the same. */
static void scopes_of_a_long_absence_are_lost_at_both_ends(void **state) {
  unsigned events = 0;

  (void)state;
  pair_anew(&p);
  p.server_options.window_ms = 1234;
  pair_make(&p);
  assert_int_equal(aw_mux_peer_window_ms(p.client), AW_MUX_WINDOW_MS);
  pair_connect(&p);
  assert_int_equal(aw_mux_peer_window_ms(p.client), 1234);
  aw_channel *mine = open_at_both(AW_KIND_AGENT);
  aw_channel *theirs = pair_at_server(&p, mine);
  aw_mux_lose_scopes(p.client); /* it is not away */
  assert_int_equal(mine->state, AW_CHANNEL_OPEN);
  pair_cut(&p);
  kit_sends(mine, "note", 3);
  kit_sends(theirs, "note", 3);
  while (aw_mux_poll(p.client, &events) != NULL) {
  }
  aw_mux_lose_scopes(p.client);
  assert_ptr_equal(aw_mux_poll(p.client, &events), mine);
  assert_true(events & AW_CHANNEL_ENDED);
  assert_int_equal(mine->error, AW_E_LOST);
  assert_int_equal(kit_send(mine, "note", "{}"), AW_E_LOST);
  assert_int_equal(aw_mux_stats_get(p.client)->log_bytes, 0);
  aw_channel *fresh = kit_open(p.client, AW_KIND_AGENT, NULL);
  pair_connect(&p);
  assert_int_equal(theirs->error, AW_E_LOST);
  assert_int_equal(pair_at_server(&p, fresh)->state, AW_CHANNEL_OPEN);
  assert_int_equal(aw_mux_stats_get(p.server)->open_scopes, 1);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
  const struct CMUnitTest tests[] = {
      TEST(first_hello_is_followed_at_once),
      TEST(later_hellos_wait_for_the_welcome),
      TEST(scopes_of_a_long_absence_are_lost_at_both_ends),
      TEST(session_that_was_kept_is_resumed),
      TEST(session_survives_lost_welcomes),
      TEST(tail_that_was_lost_is_sent_again_once),
      TEST(what_is_sent_while_detached_comes_later),
      TEST(duplicates_are_dropped_and_gaps_end_the_connection),
      TEST(sender_stops_at_the_window_and_flows_move_it_on),
      TEST(bytes_use_up_the_window_too),
      TEST(overdrawn_credit_is_given_back_at_once),
      TEST(acknowledgement_waits_fifty_milliseconds),
      TEST(flows_may_be_lost_repeated_and_reordered),
      TEST(abort_passes_a_window_that_is_used_up),
      TEST(abort_finds_no_log_too_full),
      TEST(connection_credit_bounds_what_nobody_reads),
      TEST(detached_log_is_bounded_and_wakes_its_sender),
      TEST(sender_that_waits_for_two_things_is_woken),
      TEST(larger_window_is_granted_with_the_first_message),
      TEST(manual_confirmation_holds_the_credit_back),
      TEST(unconfirmed_messages_are_not_sent_again),
      TEST(letting_go_confirms_everything),
      TEST(peer_that_ignores_the_credit_is_refused),
      TEST(messages_of_an_older_connection_are_not_looked_at),
      TEST(hello_that_comes_late_is_refused),
      TEST(abandoned_session_accepts_nobody),
      TEST(base_peer_after_an_extended_one_loses_the_scopes),
  };

  return cmocka_run_group_tests_name("resume", tests, NULL, NULL);
}
