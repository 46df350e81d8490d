/* A log that is full while its reader is away: it becomes a state, or its scope
 * is given up. What was folded is announced, and both ends go on from there. */
#include "mux_pair.h"
#include <stdio.h>
#include <stdlib.h>

#define LOG 100

static pair p;
static aw_channel *mine, *theirs; /* one scope, at the client and the server */

static void connect_with_scope(void) {
  pair_make(&p);
  pair_connect(&p);
  mine = kit_open(p.client, AW_KIND_PROVIDER, NULL);
  pair_settle(&p);
  theirs = pair_at_server(&p, mine);
  kit_consume_all(theirs);
  pair_settle(&p);
}

static int set_up(void **state) {
  (void)state;
  pair_prepare(&p, aw_mem_default());
  p.server_options.log_messages = LOG;
  connect_with_scope();
  return 0;
}

static int tear_down(void **state) {
  (void)state;
  pair_fini(&p);
  return 0;
}

static int fold(aw_channel *channel, const char *payload) {
  aw_draft draft;
  int rc = aw_mux_begin_fold(channel, "sync", 4, &draft);

  if (rc != 0) {
    return rc;
  }
  assert_int_equal(aw_buf_append(draft.out, payload, strlen(payload)), 0);
  return aw_draft_commit(&draft);
}

static bool is_state(const aw_channel *channel) {
  const aw_message *message = aw_channel_peek(channel);

  return message != NULL && message->type_len == 4 &&
         memcmp(aw_message_type(message), "sync", 4) == 0;
}

/* The peer goes away, and its scope's log is filled and folded. */
static void fold_while_away(void) {
  pair_cut(&p);
  kit_fill(theirs, "{}");
  assert_int_equal(aw_mux_log_count(&theirs->log), LOG);
  assert_int_equal(fold(theirs, "{}"), 0);
}

static void full_log_of_who_is_away_may_be_folded(void **state) {
  (void)state;
  pair_cut(&p);
  assert_false(aw_mux_may_fold(theirs));
  kit_fill(theirs, "{}");
  assert_true(aw_mux_may_fold(theirs));
  assert_int_equal(fold(theirs, "{}"), 0);
  assert_int_equal(aw_mux_log_count(&theirs->log), 1);
  assert_int_equal(aw_mux_stats_get(p.server)->log_bytes, theirs->log.size);
  assert_int_equal(aw_mux_stats_get(p.server)->folded, LOG);
  /* Not at once again: there is room now. */
  assert_false(aw_mux_may_fold(theirs));
  assert_int_equal(fold(theirs, "{}"), AW_E_AGAIN);
  assert_int_equal(kit_fill(theirs, "{}"), LOG - 1);
}

static void log_is_never_folded_while_its_reader_is_there(void **state) {
  (void)state;
  assert_int_equal(kit_fill(theirs, "{}"), AW_CHANNEL_WINDOW_MESSAGES);
  assert_false(aw_mux_may_fold(theirs));
  assert_int_equal(fold(theirs, "{}"), AW_E_AGAIN);
}

static void client_never_folds(void **state) {
  (void)state;
  pair_cut(&p);
  kit_fill(mine, "{}");
  assert_false(aw_mux_may_fold(mine));
}

static void scope_that_the_peer_cannot_know_is_not_folded(void **state) {
  (void)state;
  pair_cut(&p);
  aw_channel *unseen = kit_open(p.server, AW_KIND_AGENT, NULL);
  kit_fill(unseen, "{}");
  assert_false(aw_mux_may_fold(unseen));
}

static void only_a_state_takes_the_place_of_a_log(void **state) {
  aw_draft draft;

  (void)state;
  pair_cut(&p);
  kit_fill(theirs, "{}");
  uint64_t last = theirs->log.last;
  assert_int_equal(aw_mux_begin_fold(theirs, "note", 4, &draft), AW_E_INVALID);
  assert_int_equal(theirs->log.last, last);
  assert_int_equal(aw_mux_log_count(&theirs->log), LOG);
}

static void parked_sender_is_woken_to_fold(void **state) {
  (void)state;
  pair_anew(&p);
  p.server_options.log_messages = 8; /* full before the credit is used up */
  connect_with_scope();
  assert_int_equal(kit_fill(theirs, "{}"), 8);
  kit_poll_all(p.server);
  pair_cut(&p);
  assert_int_equal(kit_events(p.server, theirs), AW_CHANNEL_WRITABLE);
  assert_true(aw_mux_may_fold(theirs));
}

/* Where the session's logs are full, a short log gains nothing. */
static void full_session_folds_what_is_worth_it(void **state) {
  (void)state;
  pair_anew(&p);
  p.server_options.session_bytes = 20000;
  connect_with_scope();
  aw_channel *other = kit_open(p.client, AW_KIND_AGENT, NULL);
  pair_settle(&p);
  aw_channel *brief = pair_at_server(&p, other);
  pair_cut(&p);
  kit_sends(brief, "note", 5);
  assert_true(kit_fill(theirs, "{}") >= AW_CHANNEL_FOLD_MESSAGES);
  assert_int_equal(kit_send(brief, "note", "{}"), AW_E_AGAIN);
  assert_false(aw_mux_may_fold(brief));
  assert_true(aw_mux_may_fold(theirs));
  kit_poll_all(p.server);
  assert_int_equal(fold(theirs, "{}"), 0);
  assert_true(kit_poll_all(p.server) > 0);
  assert_int_equal(kit_send(brief, "note", "{}"), 0);
}

static void state_larger_than_a_sessions_logs_is_refused(void **state) {
  (void)state;
  pair_anew(&p);
  p.server_options.session_bytes = 20000;
  connect_with_scope();
  pair_cut(&p);
  unsigned sent = kit_fill(theirs, "{}");
  char *payload = malloc(30000);
  memset(payload, ' ', 30000);
  memcpy(payload, "{}", 2);
  payload[29999] = '\0';
  assert_int_equal(fold(theirs, payload), AW_E_LIMIT);
  free(payload);
  assert_int_equal(aw_mux_log_count(&theirs->log), sent);
  assert_int_equal(theirs->log.last, sent);
  pair_connect(&p);
  assert_true(mine->received > 0);
}

static void states_stay_within_the_bound_of_all_logs(void **state) {
  aw_pool *pool = aw_pool_new(aw_mem_default(), 31000, SIZE_MAX);

  (void)state;
  char payload[1001];
  memset(payload, ' ', 1000);
  memcpy(payload, "{}", 2);
  payload[1000] = '\0';
  pair_anew(&p);
  p.server_options.log_messages = 2;
  connect_with_scope();
  assert_non_null(pool);
  pool->log_bytes = 30000; /* of other sessions */
  aw_mux_join(p.server, pool, NULL);
  pair_cut(&p);
  kit_sends(theirs, "note", 2);
  assert_int_equal(fold(theirs, payload), AW_E_LIMIT);
  assert_int_equal(aw_mux_log_count(&theirs->log), 2);
  pool->log_bytes -= 16000;
  assert_int_equal(fold(theirs, payload), 0);
  assert_int_equal(pool->log_bytes, 14000 + theirs->log.size);
  aw_mux_join(p.server, NULL, NULL);
  assert_int_equal(pool->log_bytes, 14000);
  aw_pool_drop(pool);
}

static void gap_is_announced_and_the_state_follows(void **state) {
  (void)state;
  kit_sends(theirs, "note", 3);
  pair_settle(&p);
  fold_while_away();
  pair_greet(&p);
  assert_string_equal(pair_status(&p.down, &mine->id), "snapshot");
  const char *gap = pair_find(&p.down, "gap", 0);
  assert_non_null(gap);
  assert_non_null(strstr(gap, "\"from\":4,\"to\":100,"));
  assert_non_null(strstr(gap, "\"next\":\"snapshot\""));
  assert_non_null(pair_find(&p.down, "sync", 0));
  pair_settle(&p);
  assert_int_equal(kit_consume(mine), 1);
  assert_int_equal(kit_consume(mine), 2);
  assert_int_equal(kit_consume(mine), 3);
  assert_true(is_state(mine));
  assert_int_equal(kit_consume(mine), 101);
  pair_settle(&p);
  assert_int_equal(aw_mux_log_count(&theirs->log), 0);
  assert_int_equal(aw_mux_stats_get(p.server)->log_bytes, 0);
}

/* Also far beyond what the reader's credit was before it went. */
static void tail_follows_the_state(void **state) {
  (void)state;
  fold_while_away();
  kit_sends(theirs, "note", 90);
  pair_connect(&p);
  assert_true(is_state(mine));
  uint64_t last = LOG;
  pair_consume(mine, &last);
  pair_settle(&p);
  pair_consume(mine, &last);
  assert_int_equal(last, LOG + 1 + 90);
  pair_settle(&p);
  assert_int_equal(mine->in_bytes, theirs->log.numbered);
  assert_int_equal(mine->in_bytes, mine->consumed_bytes);
  assert_int_equal(mine->granted.sequence, theirs->allowed.sequence);
  assert_int_equal(aw_mux_log_count(&theirs->log), 0);
  assert_int_equal(kit_fill(theirs, "{}"), AW_CHANNEL_WINDOW_MESSAGES);
}

static void reader_that_lacks_the_state_alone_needs_no_gap(void **state) {
  (void)state;
  pair_anew(&p);
  p.server_options.log_messages = AW_CHANNEL_WINDOW_MESSAGES;
  connect_with_scope();
  kit_fill(theirs, "{}");
  pair_settle(&p); /* received, not consumed: the log keeps them */
  pair_cut(&p);
  assert_int_equal(fold(theirs, "{}"), 0);
  pair_greet(&p);
  assert_string_equal(pair_status(&p.down, &mine->id), "live");
  assert_null(pair_find(&p.down, "gap", 0));
  pair_settle(&p);
  uint64_t last = 0;
  pair_consume(mine, &last);
  assert_int_equal(last, AW_CHANNEL_WINDOW_MESSAGES + 1);
}

static void cut_between_gap_and_state_loses_nothing(void **state) {
  (void)state;
  fold_while_away();
  for (unsigned n = 0; n < 3; n++) {
    pair_greet(&p);
    while (wire_len(&p.down) > 1) { /* all but the state */
      char *text = wire_take(&p.down);
      assert_int_equal(kit_hear(p.client, p.client_generation, text), 0);
      free(text);
    }
    assert_int_equal(mine->received, LOG);
    pair_cut(&p);
  }
  pair_greet(&p);
  assert_string_equal(pair_status(&p.down, &mine->id), "live");
  pair_settle(&p);
  assert_true(is_state(mine));
  assert_int_equal(kit_consume(mine), LOG + 1);
  kit_sends(theirs, "note", 1);
  pair_settle(&p);
  assert_int_equal(kit_consume(mine), LOG + 2);
  assert_int_equal(mine->in_bytes, theirs->log.numbered);
}

static void later_state_takes_the_place_of_an_earlier_one(void **state) {
  (void)state;
  fold_while_away();
  pair_greet(&p); /* sent, but never received */
  pair_cut(&p);
  for (unsigned n = 0; n < 5; n++) {
    kit_fill(theirs, "{}");
    assert_int_equal(fold(theirs, "{}"), 0);
    assert_int_equal(aw_mux_log_count(&theirs->log), 1);
  }
  pair_greet(&p);
  assert_int_equal(pair_count(&p.down, "sync"), 1);
  pair_settle(&p);
  assert_true(is_state(mine));
  assert_int_equal(kit_consume(mine), theirs->log.last);
  assert_int_equal(mine->in_bytes, theirs->log.numbered);
}

static void unread_messages_and_a_state_are_read_in_order(void **state) {
  (void)state;
  kit_sends(theirs, "note", 5);
  pair_settle(&p);
  fold_while_away();
  pair_connect(&p);
  for (uint64_t n = 1; n <= 5; n++) {
    assert_int_equal(kit_consume(mine), n);
  }
  assert_int_equal(kit_consume(mine), theirs->log.last);
  pair_settle(&p);
  assert_int_equal(mine->in_bytes, mine->consumed_bytes);
  assert_int_equal(aw_mux_stats_get(p.client)->inbox_bytes, 0);
}

static void end_behind_a_state_arrives(void **state) {
  (void)state;
  fold_while_away();
  kit_sends(theirs, "end", 1);
  pair_greet(&p);
  assert_string_equal(pair_status(&p.down, &mine->id), "snapshot");
  pair_settle(&p);
  kit_consume_all(mine);
  assert_true(aw_channel_is_over(mine));
  assert_int_equal(mine->error, 0);
  pair_settle(&p);
  assert_int_equal(aw_mux_stats_get(p.server)->log_bytes, 0);
}

/* A replayed state is dropped like any message that is there already. */
static void state_is_taken_once(void **state) {
  (void)state;
  fold_while_away();
  pair_connect(&p);
  assert_int_equal(mine->inbox.count, 1);
  wire w = {0};
  kit_say(&w, "stream_id", &mine->id, "sync", LOG + 1, "{}");
  assert_int_equal(kit_deliver(p.client, p.client_generation, &w), 0);
  wire_fini(&w);
  assert_int_equal(mine->inbox.count, 1);
  assert_int_equal(aw_mux_stats_get(p.client)->duplicates, 1);
}

/* The answer to a question about the state is no part of the numbering. */
static void state_without_a_number_floats(void **state) {
  wire w = {0};

  (void)state;
  kit_say(&w, "stream_id", &mine->id, "sync", 0, "{}");
  assert_int_equal(kit_deliver(p.client, p.client_generation, &w), 0);
  wire_fini(&w);
  assert_int_equal(mine->inbox.count, 0);
  aw_control control;
  assert_true(aw_mux_control(p.client, &control));
}

static void scope_that_is_given_up_is_lost_at_both_ends(void **state) {
  (void)state;
  pair_cut(&p);
  kit_fill(theirs, "{}");
  aw_mux_give_up(theirs);
  assert_int_equal(theirs->error, AW_E_LOST);
  assert_int_equal(kit_send(theirs, "note", "{}"), AW_E_LOST);
  assert_int_equal(aw_mux_stats_get(p.server)->log_bytes, 0);
  pair_greet(&p);
  assert_string_equal(pair_status(&p.down, &mine->id), "lost");
  pair_settle(&p);
  assert_int_equal(mine->error, AW_E_LOST);
  assert_int_equal(kit_events(p.client, mine), AW_CHANNEL_ENDED);
}

/* Nothing of it had arrived, but to send it again would begin its work anew. */
static void scope_that_is_given_up_is_not_begun_again(void **state) {
  (void)state;
  pair_cut(&p);
  aw_mux_give_up(theirs);
  aw_mux_release(theirs);
  mine->received = mine->consumed = 0;
  pair_connect(&p);
  assert_int_equal(mine->error, AW_E_LOST);
  assert_int_equal(aw_mux_stats_get(p.server)->open_scopes, 0);
}

int main(void) {
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
  const struct CMUnitTest tests[] = {
      CASE(full_log_of_who_is_away_may_be_folded),
      CASE(log_is_never_folded_while_its_reader_is_there),
      CASE(client_never_folds),
      CASE(scope_that_the_peer_cannot_know_is_not_folded),
      CASE(only_a_state_takes_the_place_of_a_log),
      CASE(parked_sender_is_woken_to_fold),
      CASE(full_session_folds_what_is_worth_it),
      CASE(state_larger_than_a_sessions_logs_is_refused),
      CASE(states_stay_within_the_bound_of_all_logs),
      CASE(gap_is_announced_and_the_state_follows),
      CASE(tail_follows_the_state),
      CASE(reader_that_lacks_the_state_alone_needs_no_gap),
      CASE(cut_between_gap_and_state_loses_nothing),
      CASE(later_state_takes_the_place_of_an_earlier_one),
      CASE(unread_messages_and_a_state_are_read_in_order),
      CASE(end_behind_a_state_arrives),
      CASE(state_is_taken_once),
      CASE(state_without_a_number_floats),
      CASE(scope_that_is_given_up_is_lost_at_both_ends),
      CASE(scope_that_is_given_up_is_not_begun_again),
  };

  return cmocka_run_group_tests_name("fold", tests, NULL, NULL);
}
