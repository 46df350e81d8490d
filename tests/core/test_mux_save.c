/* A mux as bytes (aw_mux_save, aw_mux_load): it goes on as it was, with its
 * connection or without, and bytes that are no mux are refused. That nothing is
 * forgotten which a peer could notice is for the random walks to show. */
#include "aw_mux_codec.h"
#include "failing_mem.h"
#include "mux_check.h"
#include "mux_pair.h"
#include <stdio.h>
#include <stdlib.h>

static pair p;
static aw_buf saved;

static int set_up(void **state) {
  (void)state;
  pair_init(&p);
  aw_buf_init(&saved, aw_mem_default());
  return 0;
}

static int tear_down(void **state) {
  (void)state;
  pair_fini(&p);
  aw_buf_fini(&saved);
  return 0;
}

static int load(aw_mux **out, const aw_mux_options *options, const char **why) {
  uint32_t generation = 0;
  return aw_mux_load(out, p.kit.mem, options, aw_buf_bytes(&saved),
                     aw_buf_len(&saved), &generation, why);
}

/* The mux is saved and freed, and comes back with other seeds. */
static void reload(aw_mux **mux, aw_mux_options *options) {
  const char *why = NULL;
  uint32_t generation = 0;
  aw_mux *old = *mux;
  aw_buf_reset(&saved, 0);
  assert_int_equal(aw_mux_save(old, &saved), 0);
  options->seed[1]++;
  options->map_seed[0]++;
  int rc = aw_mux_load(mux, p.kit.mem, options, aw_buf_bytes(&saved),
                       aw_buf_len(&saved), &generation, &why);
  if (rc != 0) {
    fail_msg("%s: %s", aw_error_code(rc), why);
  }
  assert_int_equal(generation, options->is_client ? p.client_generation
                                                  : p.server_generation);
  aw_mux_clock(*mux, p.now_ms, 0);
  assert_null(mux_find_flaw(*mux));
  aw_mux_free(old);
}

static void reload_both(void) {
  reload(&p.client, &p.client_options);
  reload(&p.server, &p.server_options);
}

static aw_channel *held(aw_mux *mux) {
  size_t cursor = 0;
  aw_channel *channel = aw_mux_next(mux, &cursor);
  assert_non_null(channel);
  assert_null(aw_mux_next(mux, &cursor));
  assert_null(channel->user);
  return channel;
}

/* A scope in which both have sent and neither has taken all. */
static void begin(void) {
  pair_connect(&p);
  aw_channel *mine = kit_open(p.client, AW_KIND_AGENT, NULL);
  kit_sends(mine, "note", 4);
  pair_settle(&p);
  aw_channel *theirs = pair_at_server(&p, mine);
  kit_sends(theirs, "note", 5);
  assert_int_equal(kit_consume(theirs), 1);
  pair_settle(&p);
  assert_int_equal(kit_consume(mine), 1);
  kit_sends(mine, "note", 2); /* not written yet */
}

static void finish(void) {
  aw_channel *mine = held(p.client), *theirs = held(p.server);
  uint64_t up = 1, down = 1;
  pair_settle(&p);
  pair_consume(theirs, &up);
  pair_consume(mine, &down);
  assert_int_equal(up, 7);
  assert_int_equal(down, 5);
  pair_settle(&p);
  assert_int_equal(aw_mux_stats_get(p.client)->log_bytes, 0);
  assert_int_equal(aw_mux_stats_get(p.server)->log_bytes, 0);
}

static void a_session_goes_on_elsewhere(void **state) {
  (void)state;
  begin();
  reload(&p.server, &p.server_options);
  pair_cut(&p);
  pair_greet(&p);
  assert_string_equal(pair_status(&p.down, &held(p.server)->id), "live");
  finish();
}

static void a_connection_goes_on_where_it_was(void **state) {
  (void)state;
  begin();
  reload_both();
  finish();
}

static void what_was_not_told_is_told_afterwards(void **state) {
  aw_uuid id = kit_id(7);
  aw_refusal refusal;
  aw_control control;
  unsigned events = 0;

  (void)state;
  pair_connect(&p);
  (void)kit_open(p.client, AW_KIND_AGENT, &id);
  assert_int_equal(kit_send_control(p.client, AW_KIND_TOOL, &id, "ping"), 0);
  kit_write(p.client, &p.up, SIZE_MAX);
  kit_say(&p.up, "session_id", &id, "odd", 0, "{}");
  assert_int_equal(kit_deliver(p.server, p.server_generation, &p.up), 0);
  reload(&p.server, &p.server_options);
  assert_int_equal(aw_mux_notice(p.server), AW_MUX_RENEWED);
  assert_int_equal(aw_mux_notice(p.server), AW_MUX_NOTICE_NONE);
  aw_channel *channel = aw_mux_poll(p.server, &events);
  assert_int_equal(events, AW_CHANNEL_OPENED | AW_CHANNEL_READABLE);
  assert_true(aw_uuid_equal(&channel->id, &id));
  assert_true(aw_mux_control(p.server, &control));
  assert_int_equal(control.kind, AW_KIND_TOOL);
  assert_memory_equal(aw_message_type(control.message), "ping", 4);
  aw_mux_control_drop(p.server);
  assert_true(aw_mux_refusal(p.server, &refusal));
  assert_int_equal(refusal.code, AW_E_INVALID_SEQUENCE);
  assert_string_equal(refusal.field, "sequence");
  assert_string_equal(refusal.what, aw_error_text(refusal.code));
  assert_memory_equal(refusal.type, "odd", refusal.type_len);
  assert_false(aw_mux_has_news(p.server));
}

static void a_message_that_was_refused_stays_refused(void **state) {
  (void)state;
  pair_connect(&p);
  aw_channel *mine = kit_open(p.client, AW_KIND_AGENT, NULL);
  assert_int_equal(kit_send(mine, "note", "{oops}"), 0);
  pair_settle(&p);
  reload_both(); /* the client's log holds it as it was written */
  aw_channel *theirs = held(p.server);
  assert_int_equal(kit_consume(theirs), 1);
  const aw_message *message = aw_channel_peek(theirs);
  assert_int_equal(message->refused, AW_E_JSON_SYNTAX);
  assert_string_equal(message->why, aw_error_text(AW_E_JSON_SYNTAX));
  const aw_mux_log *log = &held(p.client)->log;
  assert_int_equal(message->cost,
                   aw_mux_log_after(log, aw_mux_log_first(log))->len);
}

static void a_folded_log_is_announced_after_loading(void **state) {
  aw_draft draft;
  uint64_t last = 0;

  (void)state;
  p.server_options.log_messages = 8;
  aw_mux_free(p.server);
  p.server = kit_mux(&p.kit, &p.server_options);
  pair_connect(&p);
  aw_channel *mine = kit_open(p.client, AW_KIND_PROVIDER, NULL);
  pair_settle(&p);
  aw_channel *theirs = pair_at_server(&p, mine);
  assert_int_equal(kit_consume(theirs), 1);
  pair_settle(&p);
  pair_cut(&p);
  assert_int_equal(kit_fill(theirs, "{}"), 8);
  assert_int_equal(aw_mux_begin_fold(theirs, "sync", 4, &draft), 0);
  assert_int_equal(aw_buf_append(draft.out, "{}", 2), 0);
  assert_int_equal(aw_draft_commit(&draft), 0);
  reload_both();
  pair_connect(&p);
  assert_int_equal(kit_consume(held(p.client)), 9);
  assert_int_equal(kit_consume(held(p.client)), last);
}

static void a_base_session_goes_on_as_well(void **state) {
  (void)state;
  assert_int_equal(aw_mux_attach(p.client, false, &p.client_generation), 0);
  assert_int_equal(aw_mux_attach(p.server, false, &p.server_generation), 0);
  aw_channel *mine = kit_open(p.client, AW_KIND_AGENT, NULL);
  kit_write(p.client, &p.up, SIZE_MAX);
  assert_int_equal(kit_deliver(p.server, p.server_generation, &p.up), 0);
  kit_sends(mine, "note", 2);
  reload_both();
  kit_write(p.client, &p.up, SIZE_MAX);
  assert_int_equal(kit_deliver(p.server, p.server_generation, &p.up), 0);
  assert_int_equal(kit_consume_all(held(p.server)), 3);
}

/* Tombs are forgotten in their order, by the loaded mux as by the saved one. */
static void tombs_stay_in_their_order(void **state) {
  aw_uuid ids[4];

  (void)state;
  pair_connect(&p);
  for (unsigned i = 0; i < 4; i++) {
    ids[i] = kit_id(i + 1);
    aw_channel *mine = kit_open(p.client, AW_KIND_PROVIDER, &ids[i]);
    pair_settle(&p);
    kit_sends(pair_at_server(&p, mine), "end", 1);
    kit_consume_all(pair_at_server(&p, mine));
    aw_mux_release(pair_at_server(&p, mine));
    pair_settle(&p);
    kit_consume_all(mine);
    aw_mux_release(mine);
    pair_settle(&p);
  }
  p.server_options.tombs_max = 2;
  reload(&p.server, &p.server_options);
  pair_settle(&p);
  for (unsigned i = 0; i < 4; i++) {
    bool known = aw_mux_find(p.server, AW_KIND_PROVIDER, &ids[i]) != NULL;
    assert_int_equal(known, i >= 2);
  }
}

static void a_save_can_stand_behind_other_bytes(void **state) {
  aw_mux *mux = NULL;
  const char *why = NULL;

  (void)state;
  begin();
  assert_int_equal(aw_buf_append(&saved, "before", 6), 0);
  assert_int_equal(aw_mux_save(p.client, &saved), 0);
  assert_memory_equal(aw_buf_bytes(&saved), "before", 6);
  aw_buf_consume(&saved, 6);
  assert_int_equal(load(&mux, &p.client_options, &why), 0);
  /* What was loaded can be saved, and is as long. */
  size_t len = aw_buf_len(&saved);
  aw_buf_reset(&saved, 0);
  assert_int_equal(aw_mux_save(mux, &saved), 0);
  assert_int_equal(aw_buf_len(&saved), len);
  aw_mux_free(mux);
}

/* Smaller options hold for what comes, not for what was granted or accepted. */
static void smaller_options_take_what_was_accepted(void **state) {
  (void)state;
  begin();
  p.server_options.inbound_bytes = 1000;
  p.server_options.window_messages = 4;
  p.server_options.log_messages = 2;
  p.server_options.depth_max = 8;
  p.server_options.values_max = 100;
  reload(&p.server, &p.server_options);
  pair_cut(&p);
  pair_greet(&p);
  finish();
}

static void more_scopes_than_may_be_are_refused(void **state) {
  aw_mux *mux = NULL;
  const char *why = NULL;

  (void)state;
  begin();
  (void)kit_open(p.client, AW_KIND_TOOL, NULL);
  assert_int_equal(aw_mux_save(p.client, &saved), 0);
  p.client_options.scopes_max = 1;
  assert_int_equal(load(&mux, &p.client_options, &why), AW_E_LIMIT);
  assert_string_equal(why, "more scopes than this end may have");
  p.client_options.scopes_max = 2;
  assert_int_equal(load(&mux, &p.client_options, &why), 0);
  aw_mux_free(mux);
}

/* Takes the seal off, and puts another on whatever the bytes are now. */
static void unseal(void) {
  assert_true(aw_buf_len(&saved) > 8);
  saved.tail -= 8;
}

static void seal(void) {
  aw_mux_codec c = {.out = &saved};
  aw_mux_codec_seal(&c, 0);
  assert_int_equal(c.rc, 0);
}

static void what_is_no_saved_mux_is_named(void **state) {
  aw_mux *mux = NULL;
  const char *why = NULL;

  (void)state;
  begin();
  assert_int_equal(aw_mux_load(&mux, p.kit.mem, &p.client_options, "", 0,
                               &p.client_generation, &why),
                   AW_E_INVALID);
  assert_string_equal(why, "the bytes end too early");
  assert_int_equal(aw_mux_save(p.client, &saved), 0);
  assert_int_equal(load(&mux, &p.server_options, &why), AW_E_INVALID);
  assert_string_equal(why, "saved at the other end");
  unseal();
  aw_buf_bytes(&saved)[14] = 99; /* behind "agentwire mux" and its NUL */
  seal();
  assert_int_equal(load(&mux, &p.client_options, &why), AW_E_UNSUPPORTED);
  assert_string_equal(why, "saved by another version");
  unseal();
  aw_buf_bytes(&saved)[0] = 'A';
  seal();
  assert_int_equal(load(&mux, &p.client_options, &why), AW_E_INVALID);
  assert_string_equal(why, "this is no saved mux");
  aw_buf_reset(&saved, 0);
  assert_int_equal(aw_mux_save(p.client, &saved), 0);
  unseal();
  assert_int_equal(aw_buf_append(&saved, "x", 1), 0);
  seal();
  assert_int_equal(load(&mux, &p.client_options, &why), AW_E_INVALID);
  assert_string_equal(why, "there is more behind the last scope");
}

static void damage_is_noticed_anywhere(void **state) {
  aw_mux *mux = NULL;
  const char *why = NULL;

  (void)state;
  begin();
  assert_int_equal(aw_mux_save(p.client, &saved), 0);
  for (size_t at = 0; at < aw_buf_len(&saved); at++) {
    char *byte = aw_buf_bytes(&saved) + at;
    *byte = (char)(*byte ^ (1 << at % 8));
    assert_int_equal(load(&mux, &p.client_options, &why), AW_E_INVALID);
    assert_string_equal(why,
                        "the bytes are damaged, or were never a saved mux");
    *byte = (char)(*byte ^ (1 << at % 8));
  }
  while (aw_buf_len(&saved) > 0) {
    saved.tail--;
    assert_int_equal(load(&mux, &p.client_options, &why), AW_E_INVALID);
  }
}

/* Each message of the log and the inbox is checked against its scope. */
static void a_log_of_another_scope_is_refused(void **state) {
  aw_mux *mux = NULL;
  const char *why = NULL;

  (void)state;
  begin();
  assert_int_equal(aw_mux_save(p.client, &saved), 0);
  unseal();
  char *bytes = aw_buf_bytes(&saved);
  size_t at = aw_buf_len(&saved);
  while (memcmp(bytes + at, "\"sequence\":", 11) != 0) {
    at--; /* the last message's */
  }
  bytes[at + 11] ^= 1;
  seal();
  assert_int_equal(load(&mux, &p.client_options, &why), AW_E_INVALID);
  assert_string_equal(why, "a log holds what is not its scope's");
}

/* Whatever such a mux is, it works without harm, and can be saved again. */
static void use(aw_mux *mux, uint32_t generation) {
  size_t cursor = 0;
  aw_channel *channel = NULL;
  aw_refusal refusal;
  wire out = {0};
  while ((channel = aw_mux_next(mux, &cursor)) != NULL) {
    kit_consume_all(channel);
    (void)kit_send(channel, "note", "{}");
  }
  kit_poll_all(mux);
  while (aw_mux_refusal(mux, &refusal)) {
    assert_non_null(refusal.what);
  }
  assert_null(mux_find_flaw(mux));
  aw_buf again;
  aw_buf_init(&again, aw_mem_default());
  assert_int_equal(aw_mux_save(mux, &again), 0);
  aw_buf_fini(&again);
  kit_write(mux, &out, 100000);
  aw_mux_detach(mux, generation, AW_E_IO);
  assert_null(mux_find_flaw(mux));
  (void)aw_mux_attach(mux, true, &generation);
  kit_write(mux, &out, 100000);
  assert_null(mux_find_flaw(mux));
  aw_mux_abandon(mux, AW_E_CLOSED);
  assert_null(mux_find_flaw(mux));
  wire_fini(&out);
}

static void forge(aw_random *random) {
  for (unsigned n = 1 + (unsigned)aw_random_next(random) % 3; n > 0; n--) {
    uint64_t dice = aw_random_next(random);
    char *byte = aw_buf_bytes(&saved) + dice % aw_buf_len(&saved);
    switch (dice >> 40 & 3) {
    case 0:
      *byte = (char)(dice >> 48);
      break;
    case 1:
      *byte = (char)(*byte ^ 1 << (dice >> 48 & 7));
      break;
    case 2:
      *byte = (char)(*byte + (dice >> 48 & 1 ? 1 : -1));
      break;
    default:
      memmove(byte, byte + 1,
              (size_t)(aw_buf_bytes(&saved) + aw_buf_len(&saved) - byte - 1));
      saved.tail--;
    }
  }
}

static void forged_bytes_do_no_harm(void **state) {
  static const unsigned tries = 20000;
  unsigned loaded = 0;
  aw_random random;
  aw_buf good;

  (void)state;
  begin();
  kit_sends(pair_at_client(&p, held(p.server)), "end", 1);
  aw_buf_init(&good, aw_mem_default());
  assert_int_equal(aw_mux_save(p.client, &good), 0);
  aw_random_seed(&random, (uint8_t[32]){9});
  for (unsigned n = 0; n < tries; n++) {
    aw_mux *mux = NULL;
    const char *why = NULL;
    uint32_t generation = 0;
    aw_buf_reset(&saved, AW_MUX_KEEP);
    assert_int_equal(
        aw_buf_append(&saved, aw_buf_bytes(&good), aw_buf_len(&good)), 0);
    unseal();
    forge(&random);
    seal();
    int rc =
        aw_mux_load(&mux, p.kit.mem, &p.client_options, aw_buf_bytes(&saved),
                    aw_buf_len(&saved), &generation, &why);
    if (rc == 0) {
      loaded++;
      assert_null(mux_find_flaw(mux));
      use(mux, generation);
      aw_mux_free(mux);
    } else {
      assert_true(rc == AW_E_INVALID || rc == AW_E_UNSUPPORTED);
      assert_non_null(why);
    }
  }
  assert_true(loaded > tries / 20 && loaded < tries);
  aw_buf_fini(&good);
}

static int save_and_load(const aw_mem *mem) {
  aw_buf out;
  aw_mux *mux = NULL;
  uint32_t generation = 0;
  const char *why = NULL;
  aw_buf_init(&out, mem);
  int rc = aw_mux_save(p.client, &out);
  if (rc == 0) {
    rc = aw_mux_load(&mux, mem, &p.client_options, aw_buf_bytes(&out),
                     aw_buf_len(&out), &generation, &why);
    assert_true(rc == 0 || why != NULL);
  } else {
    assert_int_equal(aw_buf_len(&out), 0);
  }
  if (rc == 0) {
    aw_mux_free(mux);
  }
  aw_buf_fini(&out);
  return rc;
}

/* What is in no walk by itself: whatever a mark says, it says afterwards. */
static void every_mark_of_a_scope_comes_back(void **state) {
  const size_t flags[] = {
      offsetof(aw_channel, seen_there), offsetof(aw_channel, told_let_go),
      offsetof(aw_channel, heard_let_go), offsetof(aw_channel, in_hello)};
  (void)state;
  begin();
  aw_channel *mine = held(p.client);
  for (size_t i = 0; i < 2 * sizeof flags / sizeof flags[0]; i++) {
    bool *flag = (bool *)((char *)mine + flags[i / 2]);
    aw_mux *copy = NULL;
    const char *why = NULL;
    *flag = !*flag;
    mine->there = (enum aw_channel_there)(i % 3);
    mine->hold = (enum aw_channel_hold)(i % 2);
    aw_buf_reset(&saved, 0);
    assert_int_equal(aw_mux_save(p.client, &saved), 0);
    if (load(&copy, &p.client_options, &why) != 0) {
      fail_msg("%zu: %s", i, why);
    }
    aw_channel *same = held(copy);
    assert_int_equal(*(bool *)((char *)same + flags[i / 2]), *flag);
    assert_int_equal(same->there, mine->there);
    assert_int_equal(same->hold, mine->hold);
    aw_mux_free(copy);
  }
  mine->hold = AW_CHANNEL_HELD;
  mine->there = AW_THERE_OPEN;
}

static void limits_of_the_peer_come_back(void **state) {
  const char *why = NULL;
  aw_mux *copy = NULL;
  (void)state;
  begin();
  p.client->peer_limits = AW_PEER_GIVEN;
  p.client->peer.message_max = 70001;
  p.client->peer.depth_max = 31;
  p.client->peer.values_max = 5003;
  assert_int_equal(aw_mux_save(p.client, &saved), 0);
  assert_int_equal(load(&copy, &p.client_options, &why), 0);
  assert_int_equal(copy->peer_limits, AW_PEER_GIVEN);
  assert_int_equal(copy->peer.message_max, 70001);
  assert_int_equal(copy->peer.depth_max, 31);
  assert_int_equal(copy->peer.values_max, 5003);
  aw_mux_free(copy);
}

static void out_of_memory_leaves_nothing_behind(void **state) {
  aw_uuid id = kit_id(7);

  (void)state;
  begin();
  assert_int_equal(kit_send_control(p.client, AW_KIND_TOOL, &id, "ping"), 0);
  kit_say(&p.down, "session_id", &id, "odd", 0, "{}");
  kit_say(&p.down, "session_id", &id, "ping", 0, "{}");
  assert_int_equal(kit_deliver(p.client, p.client_generation, &p.down), 0);
  fail_each_allocation(save_and_load);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
  const struct CMUnitTest tests[] = {
      TEST(a_session_goes_on_elsewhere),
      TEST(a_connection_goes_on_where_it_was),
      TEST(what_was_not_told_is_told_afterwards),
      TEST(a_message_that_was_refused_stays_refused),
      TEST(a_folded_log_is_announced_after_loading),
      TEST(a_base_session_goes_on_as_well),
      TEST(tombs_stay_in_their_order),
      TEST(a_save_can_stand_behind_other_bytes),
      TEST(smaller_options_take_what_was_accepted),
      TEST(more_scopes_than_may_be_are_refused),
      TEST(what_is_no_saved_mux_is_named),
      TEST(damage_is_noticed_anywhere),
      TEST(a_log_of_another_scope_is_refused),
      TEST(forged_bytes_do_no_harm),
      TEST(every_mark_of_a_scope_comes_back),
      TEST(limits_of_the_peer_come_back),
      TEST(out_of_memory_leaves_nothing_behind),
  };

  return cmocka_run_group_tests_name("mux_save", tests, NULL, NULL);
}
