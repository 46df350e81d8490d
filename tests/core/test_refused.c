/* Messages that cannot be taken (docs/wire.md section 7): refused by their
 * sender where its peer's limits are known, consumed by their receiver, and
 * given up when they end each connection. */
#include "aw_mux_impl.h"
#include "mux_pair.h"
#include <stdio.h>
#include <stdlib.h>

static pair p;

static int set_up(void **state) {
  (void)state;
  pair_prepare(&p, aw_mem_default());
  p.client_options.message_max = 100000;
  p.client_options.depth_max = 20;
  p.client_options.values_max = 200;
  p.server_options.message_max = 80000;
  p.server_options.depth_max = 10;
  p.server_options.values_max = 100;
  pair_make(&p);
  return 0;
}

static int tear_down(void **state) {
  (void)state;
  pair_fini(&p);
  return 0;
}

/* {"pad":"000..."} of about `len` bytes; from one static block. */
static const char *long_payload(size_t len) {
  static char text[200000];
  assert_true(len < sizeof text - 32);
  snprintf(text, sizeof text, "{\"pad\":\"%0*d\"}", (int)len, 0);
  return text;
}

static aw_channel *open_at_both(enum aw_kind kind) {
  aw_channel *channel = kit_open(p.client, kind, NULL);
  pair_settle(&p);
  assert_non_null(pair_at_server(&p, channel));
  assert_int_equal(kit_consume(pair_at_server(&p, channel)), 1);
  pair_settle(&p);
  return channel;
}

/* Sends with what an encoder would have told; the draft's verdict is left. */
static int send_counted(aw_channel *channel, unsigned depth, unsigned values,
                        aw_draft *draft) {
  assert_int_equal(aw_mux_begin(channel, "note", 4, NULL, draft), 0);
  draft->depth = depth;
  draft->values = values;
  assert_int_equal(aw_buf_append(draft->out, "{}", 2), 0);
  return aw_draft_commit(draft);
}

static void a_sender_keeps_to_its_peers_limits(void **state) {
  aw_draft draft;

  (void)state;
  pair_connect(&p);
  aw_channel *mine = open_at_both(AW_KIND_AGENT);
  aw_channel *theirs = pair_at_server(&p, mine);
  assert_int_equal(kit_send(mine, "note", long_payload(80000)), AW_E_LIMIT);
  assert_int_equal(send_counted(mine, 10, 1, &draft), AW_E_LIMIT);
  assert_int_equal(draft.over, AW_LIMIT_DEPTH);
  assert_true(draft.has == 11 && draft.most == 10);
  assert_int_equal(send_counted(mine, 1, 83, &draft), AW_E_LIMIT);
  assert_int_equal(draft.over, AW_LIMIT_VALUES);
  assert_true(draft.has == 101 && draft.most == 100);
  assert_int_equal(mine->log.last, 1); /* nothing was numbered */
  assert_int_equal(send_counted(mine, 9, 82, &draft), 0);
  assert_int_equal(kit_send(mine, "note", long_payload(79000)), 0);
  pair_settle(&p);
  assert_int_equal(theirs->received, 3);
  /* The other way the client's hold. */
  assert_int_equal(kit_send(theirs, "note", long_payload(90000)), 0);
  assert_int_equal(kit_send(theirs, "note", long_payload(100000)), AW_E_LIMIT);
  assert_int_equal(send_counted(theirs, 19, 182, &draft), 0);
  assert_int_equal(send_counted(theirs, 20, 1, &draft), AW_E_LIMIT);
}

static void what_is_large_waits_for_the_first_welcome(void **state) {
  aw_draft draft;

  (void)state;
  assert_int_equal(aw_mux_attach(p.client, true, &p.client_generation), 0);
  aw_channel *mine = kit_open(p.client, AW_KIND_AGENT, NULL);
  aw_channel *big = kit_open(p.client, AW_KIND_AGENT, NULL);
  assert_int_equal(kit_send(mine, "note", long_payload(65000)), 0);
  assert_int_equal(kit_send(big, "note", long_payload(66000)), AW_E_AGAIN);
  assert_int_equal(send_counted(mine, 32, 1, &draft), AW_E_AGAIN);
  assert_int_equal(draft.over, AW_LIMIT_NONE);
  assert_int_equal(send_counted(mine, 1, 4096, &draft), AW_E_AGAIN);
  kit_no_events(p.client);
  kit_write(p.client, &p.up, SIZE_MAX);
  assert_int_equal(kit_accept(p.server, &p.up, "epoch", &p.server_generation),
                   0);
  pair_settle(&p);
  assert_int_equal(kit_poll_all(p.client), 2); /* writable, both */
  assert_int_equal(kit_send(big, "note", long_payload(66000)), 0);
  assert_int_equal(send_counted(mine, 32, 1, &draft), AW_E_LIMIT);
}

static void a_peer_that_tells_nothing_takes_the_defaults(void **state) {
  static const char hello[] =
      "{\"type\":\"hello\",\"connection_id\":"
      "\"c0000000-0000-0000-0000-000000000001\",\"message_id\":"
      "\"00000000-0000-4000-8000-000000000001\",\"sequence\":0,\"payload\":{"
      "\"key\":\"000102030405060708090a0b0c0d0e0f\",\"scopes\":[]}}";
  wire w = {0};

  (void)state;
  wire_put(&w, hello, sizeof hello - 1);
  assert_int_equal(kit_accept(p.server, &w, "epoch", &p.server_generation), 0);
  assert_true(p.server->peer.message_max == 16u << 20);
  assert_true(p.server->peer.depth_max == 128);
  assert_true(p.server->peer.values_max == UINT64_MAX);
  wire_fini(&w);
}

static void a_scope_whose_log_became_too_long_ends(void **state) {
  (void)state;
  pair_connect(&p);
  aw_channel *mine = open_at_both(AW_KIND_AGENT);
  aw_channel *other = open_at_both(AW_KIND_AGENT);
  assert_int_equal(kit_send(mine, "note", long_payload(70000)), 0);
  assert_int_equal(kit_send(other, "note", "{}"), 0);
  aw_channel *unused = NULL; /* without a log */
  assert_int_equal(aw_mux_open(p.client, AW_KIND_TOOL, NULL, &unused), 0);
  kit_write(p.client, &p.up, SIZE_MAX);
  p.server_options.message_max = 66000;
  pair_cut(&p);
  p.server->options.message_max = 66000;
  pair_connect(&p);
  assert_int_equal(mine->error, AW_E_LIMIT);
  assert_int_equal(kit_send(mine, "note", "{}"), AW_E_LIMIT);
  assert_int_equal(pair_at_server(&p, mine)->error, AW_E_CLOSED);
  assert_int_equal(pair_at_server(&p, other)->received, 2);
}

/* Says a message with any text for a payload; the receiver's verdict. */
static int say(aw_mux *mux, uint32_t generation, const aw_uuid *id,
               const char *type, uint64_t sequence, const char *payload) {
  char uuid[AW_UUID_TEXT + 1] = {0};
  size_t size = strlen(payload) + 512;
  char *text = malloc(size);
  assert_non_null(text);
  aw_uuid_format(id, uuid);
  snprintf(text, size,
           "{\"type\":\"%s\",\"session_id\":\"%s\",\"message_id\":"
           "\"00000000-0000-4000-8000-%012llx\",\"sequence\":%llu,"
           "\"timestamp\":1,\"version\":1,\"payload\":%s}",
           type, uuid, (unsigned long long)sequence + 77,
           (unsigned long long)sequence, payload);
  int rc = kit_hear(mux, generation, text);
  free(text);
  return rc;
}

static int to_server(const aw_uuid *id, const char *type, uint64_t sequence,
                     const char *payload) {
  return say(p.server, p.server_generation, id, type, sequence, payload);
}

static const char *many_values(void) {
  static char text[512] = "{\"a\":[0";
  for (size_t at = 7; at < 7 + 2 * 100; at += 2) {
    memcpy(text + at, ",0", 2);
  }
  strcpy(text + 207, "]}");
  return text;
}

static void what_is_refused_takes_its_number(void **state) {
  const struct {
    const char *payload;
    int code;
  } cases[] = {
      {"{\"a\":[[[[[[[[[1]]]]]]]]]}", AW_E_LIMIT},
      {many_values(), AW_E_LIMIT},
      {long_payload(80000), AW_E_LIMIT},
      {"{\"a\":nope}", AW_E_JSON_SYNTAX},
      {"{\"a\":1e999}", AW_E_JSON_NUMBER},
      {"{\"a\":\"\xff\"}", AW_E_JSON_UTF8},
      {"[]", AW_E_INVALID_REQUEST},
      {"{},\"in_reply_to\":7", AW_E_INVALID_REQUEST},
  };
  uint64_t sequence = 1;

  (void)state;
  pair_connect(&p);
  aw_channel *mine = open_at_both(AW_KIND_AGENT);
  aw_channel *theirs = pair_at_server(&p, mine);
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    aw_refusal refusal;
    assert_int_equal(to_server(&mine->id, "note", ++sequence, cases[i].payload),
                     0);
    assert_int_equal(theirs->received, sequence);
    assert_true(aw_mux_refusal(p.server, &refusal));
    assert_int_equal(refusal.code, cases[i].code);
    assert_true(refusal.consumed && refusal.known && refusal.has_scope);
    assert_true(refusal.has_message_id && refusal.sequence == sequence);
    assert_int_equal(refusal.type_len, 4);
    const aw_message *message = aw_channel_peek(theirs);
    assert_int_equal(message->refused, cases[i].code);
    assert_int_equal(message->sequence, sequence);
    assert_non_null(message->why);
    assert_int_equal(message->payload_len, 2);
    aw_mux_consume(theirs);
    /* What follows is the next one. */
    assert_int_equal(to_server(&mine->id, "note", ++sequence, "{}"), 0);
    assert_int_equal(kit_consume(theirs), sequence);
  }
  assert_int_equal(theirs->consumed, sequence);
  assert_true(theirs->in_bytes == theirs->consumed_bytes);
  /* A member that is there twice: nobody knows which one counts. */
  assert_int_equal(
      to_server(&mine->id, "note", sequence + 1, "{},\"sequence\":99"), 0);
  assert_int_equal(theirs->received, sequence);
}

static void what_is_refused_is_acknowledged(void **state) {
  (void)state;
  pair_connect(&p);
  aw_channel *mine = open_at_both(AW_KIND_AGENT);
  p.server->options.depth_max = 2; /* later than it was told */
  assert_int_equal(kit_send(mine, "note", "{\"a\":[1]}"), 0);
  kit_sends(mine, "note", 2);
  pair_settle(&p);
  assert_int_equal(kit_consume_all(pair_at_server(&p, mine)), 3);
  pair_settle(&p);
  assert_int_equal(aw_mux_log_count(&mine->log), 0);
}

static void an_opening_message_that_is_refused_opens(void **state) {
  aw_uuid id = kit_id(9);
  aw_refusal refusal;

  (void)state;
  pair_connect(&p);
  assert_int_equal(to_server(&id, "open", 1, "{x}"), 0);
  aw_channel *theirs = aw_mux_find(p.server, AW_KIND_AGENT, &id);
  assert_non_null(theirs);
  assert_true((kit_events(p.server, theirs) & AW_CHANNEL_OPENED) != 0);
  assert_true(aw_mux_refusal(p.server, &refusal));
  assert_true(refusal.known && refusal.consumed);
  assert_int_equal(aw_channel_peek(theirs)->refused, AW_E_JSON_SYNTAX);
  assert_int_equal(kit_send(theirs, "end", "{}"), 0);
  /* A type that opens nothing finds no scope, and is answered outside of it. */
  id = kit_id(10);
  assert_int_equal(to_server(&id, "note", 1, "{x}"), 0);
  assert_null(aw_mux_find(p.server, AW_KIND_AGENT, &id));
  assert_true(aw_mux_refusal(p.server, &refusal));
  assert_false(refusal.known);
}

static void a_terminal_message_that_is_refused_ends(void **state) {
  (void)state;
  pair_connect(&p);
  aw_channel *mine = open_at_both(AW_KIND_AGENT);
  aw_channel *theirs = pair_at_server(&p, mine);
  assert_int_equal(to_server(&mine->id, "end", 2, "{x}"), 0);
  assert_true(aw_channel_is_over(theirs));
  assert_int_equal(aw_channel_peek(theirs)->refused, AW_E_JSON_SYNTAX);
}

static void numbers_of_what_is_refused_are_checked_like_others(void **state) {
  (void)state;
  pair_connect(&p);
  aw_channel *mine = open_at_both(AW_KIND_AGENT);
  assert_int_equal(to_server(&mine->id, "note", 1, "{x}"), 0);
  assert_int_equal(aw_mux_stats_get(p.server)->duplicates, 1);
  assert_int_equal(to_server(&mine->id, "note", 3, "{x}"), AW_E_SEQUENCE_GAP);
}

static void what_was_skipped_takes_its_number(void **state) {
  char head[AW_HEADER_MAX + 1] = {0}, uuid[AW_UUID_TEXT + 1] = {0};
  aw_refusal refusal;

  (void)state;
  pair_connect(&p);
  aw_channel *mine = open_at_both(AW_KIND_AGENT);
  aw_channel *theirs = pair_at_server(&p, mine);
  uint64_t before = theirs->in_bytes;
  aw_uuid_format(&mine->id, uuid);
  snprintf(head, sizeof head,
           "{\"type\":\"note\",\"session_id\":\"%s\",\"message_id\":\"%s\","
           "\"sequence\":2,\"payload\":{\"pad\":\"%0300d",
           uuid, uuid, 0);
  assert_int_equal(aw_mux_receive_skipped(p.server, p.server_generation, head,
                                          AW_HEADER_MAX, 5000000),
                   0);
  assert_int_equal(theirs->received, 2);
  assert_true(theirs->in_bytes == before + 5000000);
  assert_true(aw_mux_refusal(p.server, &refusal));
  assert_int_equal(refusal.code, AW_E_LIMIT);
  assert_string_equal(refusal.field, "message_max");
  assert_int_equal(kit_consume(theirs), 2);
  assert_int_equal(to_server(&mine->id, "note", 3, "{}"), 0);
  assert_int_equal(kit_consume(theirs), 3);
  /* Without a header that can be read nobody can be told. */
  memset(head, 'x', AW_HEADER_MAX);
  assert_int_equal(aw_mux_receive_skipped(p.server, p.server_generation, head,
                                          AW_HEADER_MAX, 5000000),
                   AW_E_LIMIT);
  assert_int_equal(aw_mux_receive_skipped(p.server, p.server_generation, head,
                                          AW_HEADER_MAX, UINT64_MAX),
                   AW_E_REFUSED);
}

static void link_messages_may_be_longer_than_others(void **state) {
  (void)state;
  pair_anew(&p);
  p.server_options.message_max = 500;
  pair_make(&p);
  pair_connect(&p);
  for (unsigned n = 0; n < 20; n++) {
    open_at_both(AW_KIND_AGENT);
  }
  pair_cut(&p);
  pair_connect(&p); /* a hello of 20 rows */
  assert_int_equal(aw_mux_stats_get(p.server)->open_scopes, 20);
}

static void a_base_peers_message_changes_nothing(void **state) {
  kit k;
  uint32_t generation = 0;
  aw_uuid id = kit_id(3);
  aw_refusal refusal;

  (void)state;
  kit_init(&k, aw_mem_default());
  aw_mux_options options = kit_options(&k, false);
  options.depth_max = 4;
  options.message_max = 1000;
  aw_mux *mux = kit_mux(&k, &options);
  assert_int_equal(aw_mux_attach(mux, false, &generation), 0);
  assert_int_equal(say(mux, generation, &id, "open", 1, "{\"a\":[[[1]]]}"), 0);
  assert_true(aw_mux_refusal(mux, &refusal));
  assert_false(refusal.has_scope);
  assert_false(refusal.consumed);
  assert_null(aw_mux_find(mux, AW_KIND_AGENT, &id));
  assert_int_equal(say(mux, generation, &id, "open", 1, "{}"), 0);
  assert_non_null(aw_mux_find(mux, AW_KIND_AGENT, &id));
  assert_int_equal(say(mux, generation, &id, "note", 2, long_payload(1000)),
                   AW_E_LIMIT);
  aw_mux_free(mux);
  kit_fini(&k);
}

/* The connection ends for both as its peer or the network says. */
static void lose(int code) {
  aw_mux_blame(p.client, p.client_generation, code);
  aw_mux_blame(p.server, p.server_generation, code);
  pair_cut(&p);
}

/* Everything goes out and nothing arrives. */
static void carry_in_vain(int code) {
  kit_write(p.client, &p.up, SIZE_MAX);
  kit_write(p.server, &p.down, SIZE_MAX);
  lose(code);
}

static unsigned losses_until_given_up(const aw_channel *culprit, int code) {
  for (unsigned n = 1; n <= 40; n++) {
    carry_in_vain(code);
    pair_greet(&p);
    char *welcome = wire_take(&p.down);
    assert_int_equal(kit_hear(p.client, p.client_generation, welcome), 0);
    free(welcome);
    if (aw_channel_is_over(culprit)) {
      return n;
    }
  }
  return 0;
}

static void a_message_that_ends_connections_is_given_up(void **state) {
  static const struct {
    int code;
    unsigned losses;
  } cases[] = {{1009, 2}, {1002, 2},  {1011, 2},  {4002, 2},
               {4003, 2}, {1006, 16}, {4000, 16}, {1001, 0},
               {4001, 0}, {1013, 0},  {0, 0}};

  (void)state;
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    pair_anew(&p);
    pair_make(&p);
    pair_connect(&p);
    aw_channel *other = open_at_both(AW_KIND_AGENT);
    aw_channel *mine = open_at_both(AW_KIND_AGENT);
    kit_sends(mine, "note", 1);
    unsigned losses = losses_until_given_up(mine, cases[i].code);
    if (losses != cases[i].losses) {
      fail_msg("%d: %u losses", cases[i].code, losses);
    }
    if (losses > 0) {
      assert_int_equal(mine->error, AW_E_UNDELIVERABLE);
      assert_int_equal(kit_send(mine, "note", "{}"), AW_E_UNDELIVERABLE);
      assert_int_equal(aw_mux_log_count(&mine->log), 0);
      pair_settle(&p);
      assert_int_equal(pair_at_server(&p, mine)->error, AW_E_CLOSED);
    }
    kit_sends(other, "note", 1);
    pair_settle(&p);
    assert_int_equal(pair_at_server(&p, other)->received, 2);
    assert_int_equal(other->state, AW_CHANNEL_OPEN);
  }
}

static void a_server_gives_up_as_well(void **state) {
  (void)state;
  pair_connect(&p);
  aw_channel *mine = open_at_both(AW_KIND_AGENT);
  aw_channel *theirs = pair_at_server(&p, mine);
  kit_sends(theirs, "note", 1);
  assert_int_equal(losses_until_given_up(theirs, 1009), 2);
  pair_settle(&p);
  assert_int_equal(mine->error, AW_E_CLOSED);
  aw_mux_release(mine);
  aw_mux_release(theirs);
  pair_settle(&p);
  assert_int_equal(aw_mux_stats_get(p.client)->open_scopes, 0);
  assert_int_equal(aw_mux_stats_get(p.server)->log_bytes, 0);
}

/* What stands before the culprit arrives, what stands behind it does not: only
 * the first of what did not is to blame. */
static void others_that_arrive_or_wait_are_not_blamed(void **state) {
  (void)state;
  pair_connect(&p);
  aw_channel *before = open_at_both(AW_KIND_AGENT);
  aw_channel *culprit = open_at_both(AW_KIND_AGENT);
  aw_channel *behind = open_at_both(AW_KIND_AGENT);
  for (unsigned n = 0; n < 2; n++) {
    kit_sends(before, "note", 1);
    if (n == 0) {
      kit_sends(culprit, "note", 1);
    }
    kit_sends(behind, "note", 1);
    kit_write(p.client, &p.up, SIZE_MAX);
    for (char *text = wire_take(&p.up); text != NULL; text = wire_take(&p.up)) {
      char id[AW_UUID_TEXT + 1] = {0};
      aw_uuid_format(&culprit->id, id);
      bool bad = strstr(text, "\"note\"") != NULL && strstr(text, id) != NULL;
      if (!bad) {
        assert_int_equal(kit_hear(p.server, p.server_generation, text), 0);
      }
      free(text);
      if (bad) {
        break;
      }
    }
    lose(1009);
    pair_greet(&p);
    assert_int_equal(kit_deliver(p.client, p.client_generation, &p.down), 0);
  }
  pair_settle(&p);
  assert_int_equal(culprit->error, AW_E_UNDELIVERABLE);
  assert_int_equal(pair_at_server(&p, before)->received, 3);
  assert_int_equal(pair_at_server(&p, behind)->received, 3);
}

/* Another message each time is a network, not a message. */
static void progress_acquits(void **state) {
  (void)state;
  pair_connect(&p);
  aw_channel *mine = open_at_both(AW_KIND_AGENT);
  for (unsigned n = 0; n < 40; n++) {
    kit_sends(mine, "note", 1);
    carry_in_vain(1009);
    pair_connect(&p);
    assert_int_equal(mine->state, AW_CHANNEL_OPEN);
    assert_int_equal(pair_at_server(&p, mine)->received, n + 2);
    kit_consume_all(pair_at_server(&p, mine));
    pair_settle(&p);
  }
}

/* A connection that ended before anything was written proves nothing. */
static void connections_that_carried_nothing_do_not_count(void **state) {
  (void)state;
  pair_connect(&p);
  aw_channel *mine = open_at_both(AW_KIND_AGENT);
  kit_sends(mine, "note", 1);
  carry_in_vain(1009);
  for (unsigned n = 0; n < 20; n++) {
    pair_greet(&p);
    if (n % 2 == 0) {
      assert_int_equal(kit_deliver(p.client, p.client_generation, &p.down), 0);
    }
    lose(1009);
  }
  pair_connect(&p);
  assert_int_equal(mine->state, AW_CHANNEL_OPEN);
  assert_int_equal(pair_at_server(&p, mine)->received, 2);
}

static void an_opening_message_can_be_given_up(void **state) {
  (void)state;
  pair_connect(&p);
  aw_channel *mine = kit_open(p.client, AW_KIND_AGENT, NULL);
  aw_uuid id = mine->id;
  assert_int_equal(losses_until_given_up(mine, 1009), 2);
  pair_settle(&p);
  aw_mux_release(mine);
  pair_settle(&p);
  assert_int_equal(aw_mux_stats_get(p.client)->open_scopes, 0);
  assert_null(aw_mux_find(p.server, AW_KIND_AGENT, &id));
  pair_cut(&p);
  pair_connect(&p);
  aw_channel *again = kit_open(p.client, AW_KIND_AGENT, &id); /* a new life */
  pair_settle(&p);
  assert_int_equal(pair_at_server(&p, again)->received, 1);
}

/* Whoever has given up says that it has all, numbered pings as well: a peer
 * that has let go waits for that. */
static void
what_comes_for_a_scope_that_was_given_up_is_acknowledged(void **state) {
  (void)state;
  pair_connect(&p);
  aw_channel *mine = open_at_both(AW_KIND_AGENT);
  aw_channel *theirs = pair_at_server(&p, mine);
  kit_sends(mine, "note", 1);
  kit_write(p.client, &p.up, SIZE_MAX);
  lose(1009);
  kit_sends(theirs, "note", 1);
  kit_sends(theirs, "ping", 1);
  aw_mux_release(theirs);
  for (unsigned n = 0; n < 2; n++) {
    pair_greet(&p);
    char *welcome = wire_take(&p.down);
    assert_int_equal(kit_hear(p.client, p.client_generation, welcome), 0);
    free(welcome);
    if (n == 0) {
      kit_write(p.client, &p.up, SIZE_MAX);
      aw_mux_blame(p.client, p.client_generation, 1009);
      pair_cut(&p);
    }
  }
  assert_int_equal(mine->error, AW_E_UNDELIVERABLE);
  pair_settle(&p);
  assert_int_equal(aw_mux_stats_get(p.server)->log_bytes, 0);
  assert_int_equal(aw_mux_stats_get(p.server)->open_scopes, 0);
}

static void what_was_released_is_given_up_as_well(void **state) {
  (void)state;
  pair_connect(&p);
  aw_channel *mine = open_at_both(AW_KIND_AGENT);
  aw_channel *theirs = pair_at_server(&p, mine);
  kit_sends(mine, "end", 1);
  aw_mux_release(mine);
  for (unsigned n = 0; n < 2; n++) {
    carry_in_vain(1009);
    pair_greet(&p);
    assert_int_equal(kit_deliver(p.client, p.client_generation, &p.down), 0);
  }
  pair_settle(&p);
  assert_int_equal(theirs->error, AW_E_CLOSED);
  assert_int_equal(aw_mux_stats_get(p.client)->log_bytes, 0);
}

/* The server is through with the scope and takes nothing of it; its last
 * messages are acknowledged all the same, also when the client has ended it. */
static void an_end_that_nobody_takes_does_not_hold_up_the_peers(void **state) {
  (void)state;
  pair_connect(&p);
  aw_channel *mine = open_at_both(AW_KIND_AGENT);
  aw_channel *theirs = pair_at_server(&p, mine);
  kit_sends(mine, "note", 1);
  for (unsigned n = 0; n < 2; n++) {
    kit_write(p.client, &p.up, SIZE_MAX);
    aw_mux_blame(p.client, p.client_generation, 1009);
    pair_cut(&p);
    if (n == 0) {
      kit_sends(theirs, "note", 1);
      kit_sends(theirs, "end", 1);
    }
    pair_greet(&p);
    char *welcome = wire_take(&p.down);
    assert_int_equal(kit_hear(p.client, p.client_generation, welcome), 0);
    free(welcome);
  }
  assert_int_equal(mine->state, AW_CHANNEL_OPEN);
  assert_true(aw_mux_log_is_empty(&mine->log));
  kit_sends(mine, "end", 1);
  pair_cut(&p);
  pair_connect(&p);
  assert_true(aw_mux_log_is_empty(&theirs->log));
  assert_true(aw_mux_log_is_empty(&mine->log));
}

/* A server that has no room for another scope. */
static aw_channel *open_beyond_the_limit(void) {
  pair_anew(&p);
  p.server_options.scopes_max = 1;
  pair_make(&p);
  pair_connect(&p);
  (void)open_at_both(AW_KIND_AGENT);
  aw_channel *refused = kit_open(p.client, AW_KIND_PROVIDER, NULL);
  kit_sends(refused, "note", 2);
  pair_settle(&p);
  assert_null(pair_at_server(&p, refused));
  return refused;
}

static void answer(int code) {
  aw_refusal refusal;
  assert_true(aw_mux_refusal(p.server, &refusal));
  assert_int_equal(refusal.code, code);
  assert_true(refusal.opens);
}

static void an_opening_that_is_refused_is_let_go_of(void **state) {
  (void)state;
  for (unsigned released = 0; released < 2; released++) {
    aw_channel *mine = open_beyond_the_limit();
    assert_int_equal(aw_mux_log_count(&mine->log), 3); /* not answered yet */
    aw_uuid id = mine->id;
    if (released) {
      aw_mux_release(mine);
    }
    answer(AW_E_LIMIT);
    pair_settle(&p);
    assert_int_equal(aw_mux_stats_get(p.client)->log_bytes, 0);
    mine = aw_mux_find(p.client, AW_KIND_PROVIDER, &id);
    assert_int_equal(mine->error, AW_E_CLOSED);
    assert_int_equal(aw_mux_stats_get(p.client)->open_scopes, 1);
    pair_cut(&p); /* and it does not come again */
    pair_connect(&p);
    assert_null(aw_mux_find(p.server, AW_KIND_PROVIDER, &id));
    assert_int_equal(aw_mux_stats_get(p.server)->refused[AW_REFUSED_LIMIT], 1);
  }
}

/* Without an answer, because too many wait for one, it is let go of at once. */
static void openings_beyond_the_answers_are_let_go_of(void **state) {
  (void)state;
  (void)open_beyond_the_limit();
  for (unsigned n = 0; n < AW_MUX_REFUSALS_MAX; n++) {
    (void)kit_open(p.client, AW_KIND_PROVIDER, NULL);
  }
  pair_settle(&p);
  assert_int_equal(aw_mux_stats_get(p.server)->unanswered, 1);
  assert_int_equal(aw_mux_stats_get(p.client)->open_scopes,
                   1 + AW_MUX_REFUSALS_MAX);
  for (unsigned n = 0; n < AW_MUX_REFUSALS_MAX; n++) {
    answer(AW_E_LIMIT);
  }
  pair_settle(&p);
  assert_int_equal(aw_mux_stats_get(p.client)->open_scopes, 1);
  assert_int_equal(aw_mux_stats_get(p.client)->log_bytes, 0);
}

/* The flow that lets go names the life, because the id may have another. */
static void a_refused_opening_is_known_by_its_message(void **state) {
  static const char nobody[] = "00000000-0000-4000-8000-000000000001";
  char row[200], id[AW_UUID_TEXT + 1] = {0};

  (void)state;
  pair_connect(&p);
  aw_channel *mine = kit_open(p.client, AW_KIND_AGENT, NULL);
  aw_uuid_format(&mine->id, id);
  for (unsigned own = 0; own < 2; own++) {
    char opening[AW_UUID_TEXT + 1] = {0};
    aw_uuid_format(&mine->opening_id, opening);
    snprintf(row, sizeof row,
             "{\"scopes\":[[\"agent\",\"%s\",1,64,262144,1,\"%s\"]]}", id,
             own ? opening : nobody);
    kit_say(&p.down, "connection_id", aw_mux_connection_id(p.client), "flow", 0,
            row);
    assert_int_equal(kit_deliver(p.client, p.client_generation, &p.down), 0);
    assert_int_equal(aw_channel_is_over(mine), own);
    assert_int_equal(aw_mux_log_is_empty(&mine->log), own);
  }
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
  const struct CMUnitTest tests[] = {
      TEST(a_sender_keeps_to_its_peers_limits),
      TEST(what_is_large_waits_for_the_first_welcome),
      TEST(a_peer_that_tells_nothing_takes_the_defaults),
      TEST(a_scope_whose_log_became_too_long_ends),
      TEST(what_is_refused_takes_its_number),
      TEST(what_is_refused_is_acknowledged),
      TEST(an_opening_message_that_is_refused_opens),
      TEST(a_terminal_message_that_is_refused_ends),
      TEST(numbers_of_what_is_refused_are_checked_like_others),
      TEST(what_was_skipped_takes_its_number),
      TEST(link_messages_may_be_longer_than_others),
      TEST(a_base_peers_message_changes_nothing),
      TEST(a_message_that_ends_connections_is_given_up),
      TEST(a_server_gives_up_as_well),
      TEST(others_that_arrive_or_wait_are_not_blamed),
      TEST(progress_acquits),
      TEST(connections_that_carried_nothing_do_not_count),
      TEST(an_opening_message_can_be_given_up),
      TEST(what_comes_for_a_scope_that_was_given_up_is_acknowledged),
      TEST(what_was_released_is_given_up_as_well),
      TEST(an_opening_that_is_refused_is_let_go_of),
      TEST(openings_beyond_the_answers_are_let_go_of),
      TEST(a_refused_opening_is_known_by_its_message),
      TEST(an_end_that_nobody_takes_does_not_hold_up_the_peers),
  };

  return cmocka_run_group_tests_name("refused", tests, NULL, NULL);
}
