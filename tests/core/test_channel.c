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
    rc = aw_mux_inbox_put(&channel->inbox, &envelope, &tape, copy, len, ends);
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
  assert_true(channel->inbox.bytes.size > AW_MUX_KEEP);
  while (aw_channel_peek(channel) != NULL) {
    aw_channel_drop(channel);
  }
  assert_true(channel->inbox.bytes.size <= AW_MUX_KEEP);
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
  assert_int_equal(channel->inbox.count, 1);
  assert_true(channel->inbox.bytes.size <= 8192);
  aw_channel_free(channel, aw_mem_default());
}

static void numbers_are_taken_in_order_and_nothing_else_is(void **state) {
  static const struct {
    uint64_t last, number;
    int rc;
  } cases[] = {
      {0, 1, 0},
      {0, 0, AW_E_INVALID_SEQUENCE},
      {0, 2, AW_E_SEQUENCE_GAP},
      {0, AW_SEQ_MAX, AW_E_SEQUENCE_GAP},
      {7, 8, 0},
      {7, 0, AW_E_INVALID_SEQUENCE},
      {7, 1, AW_E_DUPLICATE_SEQUENCE},
      {7, 7, AW_E_DUPLICATE_SEQUENCE},
      {7, 9, AW_E_SEQUENCE_GAP},
      {7, UINT64_MAX, AW_E_SEQUENCE_GAP},
      {AW_SEQ_MAX - 1, AW_SEQ_MAX, 0},
      {AW_SEQ_MAX, 0, AW_E_INVALID_SEQUENCE},
      {AW_SEQ_MAX, AW_SEQ_MAX, AW_E_DUPLICATE_SEQUENCE},
  };
  aw_channel *channel = make_channel(aw_mem_default());

  (void)state;
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    channel->received = cases[i].last;
    assert_int_equal(aw_channel_accept(channel, cases[i].number), cases[i].rc);
    assert_int_equal(channel->received,
                     cases[i].rc == 0 ? cases[i].number : cases[i].last);
  }
  aw_channel_free(channel, aw_mem_default());
}

static int fill_inbox(const aw_mem *mem) {
  char text[512];
  aw_channel *channel = make_channel(mem);
  int rc = channel == NULL ? AW_E_NOMEM : AW_OK;

  say(text, sizeof text, 1, "{\"a\":[1,2,3]}");
  for (unsigned n = 0; rc == AW_OK && n < 20; n++) {
    size_t count = channel->inbox.count;
    size_t len = aw_buf_len(&channel->inbox.bytes);

    rc = store_text(channel, mem, text, false);
    if (rc != AW_OK) {
      assert_int_equal(channel->inbox.count, count);
      assert_int_equal(aw_buf_len(&channel->inbox.bytes), len);
    }
  }
  if (channel != NULL) {
    aw_channel_free(channel, mem);
  }
  return rc;
}

static void inbox_out_of_memory_changes_nothing(void **state) {
  (void)state;
  fail_each_allocation(fill_inbox);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(inbox_gives_back_whole_messages_in_order),
      cmocka_unit_test(inbox_that_ran_empty_keeps_little_memory),
      cmocka_unit_test(inbox_that_is_never_empty_does_not_grow),
      cmocka_unit_test(inbox_out_of_memory_changes_nothing),
      cmocka_unit_test(numbers_are_taken_in_order_and_nothing_else_is),
  };

  return cmocka_run_group_tests_name("channel", tests, NULL, NULL);
}
