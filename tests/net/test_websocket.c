/* The suite of the transports over WebSocket, plain and with TLS, and what is
 * particular to WebSocket: addresses, negotiation, refusals, deadlines. Knows
 * nothing of the engine. */
#include "ws_pair.h"
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void refuses_bad_options(void **state) {
  static const struct {
    const char *url, *headers;
  } cases[] = {{"", NULL},
               {"ws://", NULL},
               {"http://127.0.0.1/", NULL},
               {"127.0.0.1:80", NULL},
               {"ws://user:secret@127.0.0.1/", NULL},
               {"ws://127.0.0.1/#fragment", NULL},
               {"ws://127.0.0.1:65536/", NULL},
               {"ws://127.0.0.1:x/", NULL},
               {"ws://[::1/", NULL}};
  suite_pair *pair = *state;
  size_t i;

  for (i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    aw_websocket_options options = {.url = cases[i].url,
                                    .headers = cases[i].headers};
    const char *why = NULL;
    aw_transport *t;

    if (aw_websocket_connect(pair->loop, &options, &t, &why) != AW_E_INVALID) {
      fail_msg("accepted \"%s\"", cases[i].url);
    }
    assert_non_null(why);
    assert_true(why[0] != '\0');
  }
}

static void refused_connection_says_so(void **state) {
  suite_pair *pair = *state;
  unsigned port = ws_listen_with(pair, (aw_listener_options){.url = NULL});

  ws_stop_listening(pair);
  ws_connect_with(
      pair, (aw_websocket_options){.url = ws_url_of("ws", "127.0.0.1", port)});
  ws_assert_client_fails(pair, AW_E_REFUSED, "refused");
  assert_int_equal(pair->client.closed_code, 1006);
}

/* The system refuses to connect to the broadcast address at once. */
static void unreachable_address_says_so(void **state) {
  suite_pair *pair = *state;

  ws_connect_with(pair,
                  (aw_websocket_options){.url = "ws://255.255.255.255:9/"});
  ws_assert_client_fails(pair, AW_OK, "");
  assert_true(pair->client.closed_reason[0] != '\0');
}

static void connects_by_name(void **state) {
  suite_pair *pair = *state;
  unsigned port = ws_listen_with(pair, (aw_listener_options){.url = NULL});

  ws_connect_with(
      pair, (aw_websocket_options){.url = ws_url_of("ws", "localhost", port)});
  suite_until(pair, suite_both_open);
}

static void free_while_resolving_is_silent(void **state) {
  suite_pair *pair = *state;

  ws_connect_with(pair, (aw_websocket_options){.url = "ws://localhost:9/"});
  suite_free(&pair->client);
  suite_turn(pair, 50);
}

static void tells_who_the_peer_is(void **state) {
  suite_pair *pair = *state;

  ws_make_plain(pair);
  suite_until(pair, suite_both_open);
  assert_memory_equal(pair->client.info.peer, "127.0.0.1:", 10);
  assert_memory_equal(pair->server.info.peer, "127.0.0.1:", 10);
}

static void check_agreed(const char *client, const char *server,
                         const char *agreed) {
  suite_pair *pair = &ws_the_pair;
  unsigned port =
      ws_listen_with(pair, (aw_listener_options){.protocols = server});
  bool extended = strcmp(agreed, "agentwire.v1") == 0;

  ws_connect_with(
      pair, (aw_websocket_options){.url = ws_url_of("ws", "127.0.0.1", port),
                                   .protocols = client});
  suite_until(pair, suite_both_open);
  assert_string_equal(pair->client.info.protocol, agreed);
  assert_string_equal(pair->server.info.protocol, agreed);
  assert_int_equal(pair->client.info.extended, extended);
  assert_int_equal(pair->server.info.extended, extended);
}

static void agrees_on_a_subprotocol(void **state) {
  static const char *const cases[][3] = {
      {NULL, NULL, "agentwire.v1"},
      {"makai.v1", NULL, "makai.v1"},
      {NULL, "makai.v1", "makai.v1"},
      {"makai.v1, agentwire.v1", NULL, "agentwire.v1"},
      {NULL, "makai.v1, agentwire.v1", "makai.v1"},
      {"other.v1,makai.v1", "agentwire.v1,makai.v1", "makai.v1"}};
  size_t i;

  for (i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    if (i > 0) {
      suite_stop(*state);
      ws_setup(state);
    }
    check_agreed(cases[i][0], cases[i][1], cases[i][2]);
  }
}

static void client_without_a_common_subprotocol_closes_with_1002(void **state) {
  suite_pair *pair = *state;
  unsigned port = ws_listen_with(pair, (aw_listener_options){.url = NULL});

  ws_connect_with(
      pair, (aw_websocket_options){.url = ws_url_of("ws", "127.0.0.1", port),
                                   .protocols = "other.v1"});
  suite_until(pair, suite_both_closed);
  assert_int_equal(pair->client.opens, 0);
  assert_int_equal(pair->client.closed_error, AW_E_WS_PROTOCOL);
  assert_int_equal(pair->client.closed_code, 1002);
  ws_assert_contains(pair->client.closed_reason, "subprotocol");
  assert_null(pair->server.info.protocol);
  assert_int_equal(pair->server.closed_code, 1002);
}

static void busy_port_is_an_error_that_says_so(void **state) {
  suite_pair *pair = *state;
  unsigned port = ws_listen_with(pair, (aw_listener_options){.url = NULL});
  aw_listener_options options = {.url = ws_url_of("ws", "127.0.0.1", port)};
  const char *why = "";
  aw_listener *second;

  assert_int_equal(aw_listener_new(pair->loop, &options, &ws_listener_sink,
                                   pair, &second, &why),
                   AW_E_IO);
  ws_assert_contains(why, "in use");
}

static void handshake_deadline_ends_a_wait_for_a_silent_server(void **state) {
  suite_pair *pair = *state;
  unsigned port;
  int silent = raw_listen(&port);

  ws_connect_with(
      pair, (aw_websocket_options){.url = ws_url_of("ws", "127.0.0.1", port),
                                   .handshake_ms = 100});
  ws_assert_client_fails(pair, AW_E_TIMEOUT, "handshake");
  close(silent);
}

static void handshake_deadline_ends_a_silent_client(void **state) {
  suite_pair *pair = *state;
  unsigned port =
      ws_listen_with(pair, (aw_listener_options){.handshake_ms = 100});
  raw_peer raw;

  raw_dial(&raw, pair->loop, port);
  raw_until_ended(&raw);
  raw_free(&raw);
  assert_int_equal(pair->server.opens, 0);
}

static void refusal_of_the_upgrade_tells_the_status(void **state) {
  suite_pair *pair = *state;
  unsigned port;
  int listener = raw_listen(&port);
  raw_peer raw;

  ws_connect_with(
      pair, (aw_websocket_options){.url = ws_url_of("ws", "127.0.0.1", port)});
  suite_turn(pair, 0);
  raw_accept(&raw, pair->loop, listener);
  raw_head(&raw);
  raw_say(&raw, "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n");
  ws_assert_client_fails(pair, AW_E_REFUSED, "403");
  raw_free(&raw);
  close(listener);
}

static void client_sends_the_headers_it_is_given(void **state) {
  suite_pair *pair = *state;
  unsigned port;
  int listener = raw_listen(&port);
  raw_peer raw;

  ws_connect_with(
      pair, (aw_websocket_options){.url = ws_url_of("ws", "127.0.0.1", port),
                                   .headers = "X-One: 1\r\nX-Two: zwei\r\n"});
  raw_accept(&raw, pair->loop, listener);
  raw_head(&raw);
  ws_assert_contains(raw.in, "GET / HTTP/1.1\r\n");
  ws_assert_contains(raw.in, "\r\nX-One: 1\r\nX-Two: zwei\r\n");
  ws_assert_contains(raw.in, "agentwire.v1, makai.v1\r\n");
  raw_free(&raw);
  close(listener);
}

static void plain_http_is_refused(void **state) {
  suite_pair *pair = *state;
  unsigned port = ws_listen_with(pair, (aw_listener_options){.url = NULL});
  raw_peer raw;

  raw_dial(&raw, pair->loop, port);
  raw_say(&raw, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
  raw_head(&raw);
  ws_assert_contains(raw.in, "HTTP/1.1 4");
  raw_free(&raw);
  assert_int_equal(pair->server.opens, 0);
}

static void ends_above_connections_max_are_refused(void **state) {
  suite_pair *pair = *state;
  unsigned port =
      ws_listen_with(pair, (aw_listener_options){.connections_max = 1});
  raw_peer first;

  raw_dial(&first, pair->loop, port);
  pair->in_loop = true;
  raw_upgrade(&first);
  pair->in_loop = false;
  ws_connect_with(
      pair, (aw_websocket_options){.url = ws_url_of("ws", "127.0.0.1", port)});
  ws_assert_client_fails(pair, AW_E_REFUSED, "503");
  suite_free(&pair->client);
  raw_free(&first);
  suite_until(pair, ws_server_closed);
  suite_free(&pair->server);
  pair->client.closes = pair->server.closes = pair->server.opens = 0;
  ws_connect_with(
      pair, (aw_websocket_options){.url = ws_url_of("ws", "127.0.0.1", port)});
  suite_until(pair, suite_both_open);
}

static void message_that_comes_with_the_request_is_kept(void **state) {
  static const char request[] =
      "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
      "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
      "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
      "Sec-WebSocket-Protocol: agentwire.v1\r\n\r\n"
      "\x81\x82\0\0\0\0hi";
  suite_pair *pair = *state;
  unsigned port = ws_listen_with(pair, (aw_listener_options){.url = NULL});
  raw_peer raw;

  raw_dial(&raw, pair->loop, port);
  raw_put(&raw, request, sizeof request - 1);
  suite_until(pair, ws_server_heard);
  assert_int_equal(pair->server.bytes, 2);
  raw_free(&raw);
}

/* What an end answers to a frame that it must not accept. */
static const struct violation {
  uint8_t first;
  const char *bytes;
  size_t len;
  int code, error;
} violations[] = {
    {0x82, "binary", 6, 1003, AW_E_WS_UNSUPPORTED},
    {0x81, "\xc3\x28", 2, 1007, AW_E_WS_UTF8},
    {0x81, "more than sixteen bytes", 23, 1009, AW_E_WS_TOO_BIG},
};
#define VIOLATIONS (sizeof violations / sizeof violations[0])
#define SMALL_MAX 16

static void check_violation(suite_pair *pair, raw_peer *raw, suite_end *end,
                            bool (*closed)(suite_pair *),
                            const struct violation *v) {
  raw_frame frame;

  raw_put_frame(raw, v->first, end == &pair->server, v->bytes, v->len);
  assert_true(ws_take_frame(pair, raw, &frame));
  assert_int_equal(frame.opcode, AW_WS_CLOSE);
  assert_int_equal(frame.code, v->code);
  raw_put_frame(raw, 0x88, end == &pair->server, "\x03\xe8", 2);
  suite_until(pair, closed);
  assert_int_equal(end->closed_error, v->error);
  assert_int_equal(end->closed_code, v->code);
  assert_int_equal(end->messages, 0);
}

static void server_answers_violations(void **state) {
  size_t i;

  for (i = 0; i < VIOLATIONS; i++) {
    suite_pair *pair = &ws_the_pair;
    raw_peer raw;
    unsigned port;

    if (i > 0) {
      suite_stop(pair);
      ws_setup(state);
    }
    port =
        ws_listen_with(pair, (aw_listener_options){.message_max = SMALL_MAX});
    raw_dial(&raw, pair->loop, port);
    pair->in_loop = true;
    raw_upgrade(&raw);
    pair->in_loop = false;
    suite_until(pair, ws_server_open);
    check_violation(pair, &raw, &pair->server, ws_server_closed,
                    &violations[i]);
    raw_free(&raw);
  }
}

static void client_answers_violations(void **state) {
  size_t i;

  for (i = 0; i < VIOLATIONS; i++) {
    suite_pair *pair = &ws_the_pair;
    unsigned port;
    int listener = raw_listen(&port);
    raw_peer raw;

    if (i > 0) {
      suite_stop(pair);
      ws_setup(state);
    }
    ws_connect_with(
        pair, (aw_websocket_options){.url = ws_url_of("ws", "127.0.0.1", port),
                                     .message_max = SMALL_MAX});
    raw_accept(&raw, pair->loop, listener);
    raw_answer_upgrade(&raw, "makai.v1");
    suite_until(pair, ws_client_open);
    check_violation(pair, &raw, &pair->client, ws_client_closed,
                    &violations[i]);
    raw_free(&raw);
    close(listener);
  }
}

static void fragments_above_the_limit_in_sum_are_refused(void **state) {
  suite_pair *pair = *state;
  unsigned port =
      ws_listen_with(pair, (aw_listener_options){.message_max = SMALL_MAX});
  raw_peer raw;
  raw_frame frame;

  raw_dial(&raw, pair->loop, port);
  pair->in_loop = true;
  raw_upgrade(&raw);
  pair->in_loop = false;
  raw_put_frame(&raw, 0x01, true, "0123456789", 10);
  raw_put_frame(&raw, 0x80, true, "0123456789", 10);
  assert_true(ws_take_frame(pair, &raw, &frame));
  assert_int_equal(frame.code, 1009);
  raw_free(&raw);
  suite_until(pair, ws_server_closed);
}

static void answer_to_a_close_is_not_answered(void **state) {
  suite_pair *pair = *state;
  unsigned port = ws_listen_with(pair, (aw_listener_options){.url = NULL});
  raw_peer raw;
  raw_frame frame;

  raw_dial(&raw, pair->loop, port);
  pair->in_loop = true;
  raw_upgrade(&raw);
  pair->in_loop = false;
  suite_until(pair, ws_server_open);
  aw_transport_close(pair->server.t, 4001, "enough");
  assert_true(ws_take_frame(pair, &raw, &frame));
  assert_int_equal(frame.code, 4001);
  raw_put_frame(&raw, 0x88, true, "\x0f\xa1", 2);
  assert_false(ws_take_frame(pair, &raw, &frame));
  suite_until(pair, ws_server_closed);
  assert_int_equal(pair->server.closed_code, 4001);
  raw_free(&raw);
}

static void silent_peer_is_pinged_and_then_given_up(void **state) {
  suite_pair *pair = *state;
  unsigned port = ws_listen_with(pair, (aw_listener_options){
                                           .ping_interval_ms = 50,
                                           .ping_deadline_ms = 50,
                                       });
  raw_peer raw;
  raw_frame frame;

  raw_dial(&raw, pair->loop, port);
  pair->in_loop = true;
  raw_upgrade(&raw);
  pair->in_loop = false;
  assert_true(ws_take_frame(pair, &raw, &frame));
  assert_int_equal(frame.opcode, AW_WS_PING);
  suite_until(pair, ws_server_closed);
  assert_int_equal(pair->server.closed_error, AW_E_TIMEOUT);
  assert_int_equal(pair->server.closed_code, 1006);
  raw_free(&raw);
}

static size_t quiet_from;

/* Each is 6 bytes: nothing else comes once it is open. */
static bool many_pongs_came(suite_pair *pair) {
  return pair->server.t->bytes_in >= quiet_from + 5 * 6;
}

static void answered_pings_keep_a_quiet_connection(void **state) {
  suite_pair *pair = *state;
  unsigned port = ws_listen_with(pair, (aw_listener_options){
                                           .ping_interval_ms = 20,
                                           .ping_deadline_ms = 200,
                                       });

  ws_connect_with(
      pair, (aw_websocket_options){.url = ws_url_of("ws", "127.0.0.1", port)});
  suite_until(pair, suite_both_open);
  quiet_from = pair->server.t->bytes_in;
  suite_until(pair, many_pongs_came);
  assert_int_equal(pair->server.closes + pair->client.closes, 0);
}

static void open_connections_outlive_their_listener(void **state) {
  suite_pair *pair = *state;

  ws_make_plain(pair);
  suite_until(pair, suite_both_open);
  ws_stop_listening(pair);
  assert_int_equal(aw_transport_send(pair->client.t, "still", 5), AW_OK);
  suite_until(pair, ws_server_heard);
  suite_turn(pair, 0);
  assert_int_equal(pair->server.closes, 0);
}

static void listener_that_goes_drops_handshakes(void **state) {
  suite_pair *pair = *state;
  unsigned port = ws_listen_with(pair, (aw_listener_options){.url = NULL});
  raw_peer raw;
  unsigned i;

  raw_dial(&raw, pair->loop, port);
  for (i = 0; i < 10; i++) {
    ws_turn_raw(pair, &raw);
  }
  ws_stop_listening(pair);
  raw_until_ended(&raw);
  raw_free(&raw);
}

static void leaves_the_process_as_it_was(void **state) {
  suite_pair *pair = *state;
  struct sigaction sigpipe;

  setenv("http_proxy", "http://127.0.0.1:1", 1);
  ws_make_plain(pair);
  suite_until(pair, suite_both_open);
  unsetenv("http_proxy");
  sigaction(SIGPIPE, NULL, &sigpipe);
  assert_ptr_equal(sigpipe.sa_handler, SIG_DFL);
}

static int run_particulars(void) {
  static const struct CMUnitTest tests[] = {
      WS_TEST(refuses_bad_options),
      WS_TEST(refused_connection_says_so),
      WS_TEST(unreachable_address_says_so),
      WS_TEST(connects_by_name),
      WS_TEST(free_while_resolving_is_silent),
      WS_TEST(tells_who_the_peer_is),
      WS_TEST(agrees_on_a_subprotocol),
      WS_TEST(client_without_a_common_subprotocol_closes_with_1002),
      WS_TEST(busy_port_is_an_error_that_says_so),
      WS_TEST(handshake_deadline_ends_a_wait_for_a_silent_server),
      WS_TEST(handshake_deadline_ends_a_silent_client),
      WS_TEST(refusal_of_the_upgrade_tells_the_status),
      WS_TEST(client_sends_the_headers_it_is_given),
      WS_TEST(plain_http_is_refused),
      WS_TEST(ends_above_connections_max_are_refused),
      WS_TEST(message_that_comes_with_the_request_is_kept),
      WS_TEST(server_answers_violations),
      WS_TEST(client_answers_violations),
      WS_TEST(fragments_above_the_limit_in_sum_are_refused),
      WS_TEST(answer_to_a_close_is_not_answered),
      WS_TEST(silent_peer_is_pinged_and_then_given_up),
      WS_TEST(answered_pings_keep_a_quiet_connection),
      WS_TEST(open_connections_outlive_their_listener),
      WS_TEST(listener_that_goes_drops_handshakes),
      WS_TEST(leaves_the_process_as_it_was),
  };

  return cmocka_run_group_tests_name("websocket particulars", tests, NULL,
                                     NULL);
}

/* An argument is a pattern for the names of the tests to run. */
int main(int argc, char **argv) {
  int failed;

  if (argc > 1) {
    cmocka_set_test_filter(argv[1]);
  }
  tls_files_make(&ws_files);
  ws_plain.keeps_handles = ws_secure.keeps_handles = ws_keeps_handles();
  failed = run_particulars();
  failed += suite_run(&ws_plain);
  failed += suite_run(&ws_secure);
  tls_files_remove(&ws_files);
  return failed != 0;
}
