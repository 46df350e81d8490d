/* Link messages have the rows and members that docs/wire.md allows, or end the
 * connection; and what a peer can see of a session's entropy is not what keeps
 * its table of scopes. */
#include "aw_mux_impl.h"
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

/* head, `rows` times the row, tail; the caller frees. */
static char *put_rows(const char *head, const char *row, unsigned rows,
                      const char *tail) {
  size_t size = strlen(head) + rows * (strlen(row) + 1) + strlen(tail) + 1;
  char *text = malloc(size);
  assert_non_null(text);
  size_t at = (size_t)snprintf(text, size, "%s", head);
  for (unsigned n = 0; n < rows; n++) {
    at += (size_t)snprintf(text + at, size - at, "%s%s", n > 0 ? "," : "", row);
  }
  snprintf(text + at, size - at, "%s", tail);
  return text;
}

#define ENVELOPE(type)                                                         \
  "{\"type\":\"" type "\",\"connection_id\":"                                  \
  "\"c0000000-0000-0000-0000-000000000001\",\"message_id\":"                   \
  "\"00000000-0000-4000-8000-000000000001\",\"sequence\":0,\"payload\":{"
#define ID "\"c0000000-0000-0000-0000-000000000009\""
#define KEY "\"key\":\"000102030405060708090a0b0c0d0e0f\","

static int hear(aw_mux *mux, uint32_t generation, const char *head,
                const char *row, unsigned rows, const char *tail) {
  char *text = put_rows(head, row, rows, tail);
  int rc = kit_hear(mux, generation, text);
  free(text);
  return rc;
}

static void a_flow_has_at_most_256_rows(void **state) {
  static const char head[] = ENVELOPE("flow") "\"scopes\":[";
  static const char row[] = "[\"agent\"," ID ",0,1,1]";

  (void)state;
  pair_connect(&p);
  assert_int_equal(hear(p.server, p.server_generation, head, row, 256, "]}}"),
                   0);
  assert_int_equal(hear(p.server, p.server_generation, head, row, 257, "]}}"),
                   AW_E_REFUSED);
}

static void a_welcome_has_at_most_256_rows(void **state) {
  static const char head[] = ENVELOPE("welcome") "\"epoch\":\"e\",\"scopes\":[";
  static const char row[] = "[\"agent\"," ID ",\"live\",0,0,64,1]";

  (void)state;
  pair_connect(&p);
  assert_int_equal(hear(p.client, p.client_generation, head, row, 256, "]}}"),
                   0);
  assert_int_equal(hear(p.client, p.client_generation, head, row, 257, "]}}"),
                   AW_E_REFUSED);
}

static int read_hello(const char *head, const char *row, unsigned rows,
                      const char *tail) {
  aw_hello hello;
  const char *why = NULL;
  char *text = put_rows(head, row, rows, tail);
  aw_hello_init(&hello, aw_mem_default(), AW_MUX_SCOPES_MAX);
  int rc = aw_hello_read(&hello, text, strlen(text), &why);
  assert_int_equal(why != NULL, rc != 0);
  aw_hello_fini(&hello);
  free(text);
  return rc;
}

static void a_hello_has_at_most_256_rows(void **state) {
  static const char head[] = ENVELOPE("hello") KEY "\"scopes\":[";
  static const char row[] = "[\"agent\"," ID ",0,1,1,1,0]";

  (void)state;
  assert_int_equal(read_hello(head, row, 256, "]}}"), 0);
  assert_int_equal(read_hello(head, row, 257, "]}}"), AW_E_REFUSED);
}

static void a_hellos_optional_members_are_right_or_absent(void **state) {
  static const struct {
    const char *members;
    int rc;
  } cases[] = {
      {"\"max_inbound_bytes\":0", 0},
      {"\"max_inbound_bytes\":null", 0},
      {"\"max_inbound_bytes\":-1", AW_E_REFUSED},
      {"\"max_inbound_bytes\":1.5", AW_E_REFUSED},
      {"\"max_inbound_bytes\":\"4\"", AW_E_REFUSED},
      {"\"max_inbound_bytes\":9007199254740992", AW_E_REFUSED},
      {"\"attempt\":-1", AW_E_REFUSED},
      {"\"attempt\":[]", AW_E_REFUSED},
      {"\"epoch\":7", AW_E_REFUSED},
      {"\"epoch\":\"0123456789abcdef0123456789abcdef0\"", AW_E_REFUSED},
  };

  (void)state;
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    char tail[128];
    snprintf(tail, sizeof tail, "],%s}}", cases[i].members);
    if (read_hello(ENVELOPE("hello") KEY "\"scopes\":[", "", 0, tail) !=
        cases[i].rc) {
      print_error("%s\n", cases[i].members);
      fail();
    }
  }
}

static void optional_numbers_of_flow_welcome_and_gap_likewise(void **state) {
  static const char *const cases[] = {
      ENVELOPE("flow") "\"scopes\":[],\"connection_limit_bytes\":-1}}",
      ENVELOPE("flow") "\"scopes\":[],\"connection_limit_bytes\":\"1\"}}",
      ENVELOPE("welcome") "\"epoch\":\"e\",\"scopes\":[],"
                          "\"max_inbound_bytes\":-1}}",
      ENVELOPE("gap") "\"kind\":\"agent\",\"id\":" ID ",\"to\":1,"
                      "\"bytes\":-1}}",
  };

  (void)state;
  pair_connect(&p);
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    assert_int_equal(kit_hear(p.client, p.client_generation, cases[i]),
                     AW_E_REFUSED);
  }
}

static void ids_tell_nothing_of_the_scope_table(void **state) {
  kit k;
  aw_mux *mux[2];

  (void)state;
  kit_init(&k, aw_mem_default());
  for (int i = 0; i < 2; i++) {
    aw_mux_options options = kit_options(&k, true);
    options.seed[0] = 7;
    options.map_seed[0] = (uint8_t)i;
    mux[i] = kit_mux(&k, &options);
  }
  assert_true(aw_uuid_equal(&mux[0]->connection_id, &mux[1]->connection_id));
  assert_memory_not_equal(mux[0]->channels.seed, mux[1]->channels.seed,
                          sizeof mux[0]->channels.seed);
  assert_memory_equal(mux[1]->channels.seed, mux[1]->options.map_seed,
                      sizeof mux[1]->channels.seed);
  aw_mux_free(mux[0]);
  aw_mux_free(mux[1]);
  kit_fini(&k);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
  const struct CMUnitTest tests[] = {
      TEST(a_flow_has_at_most_256_rows),
      TEST(a_welcome_has_at_most_256_rows),
      TEST(a_hello_has_at_most_256_rows),
      TEST(a_hellos_optional_members_are_right_or_absent),
      TEST(optional_numbers_of_flow_welcome_and_gap_likewise),
      TEST(ids_tell_nothing_of_the_scope_table),
  };

  return cmocka_run_group_tests_name("link_members", tests, NULL, NULL);
}
