#include "aw_channel.h"
#include "failing_mem.h"
#include "mux_kit.h"
#include <stdio.h>

/* A channel without a mux: numbering is driven by hand. */
static aw_channel *make_channel(const aw_mem *mem) {
  aw_uuid id = kit_id(1);

  return aw_channel_new(NULL, AW_KIND_AGENT, &id, mem);
}

static int store_text(aw_channel *channel, const aw_mem *mem, const char *text,
                      bool ends) {
  char copy[512];
  size_t len = strlen(text);
  aw_json_tape tape;
  aw_envelope envelope;
  aw_envelope_error error;

  assert_true(len < sizeof copy);
  memcpy(copy, text, len);
  aw_json_tape_init(&tape, mem);
  int rc = aw_envelope_read(&envelope, &tape, copy, len, 16, &error);
  if (rc == AW_OK) {
    rc = aw_channel_store(channel, &envelope, &tape, copy, len, ends);
  }
  aw_json_tape_fini(&tape);
  return rc;
}

static void say(char *out, size_t size, unsigned sequence,
                const char *payload) {
  snprintf(out, size,
           "{\"type\":\"note\",\"session_id\":"
           "\"00000000-0000-0000-0000-000000000001\",\"message_id\":"
           "\"00000000-0000-0000-0000-0000000000%02u\",\"sequence\":%u,"
           "\"timestamp\":5,\"payload\":%s}",
           sequence, sequence, payload);
}

static void inbox_gives_back_whole_messages_in_order(void **state) {
  char text[512];
  aw_channel *channel = make_channel(aw_mem_default());
  size_t cost = 0;

  (void)state;
  assert_null(aw_channel_peek(channel));
  for (unsigned n = 1; n <= 9; n++) {
    say(text, sizeof text, n, "{\"key\":[\"value\",{}],\"n\":12}");
    assert_int_equal(store_text(channel, aw_mem_default(), text, n == 9), 0);
    cost += strlen(text);
  }
  assert_int_equal(channel->in_bytes, cost);
  for (unsigned n = 1; n <= 9; n++) {
    const aw_message *message = aw_channel_peek(channel);

    assert_non_null(message);
    assert_int_equal(message->sequence, n);
    assert_int_equal(message->timestamp, 5);
    assert_int_equal(message->message_id.bytes[15], n);
    assert_int_equal(message->ends, n == 9);
    assert_false(message->has_reply);
    assert_memory_equal(aw_message_type(message), "note", message->type_len);
    const char *payload = aw_message_payload(message);
    assert_int_equal(message->payload_len, 27);
    assert_memory_equal(payload, "{\"key\":[\"value\",{}],\"n\":12}", 27);
    /* The tokens speak of the payload alone. */
    const aw_json_token *tokens = aw_message_tokens(message);
    assert_int_equal(message->token_count, 7);
    assert_int_equal(tokens[0].start, 0);
    assert_int_equal(tokens[0].next, 7);
    uint32_t at = aw_json_member(tokens, 0, payload, "n", 1);
    assert_memory_equal(payload + tokens[at].start, "12", 2);
    assert_int_equal(tokens[aw_json_member(tokens, 0, payload, "key", 3)].next,
                     5);
    cost -= aw_channel_drop(channel);
    assert_int_equal(channel->consumed, n);
    assert_int_equal(channel->header_id.bytes[15], n);
  }
  assert_int_equal(cost, 0);
  assert_int_equal(channel->consumed_bytes, channel->in_bytes);
  assert_null(aw_channel_peek(channel));
  aw_channel_free(channel, aw_mem_default());
}

static void inbox_that_ran_empty_keeps_little_memory(void **state) {
  char text[512];
  aw_channel *channel = make_channel(aw_mem_default());

  (void)state;
  for (unsigned n = 1; n <= 1000; n++) {
    say(text, sizeof text, n % 100, "{}");
    assert_int_equal(store_text(channel, aw_mem_default(), text, false), 0);
  }
  assert_true(channel->inbox.size > AW_CHANNEL_KEEP);
  while (aw_channel_peek(channel) != NULL) {
    aw_channel_drop(channel);
  }
  assert_true(channel->inbox.size <= AW_CHANNEL_KEEP);
  aw_channel_free(channel, aw_mem_default());
}

/* A reader that is always one behind: the buffer must not grow for ever. */
static void inbox_that_is_never_empty_does_not_grow(void **state) {
  char text[512];
  aw_channel *channel = make_channel(aw_mem_default());

  (void)state;
  say(text, sizeof text, 1, "{\"a\":1}");
  assert_int_equal(store_text(channel, aw_mem_default(), text, false), 0);
  for (unsigned n = 0; n < 10000; n++) {
    assert_int_equal(store_text(channel, aw_mem_default(), text, false), 0);
    aw_channel_drop(channel);
  }
  assert_int_equal(channel->inbox_count, 1);
  assert_true(channel->inbox.size <= 8192);
  aw_channel_free(channel, aw_mem_default());
}

static int log_text(aw_channel *channel, const char *text, bool urgent) {
  size_t mark = 0;
  int rc = aw_channel_log_begin(channel, &mark);

  if (rc == AW_OK) {
    rc = aw_buf_append(&channel->log, text, strlen(text));
    if (rc == AW_OK) {
      rc = aw_channel_log_finish(channel, mark, urgent);
    }
    if (rc != AW_OK) {
      aw_channel_log_cancel(channel, mark);
      return rc;
    }
    aw_seq_next(&channel->out);
  }
  return rc;
}

static const char *const texts[] = {"one", "two22222", "three3333",
                                    "",    "five",     "six"};

static aw_channel *logged(void) {
  aw_channel *channel = make_channel(aw_mem_default());

  for (size_t i = 0; i < 6; i++) {
    assert_int_equal(log_text(channel, texts[i], i == 2), 0);
  }
  return channel;
}

/* Writes everything that is left; the texts have to be those from `first`. */
static void expect_from(aw_channel *channel, unsigned first) {
  const aw_entry *entry = NULL;
  unsigned n = first;

  while ((entry = aw_channel_unsent(channel)) != NULL) {
    const char *text = texts[n++ - 1];

    assert_int_equal(entry->len, strlen(text));
    assert_memory_equal(aw_entry_text(entry), text, entry->len);
    assert_int_equal((uintptr_t)entry % 8, 0);
    aw_channel_advance(channel, 1);
  }
  assert_int_equal(n, 7);
  assert_int_equal(channel->unsent_bytes, 0);
}

static void log_is_written_once_in_order(void **state) {
  aw_channel *channel = logged();

  (void)state;
  assert_int_equal(channel->out_bytes, 27);
  assert_int_equal(channel->unsent_bytes, 27);
  assert_int_equal(channel->urgent_bytes, 9);
  expect_from(channel, 1);
  assert_null(aw_channel_unsent(channel));
  assert_int_equal(channel->log_count, 6);
  aw_channel_free(channel, aw_mem_default());
}

static void log_that_is_cancelled_holds_nothing_of_it(void **state) {
  aw_channel *channel = logged();
  size_t before = aw_buf_len(&channel->log), mark = 0;

  (void)state;
  assert_int_equal(aw_channel_log_begin(channel, &mark), 0);
  assert_int_equal(aw_buf_append(&channel->log, "half", 4), 0);
  aw_channel_log_cancel(channel, mark);
  assert_int_equal(aw_buf_len(&channel->log), before);
  assert_int_equal(channel->log_count, 6);
  assert_int_equal(channel->out_bytes, 27);
  expect_from(channel, 1);
  aw_channel_free(channel, aw_mem_default());
}

static void log_trims_what_was_written_and_no_more(void **state) {
  aw_channel *channel = logged();

  (void)state;
  assert_int_equal(aw_channel_log_trim(channel, 6), 0);
  aw_channel_advance(channel, 1);
  aw_channel_advance(channel, 1);
  size_t before = aw_buf_len(&channel->log);
  size_t freed = aw_channel_log_trim(channel, 6);
  assert_int_equal(before - freed, aw_buf_len(&channel->log));
  assert_int_equal(channel->first_logged, 3);
  assert_int_equal(channel->log_count, 4);
  assert_int_equal(aw_channel_log_trim(channel, 1), 0);
  expect_from(channel, 3);
  assert_true(aw_channel_log_trim(channel, 99) > 0);
  assert_int_equal(channel->log_count, 0);
  assert_int_equal(channel->urgent_bytes, 0);
  assert_int_equal(aw_buf_len(&channel->log), 0);
  /* And it goes on. */
  assert_int_equal(log_text(channel, "seven", false), 0);
  assert_int_equal(aw_channel_unsent(channel)->len, 5);
  assert_int_equal(channel->next_unsent, 7);
  aw_channel_free(channel, aw_mem_default());
}

static void log_rewinds_as_far_as_it_reaches_back(void **state) {
  aw_channel *channel = logged();

  (void)state;
  expect_from(channel, 1);
  aw_channel_log_trim(channel, 2);
  for (unsigned received = 2; received <= 6; received++) {
    assert_true(aw_channel_rewind(channel, received));
    assert_int_equal(channel->next_unsent, received + 1);
    uint64_t left = 0;
    for (unsigned n = received; n < 6; n++) {
      left += strlen(texts[n]);
    }
    assert_int_equal(channel->unsent_bytes, left);
    expect_from(channel, received + 1);
  }
  assert_false(aw_channel_rewind(channel, 1));
  assert_false(aw_channel_rewind(channel, 0));
  assert_false(aw_channel_rewind(channel, 7));
  assert_int_equal(channel->next_unsent, 7);
  aw_channel_free(channel, aw_mem_default());
}

static void log_rewinds_before_anything_was_sent(void **state) {
  aw_channel *channel = make_channel(aw_mem_default());

  (void)state;
  assert_true(aw_channel_rewind(channel, 0));
  assert_false(aw_channel_rewind(channel, 1));
  assert_null(aw_channel_unsent(channel));
  aw_channel_free(channel, aw_mem_default());
}

static int fill_both(const aw_mem *mem) {
  char text[512];
  aw_channel *channel = make_channel(mem);
  int rc = channel == NULL ? AW_E_NOMEM : AW_OK;

  say(text, sizeof text, 1, "{\"a\":[1,2,3]}");
  for (unsigned n = 0; rc == AW_OK && n < 20; n++) {
    uint64_t in_bytes = channel->in_bytes, out_bytes = channel->out_bytes;
    size_t inbox = channel->inbox_count, log = channel->log_count;

    rc = store_text(channel, mem, text, false);
    if (rc != AW_OK) {
      assert_int_equal(channel->inbox_count, inbox);
      assert_int_equal(channel->in_bytes, in_bytes);
      break;
    }
    rc = log_text(channel, text, false);
    if (rc != AW_OK) {
      assert_int_equal(channel->log_count, log);
      assert_int_equal(channel->out_bytes, out_bytes);
    }
  }
  if (channel != NULL) {
    aw_channel_free(channel, mem);
  }
  return rc;
}

static void channel_out_of_memory_changes_nothing(void **state) {
  (void)state;
  fail_each_allocation(fill_both);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(inbox_gives_back_whole_messages_in_order),
      cmocka_unit_test(inbox_that_ran_empty_keeps_little_memory),
      cmocka_unit_test(inbox_that_is_never_empty_does_not_grow),
      cmocka_unit_test(log_is_written_once_in_order),
      cmocka_unit_test(log_that_is_cancelled_holds_nothing_of_it),
      cmocka_unit_test(log_trims_what_was_written_and_no_more),
      cmocka_unit_test(log_rewinds_as_far_as_it_reaches_back),
      cmocka_unit_test(log_rewinds_before_anything_was_sent),
      cmocka_unit_test(channel_out_of_memory_changes_nothing),
  };

  return cmocka_run_group_tests_name("channel", tests, NULL, NULL);
}
