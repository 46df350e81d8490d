#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "aw_address.h"
#include "aw_error.h"
#include <arpa/inet.h>
#include <string.h>

#define COUNT(rows) (sizeof(rows) / sizeof(rows)[0])

static void only_a_whole_host_is_loopback(void **state) {
  static const struct {
    const char *host;
    bool loopback;
  } rows[] = {
      {"127.0.0.1", true},
      {"127.255.255.254", true},
      {"::1", true},
      {"0:0:0:0:0:0:0:1", true},
      {"0000:0000:0000:0000:0000:0000:0000:0001", true},
      {"::ffff:127.0.0.1", true},
      {"::FFFF:7f00:1", true},
      {"localhost", true},
      {"LocalHost", true},
      {"localhost.", true},
      {"app.localhost", true},
      {"a.b.localhost.", true},
      {"", false},
      {".", false},
      {"127.evil.com", false},
      {"127.0.0.1.nip.io", false},
      {"127.0.0.1@evil.com", false},
      {"127.0.0.1.", false},
      {"127.0.0.1:80", false},
      {"127.0.0.1 ", false},
      {" 127.0.0.1", false},
      {"127.0.0", false},
      {"127.1", false},
      {"127", false},
      {"2130706433", false},
      {"0177.0.0.1", false},
      {"127.0.0.01", false},
      {"0x7f.0.0.1", false},
      {"0x7f000001", false},
      {"127.0.0.256", false},
      {"127.0.0.1.1", false},
      {"128.0.0.1", false},
      {"126.255.255.255", false},
      {"0.0.0.0", false},
      {"::", false},
      {"::2", false},
      {"::127.0.0.1", false},
      {"::ffff:128.0.0.1", false},
      {"::fffe:127.0.0.1", false},
      {"64:ff9b::127.0.0.1", false},
      {"[::1]", false},
      {"::1%lo", false},
      {"::1.", false},
      {"localhost.evil.com", false},
      {"evil-localhost", false},
      {"evillocalhost", false},
      {"localhost@evil.com", false},
      {"a@b.localhost", false},
      {"a/b.localhost", false},
      {"localhost..", false},
      {".localhost", false},
      {"a..localhost", false},
      {"localhos", false},
      {"locaIhost", false},
  };

  (void)state;
  for (size_t i = 0; i < COUNT(rows); i++) {
    bool is = aw_address_host_is_loopback(rows[i].host, strlen(rows[i].host));

    if (is != rows[i].loopback) {
      fail_msg("%s: %d", rows[i].host, is);
    }
  }
  assert_false(aw_address_host_is_loopback("127.0.0.1\0x", 11));
  assert_false(aw_address_host_is_loopback("localhost\0", 10));
}

static void parse_takes_all_of_the_text_or_nothing(void **state) {
  char longer[64];
  aw_address four, six;

  (void)state;
  assert_int_equal(aw_address_parse(&four, "10.1.2.3", 8), 0);
  assert_int_equal(aw_address_parse(&six, "::ffff:10.1.2.3", 15), 0);
  assert_memory_equal(four.bytes, six.bytes, 16);
  memset(longer, '1', sizeof longer);
  assert_int_equal(aw_address_parse(&four, longer, sizeof longer),
                   AW_E_INVALID);
  assert_int_equal(aw_address_parse(&four, "", 0), AW_E_INVALID);
}

/* Against the system's own reading, over texts made of what addresses are made
 * of. */
static void parse_agrees_with_the_system(void **state) {
  static const char *const pieces[] = {":",  "::",    ".",        "0", "1",
                                       "12", "255",   "256",      "a", "ffff",
                                       "FE", "12345", "127.0.0.1"};
  uint64_t seed = 1;
  unsigned valid = 0;

  (void)state;
  for (int i = 0; i < 400000; i++) {
    char text[128] = "";
    unsigned char theirs[16];
    aw_address ours;
    unsigned count = 1 + (unsigned)(seed >> 40) % 16;

    for (unsigned j = 0; j < count; j++) {
      seed = seed * 6364136223846793005u + 1442695040888963407u;
      /* Mostly a group and a colon in turn, so that much of it is valid. */
      size_t pick = (size_t)(seed >> 33) % COUNT(pieces);

      strcat(text, (seed >> 60) != 0 && j % 2 == 1 ? ":" : pieces[pick]);
    }
    bool v4 = inet_pton(AF_INET, text, theirs) == 1;
    bool v6 = !v4 && inet_pton(AF_INET6, text, theirs) == 1;
    int rc = aw_address_parse(&ours, text, strlen(text));

    if ((rc == 0) != (v4 || v6)) {
      fail_msg("%s: %d", text, rc);
    }
    if (rc == 0) {
      assert_memory_equal(ours.bytes + (v4 ? 12 : 0), theirs, v4 ? 4 : 16);
      valid++;
    }
  }
  assert_true(valid > 1000);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(only_a_whole_host_is_loopback),
      cmocka_unit_test(parse_takes_all_of_the_text_or_nothing),
      cmocka_unit_test(parse_agrees_with_the_system),
  };

  return cmocka_run_group_tests(tests, NULL, NULL);
}
