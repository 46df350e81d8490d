/* TLS as a WebSocket engine's user sees it: trust, names, certificates of both
 * sides, renewal. Knows nothing of the engine. */
#include "ws_pair.h"

static unsigned listen_secure(suite_pair *pair) {
  aw_tls_options tls = (aw_tls_options){.cert_file = ws_files.server};

  return ws_listen_with(pair, (aw_listener_options){.tls = &tls});
}

static void connect_secure(suite_pair *pair, unsigned port, const char *host,
                           aw_tls_options tls) {
  ws_connect_with(pair, (aw_websocket_options){
                            .url = ws_url_of("wss", host, port), .tls = &tls});
}

static void certificate_of_an_unknown_ca_is_refused(void **state) {
  suite_pair *pair = *state;

  connect_secure(pair, listen_secure(pair), "127.0.0.1",
                 (aw_tls_options){.ca_file = ws_files.stranger_ca});
  ws_assert_client_fails(pair, AW_OK, "certificate");
  assert_int_equal(pair->server.opens, 0);
}

static void certificate_for_another_name_is_refused(void **state) {
  suite_pair *pair = *state;

  connect_secure(
      pair, listen_secure(pair), "127.0.0.1",
      (aw_tls_options){.ca_file = ws_files.ca, .name = "wrong.example"});
  ws_assert_client_fails(pair, AW_OK, "mismatch");
  assert_int_equal(pair->server.opens, 0);
}

static void certificate_is_checked_against_the_name_given(void **state) {
  suite_pair *pair = *state;

  connect_secure(pair, listen_secure(pair), "127.0.0.1",
                 (aw_tls_options){.ca_file = ws_files.ca, .name = "localhost"});
  suite_until(pair, suite_both_open);
}

static void certificate_is_checked_against_the_host_name(void **state) {
  suite_pair *pair = *state;

  connect_secure(pair, listen_secure(pair), "localhost",
                 (aw_tls_options){.ca_file = ws_files.ca});
  suite_until(pair, suite_both_open);
}

static void insecure_accepts_anything(void **state) {
  suite_pair *pair = *state;

  connect_secure(pair, listen_secure(pair), "127.0.0.1",
                 (aw_tls_options){.ca_file = ws_files.stranger_ca,
                                  .name = "wrong.example",
                                  .insecure = true});
  suite_until(pair, suite_both_open);
}

static void plain_client_fails_at_a_tls_port(void **state) {
  suite_pair *pair = *state;
  unsigned port = listen_secure(pair);

  ws_connect_with(
      pair, (aw_websocket_options){.url = ws_url_of("ws", "127.0.0.1", port)});
  ws_assert_client_fails(pair, AW_OK, "");
}

static void tls_client_fails_at_a_plain_port(void **state) {
  suite_pair *pair = *state;
  unsigned port = ws_listen_with(pair, (aw_listener_options){.url = NULL});

  connect_secure(pair, port, "127.0.0.1",
                 (aw_tls_options){.ca_file = ws_files.ca});
  ws_assert_client_fails(pair, AW_OK, "");
  assert_true(pair->client.closed_reason[0] != '\0');
}

static void bad_tls_files_are_refused_at_once(void **state) {
  suite_pair *pair = *state;
  aw_tls_options missing = {.ca_file = "/missing.pem"};
  aw_websocket_options client = {.url = "wss://127.0.0.1:9/", .tls = &missing};
  aw_tls_options swapped = {.cert_file = ws_files.server,
                            .key_file = ws_files.client};
  aw_tls_options tls[] = {{.ca_file = NULL}, swapped};
  const char *why = "";
  aw_transport *t;
  size_t i;

  assert_int_equal(aw_websocket_connect(pair->loop, &client, &t, &why),
                   AW_E_INVALID);
  assert_true(why[0] != '\0');
  for (i = 0; i < sizeof tls / sizeof tls[0]; i++) {
    aw_listener_options options = {.url = "wss://127.0.0.1:0", .tls = &tls[i]};
    aw_listener *listener;

    why = "";
    assert_int_equal(aw_listener_new(pair->loop, &options, &ws_listener_sink,
                                     pair, &listener, &why),
                     AW_E_INVALID);
    assert_true(why[0] != '\0');
  }
}

static unsigned listen_verifying(suite_pair *pair) {
  aw_tls_options tls = (aw_tls_options){.cert_file = ws_files.server};

  tls.verify_peer = true;
  tls.ca_file = ws_files.ca;
  return ws_listen_with(pair, (aw_listener_options){.tls = &tls});
}

static void client_without_a_demanded_certificate_is_refused(void **state) {
  suite_pair *pair = *state;

  connect_secure(pair, listen_verifying(pair), "127.0.0.1",
                 (aw_tls_options){.ca_file = ws_files.ca});
  ws_assert_client_fails(pair, AW_OK, "");
  assert_int_equal(pair->server.opens, 0);
}

static void client_with_the_demanded_certificate_is_accepted(void **state) {
  suite_pair *pair = *state;

  connect_secure(
      pair, listen_verifying(pair), "127.0.0.1",
      (aw_tls_options){.ca_file = ws_files.ca, .cert_file = ws_files.client});
  suite_until(pair, suite_both_open);
}

static void reloaded_certificate_counts_from_then_on(void **state) {
  suite_pair *pair = *state;
  unsigned port = listen_secure(pair);
  aw_tls_options trust = {.ca_file = ws_files.ca};
  aw_tls_options fresh = {.cert_file = ws_files.elsewhere};
  const char *why = "";

  connect_secure(pair, port, "127.0.0.1", trust);
  suite_until(pair, suite_both_open);
  assert_int_equal(aw_listener_reload_tls(pair->extra, &fresh, &why), AW_OK);
  assert_int_equal(aw_transport_send(pair->client.t, "still", 5), AW_OK);
  suite_until(pair, ws_server_heard);
  suite_free(&pair->client);
  suite_until(pair, ws_server_closed);
  pair->client.opens = 0;
  connect_secure(pair, port, "127.0.0.1", trust);
  ws_assert_client_fails(pair, AW_OK, "mismatch");
}

int main(void) {
  static const struct CMUnitTest tests[] = {
      WS_TEST(certificate_of_an_unknown_ca_is_refused),
      WS_TEST(certificate_for_another_name_is_refused),
      WS_TEST(certificate_is_checked_against_the_name_given),
      WS_TEST(certificate_is_checked_against_the_host_name),
      WS_TEST(insecure_accepts_anything),
      WS_TEST(plain_client_fails_at_a_tls_port),
      WS_TEST(tls_client_fails_at_a_plain_port),
      WS_TEST(bad_tls_files_are_refused_at_once),
      WS_TEST(client_without_a_demanded_certificate_is_refused),
      WS_TEST(client_with_the_demanded_certificate_is_accepted),
      WS_TEST(reloaded_certificate_counts_from_then_on),
  };
  int failed;

  tls_files_make(&ws_files);
  ws_plain.keeps_handles = ws_keeps_handles();
  failed = cmocka_run_group_tests(tests, NULL, NULL);
  tls_files_remove(&ws_files);
  return failed;
}
