/* What keeps a peer, or a host that does not read, from taking all memory:
 * every limit of the mux is reached here. And running out of memory itself. */
#include "failing_mem.h"
#include "limit_kit.h"
#include "mux_kit.h"
#include <stdio.h>
#include <stdlib.h>

typedef struct fixture {
  kit kit;
  aw_mux *mux;
  uint32_t generation;
  wire in, out;
} fixture;

static void start(fixture *f, const aw_mux_options *given) {
  *f = (fixture){.generation = 0};
  kit_init(&f->kit, aw_mem_default());
  aw_mux_options options = *given;
  aw_mux_options base = kit_options(&f->kit, false);
  memcpy(options.types, base.types, sizeof options.types);
  options.seed[0] = 1;
  f->mux = kit_mux(&f->kit, &options);
  assert_int_equal(aw_mux_attach(f->mux, false, &f->generation), 0);
}

static void stop(fixture *f) {
  aw_mux_free(f->mux);
  kit_fini(&f->kit);
  wire_fini(&f->in);
  wire_fini(&f->out);
}

static int say(fixture *f, unsigned id, const char *type, uint64_t sequence) {
  aw_uuid uuid = kit_id(id);

  kit_say(&f->in, "session_id", &uuid, type, sequence, "{}");
  return kit_deliver(f->mux, f->generation, &f->in);
}

static aw_channel *find(fixture *f, unsigned id) {
  aw_uuid uuid = kit_id(id);

  return aw_mux_find(f->mux, AW_KIND_AGENT, &uuid);
}

static fixture scopes;

static unsigned count_scopes(void) {
  return aw_mux_stats_get(scopes.mux)->open_scopes;
}

/* Places are ids: what ended can be opened anew. */
static bool open_theirs(unsigned place) {
  aw_refusal refusal;
  assert_int_equal(say(&scopes, place, "open", 1), 0);
  if (!aw_mux_refusal(scopes.mux, &refusal)) {
    assert_non_null(find(&scopes, place));
    return true;
  }
  assert_int_equal(refusal.code, AW_E_LIMIT);
  assert_null(find(&scopes, place));
  return false;
}

static void end_theirs(unsigned place) {
  assert_int_equal(say(&scopes, place, "end", 2), 0);
  aw_mux_release(find(&scopes, place));
}

static bool open_ours(unsigned place) {
  aw_channel *channel = NULL;
  aw_uuid id = kit_id(place);
  int rc = aw_mux_open(scopes.mux, AW_KIND_AGENT, &id, &channel);
  if (rc == AW_OK) {
    assert_int_equal(kit_send(channel, "open", "{}"), 0);
    return true;
  }
  assert_int_equal(rc, AW_E_LIMIT);
  return false;
}

static void end_ours(unsigned place) {
  aw_channel *channel = find(&scopes, place);
  assert_int_equal(kit_send(channel, "end", "{}"), 0);
  kit_write(scopes.mux, &scopes.out, SIZE_MAX);
  aw_mux_release(channel);
}

static void open_scopes_are_limited_both_ways(void **state) {
  aw_channel *channel = NULL;
  (void)state;
  start(&scopes, &(aw_mux_options){.scopes_max = 3});
  limit_check(&(limit){3, open_theirs, end_theirs, count_scopes});
  assert_true(aw_mux_stats_get(scopes.mux)->refused[AW_REFUSED_LIMIT] > 10);
  limit_check(&(limit){3, open_ours, end_ours, count_scopes});
  /* Both ways together. */
  kit_open(scopes.mux, AW_KIND_PROVIDER, NULL);
  assert_true(open_theirs(1));
  assert_true(open_theirs(2));
  assert_false(open_theirs(3));
  assert_int_equal(aw_mux_open(scopes.mux, AW_KIND_AGENT, NULL, &channel),
                   AW_E_LIMIT);
  stop(&scopes);
}

static void refusals_that_nobody_takes_are_counted_not_kept(void **state) {
  fixture f;
  aw_refusal refusal;
  unsigned taken = 0;

  (void)state;
  start(&f, &(aw_mux_options){.scopes_max = 0});
  for (unsigned n = 0; n < 256 + 44; n++) {
    assert_int_equal(say(&f, n, "note", n + 1), 0);
  }
  assert_int_equal(aw_mux_stats_get(f.mux)->unanswered, 44);
  while (aw_mux_refusal(f.mux, &refusal)) {
    assert_int_equal(refusal.sequence, ++taken); /* the oldest first */
  }
  assert_int_equal(taken, 256);
  assert_int_equal(say(&f, 1, "note", 7), 0);
  assert_true(aw_mux_refusal(f.mux, &refusal));
  stop(&f);
}

static void unsequenced_messages_are_bounded_both_ways(void **state) {
  fixture f;
  aw_control control;
  aw_uuid id = kit_id(1);
  unsigned kept = 0, sent = 0;
  int rc;

  (void)state;
  start(&f, &(aw_mux_options){.control_bytes = 4096});
  for (unsigned n = 0; n < 100; n++) {
    assert_int_equal(say(&f, 1, "ping", 0), 0);
  }
  while (aw_mux_control(f.mux, &control)) {
    kept++;
    aw_mux_control_drop(f.mux);
  }
  assert_true(kept > 4 && kept < 80);
  assert_int_equal(aw_mux_stats_get(f.mux)->unanswered, 100 - kept);
  assert_int_equal(say(&f, 1, "ping", 0), 0);
  assert_true(aw_mux_control(f.mux, &control));
  while ((rc = kit_send_control(f.mux, AW_KIND_AGENT, &id, "ping")) == 0) {
    sent++;
  }
  assert_int_equal(rc, AW_E_AGAIN);
  assert_int_equal(aw_mux_send_error(f.mux, "a", "b", 1), AW_E_AGAIN);
  assert_true(sent > 4 && sent < 80);
  kit_write(f.mux, &f.out, SIZE_MAX);
  assert_int_equal(wire_len(&f.out), sent);
  assert_int_equal(kit_send_control(f.mux, AW_KIND_AGENT, &id, "ping"), 0);
  stop(&f);
}

static void oldest_tombstones_make_room(void **state) {
  fixture f;

  (void)state;
  start(&f, &(aw_mux_options){.tombs_max = 4});
  for (unsigned n = 1; n <= 10; n++) {
    assert_int_equal(say(&f, n, "open", 1), 0);
    assert_int_equal(say(&f, n, "end", 2), 0);
    aw_mux_release(find(&f, n));
  }
  for (unsigned n = 1; n <= 10; n++) {
    assert_int_equal(find(&f, n) != NULL, n > 6);
  }
  assert_int_equal(aw_mux_stats_get(f.mux)->ended_scopes, 4);
  stop(&f);
}

/* A base peer grants no credit: what waits for the transport is bounded. */
static void sender_waits_when_the_transport_does_not_take(void **state) {
  fixture f;
  aw_channel *a, *b;
  char big[65536];
  unsigned sent = 1;
  int rc;

  (void)state;
  start(&f, &(aw_mux_options){.scopes_max = 0});
  a = kit_open(f.mux, AW_KIND_AGENT, NULL);
  while ((rc = kit_send(a, "note", "{}")) == 0) {
    sent++;
  }
  assert_int_equal(rc, AW_E_AGAIN);
  assert_int_equal(sent, AW_CHANNEL_WINDOW_MESSAGES);
  /* Other scopes have their own window, which bytes fill as well. */
  b = kit_open(f.mux, AW_KIND_AGENT, NULL);
  memset(big, ' ', sizeof big);
  memcpy(big, "{}", 2);
  big[sizeof big - 1] = '\0';
  for (sent = 0; (rc = kit_send(b, "note", big)) == 0; sent++) {
  }
  assert_int_equal(rc, AW_E_AGAIN);
  assert_int_equal(sent, 4);
  kit_no_events(f.mux);
  /* An abort passes, but not without end. */
  for (sent = 0; (rc = kit_send_urgent(a)) == 0; sent++) {
  }
  assert_int_equal(rc, AW_E_AGAIN);
  assert_true(sent > 100 && sent < 1000);
  kit_write(f.mux, &f.out, SIZE_MAX);
  unsigned both = 0;
  for (unsigned n = 0, events = 0; n < 2; n++) {
    aw_channel *channel = aw_mux_poll(f.mux, &events);

    assert_int_equal(events, AW_CHANNEL_WRITABLE);
    both |= channel == a ? 1 : 2;
  }
  assert_int_equal(both, 3);
  kit_no_events(f.mux);
  assert_int_equal(kit_send(a, "note", "{}"), 0);
  stop(&f);
}

static void transport_is_choked_while_nobody_reads(void **state) {
  fixture f;
  uint64_t n = 0;

  (void)state;
  start(&f, &(aw_mux_options){.inbound_bytes = 10000});
  assert_int_equal(say(&f, 1, "open", ++n), 0);
  while (!aw_mux_choked(f.mux)) {
    assert_true(aw_mux_stats_get(f.mux)->inbox_bytes <= 10000);
    assert_int_equal(say(&f, 1, "note", ++n), 0);
  }
  assert_true(aw_mux_stats_get(f.mux)->inbox_bytes > 10000);
  kit_consume(find(&f, 1));
  assert_false(aw_mux_choked(f.mux));
  stop(&f);
}

static unsigned turns_of(const wire *w, const aw_channel *channel) {
  char id[AW_UUID_TEXT + 1] = {0};
  unsigned count = 0;

  aw_uuid_format(&channel->id, id);
  for (size_t i = 0; i < wire_len(w); i++) {
    count += strstr(wire_at(w, i), id) != NULL;
  }
  return count;
}

static void scopes_share_the_wire_in_turns(void **state) {
  fixture f;
  aw_channel *channels[3];
  char payload[1000];

  (void)state;
  start(&f, &(aw_mux_options){.scopes_max = 0});
  snprintf(payload, sizeof payload, "{\"text\":\"%0900d\"}", 7);
  for (unsigned i = 0; i < 3; i++) {
    channels[i] = kit_open(f.mux, AW_KIND_AGENT, NULL);
    for (unsigned n = 0; n < 40; n++) {
      assert_int_equal(kit_send(channels[i], "note", payload), 0);
    }
  }
  /* Room for little more than a turn of each; the next write goes on where
   * this one stopped, so nobody is served twice before the others. */
  for (unsigned round = 1; round <= 6; round++) {
    kit_write(f.mux, &f.out, 3 * 4096);
    unsigned least = UINT32_MAX, most = 0;
    for (unsigned i = 0; i < 3; i++) {
      unsigned count = turns_of(&f.out, channels[i]);

      least = count < least ? count : least;
      most = count > most ? count : most;
    }
    assert_true(least >= 3 * round);
    assert_true(most - least <= 4);
  }
  kit_write(f.mux, &f.out, SIZE_MAX);
  for (unsigned i = 0; i < 3; i++) {
    assert_int_equal(turns_of(&f.out, channels[i]), 41);
  }
  stop(&f);
}

static void room_is_overdrawn_by_one_message_at_most(void **state) {
  fixture f;

  (void)state;
  start(&f, &(aw_mux_options){.scopes_max = 0});
  kit_sends(kit_open(f.mux, AW_KIND_AGENT, NULL), "note", 20);
  for (unsigned n = 1; n <= 21; n++) {
    kit_write(f.mux, &f.out, 1);
    assert_int_equal(wire_len(&f.out), n);
  }
  kit_write(f.mux, &f.out, SIZE_MAX);
  assert_int_equal(wire_len(&f.out), 21);
  kit_write(f.mux, &f.out, 0);
  stop(&f);
}

/* A mux that is out of memory says so and goes on as if nothing had been. */
static int live_a_life(const aw_mem *mem) {
  fixture f = {.generation = 0};
  aw_channel *mine = NULL;
  int rc;

  kit_init(&f.kit, mem);
  aw_mux_options options = kit_options(&f.kit, false);
  options.tombs_max = 1;
  rc = aw_mux_new(&f.mux, mem, &options);
  if (rc == 0) {
    rc = aw_mux_attach(f.mux, false, &f.generation);
  }
  for (unsigned n = 1; rc == 0 && n <= 20; n++) {
    rc = say(&f, n, "open", 1);
    if (rc != 0) {
      assert_null(find(&f, n));
      break;
    }
    rc = say(&f, n, "note", 2);
    assert_int_equal(find(&f, n)->received, rc == 0 ? 2 : 1);
    rc = rc != 0 ? rc : say(&f, n, "ping", 0);
    rc = rc != 0 ? rc : kit_send(find(&f, n), "note", "{}");
    assert_int_equal(find(&f, n)->log.last, rc == 0 ? 1 : 0);
    rc = rc != 0 ? rc : aw_mux_open(f.mux, AW_KIND_PROVIDER, NULL, &mine);
    rc = rc != 0 ? rc : kit_send(mine, "open", "{}");
    rc = rc != 0 ? rc : say(&f, n, "end", 3);
    rc = rc != 0 ? rc
                 : kit_send_control(f.mux, AW_KIND_AGENT, &mine->id, "ping");
    rc = rc != 0 ? rc : aw_mux_send_error(f.mux, "code", "message", 7);
    if (rc == 0 && n % 3 == 0) {
      aw_mux_release(find(&f, n));
    }
  }
  if (f.mux != NULL) {
    kit_write(f.mux, &f.out, SIZE_MAX);
    assert_false(aw_mux_writable(f.mux));
    const aw_mux_stats *stats = aw_mux_stats_get(f.mux);
    assert_int_equal(stats->log_bytes, 0);
    assert_int_equal(stats->messages_out, wire_len(&f.out));
  }
  stop(&f);
  return rc;
}

static void mux_out_of_memory_says_so_and_goes_on(void **state) {
  (void)state;
  fail_each_allocation(live_a_life);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(open_scopes_are_limited_both_ways),
      cmocka_unit_test(refusals_that_nobody_takes_are_counted_not_kept),
      cmocka_unit_test(unsequenced_messages_are_bounded_both_ways),
      cmocka_unit_test(oldest_tombstones_make_room),
      cmocka_unit_test(sender_waits_when_the_transport_does_not_take),
      cmocka_unit_test(transport_is_choked_while_nobody_reads),
      cmocka_unit_test(scopes_share_the_wire_in_turns),
      cmocka_unit_test(room_is_overdrawn_by_one_message_at_most),
      cmocka_unit_test(mux_out_of_memory_says_so_and_goes_on),
  };

  return cmocka_run_group_tests_name("mux_limits", tests, NULL, NULL);
}
