/* The base protocol: numbering, opening, ending, letting go. What the limits
 * do is in test_mux_limits.c. */
#include "mux_kit.h"
#include <stdlib.h>

/* A base server that is fed by hand. */
typedef struct fixture {
  kit kit;
  aw_mux *mux;
  uint32_t generation;
  wire in, out;
  aw_uuid id;
} fixture;

static int set_up(void **state) {
  static fixture f;

  f = (fixture){.id = kit_id(1)};
  kit_init(&f.kit, aw_mem_default());
  aw_mux_options options = kit_options(&f.kit, false);
  f.mux = kit_mux(&f.kit, &options);
  assert_int_equal(aw_mux_attach(f.mux, false, &f.generation), 0);
  *state = &f;
  return 0;
}

static int tear_down(void **state) {
  fixture *f = *state;

  aw_mux_free(f->mux);
  kit_fini(&f->kit);
  wire_fini(&f->in);
  wire_fini(&f->out);
  return 0;
}

static void say(fixture *f, const char *type, uint64_t sequence) {
  kit_say(&f->in, "session_id", &f->id, type, sequence, "{}");
  assert_int_equal(kit_deliver(f->mux, f->generation, &f->in), 0);
}

static aw_channel *find(fixture *f) {
  return aw_mux_find(f->mux, AW_KIND_AGENT, &f->id);
}

static void expect_refusal(fixture *f, int code, bool known) {
  aw_refusal refusal;

  assert_true(aw_mux_refusal(f->mux, &refusal));
  assert_int_equal(refusal.code, code);
  assert_int_equal(refusal.known, known);
  assert_non_null(refusal.what);
  assert_true(refusal.has_scope && refusal.has_message_id);
  assert_true(aw_uuid_equal(&refusal.id, &f->id));
  assert_false(aw_mux_refusal(f->mux, &refusal));
}

static void expect_no_refusal(fixture *f) {
  aw_refusal refusal;

  assert_false(aw_mux_refusal(f->mux, &refusal));
}

static uint64_t number_of(const char *text) {
  const char *at = strstr(text, "\"sequence\":");

  assert_non_null(at);
  return strtoull(at + 11, NULL, 10);
}

static void scope_numbers_its_own_messages_from_one(void **state) {
  fixture *f = *state;
  aw_channel *a = kit_open(f->mux, AW_KIND_AGENT, NULL);
  aw_channel *b = kit_open(f->mux, AW_KIND_PROVIDER, NULL);

  kit_sends(a, "note", 2);
  kit_sends(b, "note", 1);
  kit_write(f->mux, &f->out, SIZE_MAX);
  assert_int_equal(wire_len(&f->out), 5);
  for (size_t i = 0; i < 5; i++) {
    assert_int_equal(number_of(wire_at(&f->out, i)), i < 3 ? i + 1 : i - 2);
  }
  assert_false(aw_uuid_equal(&a->id, &b->id));
}

static void scope_judges_inbound_numbers_and_keeps_its_place(void **state) {
  static const struct {
    uint64_t number;
    int refused;
  } steps[] = {
      {2, 0},
      {2, AW_E_DUPLICATE_SEQUENCE},
      {4, AW_E_SEQUENCE_GAP},
      {0, AW_E_INVALID_SEQUENCE},
      {3, 0},
      {9007199254740991, AW_E_SEQUENCE_GAP},
      {1, AW_E_DUPLICATE_SEQUENCE},
      {4, 0},
  };
  fixture *f = *state;
  uint64_t last = 1;

  say(f, "open", 1);
  for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
    aw_refusal refusal;

    say(f, "note", steps[i].number);
    last += steps[i].refused == 0;
    assert_int_equal(find(f)->received, last);
    assert_int_equal(find(f)->inbox.count, last);
    assert_int_equal(aw_mux_refusal(f->mux, &refusal), steps[i].refused != 0);
    if (steps[i].refused != 0) {
      assert_int_equal(refusal.code, steps[i].refused);
      assert_string_equal(refusal.field, "sequence");
      assert_true(refusal.sequence == steps[i].number);
      assert_int_equal(refusal.type_len, 4);
      assert_memory_equal(refusal.type, "note", 4);
    }
  }
  assert_int_equal(aw_mux_stats_get(f->mux)->refused[AW_REFUSED_SEQUENCE], 5);
}

static void scopes_do_not_influence_each_other(void **state) {
  fixture *f = *state;
  aw_uuid other = kit_id(2);

  say(f, "open", 1);
  kit_say(&f->in, "session_id", &other, "open", 1, "{}");
  kit_say(&f->in, "session_id", &f->id, "note", 9, "{}");
  kit_say(&f->in, "session_id", &other, "note", 2, "{}");
  /* The same id of another protocol is another scope. */
  kit_say(&f->in, "stream_id", &f->id, "open", 1, "{}");
  kit_say(&f->in, "session_id", &f->id, "note", 2, "{}");
  assert_int_equal(kit_deliver(f->mux, f->generation, &f->in), 0);
  expect_refusal(f, AW_E_SEQUENCE_GAP, true);
  assert_int_equal(find(f)->received, 2);
  assert_int_equal(aw_mux_find(f->mux, AW_KIND_AGENT, &other)->received, 2);
  assert_int_equal(aw_mux_find(f->mux, AW_KIND_PROVIDER, &f->id)->received, 1);
}

static void draft_that_is_cancelled_uses_no_number(void **state) {
  fixture *f = *state;
  aw_channel *channel = kit_open(f->mux, AW_KIND_AGENT, NULL);
  aw_draft draft;

  assert_int_equal(aw_mux_begin(channel, "note", 4, NULL, &draft), 0);
  assert_int_equal(aw_buf_append(draft.out, "{\"half", 6), 0);
  aw_draft_cancel(&draft);
  assert_int_equal(aw_mux_begin(channel, "no\"te", 5, NULL, &draft),
                   AW_E_INVALID);
  assert_int_equal(
      aw_mux_begin_control(f->mux, AW_KIND_AGENT, &f->id, "", 0, NULL, &draft),
      AW_E_INVALID);
  kit_sends(channel, "note", 1);
  kit_write(f->mux, &f->out, SIZE_MAX);
  assert_int_equal(wire_len(&f->out), 2);
  assert_int_equal(number_of(wire_at(&f->out, 1)), 2);
}

static void scope_whose_numbers_are_used_up_refuses_to_send(void **state) {
  fixture *f = *state;
  aw_channel *channel = NULL;

  assert_int_equal(aw_mux_open(f->mux, AW_KIND_AGENT, NULL, &channel), 0);
  channel->log.last = AW_SEQ_MAX - 1;
  channel->log.first = channel->log.next = AW_SEQ_MAX;
  assert_int_equal(kit_send(channel, "open", "{}"), 0);
  assert_int_equal(kit_send(channel, "note", "{}"), AW_E_LIMIT);
  kit_write(f->mux, &f->out, SIZE_MAX);
  assert_true(number_of(wire_at(&f->out, 0)) == AW_SEQ_MAX);
}

static void
inbound_message_opens_only_with_an_opener_numbered_one(void **state) {
  static const struct {
    const char *type;
    uint64_t number;
    int refused;
  } cases[] = {{"note", 1, AW_E_UNKNOWN_SCOPE},
               {"note", 5, AW_E_UNKNOWN_SCOPE},
               {"end", 1, AW_E_UNKNOWN_SCOPE},
               {"open", 0, AW_E_INVALID_SEQUENCE},
               {"open", 2, AW_E_SEQUENCE_GAP}};
  fixture *f = *state;

  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    say(f, cases[i].type, cases[i].number);
    expect_refusal(f, cases[i].refused, false);
    assert_null(find(f));
  }
  say(f, "open", 1);
  expect_no_refusal(f);
  assert_int_equal(kit_events(f->mux, find(f)),
                   AW_CHANNEL_OPENED | AW_CHANNEL_READABLE);
  kit_no_events(f->mux);
}

static void opener_of_an_open_scope_is_refused_as_existing(void **state) {
  fixture *f = *state;

  say(f, "open", 1);
  say(f, "open", 1);
  expect_refusal(f, AW_E_EXISTS, true);
  say(f, "open", 2);
  expect_no_refusal(f);
  assert_int_equal(find(f)->received, 2);
  aw_channel *channel = NULL;
  assert_int_equal(aw_mux_open(f->mux, AW_KIND_AGENT, &f->id, &channel),
                   AW_E_EXISTS);
}

static void readers_are_told_once_until_they_have_read_all(void **state) {
  fixture *f = *state;

  say(f, "open", 1);
  kit_events(f->mux, find(f));
  say(f, "note", 2);
  kit_no_events(f->mux);
  assert_int_equal(kit_consume(find(f)), 1);
  assert_int_equal(kit_consume(find(f)), 2);
  assert_int_equal(kit_consume(find(f)), 0);
  aw_mux_consume(find(f)); /* nothing there: harmless */
  say(f, "note", 3);
  assert_int_equal(kit_events(f->mux, find(f)), AW_CHANNEL_READABLE);
}

static void terminal_ends_the_scope_both_ways(void **state) {
  fixture *f = *state;

  say(f, "open", 1);
  say(f, "end", 2);
  aw_channel *channel = find(f);
  assert_int_equal(kit_events(f->mux, channel),
                   AW_CHANNEL_OPENED | AW_CHANNEL_READABLE | AW_CHANNEL_ENDED);
  assert_int_equal(channel->error, 0);
  assert_int_equal(kit_send(channel, "note", "{}"), AW_E_ENDED);
  assert_int_equal(kit_send_urgent(channel), AW_E_ENDED);
  /* What it brought can still be read. */
  assert_int_equal(kit_consume_all(channel), 2);
}

static void terminal_of_ours_is_still_written(void **state) {
  fixture *f = *state;

  say(f, "open", 1);
  aw_channel *channel = find(f);
  kit_sends(channel, "end", 1);
  assert_int_equal(kit_send(channel, "note", "{}"), AW_E_ENDED);
  aw_mux_release(channel);
  kit_write(f->mux, &f->out, SIZE_MAX);
  assert_int_equal(wire_len(&f->out), 1);
  assert_int_equal(aw_mux_stats_get(f->mux)->log_bytes, 0);
}

static void late_messages_are_dropped_and_counted(void **state) {
  fixture *f = *state;

  say(f, "open", 1);
  say(f, "end", 2);
  say(f, "note", 3);
  say(f, "note", 99);
  expect_no_refusal(f);
  assert_int_equal(aw_mux_stats_get(f->mux)->dropped_late, 2);
  assert_int_equal(find(f)->inbox.count, 2);
  say(f, "open", 1);
  expect_refusal(f, AW_E_EXISTS, true);
}

static void
released_id_of_a_restartable_kind_begins_again_at_one(void **state) {
  fixture *f = *state;

  for (unsigned life = 1; life <= 3; life++) {
    say(f, "open", 1);
    say(f, "note", 2);
    aw_channel *channel = find(f);
    assert_int_equal(kit_events(f->mux, channel),
                     AW_CHANNEL_OPENED | AW_CHANNEL_READABLE);
    assert_int_equal(kit_consume(channel), 1);
    kit_sends(channel, "note", 1);
    kit_write(f->mux, &f->out, SIZE_MAX);
    assert_int_equal(number_of(wire_at(&f->out, life - 1)), 1);
    say(f, "end", 3);
    kit_events(f->mux, channel);
    aw_mux_release(channel);
    say(f, "note", 4);
    assert_int_equal(aw_mux_stats_get(f->mux)->ended_scopes, 1);
  }
  /* And from this side. */
  aw_channel *channel = kit_open(f->mux, AW_KIND_AGENT, &f->id);
  assert_int_equal(channel->log.last, 1);
}

static void released_id_of_another_kind_is_used_up(void **state) {
  fixture *f = *state;
  aw_channel *channel = NULL;

  kit_say(&f->in, "stream_id", &f->id, "open", 1, "{}");
  kit_say(&f->in, "stream_id", &f->id, "end", 2, "{}");
  assert_int_equal(kit_deliver(f->mux, f->generation, &f->in), 0);
  aw_mux_release(aw_mux_find(f->mux, AW_KIND_PROVIDER, &f->id));
  kit_say(&f->in, "stream_id", &f->id, "open", 1, "{}");
  assert_int_equal(kit_deliver(f->mux, f->generation, &f->in), 0);
  expect_refusal(f, AW_E_EXISTS, true);
  assert_int_equal(aw_mux_open(f->mux, AW_KIND_PROVIDER, &f->id, &channel),
                   AW_E_EXISTS);
}

static void unreleased_id_cannot_begin_again(void **state) {
  fixture *f = *state;
  aw_channel *channel = NULL;

  say(f, "open", 1);
  say(f, "end", 2);
  assert_int_equal(aw_mux_open(f->mux, AW_KIND_AGENT, &f->id, &channel),
                   AW_E_EXISTS);
  aw_mux_release(find(f));
  assert_int_equal(aw_mux_open(f->mux, AW_KIND_AGENT, &f->id, &channel), 0);
}

static void releasing_an_open_scope_ends_it_and_its_news(void **state) {
  fixture *f = *state;

  say(f, "open", 1);
  aw_channel *channel = find(f);
  kit_sends(channel, "note", 2);
  aw_mux_release(channel);
  aw_mux_release(channel);
  kit_no_events(f->mux);
  assert_int_equal(aw_mux_stats_get(f->mux)->inbox_bytes, 0);
  say(f, "note", 2);
  assert_int_equal(aw_mux_stats_get(f->mux)->dropped_late, 2);
  kit_write(f->mux, &f->out, SIZE_MAX);
  assert_int_equal(wire_len(&f->out), 2);
  assert_int_equal(aw_mux_stats_get(f->mux)->open_scopes, 0);
}

static void floating_types_pass_by_the_numbering(void **state) {
  fixture *f = *state;
  aw_control control;

  say(f, "open", 1);
  say(f, "ping", 0);
  say(f, "ping", 77);
  assert_int_equal(find(f)->received, 1);
  say(f, "ping", 2); /* base peers number them */
  assert_int_equal(find(f)->received, 2);
  say(f, "note", 3);
  expect_no_refusal(f);
  f->id = kit_id(2);
  say(f, "ping", 1); /* of no scope at all */
  assert_null(find(f));
  for (unsigned n = 0; n < 4; n++) {
    assert_true(aw_mux_control(f->mux, &control));
    assert_int_equal(control.kind, AW_KIND_AGENT);
    assert_int_equal(control.id.bytes[15], n < 3 ? 1 : 2);
    assert_memory_equal(aw_message_type(control.message), "ping", 4);
    aw_mux_control_drop(f->mux);
  }
  assert_false(aw_mux_control(f->mux, &control));
  aw_mux_control_drop(f->mux);
}

static void zero_types_may_come_without_scope_or_number(void **state) {
  fixture *f = *state;
  aw_control control;

  say(f, "error", 0);
  assert_true(aw_mux_control(f->mux, &control));
  aw_mux_control_drop(f->mux);
  say(f, "open", 1);
  say(f, "error", 2); /* numbered: one of the scope's own */
  assert_false(aw_mux_control(f->mux, &control));
  assert_int_equal(find(f)->received, 2);
  say(f, "error", 1); /* base servers restart the counter in nacks */
  assert_true(aw_mux_control(f->mux, &control));
  assert_int_equal(control.message->sequence, 1);
  expect_no_refusal(f);
}

static void control_messages_go_first_and_carry_zero(void **state) {
  fixture *f = *state;

  kit_open(f->mux, AW_KIND_AGENT, NULL);
  assert_int_equal(kit_send_control(f->mux, AW_KIND_AGENT, &f->id, "ping"), 0);
  assert_int_equal(aw_mux_send_error(f->mux, "bad", "why", 3), 0);
  kit_write(f->mux, &f->out, SIZE_MAX);
  assert_int_equal(wire_len(&f->out), 3);
  assert_int_equal(number_of(wire_at(&f->out, 0)), 0);
  assert_string_equal(wire_at(&f->out, 1),
                      "{\"type\":\"error\",\"version\":\"1\",\"code\":\"bad\","
                      "\"message\":\"why\"}");
  assert_int_equal(number_of(wire_at(&f->out, 2)), 1);
}

static void error_frames_are_heard_and_never_answered(void **state) {
  fixture *f = *state;
  aw_control control;

  assert_int_equal(kit_hear(f->mux, f->generation,
                            "{\"type\":\"error\",\"version\":\"1\",\"code\":"
                            "\"x\",\"message\":\"y\"}"),
                   0);
  expect_no_refusal(f);
  assert_true(aw_mux_control(f->mux, &control));
  assert_int_equal(control.kind, AW_KIND_LINK);
  const char *frame = aw_message_payload(control.message);
  uint32_t at =
      aw_json_member(aw_message_tokens(control.message), 0, frame, "code", 4);
  assert_true(at != 0);
  assert_int_equal(frame[aw_message_tokens(control.message)[at].start], 'x');
}

static void bad_messages_are_refused_and_the_rest_goes_on(void **state) {
  static const struct {
    const char *text;
    int code;
    enum aw_refusal_class which;
  } cases[] = {
      {"", AW_E_JSON_TRUNCATED, AW_REFUSED_JSON},
      {"{\"type\":}", AW_E_JSON_SYNTAX, AW_REFUSED_JSON},
      {"[]", AW_E_INVALID_REQUEST, AW_REFUSED_INVALID},
      {"{\"type\":\"x\",\"version\":3}", AW_E_VERSION_MISMATCH,
       AW_REFUSED_VERSION},
      {"{\"type\":\"flow\",\"connection_id\":"
       "\"00000000-0000-0000-0000-000000000000\",\"message_id\":"
       "\"00000000-0000-0000-0000-000000000000\",\"sequence\":0,\"payload\":{"
       "}}",
       AW_E_UNSUPPORTED, AW_REFUSED_OTHER},
  };
  fixture *f = *state;
  aw_refusal refusal;

  say(f, "open", 1);
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    uint64_t before = aw_mux_stats_get(f->mux)->refused[cases[i].which];

    assert_int_equal(kit_hear(f->mux, f->generation, cases[i].text), 0);
    assert_true(aw_mux_has_news(f->mux));
    assert_true(aw_mux_refusal(f->mux, &refusal));
    assert_int_equal(refusal.code, cases[i].code);
    assert_int_equal(aw_mux_stats_get(f->mux)->refused[cases[i].which],
                     before + 1);
    assert_non_null(aw_refusal_class_name(cases[i].which));
  }
  say(f, "note", 2);
  assert_int_equal(find(f)->received, 2);
}

static void lost_connection_ends_every_scope(void **state) {
  fixture *f = *state;
  uint32_t old = f->generation;

  say(f, "open", 1);
  aw_channel *a = find(f), *b = kit_open(f->mux, AW_KIND_PROVIDER, NULL);
  kit_events(f->mux, a);
  aw_mux_detach(f->mux, old, AW_E_IO);
  aw_mux_detach(f->mux, old, AW_E_TIMEOUT);
  for (unsigned n = 0, events = 0; n < 2; n++) {
    aw_channel *channel = aw_mux_poll(f->mux, &events);

    assert_true(channel == a || channel == b);
    assert_int_equal(events, AW_CHANNEL_ENDED);
    assert_int_equal(channel->error, AW_E_IO);
    assert_int_equal(kit_send(channel, "note", "{}"), AW_E_CLOSED);
  }
  assert_int_equal(kit_consume(a), 1); /* what came can still be read */
  assert_int_equal(aw_mux_stats_get(f->mux)->log_bytes, 0);
  assert_false(aw_mux_writable(f->mux));
  assert_int_equal(kit_send_control(f->mux, AW_KIND_AGENT, &f->id, "ping"),
                   AW_E_CLOSED);
  assert_int_equal(aw_mux_send_error(f->mux, "a", "b", 1), AW_E_CLOSED);
  kit_say(&f->in, "session_id", &f->id, "note", 2, "{}");
  assert_int_equal(kit_deliver(f->mux, old, &f->in), AW_E_CLOSED);
  /* The next connection begins with nothing. */
  aw_mux_release(a);
  aw_mux_release(b);
  assert_int_equal(aw_mux_attach(f->mux, false, &f->generation), 0);
  assert_int_not_equal(f->generation, old);
  assert_false(aw_mux_writable(f->mux));
  say(f, "open", 1);
  expect_no_refusal(f);
  kit_say(&f->in, "session_id", &f->id, "note", 2, "{}");
  assert_int_equal(kit_deliver(f->mux, old, &f->in), AW_E_CLOSED);
}

static void abandoned_mux_lets_nothing_in_or_out(void **state) {
  fixture *f = *state;
  aw_channel *channel = NULL;

  say(f, "open", 1);
  aw_mux_abandon(f->mux, AW_E_TIMEOUT);
  assert_int_equal(find(f)->error, AW_E_TIMEOUT);
  assert_int_equal(kit_send(find(f), "note", "{}"), AW_E_CLOSED);
  assert_int_equal(aw_mux_open(f->mux, AW_KIND_AGENT, NULL, &channel),
                   AW_E_CLOSED);
  assert_int_equal(aw_mux_attach(f->mux, false, &f->generation), AW_E_CLOSED);
  assert_int_equal(kit_hear(f->mux, f->generation, "{}"), AW_E_CLOSED);
  assert_int_equal(kit_consume(find(f)), 1);
  aw_mux_abandon(f->mux, AW_E_IO);
  assert_int_equal(find(f)->error, AW_E_TIMEOUT);
}

typedef struct counter {
  unsigned sent, received;
} counter;

static void count_trace(void *user, const aw_trace *trace) {
  counter *c = user;

  assert_true(trace->len > 0 && trace->text[0] == '{');
  c->sent += trace->sent;
  c->received += !trace->sent;
}

static void trace_and_counters_see_every_message(void **state) {
  fixture *f = *state;
  const aw_mux_stats *stats = aw_mux_stats_get(f->mux);
  counter seen = {0};

  aw_mux_set_trace(f->mux, count_trace, &seen);
  say(f, "open", 1);
  say(f, "note", 9);
  kit_sends(find(f), "note", 3);
  kit_send_control(f->mux, AW_KIND_AGENT, &f->id, "ping");
  assert_int_equal(seen.sent, 0);
  kit_write(f->mux, &f->out, SIZE_MAX);
  assert_int_equal(seen.sent, 4);
  assert_int_equal(seen.received, 2);
  assert_int_equal(stats->messages_out, 4);
  assert_int_equal(stats->messages_in, 2);
  size_t bytes = 0;
  for (size_t i = 0; i < 4; i++) {
    bytes += strlen(wire_at(&f->out, i));
  }
  assert_int_equal(stats->bytes_out, bytes);
  assert_int_equal(stats->open_scopes, 1);
  assert_int_equal(stats->opened, 1);
  assert_int_equal(stats->inbox_bytes, stats->inbox_high);
  assert_int_equal(stats->inbox_bytes, find(f)->in_bytes);
  kit_consume_all(find(f));
  assert_int_equal(stats->inbox_bytes, 0);
  assert_true(stats->inbox_high > 0 && stats->log_high > 0);
}

static int refuse_third(void *user, const char *text, size_t len) {
  wire *out = user;

  if (wire_len(out) == 2) {
    return AW_E_AGAIN;
  }
  wire_put(out, text, len);
  return AW_OK;
}

static void sink_that_fails_loses_nothing(void **state) {
  fixture *f = *state;
  aw_mux_sink sink = {refuse_third, &f->out};
  aw_channel *channel = kit_open(f->mux, AW_KIND_AGENT, NULL);

  kit_sends(channel, "note", 5);
  assert_int_equal(aw_mux_write(f->mux, &sink, SIZE_MAX), AW_E_AGAIN);
  assert_int_equal(aw_mux_write(f->mux, &sink, SIZE_MAX), AW_E_AGAIN);
  assert_true(aw_mux_writable(f->mux));
  kit_write(f->mux, &f->out, SIZE_MAX);
  assert_int_equal(wire_len(&f->out), 6);
  for (size_t i = 0; i < 6; i++) {
    assert_int_equal(number_of(wire_at(&f->out, i)), i + 1);
  }
  assert_false(aw_mux_writable(f->mux));
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
  const struct CMUnitTest tests[] = {
      TEST(scope_numbers_its_own_messages_from_one),
      TEST(scope_judges_inbound_numbers_and_keeps_its_place),
      TEST(scopes_do_not_influence_each_other),
      TEST(draft_that_is_cancelled_uses_no_number),
      TEST(scope_whose_numbers_are_used_up_refuses_to_send),
      TEST(inbound_message_opens_only_with_an_opener_numbered_one),
      TEST(opener_of_an_open_scope_is_refused_as_existing),
      TEST(readers_are_told_once_until_they_have_read_all),
      TEST(terminal_ends_the_scope_both_ways),
      TEST(terminal_of_ours_is_still_written),
      TEST(late_messages_are_dropped_and_counted),
      TEST(released_id_of_a_restartable_kind_begins_again_at_one),
      TEST(released_id_of_another_kind_is_used_up),
      TEST(unreleased_id_cannot_begin_again),
      TEST(releasing_an_open_scope_ends_it_and_its_news),
      TEST(floating_types_pass_by_the_numbering),
      TEST(zero_types_may_come_without_scope_or_number),
      TEST(control_messages_go_first_and_carry_zero),
      TEST(error_frames_are_heard_and_never_answered),
      TEST(bad_messages_are_refused_and_the_rest_goes_on),
      TEST(lost_connection_ends_every_scope),
      TEST(abandoned_mux_lets_nothing_in_or_out),
      TEST(trace_and_counters_see_every_message),
      TEST(sink_that_fails_loses_nothing),
  };

  return cmocka_run_group_tests_name("mux", tests, NULL, NULL);
}
