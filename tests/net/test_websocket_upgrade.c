/* Requests that the owner of a listener decides on. */
#include "stage.h"
#include <string.h>

/* Requests that are asked about */

static void owner_sees_the_request_and_accepts_it_later(void **state) {
  test_stage *stage = *state;
  aw_upgrade_field field;
  size_t len;
  bool seen = false;

  stage_listen_with(stage, (aw_listener_options){0}, true);
  stage_connect_to(stage, "ws", "127.0.0.1",
                   (aw_websocket_options){.headers = "X-Token: secret\r\n"});
  stage_until_requested(stage);
  assert_string_equal(aw_upgrade_peer(stage->upgrade), "127.0.0.1");
  assert_string_equal(aw_upgrade_target(stage->upgrade), "/");
  assert_null(aw_upgrade_tls_subject(stage->upgrade));
  const char *token = aw_upgrade_header(stage->upgrade, "x-TOKEN", &len);
  assert_int_equal(len, 6);
  assert_memory_equal(token, "secret", 6);
  assert_null(aw_upgrade_header(stage->upgrade, "X-Other", &len));
  for (unsigned i = 0; aw_upgrade_headers(stage->upgrade, i, &field); i++) {
    seen = seen || (field.name_len == 7 && field.value_len == 6 &&
                    memcmp(field.name, "X-Token", 7) == 0);
  }
  assert_true(seen);
  for (int i = 0; i < 5; i++) {
    aw_loop_wait(stage->loop, 1);
  }
  assert_int_equal(stage->client.opens + stage->accepted, 0);
  assert_int_equal(aw_upgrade_accept(stage->upgrade, NULL), AW_OK);
  assert_int_equal(aw_upgrade_accept(stage->upgrade, NULL), AW_E_CLOSED);
  assert_int_equal(stage->accepted, 0);
  stage_until(stage, &stage->client, end_is_settled);
  assert_int_equal(stage->client.opens, 1);
  assert_int_equal(stage->accepted, 1);
}

static void check_identity(void *user, aw_transport *t) {
  assert_string_equal(aw_identity_claims(t->identity), "what else");
  stage_accepted(user, t);
}

static void accepted_transport_carries_the_identity(void **state) {
  aw_identity *identity = NULL;
  test_stage *stage = *state;
  aw_listener_sink sink = {.accepted = check_identity,
                           .requested = stage_requested};
  aw_listener_options options = {.url = "ws://127.0.0.1:0"};
  const char *why;

  assert_int_equal(aw_listener_new(stage->loop, &options, &sink, stage,
                                   &stage->listener, &why),
                   0);
  stage->port = aw_listener_port(stage->listener);
  stage_connect(stage);
  stage_until_requested(stage);
  assert_int_equal(aw_identity_new(&identity, aw_loop_mem(stage->loop),
                                   "who it is", "what else"),
                   AW_OK);
  assert_int_equal(aw_upgrade_accept(stage->upgrade, identity), AW_OK);
  aw_identity_drop(identity);
  aw_upgrade_free(stage->upgrade); /* before the answer is out */
  stage->upgrade = NULL;
  stage_until_accepted(stage, 1);
}

static void note_withdrawn(void *user, aw_upgrade *upgrade) {
  test_stage *stage = user;
  assert_ptr_equal(upgrade, stage->upgrade);
  assert_ptr_equal(aw_upgrade_user(upgrade), stage);
  assert_false(aw_upgrade_waits(upgrade));
  aw_upgrade_free(upgrade);
  stage->upgrade = NULL;
}

static void ask_for_withdrawals(test_stage *stage, unsigned handshake_ms) {
  aw_listener_sink sink = {.accepted = stage_accepted,
                           .requested = stage_requested,
                           .withdrawn = note_withdrawn};
  aw_listener_options options = {.url = "ws://127.0.0.1:0",
                                 .handshake_ms = handshake_ms};
  const char *why;

  assert_int_equal(aw_listener_new(stage->loop, &options, &sink, stage,
                                   &stage->listener, &why),
                   0);
  stage->port = aw_listener_port(stage->listener);
  stage_connect(stage);
  stage_until_requested(stage);
  aw_upgrade_set_user(stage->upgrade, stage);
  assert_true(aw_upgrade_waits(stage->upgrade));
}

static void wait_for_withdrawal(test_stage *stage) {
  for (int i = 0; i < 200 && stage->upgrade != NULL; i++) {
    aw_loop_wait(stage->loop, 10);
  }
  assert_null(stage->upgrade);
}

static void owner_hears_that_the_client_has_gone(void **state) {
  test_stage *stage = *state;

  ask_for_withdrawals(stage, 0);
  aw_transport_free(stage->client.t);
  stage->client.t = NULL;
  wait_for_withdrawal(stage);
}

static void owner_hears_that_the_time_has_passed(void **state) {
  test_stage *stage = *state;

  ask_for_withdrawals(stage, 30);
  wait_for_withdrawal(stage);
}

static void owner_hears_that_the_listener_goes(void **state) {
  test_stage *stage = *state;

  ask_for_withdrawals(stage, 0);
  aw_listener_free(stage->listener);
  stage->listener = NULL;
  assert_null(stage->upgrade);
}

static void identities_are_the_same_by_id(void **state) {
  aw_identity *one = NULL, *more = NULL, *other = NULL;
  const aw_mem *mem = aw_mem_default();
  (void)state;

  assert_int_equal(aw_identity_new(&one, mem, "ann", "a"), AW_OK);
  assert_int_equal(aw_identity_new(&more, mem, "ann", "b"), AW_OK);
  assert_int_equal(aw_identity_new(&other, mem, "anna", "a"), AW_OK);
  assert_true(aw_identity_same(one, more));
  assert_false(aw_identity_same(one, other));
  assert_false(aw_identity_same(one, NULL));
  assert_false(aw_identity_same(NULL, one));
  assert_true(aw_identity_same(NULL, NULL));
  assert_ptr_equal(aw_identity_hold(one), one);
  aw_identity_drop(one);
  assert_string_equal(aw_identity_claims(one), "a");
  aw_identity_drop(one);
  aw_identity_drop(more);
  aw_identity_drop(other);
  aw_identity_drop(NULL);
  assert_null(aw_identity_claims(NULL));
}

static void owner_refuses(void **state) {
  test_stage *stage = *state;

  stage_listen_with(stage, (aw_listener_options){0}, true);
  stage_connect(stage);
  stage_until_requested(stage);
  assert_int_equal(aw_upgrade_refuse(stage->upgrade, 200, "?"), AW_E_INVALID);
  assert_int_equal(
      aw_upgrade_refuse(stage->upgrade, 401, "no\r\nInjected: yes"), AW_OK);
  stage_until(stage, &stage->client, end_is_closed);
  assert_end(&stage->client, AW_E_REFUSED, 1006,
             "handshake refused: HTTP 401 Unauthorized");
  assert_int_equal(aw_upgrade_refuse(stage->upgrade, 401, "no"), AW_E_CLOSED);
}

static void forgotten_request_is_refused(void **state) {
  test_stage *stage = *state;

  stage_listen_with(stage, (aw_listener_options){0}, true);
  stage_connect(stage);
  stage_until_requested(stage);
  aw_upgrade_free(stage->upgrade);
  stage->upgrade = NULL;
  stage_until(stage, &stage->client, end_is_closed);
  assert_end(&stage->client, AW_E_REFUSED, 1006, "HTTP 503");
}

static void undecided_request_ends_at_the_deadline(void **state) {
  test_stage *stage = *state;

  stage_listen_with(stage, (aw_listener_options){.handshake_ms = 80}, true);
  stage_connect(stage);
  stage_until(stage, &stage->client, end_is_closed);
  assert_end(&stage->client, AW_E_REFUSED, 1006, "HTTP 503");
  assert_int_equal(aw_upgrade_accept(stage->upgrade, NULL), AW_E_CLOSED);
  assert_string_equal(aw_upgrade_target(stage->upgrade), "/");
}

static void request_of_a_lost_client_stays_readable(void **state) {
  test_stage *stage = *state;

  stage_listen_with(stage, (aw_listener_options){0}, true);
  stage_connect(stage);
  stage_until_requested(stage);
  aw_transport_free(stage->client.t);
  stage->client.t = NULL;
  for (int i = 0; i < 10; i++) {
    aw_loop_wait(stage->loop, 5);
  }
  assert_int_equal(aw_upgrade_accept(stage->upgrade, NULL), AW_E_CLOSED);
  assert_string_equal(aw_upgrade_peer(stage->upgrade), "127.0.0.1");
}

static void request_outlives_listener_and_loop(void **state) {
  test_stage *stage = *state;

  stage_listen_with(stage, (aw_listener_options){0}, true);
  stage_connect(stage);
  stage_until_requested(stage);
  aw_listener_free(stage->listener);
  stage->listener = NULL;
  stage_until(stage, &stage->client, end_is_closed);
  aw_transport_free(stage->client.t);
  stage->client.t = NULL;
  aw_loop_free(stage->loop);
  stage->loop = NULL;
  assert_int_equal(aw_upgrade_accept(stage->upgrade, NULL), AW_E_CLOSED);
  assert_string_equal(aw_upgrade_target(stage->upgrade), "/");
}

static void accept_at_once(test_stage *stage, aw_upgrade *upgrade) {
  assert_int_equal(aw_upgrade_accept(upgrade, NULL), AW_OK);
  aw_upgrade_free(upgrade);
  stage->upgrade = NULL;
}

static void owner_may_answer_inside_the_upcall(void **state) {
  test_stage *stage = *state;

  stage->on_request = accept_at_once;
  stage_listen_with(stage, (aw_listener_options){0}, true);
  stage_connect(stage);
  stage_until(stage, &stage->client, end_is_settled);
  assert_int_equal(stage->client.opens, 1);
}

static void invalid_request_is_not_asked_about(void **state) {
  test_stage *stage = *state;
  raw_peer raw;

  stage_listen_with(stage, (aw_listener_options){0}, true);
  raw_dial(&raw, stage->loop, stage->port);
  raw_say(&raw, "POST / HTTP/1.1\r\nHost: a\r\n\r\n");
  assert_refused(&raw, "HTTP/1.1 405");
  assert_null(stage->upgrade);
  raw_free(&raw);
}

/* RFC 6455 section 4.1: a client sends nothing before it has the answer. */
static void flood_before_the_answer_is_refused(void **state) {
  test_stage *stage = *state;
  char text[1000];
  raw_peer raw;

  stage_listen_with(stage, (aw_listener_options){0}, true);
  raw_dial(&raw, stage->loop, stage->port);
  raw_ask_upgrade(&raw, "makai.v1");
  stage_until_requested(stage);
  memset(text, 'x', sizeof text);
  for (unsigned n = 0; n < 66; n++) { /* 64 KiB are forgiven */
    raw_put_frame(&raw, 0x81, true, text, sizeof text);
  }
  assert_refused(&raw, "HTTP/1.1 400");
  raw_free(&raw);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      STAGED(owner_sees_the_request_and_accepts_it_later),
      cmocka_unit_test(identities_are_the_same_by_id),
      STAGED(owner_hears_that_the_client_has_gone),
      STAGED(owner_hears_that_the_time_has_passed),
      STAGED(owner_hears_that_the_listener_goes),
      STAGED(accepted_transport_carries_the_identity),
      STAGED(owner_refuses),
      STAGED(forgotten_request_is_refused),
      STAGED(undecided_request_ends_at_the_deadline),
      STAGED(request_of_a_lost_client_stays_readable),
      STAGED(request_outlives_listener_and_loop),
      STAGED(owner_may_answer_inside_the_upcall),
      STAGED(invalid_request_is_not_asked_about),
      STAGED(flood_before_the_answer_is_refused),
  };

  return cmocka_run_group_tests(tests, NULL, NULL);
}
