/* What becomes of scopes when the two ends do not know the same of them: new
 * processes, ids used again, ends that cross, what was let go of; and link
 * messages that no agentwire peer would write. */
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

static aw_channel *open_at_both(void) {
  aw_channel *channel = kit_open(p.client, AW_KIND_AGENT, NULL);

  pair_settle(&p);
  assert_non_null(pair_at_server(&p, channel));
  return channel;
}

/* Connects and returns what the welcome says of the scope. */
static const char *connect_for_status(const aw_uuid *id) {
  static char status[16];

  pair_greet(&p);
  snprintf(status, sizeof status, "%s", pair_status(&p.down, id));
  pair_settle(&p);
  return status;
}

static void scope_that_both_have_is_live(void **state) {
  (void)state;
  pair_connect(&p);
  aw_channel *mine = open_at_both();
  pair_cut(&p);
  assert_string_equal(connect_for_status(&mine->id), "live");
  assert_int_equal(mine->state, AW_CHANNEL_OPEN);
}

static void scope_whose_end_is_in_the_replay_is_done(void **state) {
  uint64_t last = 0;

  (void)state;
  pair_connect(&p);
  aw_channel *mine = open_at_both();
  kit_sends(pair_at_server(&p, mine), "note", 3);
  kit_sends(pair_at_server(&p, mine), "end", 1);
  pair_cut(&p);
  assert_string_equal(connect_for_status(&mine->id), "done");
  pair_consume(mine, &last);
  assert_int_equal(last, 4);
  assert_int_equal(mine->error, 0);
}

static void
scope_that_the_server_never_saw_is_sent_from_the_start(void **state) {
  uint64_t last = 0;

  (void)state;
  pair_connect(&p);
  pair_cut(&p);
  aw_channel *mine = kit_open(p.client, AW_KIND_AGENT, NULL);
  kit_sends(mine, "note", 4);
  assert_string_equal(connect_for_status(&mine->id), "unknown");
  pair_consume(pair_at_server(&p, mine), &last);
  assert_int_equal(last, 5);
}

static void scope_that_a_new_process_cannot_continue_is_lost(void **state) {
  (void)state;
  pair_connect(&p);
  aw_channel *heard = open_at_both(), *acked = open_at_both();
  aw_channel *unheard = open_at_both();
  kit_sends(pair_at_server(&p, heard), "note", 1);
  kit_consume_all(pair_at_server(&p, acked));
  pair_settle(&p);
  kit_poll_all(p.client);
  pair_restart_server(&p);
  pair_connect(&p);
  assert_int_equal(heard->error, AW_E_LOST);
  assert_int_equal(acked->error, AW_E_LOST);
  assert_int_equal(kit_send(heard, "note", "{}"), AW_E_LOST);
  /* Nothing of it was acknowledged: all is sent again. */
  assert_int_equal(unheard->state, AW_CHANNEL_OPEN);
  assert_int_equal(pair_at_server(&p, unheard)->received, 1);
  unsigned lost = 0, events = 0;
  while (aw_mux_poll(p.client, &events) != NULL) {
    lost += (events & AW_CHANNEL_ENDED) != 0;
  }
  assert_int_equal(lost, 2);
}

/* Credit that was granted by a process that is gone counts no more. */
static void new_process_grants_credit_anew(void **state) {
  (void)state;
  pair_connect(&p);
  aw_channel *mine = open_at_both();
  mine->allowed.sequence = 500;
  pair_restart_server(&p);
  kit_sends(mine, "note", 100);
  pair_connect(&p);
  assert_int_equal(pair_at_server(&p, mine)->received, 64);
}

/* A server makes the same ids again after a restart; the first welcome of its
 * new process is lost, so that the second hello meets a session that exists.
 */
static void other_epoch_is_never_resumed(void **state) {
  aw_uuid id = kit_id(9);
  uint64_t last = 0;

  (void)state;
  pair_connect(&p);
  aw_channel *old = kit_open(p.server, AW_KIND_TOOL, &id);
  kit_sends(old, "note", 5);
  pair_settle(&p);
  aw_channel *mine = aw_mux_find(p.client, AW_KIND_TOOL, &id);
  pair_consume(mine, &last);
  assert_int_equal(last, 6);
  pair_restart_server(&p);
  kit_sends(kit_open(p.server, AW_KIND_TOOL, &id), "note", 9);
  pair_greet(&p);
  pair_cut(&p);
  pair_connect(&p);
  assert_int_equal(aw_mux_notice(p.server), AW_MUX_RENEWED);
  assert_int_equal(mine->error, AW_E_LOST);
  assert_int_equal(mine->received, 6);
}

/* A session that was given up and made anew has lost its logs, although the
 * server's process is the same. */
static void epoch_names_a_session_too(void **state) {
  (void)state;
  pair_connect(&p);
  char first[AW_EPOCH_TEXT + 1];
  const char *hello = NULL;
  pair_cut(&p);
  assert_int_equal(aw_mux_attach(p.client, true, &p.client_generation), 0);
  kit_write(p.client, &p.up, SIZE_MAX);
  hello = strstr(wire_at(&p.up, 0), "\"epoch\":\"");
  assert_non_null(hello);
  memcpy(first, hello + 9, AW_EPOCH_TEXT);
  pair_restart_server(&p);
  pair_connect(&p);
  pair_cut(&p);
  assert_int_equal(aw_mux_attach(p.client, true, &p.client_generation), 0);
  kit_write(p.client, &p.up, SIZE_MAX);
  hello = strstr(wire_at(&p.up, 0), "\"epoch\":\"");
  assert_non_null(hello);
  assert_memory_not_equal(first, hello + 9, AW_EPOCH_TEXT);
}

/* Only the last page of a welcome makes its epoch the client's: a cut between
 * pages must not mix old numbers with the new epoch. */
static void epoch_counts_from_the_last_page_on(void **state) {
  (void)state;
  pair_connect(&p);
  for (unsigned n = 0; n < 300; n++) {
    kit_open(p.client, AW_KIND_AGENT, NULL);
  }
  pair_settle(&p);
  pair_restart_server(&p);
  pair_greet(&p);
  assert_true(pair_count(&p.down, "welcome") > 1);
  char *page = wire_take(&p.down);
  assert_int_equal(kit_hear(p.client, p.client_generation, page), 0);
  const char *fresh = strstr(page, "\"epoch\":\"");
  pair_cut(&p);
  assert_int_equal(aw_mux_attach(p.client, true, &p.client_generation), 0);
  kit_write(p.client, &p.up, SIZE_MAX);
  const char *told = strstr(wire_at(&p.up, 0), "\"epoch\":\"");
  assert_non_null(fresh);
  assert_non_null(told);
  assert_memory_not_equal(fresh, told, 9 + AW_EPOCH_TEXT);
  free(page);
}

static void many_scopes_go_in_pages(void **state) {
  aw_channel *channels[600];

  (void)state;
  pair_connect(&p);
  for (unsigned n = 0; n < 600; n++) {
    channels[n] = kit_open(p.client, AW_KIND_AGENT, NULL);
  }
  pair_settle(&p);
  pair_cut(&p);
  for (unsigned n = 0; n < 600; n++) {
    kit_sends(channels[n], "note", 1);
  }
  assert_int_equal(aw_mux_attach(p.client, true, &p.client_generation), 0);
  kit_write(p.client, &p.up, SIZE_MAX);
  assert_int_equal(pair_count(&p.up, "hello"), 3);
  assert_int_equal(wire_len(&p.up), 3);
  assert_int_equal(kit_accept(p.server, &p.up, "e", &p.server_generation), 0);
  kit_write(p.server, &p.down, SIZE_MAX);
  assert_int_equal(pair_count(&p.down, "welcome"), 3);
  pair_settle(&p);
  for (unsigned n = 0; n < 600; n++) {
    assert_int_equal(pair_at_server(&p, channels[n])->received, 2);
  }
}

static void
restarted_id_is_not_resumed_in_place_of_its_earlier_life(void **state) {
  aw_uuid id = kit_id(5);
  uint64_t last = 0;

  (void)state;
  pair_connect(&p);
  aw_channel *first = kit_open(p.client, AW_KIND_AGENT, &id);
  kit_sends(first, "note", 3);
  pair_settle(&p);
  aw_channel *theirs = aw_mux_find(p.server, AW_KIND_AGENT, &id);
  kit_sends(theirs, "end", 1);
  pair_settle(&p);
  kit_consume_all(theirs);
  kit_consume_all(first);
  aw_mux_release(first);
  aw_mux_release(theirs);
  pair_cut(&p); /* what both acknowledge is lost */
  aw_channel *second = kit_open(p.client, AW_KIND_AGENT, &id);
  kit_sends(second, "note", 1);
  assert_string_equal(connect_for_status(&id), "unknown");
  theirs = aw_mux_find(p.server, AW_KIND_AGENT, &id);
  assert_int_equal(theirs->state, AW_CHANNEL_OPEN);
  pair_consume(theirs, &last);
  assert_int_equal(last, 2);
}

static void opener_of_an_id_that_is_not_released_is_refused(void **state) {
  aw_uuid id = kit_id(5);
  aw_refusal refusal;

  (void)state;
  pair_connect(&p);
  aw_channel *first = kit_open(p.client, AW_KIND_AGENT, &id);
  pair_settle(&p);
  aw_channel *theirs = aw_mux_find(p.server, AW_KIND_AGENT, &id);
  kit_sends(theirs, "end", 1);
  pair_settle(&p);
  kit_consume_all(first);
  aw_mux_release(first);
  pair_settle(&p);
  aw_channel *second = kit_open(p.client, AW_KIND_AGENT, &id);
  kit_sends(second, "note", 1);
  kit_sends(second, "end", 1);
  pair_settle(&p);
  assert_int_equal(theirs->state, AW_CHANNEL_ENDED_HERE); /* as it was */
  assert_int_equal(theirs->consumed, 0);
  assert_true(aw_mux_refusal(p.server, &refusal));
  assert_int_equal(refusal.code, AW_E_EXISTS);
  /* What is said of the old life must not be taken for the new one's. */
  assert_int_equal(kit_consume_all(theirs), 1);
  aw_mux_release(theirs);
  kit_write(p.server, &p.down, SIZE_MAX);
  assert_int_equal(kit_deliver(p.client, p.client_generation, &p.down), 0);
  assert_int_equal(aw_mux_log_count(&second->log), 3);
  /* Then the new one is let go of, by the name of its opening message. */
  pair_settle(&p);
  assert_int_equal(aw_mux_log_count(&second->log), 0);
  aw_mux_release(second);
  aw_channel *third = kit_open(p.client, AW_KIND_AGENT, &id);
  pair_settle(&p);
  assert_int_equal(pair_at_server(&p, third)->received, 1);
}

/* The terminal goes at once, the acknowledgement 50 ms later: it must not
 * count for the life that began meanwhile. */
static void acknowledgement_of_an_ended_life_does_not_come_late(void **state) {
  aw_uuid id = kit_id(5);

  (void)state;
  pair_connect(&p);
  aw_channel *first = kit_open(p.client, AW_KIND_AGENT, &id);
  kit_sends(first, "note", 5);
  pair_settle(&p);
  aw_channel *theirs = aw_mux_find(p.server, AW_KIND_AGENT, &id);
  assert_int_equal(kit_consume_all(theirs), 6);
  kit_sends(theirs, "end", 1);
  aw_mux_release(theirs);
  kit_write(p.server, &p.down, SIZE_MAX);
  assert_int_equal(kit_deliver(p.client, p.client_generation, &p.down), 0);
  aw_mux_release(first);
  aw_channel *second = kit_open(p.client, AW_KIND_AGENT, &id);
  kit_sends(second, "note", 8);
  kit_write(p.client, &p.up, SIZE_MAX);
  wire_drop(&p.up);
  pair_wait(&p, AW_FLOW_DELAY_MS);
  kit_write(p.server, &p.down, SIZE_MAX);
  assert_int_equal(kit_deliver(p.client, p.client_generation, &p.down), 0);
  assert_int_equal(aw_mux_log_count(&second->log), 9);
  pair_cut(&p);
  pair_connect(&p);
  assert_int_equal(aw_mux_find(p.server, AW_KIND_AGENT, &id)->received, 9);
}

/* The client has had all and forgotten it, but the server cannot know: its
 * replay must neither be opened anew nor stay in the log. */
static void replay_of_what_has_ended_is_acknowledged(void **state) {
  aw_uuid id = kit_id(7);

  (void)state;
  pair_connect(&p);
  aw_channel *theirs = kit_open(p.server, AW_KIND_TOOL, &id);
  kit_sends(theirs, "end", 1);
  kit_write(p.server, &p.down, SIZE_MAX);
  assert_int_equal(kit_deliver(p.client, p.client_generation, &p.down), 0);
  aw_channel *mine = aw_mux_find(p.client, AW_KIND_TOOL, &id);
  assert_int_equal(kit_consume_all(mine), 2);
  aw_mux_release(mine);
  kit_poll_all(p.client);
  uint64_t opened = aw_mux_stats_get(p.client)->opened;
  pair_cut(&p);
  pair_connect(&p);
  kit_no_events(p.client);
  assert_int_equal(aw_mux_stats_get(p.client)->opened, opened);
  assert_int_equal(aw_mux_stats_get(p.server)->log_bytes, 0);
}

static void ends_that_cross_leave_no_logs(void **state) {
  (void)state;
  pair_connect(&p);
  for (unsigned n = 0; n < 4; n++) {
    aw_channel *mine = open_at_both();
    aw_channel *theirs = pair_at_server(&p, mine);

    kit_sends(mine, "end", 1);
    kit_sends(theirs, "end", 1);
    if (n % 2 == 1) { /* one of them only numbered, not yet written */
      kit_write(p.client, &p.up, SIZE_MAX);
      assert_int_equal(kit_deliver(p.server, p.server_generation, &p.up), 0);
    }
    if (n >= 2) {
      pair_cut(&p);
      pair_connect(&p);
    }
    pair_settle(&p);
    kit_consume_all(mine);
    kit_consume_all(theirs);
    pair_settle(&p);
    assert_int_equal(aw_mux_log_count(&mine->log), 0);
    assert_int_equal(aw_mux_log_count(&theirs->log), 0);
  }
}

static void released_scope_keeps_its_peer_sending(void **state) {
  (void)state;
  pair_connect(&p);
  aw_channel *mine = open_at_both();
  aw_channel *theirs = pair_at_server(&p, mine);
  kit_sends(theirs, "note", 1); /* unacknowledged: it has not let go yet */
  aw_mux_release(theirs);
  kit_poll_all(p.client);
  unsigned sent = 0;
  for (int rc = 0; sent < 400; pair_settle(&p)) {
    while (sent < 400 && (rc = kit_send(mine, "note", "{}")) == 0) {
      sent++;
    }
    assert_true(rc == 0 || rc == AW_E_AGAIN);
  }
  assert_int_equal(aw_mux_stats_get(p.server)->inbox_bytes, 0);
  /* When it has all, it says that it let go. */
  kit_consume_all(mine);
  pair_settle(&p);
  assert_int_equal(mine->error, AW_E_CLOSED);
  aw_mux_release(mine);
  pair_settle(&p);
  assert_int_equal(aw_mux_stats_get(p.server)->open_scopes, 0);
  assert_int_equal(aw_mux_stats_get(p.client)->open_scopes, 0);
}

/* Scopes end faster than acknowledgements go out: tombstones may only make
 * room when theirs has gone. */
static void tombstones_wait_for_their_acknowledgement(void **state) {
  (void)state;
  pair_anew(&p);
  p.client_options.tombs_max = 4;
  pair_make(&p);
  pair_connect(&p);
  for (unsigned n = 0; n < 50; n++) {
    aw_channel *mine = kit_open(p.client, AW_KIND_PROVIDER, NULL);
    kit_write(p.client, &p.up, SIZE_MAX);
    assert_int_equal(kit_deliver(p.server, p.server_generation, &p.up), 0);
    kit_sends(pair_at_server(&p, mine), "end", 1);
    kit_write(p.server, &p.down, SIZE_MAX);
    while (wire_len(&p.down) > 0) {
      char *text = wire_take(&p.down);
      assert_int_equal(kit_hear(p.client, p.client_generation, text), 0);
      free(text);
    }
    aw_mux_release(mine);
  }
  pair_settle(&p);
  assert_int_equal(aw_mux_stats_get(p.client)->ended_scopes, 4);
  assert_int_equal(aw_mux_stats_get(p.server)->log_bytes, 0);
}

/* What was released before there was a connection is told like the rest. */
static void scope_released_before_the_first_connection_ends(void **state) {
  (void)state;
  aw_channel *mine = kit_open(p.client, AW_KIND_AGENT, NULL);
  aw_uuid id = mine->id;
  aw_mux_release(mine);
  pair_connect(&p);
  aw_channel *theirs = aw_mux_find(p.server, AW_KIND_AGENT, &id);
  assert_int_equal(kit_consume_all(theirs), 1);
  pair_settle(&p);
  assert_int_equal(theirs->error, AW_E_CLOSED);
  /* A base peer cannot be told. */
  aw_mux *base = kit_mux(&p.kit, &p.client_options);
  uint32_t generation = 0;
  mine = kit_open(base, AW_KIND_AGENT, NULL);
  aw_mux_release(mine);
  assert_int_equal(aw_mux_stats_get(base)->open_scopes, 1);
  assert_int_equal(aw_mux_attach(base, false, &generation), 0);
  assert_int_equal(aw_mux_stats_get(base)->open_scopes, 0);
  aw_mux_free(base);
}

static void floating_messages_with_numbers_are_acknowledged(void **state) {
  (void)state;
  pair_connect(&p);
  aw_channel *mine = open_at_both();
  kit_consume_all(pair_at_server(&p, mine));
  kit_sends(mine, "ping", 1);
  pair_settle(&p);
  assert_int_equal(aw_mux_log_count(&mine->log), 0);
  kit_sends(mine, "note", 1);
  pair_settle(&p);
  assert_int_equal(pair_at_server(&p, mine)->received, 3);
}

/* Nobody reads it, so it is through with what stands before it. */
static void
numbered_float_is_acknowledged_with_what_is_before_it(void **state) {
  (void)state;
  pair_connect(&p);
  aw_channel *mine = open_at_both();
  aw_channel *theirs = pair_at_server(&p, mine);
  kit_consume_all(theirs);
  kit_sends(mine, "note", 2);
  kit_sends(mine, "ping", 1);
  pair_settle(&p);
  assert_int_equal(theirs->inbox.count, 2);
  assert_int_equal(aw_mux_log_count(&mine->log), 3);
  kit_consume_all(theirs);
  pair_settle(&p);
  assert_int_equal(aw_mux_log_count(&mine->log), 0);
}

/* Unread messages, a float behind them, and both ends let go: once the loop of
 * the acknowledgements did not come to its end. */
static void scope_with_an_unread_float_can_be_let_go(void **state) {
  (void)state;
  pair_connect(&p);
  aw_channel *mine = open_at_both();
  aw_channel *theirs = pair_at_server(&p, mine);
  kit_sends(mine, "note", 2);
  kit_sends(mine, "ping", 1);
  kit_sends(theirs, "note", 2);
  kit_sends(theirs, "ping", 1);
  pair_settle(&p);
  aw_mux_release(mine);
  aw_mux_release(theirs);
  pair_settle(&p);
  assert_int_equal(aw_mux_stats_get(p.client)->open_scopes, 0);
  assert_int_equal(aw_mux_stats_get(p.server)->open_scopes, 0);
  assert_int_equal(aw_mux_stats_get(p.client)->log_bytes, 0);
  assert_int_equal(aw_mux_stats_get(p.server)->log_bytes, 0);
}

static int hear_link(aw_mux *mux, uint32_t generation, const char *type,
                     const char *payload) {
  wire w = {0};

  kit_say(&w, "connection_id", aw_mux_connection_id(p.client), type, 0,
          payload);
  int rc = kit_deliver(mux, generation, &w);
  wire_fini(&w);
  return rc;
}

static void gap_makes_the_scope_jump_or_fail(void **state) {
  char text[AW_UUID_TEXT + 1] = {0}, payload[256];
  wire w = {0};

  (void)state;
  pair_connect(&p);
  aw_channel *mine = open_at_both();
  aw_uuid_format(&mine->id, text);
  snprintf(payload, sizeof payload,
           "{\"kind\":\"agent\",\"id\":\"%s\",\"from\":1,\"to\":7,"
           "\"next\":\"snapshot\"}",
           text);
  for (unsigned n = 0; n < 2; n++) { /* repeated: harmless */
    assert_int_equal(hear_link(p.client, p.client_generation, "gap", payload),
                     0);
    assert_int_equal(mine->state, AW_CHANNEL_OPEN);
    assert_int_equal(mine->received, 7);
  }
  kit_say(&w, "session_id", &mine->id, "note", 8, "{}");
  assert_int_equal(kit_deliver(p.client, p.client_generation, &w), 0);
  assert_int_equal(kit_consume(mine), 8);
  snprintf(payload, sizeof payload,
           "{\"kind\":\"agent\",\"id\":\"%s\",\"from\":8,\"to\":9,"
           "\"next\":\"fail\"}",
           text);
  assert_int_equal(hear_link(p.client, p.client_generation, "gap", payload), 0);
  assert_int_equal(mine->error, AW_E_LOST);
  assert_int_equal(hear_link(p.client, p.client_generation, "gap", payload), 0);
  wire_fini(&w);
}

#define ID "\"c0000000-0000-0000-0000-000000000001\""

static void malformed_link_messages_end_the_connection(void **state) {
  static const struct {
    const char *type, *payload;
    bool to_server_too;
  } cases[] = {
      {"flow", "{}", true},
      {"flow", "{\"scopes\":{}}", true},
      {"flow", "{\"scopes\":[1]}", true},
      {"flow", "{\"scopes\":[[]]}", true},
      {"flow", "{\"scopes\":[[\"agent\"," ID ",1,1]]}", true},
      {"flow", "{\"scopes\":[[\"agent\"," ID ",-1,1,1]]}", true},
      {"flow", "{\"scopes\":[[\"agent\"," ID ",1.5,1,1]]}", true},
      {"flow", "{\"scopes\":[[\"agent\"," ID ",9007199254740992,1,1]]}", true},
      {"flow", "{\"scopes\":[[\"link\"," ID ",1,1,1]]}", true},
      {"flow", "{\"scopes\":[[\"agent\",\"x\",1,1,1]]}", true},
      {"flow", "{\"scopes\":[[7," ID ",1,1,1]]}", true},
      {"welcome", "{}", true},
      {"welcome", "{\"epoch\":\"\",\"scopes\":[]}", true},
      {"welcome", "{\"epoch\":3,\"scopes\":[]}", true},
      {"welcome", "{\"epoch\":\"e\"}", true},
      {"welcome",
       "{\"epoch\":\"0123456789abcdef0123456789abcdef0\",\"scopes\":[]}", true},
      {"welcome", "{\"epoch\":\"e\",\"scopes\":[[\"agent\"," ID "]]}", true},
      {"welcome", "{\"epoch\":\"e\",\"scopes\":[[\"agent\"," ID ",1,0,0,0,0]]}",
       true},
      {"gap", "{}", true},
      {"gap", "{\"kind\":\"link\",\"id\":" ID ",\"to\":1}", true},
      {"gap", "{\"kind\":\"agent\",\"id\":\"\",\"to\":1}", true},
      {"gap", "{\"kind\":\"agent\",\"id\":" ID "}", true},
      {"hello", "{}", true},
      {"whatever", "{}", true},
      {"flow", "{\"scopes\":[]}", false},
      {"flow", "{\"scopes\":[[\"agent\"," ID ",1,1,1]]}", false},
      {"goodbye", "{}", false},
  };

  (void)state;
  pair_connect(&p);
  aw_channel *mine = open_at_both();
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    int want = cases[i].to_server_too ? AW_E_REFUSED : AW_OK;

    if (hear_link(p.server, p.server_generation, cases[i].type,
                  cases[i].payload) != want ||
        hear_link(p.client, p.client_generation, cases[i].type,
                  cases[i].payload) != want) {
      print_error("%s %s\n", cases[i].type, cases[i].payload);
      fail();
    }
  }
  /* A welcome and a gap are the server's to give. */
  const char *gap = "{\"kind\":\"agent\",\"id\":" ID ",\"to\":1}";
  assert_int_equal(hear_link(p.client, p.client_generation, "gap", gap), 0);
  assert_int_equal(hear_link(p.server, p.server_generation, "gap", gap),
                   AW_E_REFUSED);
  assert_int_equal(hear_link(p.server, p.server_generation, "welcome",
                             "{\"epoch\":\"e\",\"scopes\":[]}"),
                   AW_E_REFUSED);
  /* Not one of them did harm. */
  kit_sends(mine, "note", 1);
  pair_settle(&p);
  assert_int_equal(pair_at_server(&p, mine)->received, 2);
}

static int read_hello(const char *key, const char *type, uint64_t sequence,
                      const char *payload, aw_hello *hello) {
  wire w = {0};
  aw_uuid id = kit_id(1);
  const char *why = NULL;

  kit_say(&w, key, &id, type, sequence, payload);
  char *text = wire_take(&w);
  int rc = aw_hello_read(hello, text, strlen(text), &why);
  assert_int_equal(why != NULL, rc != 0 && rc != AW_E_AGAIN);
  free(text);
  wire_fini(&w);
  return rc;
}

#define KEY "\"key\":\"000102030405060708090a0b0c0d0e0f\""

static void hellos_are_read_strictly(void **state) {
  static const struct {
    const char *key, *type, *payload;
    int rc;
  } cases[] = {
      {"connection_id", "hello", "{" KEY ",\"scopes\":[]}", 0},
      {"connection_id", "hello", "{" KEY ",\"scopes\":[],\"more\":true}",
       AW_E_AGAIN},
      {"session_id", "hello", "{" KEY ",\"scopes\":[]}", AW_E_REFUSED},
      {"connection_id", "hellos", "{" KEY ",\"scopes\":[]}", AW_E_REFUSED},
      {"connection_id", "hello", "{\"scopes\":[]}", AW_E_REFUSED},
      {"connection_id", "hello", "{\"key\":\"00\",\"scopes\":[]}",
       AW_E_REFUSED},
      {"connection_id", "hello",
       "{\"key\":\"000102030405060708090A0B0C0D0E0F\",\"scopes\":[]}",
       AW_E_REFUSED},
      {"connection_id", "hello", "{" KEY "}", AW_E_REFUSED},
      {"connection_id", "hello", "{" KEY ",\"scopes\":[[]]}", AW_E_REFUSED},
      {"connection_id", "hello",
       "{" KEY ",\"scopes\":[[\"agent\"," ID ",1,2,3,4,5]]}", 0},
      {"connection_id", "hello",
       "{" KEY ",\"scopes\":[[\"agent\"," ID ",1,2,3,4,5," ID "]]}", 0},
      {"connection_id", "hello",
       "{" KEY ",\"scopes\":[[\"agent\"," ID ",1,2,3,4,5,\"x\"]]}",
       AW_E_REFUSED},
      {"connection_id", "hello",
       "{" KEY ",\"scopes\":[[\"agent\"," ID ",1,2,3,4]]}", AW_E_REFUSED},
      {"connection_id", "hello",
       "{" KEY ",\"scopes\":[[\"agent\"," ID ",1,2,3,4,5],[\"agent\"," ID
       ",1,2,3,4,5],[\"agent\"," ID ",1,2,3,4,5]]}",
       AW_E_LIMIT},
  };

  (void)state;
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    aw_hello hello;

    aw_hello_init(&hello, aw_mem_default(), 2);
    assert_int_equal(
        read_hello(cases[i].key, cases[i].type, 0, cases[i].payload, &hello),
        cases[i].rc);
    aw_hello_fini(&hello);
  }
}

static void hello_pages_are_of_one_session(void **state) {
  aw_hello hello;

  (void)state;
  aw_hello_init(&hello, aw_mem_default(), 10);
  assert_int_equal(read_hello("connection_id", "hello", 0,
                              "{" KEY ",\"scopes\":[[\"agent\"," ID
                              ",1,2,3,4,5]],\"more\":true,\"attempt\":3}",
                              &hello),
                   AW_E_AGAIN);
  assert_int_equal(
      read_hello("connection_id", "hello", 0,
                 "{\"key\":\"ff0102030405060708090a0b0c0d0e0f\",\"scopes\":[]}",
                 &hello),
      AW_E_REFUSED);
  assert_int_equal(read_hello("connection_id", "hello", 0,
                              "{" KEY ",\"scopes\":[[\"tool\"," ID
                              ",0,2,3,1,0," ID "]],\"epoch\":\"e\"}",
                              &hello),
                   0);
  assert_int_equal(hello.count, 2);
  assert_int_equal(hello.scopes[0].received, 1);
  assert_true(aw_uuid_is_nil(&hello.scopes[0].opening_id));
  assert_int_equal(hello.scopes[1].kind, AW_KIND_TOOL);
  assert_int_equal(hello.scopes[1].opening_id.bytes[15], 1);
  assert_string_equal(hello.epoch, "e");
  assert_int_equal(hello.key[15], 15);
  assert_true(hello.max_inbound_bytes == AW_MUX_INBOUND_BYTES);
  aw_hello_fini(&hello);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
  const struct CMUnitTest tests[] = {
      TEST(scope_that_both_have_is_live),
      TEST(scope_whose_end_is_in_the_replay_is_done),
      TEST(scope_that_the_server_never_saw_is_sent_from_the_start),
      TEST(scope_that_a_new_process_cannot_continue_is_lost),
      TEST(new_process_grants_credit_anew),
      TEST(other_epoch_is_never_resumed),
      TEST(epoch_names_a_session_too),
      TEST(epoch_counts_from_the_last_page_on),
      TEST(many_scopes_go_in_pages),
      TEST(restarted_id_is_not_resumed_in_place_of_its_earlier_life),
      TEST(opener_of_an_id_that_is_not_released_is_refused),
      TEST(acknowledgement_of_an_ended_life_does_not_come_late),
      TEST(replay_of_what_has_ended_is_acknowledged),
      TEST(ends_that_cross_leave_no_logs),
      TEST(released_scope_keeps_its_peer_sending),
      TEST(tombstones_wait_for_their_acknowledgement),
      TEST(scope_released_before_the_first_connection_ends),
      TEST(floating_messages_with_numbers_are_acknowledged),
      TEST(numbered_float_is_acknowledged_with_what_is_before_it),
      TEST(scope_with_an_unread_float_can_be_let_go),
      TEST(gap_makes_the_scope_jump_or_fail),
      TEST(malformed_link_messages_end_the_connection),
      TEST(hellos_are_read_strictly),
      TEST(hello_pages_are_of_one_session),
  };

  return cmocka_run_group_tests_name("resume_scopes", tests, NULL, NULL);
}
