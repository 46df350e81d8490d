#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "aw_error.h"
#include "aw_http.h"
#include <stdio.h>

#define COUNT(rows) (sizeof(rows) / sizeof(rows)[0])

static aw_address address(const char *text) {
  aw_address made = {{0}};

  assert_int_equal(aw_address_parse(&made, text, strlen(text)), 0);
  return made;
}

static void networks_are_read_whole(void **state) {
  static const struct {
    const char *text;
    const char *in, *out; /* NULL: not a network */
  } rows[] = {
      {"10.0.0.0/8", "10.255.1.2", "11.0.0.0"},
      {"10.0.0.0/8", "::ffff:10.1.1.1", "::a00:1"},
      {"192.168.1.1", "192.168.1.1", "192.168.1.2"},
      {"192.168.1.0/25", "192.168.1.127", "192.168.1.128"},
      {"0.0.0.0/0", "8.8.8.8", "::1"},
      {"::/0", "8.8.8.8", NULL},
      {"fd00::/8", "fd12::1", "fe00::1"},
      {"2001:db8::/33", "2001:db8:7fff::", "2001:db8:8000::"},
      {"::1", "::1", "::2"},
      {"10.0.0.1/8", NULL, NULL},
      {"10.0.0.0/33", NULL, NULL},
      {"10.0.0.0/", NULL, NULL},
      {"10.0.0.0/-1", NULL, NULL},
      {"10.0.0.0/8x", NULL, NULL},
      {"10.0.0.0/8/8", NULL, NULL},
      {"/8", NULL, NULL},
      {"fd00::/129", NULL, NULL},
      {"fd00::1/8", NULL, NULL},
      {"10.0.0", NULL, NULL},
      {"localhost", NULL, NULL},
      {"", NULL, NULL},
  };

  (void)state;
  for (size_t i = 0; i < COUNT(rows); i++) {
    aw_network network;
    int rc = aw_network_parse(&network, rows[i].text, strlen(rows[i].text));

    if ((rc == 0) != (rows[i].in != NULL)) {
      fail_msg("%s: %d", rows[i].text, rc);
    }
    if (rc == 0) {
      aw_address in = address(rows[i].in);

      assert_true(aw_network_holds(&network, &in));
    }
    if (rc == 0 && rows[i].out != NULL) {
      aw_address out = address(rows[i].out);

      assert_false(aw_network_holds(&network, &out));
    }
  }
}

/* Trusted are 10.0.0.0/8 and ::1. */
static void the_first_that_is_no_proxy_of_ours_asked(void **state) {
  static const struct {
    const char *peer; /* NULL: a trusted one without an address */
    const char *headers;
    const char *client; /* NULL: malformed; "": the peer itself */
  } rows[] = {
      {"10.0.0.1", "X-Forwarded-For: 1.2.3.4\r\n", "1.2.3.4"},
      {"::1", "x-forwarded-for: 1.2.3.4\r\n", "1.2.3.4"},
      {NULL, "X-Forwarded-For: 1.2.3.4\r\n", "1.2.3.4"},
      {"9.9.9.9", "X-Forwarded-For: 1.2.3.4\r\n", ""},
      {"10.0.0.1", "", ""},
      {"10.0.0.1", "X-Forwarded-For: 6.6.6.6, 1.2.3.4\r\n", "1.2.3.4"},
      {"10.0.0.1", "X-Forwarded-For: 6.6.6.6, 1.2.3.4, 10.9.9.9\r\n",
       "1.2.3.4"},
      {"10.0.0.1",
       "X-Forwarded-For: 6.6.6.6\r\nX: y\r\nX-Forwarded-For: 1.2.3.4\r\n",
       "1.2.3.4"},
      {"10.0.0.1", "X-Forwarded-For: 1.2.3.4\r\nX-Forwarded-For: 10.2.2.2\r\n",
       "1.2.3.4"},
      {"10.0.0.1", "X-Forwarded-For: 10.3.3.3, 10.2.2.2\r\n", "10.3.3.3"},
      {"10.0.0.1", "X-Forwarded-For: junk, 1.2.3.4\r\n", "1.2.3.4"},
      {"10.0.0.1", "X-Forwarded-For: 1.2.3.4:5678\r\n", "1.2.3.4"},
      {"10.0.0.1", "X-Forwarded-For: 2001:db8::7\r\n", "2001:db8::7"},
      {"10.0.0.1", "X-Forwarded-For: [2001:db8::7]:99\r\n", "2001:db8::7"},
      {"10.0.0.1", "X-Forwarded-For: [2001:db8::7]\r\n", "2001:db8::7"},
      {"10.0.0.1", "X-Forwarded-For: junk\r\n", NULL},
      {"10.0.0.1", "X-Forwarded-For: unknown\r\n", NULL},
      {"10.0.0.1", "X-Forwarded-For:\r\n", NULL},
      {"10.0.0.1", "X-Forwarded-For: 1.2.3.4,\r\n", NULL},
      {"10.0.0.1", "X-Forwarded-For: junk, 10.2.2.2\r\n", NULL},
      {"10.0.0.1", "X-Forwarded-For: 127.1\r\n", NULL},
      {"10.0.0.1", "X-Forwarded-For: [2001:db8::7\r\n", NULL},
      {"10.0.0.1", "X-Forwarded-For: [2001:db8::7]99\r\n", NULL},
      {"10.0.0.1", "X-Forwarded-For: [\r\n", NULL},
      {"10.0.0.1", "X-Forwarded-For: 1.2.3.4:x\r\n", NULL},
      {"10.0.0.1", "X-Forwarded-For: 1.2.3.4:5:6\r\n", NULL},
      {"10.0.0.1", "X-Forwarded-For: 1.2.3.4 5.6.7.8\r\n", NULL},
      {"10.0.0.1", "X-Real-IP: 1.2.3.4\r\nForwarded: for=1.2.3.4\r\n", ""},
  };
  aw_network networks[2];
  aw_http_proxies proxies = {networks, 2};

  (void)state;
  assert_int_equal(aw_network_parse(&networks[0], "10.0.0.0/8", 10), 0);
  assert_int_equal(aw_network_parse(&networks[1], "::1", 3), 0);
  for (size_t i = 0; i < COUNT(rows); i++) {
    aw_address peer = address(rows[i].peer != NULL ? rows[i].peer : "::");
    aw_address client = peer;
    char text[512];
    aw_http_head head;
    size_t used;

    snprintf(text, sizeof text, "GET / HTTP/1.1\r\n%s\r\n", rows[i].headers);
    assert_int_equal(aw_http_parse(&head, text, strlen(text), 0, true, &used),
                     0);
    bool fine = aw_http_client_of(&head, &proxies,
                                  rows[i].peer != NULL ? &peer : NULL, &client);

    if (fine != (rows[i].client != NULL)) {
      fail_msg("row %zu", i);
    }
    if (fine) {
      aw_address wanted =
          rows[i].client[0] != '\0' ? address(rows[i].client) : peer;

      if (memcmp(wanted.bytes, client.bytes, sizeof wanted.bytes) != 0) {
        fail_msg("row %zu: another client", i);
      }
    }
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(networks_are_read_whole),
      cmocka_unit_test(the_first_that_is_no_proxy_of_ours_asked),
  };

  return cmocka_run_group_tests(tests, NULL, NULL);
}
