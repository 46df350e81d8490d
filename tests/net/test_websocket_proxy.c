/* A client that goes through an HTTP proxy: the tunnel, what is said in it, and
 * that nobody is told the password. */
#include "aw_http.h"
#include "stage.h"
#include "tls_files.h"
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define PASSWORD "s3%%63ret"                                /* in a format */
#define CODED "Proxy-Authorization: Basic bWU6czNjcmV0\r\n" /* me:s3cret */
#define TUNNEL "HTTP/1.1 200 Connection established\r\n\r\n"

static tls_files files;

/* A client on its way to host:7 through the proxy, which has heard CONNECT. */
static int meet_proxy(test_stage *stage, raw_peer *raw, const char *scheme,
                      const char *host, const aw_tls_options *tls) {
  unsigned port;
  int listener = raw_listen(&port);
  char proxy[96], line[96];

  snprintf(proxy, sizeof proxy, "http://me:" PASSWORD "@127.0.0.1:%u/", port);
  stage->port = 7;
  stage_connect_to(stage, scheme, host,
                   (aw_websocket_options){.proxy = proxy, .tls = tls});
  raw_accept(raw, stage->loop, listener);
  size_t len = raw_head(raw);
  snprintf(line, sizeof line, "CONNECT %s:7 HTTP/1.1\r\nHost: %s:7\r\n", host,
           host);
  assert_memory_equal(raw->in, line, strlen(line));
  assert_non_null(strstr(raw->in, CODED));
  assert_null(strstr(raw->in, "Upgrade"));
  raw_consume(raw, len);
  return listener;
}

static void leave_proxy(raw_peer *raw, int listener) {
  raw_free(raw);
  close(listener);
}

static void plain_client_upgrades_in_the_tunnel(void **state) {
  test_stage *stage = *state;
  raw_peer raw;
  int listener = meet_proxy(stage, &raw, "ws", "nowhere.invalid", NULL);

  raw_say(&raw, "HTTP/1.1 100 Continue\r\n\r\n" TUNNEL);
  raw_head(&raw);
  assert_non_null(strstr(raw.in, "Host: nowhere.invalid:7\r\n"));
  assert_null(strstr(raw.in, "Proxy-Authorization"));
  raw_answer_upgrade(&raw, AW_PROTOCOL_EXTENDED);
  stage_until(stage, &stage->client, end_is_settled);
  assert_int_equal(stage->client.opens, 1);
  leave_proxy(&raw, listener);
}

static void tls_is_spoken_with_the_server_not_the_proxy(void **state) {
  test_stage *stage = *state;
  aw_tls_options tls = {.ca_file = files.ca};
  raw_peer raw;
  int listener = meet_proxy(stage, &raw, "wss", "localhost", &tls);

  raw_say(&raw, TUNNEL);
  raw_secure(&raw, files.server);
  raw_answer_upgrade(&raw, AW_PROTOCOL_EXTENDED);
  stage_until(stage, &stage->client, end_is_settled);
  assert_string_equal(stage->client.reason, "");
  assert_int_equal(stage->client.opens, 1);
  leave_proxy(&raw, listener);
}

static bool has_heard(raw_peer *raw) {
  return raw->len > 0;
}

static void what_is_wrong_with_tls_names_the_server(void **state) {
  test_stage *stage = *state;
  raw_peer raw;
  int listener = meet_proxy(stage, &raw, "wss", "server.example", NULL);

  raw_say(&raw, TUNNEL);
  raw_until(&raw, has_heard);
  assert_int_equal(raw.in[0], 0x16);
  raw_say(&raw, "HTTP/1.1 400 No\r\n\r\n");
  stage_until(stage, &stage->client, end_is_closed);
  assert_end(&stage->client, AW_E_TLS_NONE, 1006, "TLS with server.example:7");
  leave_proxy(&raw, listener);
}

/* What a proxy says, and what its client is told. */
static void a_proxy_that_does_not_let_us_through_is_named(void **state) {
  static const struct {
    const char *answer;
    int error;
    const char *reason;
  } rows[] = {
      {"HTTP/1.1 407 Proxy Authentication Required\r\n"
       "Content-Length: 7\r\n\r\nnot you",
       AW_E_REFUSED,
       "refused by the proxy 127.0.0.1: HTTP 407 Proxy Authentication "
       "Required: not you"},
      {"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n", AW_E_REFUSED,
       "refused by the proxy 127.0.0.1: HTTP 502"},
      {"HTTP/1.1 302 Found\r\nLocation: http://l/?t=x\r\n"
       "Content-Length: 0\r\n\r\n",
       AW_E_REFUSED, "it points to http://l/"},
      {"HTTP/1.1 101 Switching Protocols\r\n\r\n", AW_E_REFUSED, "HTTP 101"},
      {TUNNEL "more", AW_E_REFUSED, "more than it was asked"},
      {"SSH-2.0-x\r\n", AW_E_REFUSED, "not HTTP"},
      {NULL, AW_E_CLOSED, "while waiting for the proxy's answer"},
  };
  test_stage *stage = *state;

  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
    raw_peer raw;
    int listener = meet_proxy(stage, &raw, "ws", "server.example", NULL);

    if (rows[i].answer != NULL) {
      raw_say(&raw, rows[i].answer);
    } else {
      raw_hang_up(&raw);
    }
    stage_until(stage, &stage->client, end_is_closed);
    assert_end(&stage->client, rows[i].error, 1006, rows[i].reason);
    assert_null(strstr(stage->client.reason, "s3"));
    aw_transport_free(stage->client.t);
    stage->client.t = NULL;
    leave_proxy(&raw, listener);
  }
}

static void a_proxy_that_is_not_there_is_named(void **state) {
  test_stage *stage = *state;
  char proxy[96];

  close(raw_listen(&stage->port));
  snprintf(proxy, sizeof proxy, "http://me:" PASSWORD "@127.0.0.1:%u",
           stage->port);
  stage_connect_to(stage, "ws", "server.example",
                   (aw_websocket_options){.proxy = proxy});
  stage_until(stage, &stage->client, end_is_closed);
  assert_end(&stage->client, AW_E_REFUSED, 1006, ", the proxy");
  assert_null(strstr(stage->client.reason, "s3"));
}

static void wrong_proxies_are_refused_and_not_repeated(void **state) {
  static const char *const proxies[] = {
      "127.0.0.1:3128",
      "https://me:s3cret@h",
      "socks5://me:s3cret@h",
      "http://",
      "http://me:s3cret@",
      "http://me:s3cret@h:x",
      "http://me:s3cret@h:70000",
      "http://me:s3cret@h/path",
      "http://me:s3cret@h?x",
      "http://me:s3cret@h h",
      "http://me:s3cret%0d%0aX:y@h",
      "http://me:s3cret%zz@h",
      "http://me:s3cret\r\n@h",
  };
  test_stage *stage = *state;

  for (size_t i = 0; i < sizeof proxies / sizeof proxies[0]; i++) {
    aw_websocket_options options = {.url = "ws://a", .proxy = proxies[i]};
    const char *why = NULL;
    aw_transport *t = NULL;

    if (aw_websocket_connect(stage->loop, &options, &t, &why) != AW_E_INVALID) {
      fail_msg("%s", proxies[i]);
    }
    assert_non_null(strstr(why, "proxy"));
    assert_null(strstr(why, "s3"));
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      STAGED(plain_client_upgrades_in_the_tunnel),
      STAGED(tls_is_spoken_with_the_server_not_the_proxy),
      STAGED(what_is_wrong_with_tls_names_the_server),
      STAGED(a_proxy_that_does_not_let_us_through_is_named),
      STAGED(a_proxy_that_is_not_there_is_named),
      STAGED(wrong_proxies_are_refused_and_not_repeated),
  };

  signal(SIGPIPE, SIG_IGN);
  tls_files_make(&files);
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  tls_files_remove(&files);
  return failed;
}
