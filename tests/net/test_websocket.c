/* The suite of the transports over WebSocket, plain and with TLS, and what is
 * particular to WebSocket: addresses, negotiation, refusals, deadlines. Knows
 * nothing of the engine. */
#include "aw_websocket.h"
#include "raw_peer.h"
#include "tls_files.h"
#include "transport_suite.h"
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define TEXT_MAX 128

static tls_files files;

/* A listener, kept in pair->extra, and clients. */

static void on_accepted(void *user, aw_transport *t) {
  suite_pair *pair = user;

  assert_true(pair->in_loop);
  suite_attach(&pair->server, t);
}

static void on_listener_closed(void *user, int error, const char *reason) {
  (void)user;
  (void)error;
  fail_msg("the listener has failed: %s", reason);
}

static const aw_listener_sink listener_sink = {on_accepted, on_listener_closed,
                                               NULL};

static unsigned listen_with(suite_pair *pair, aw_listener_options options) {
  const char *why = "";
  aw_listener *listener;

  if (options.url == NULL) {
    options.url =
        options.tls != NULL ? "wss://127.0.0.1:0" : "ws://127.0.0.1:0";
  }
  if (aw_listener_new(pair->loop, &options, &listener_sink, pair, &listener,
                      &why) != AW_OK) {
    fail_msg("cannot listen: %s", why);
  }
  pair->extra = listener;
  return aw_listener_port(listener);
}

static const char *url_of(const char *scheme, const char *host, unsigned port) {
  static char url[TEXT_MAX];

  snprintf(url, sizeof url, "%s://%s:%u/x?y=z", scheme, host, port);
  return url;
}

static aw_transport *connect_with(suite_pair *pair,
                                  aw_websocket_options options) {
  const char *why = "";
  aw_transport *t;

  if (aw_websocket_connect(pair->loop, &options, &t, &why) != AW_OK) {
    fail_msg("cannot connect to %s: %s", options.url, why);
  }
  suite_attach(&pair->client, t);
  return t;
}

static void make_plain(suite_pair *pair) {
  unsigned port = listen_with(pair, (aw_listener_options){.url = NULL});

  connect_with(pair,
               (aw_websocket_options){.url = url_of("ws", "127.0.0.1", port)});
  while (pair->server.opens == 0 && pair->client.closes == 0) {
    suite_turn(pair, 1000);
  }
}

static void make_secure(suite_pair *pair) {
  aw_tls_options tls = (aw_tls_options){.cert_file = files.server};
  aw_tls_options trust = {.ca_file = files.ca};
  unsigned port = listen_with(pair, (aw_listener_options){.tls = &tls});

  connect_with(pair,
               (aw_websocket_options){.url = url_of("wss", "127.0.0.1", port),
                                      .tls = &trust});
  while (pair->server.opens == 0 && pair->client.closes == 0) {
    suite_turn(pair, 1000);
  }
}

static void stop_listening(suite_pair *pair) {
  aw_listener_free(pair->extra);
  pair->extra = NULL;
}

static suite_factory plain = {.name = "websocket",
                              .make = make_plain,
                              .unmake = stop_listening,
                              .has_codes = true,
                              .silent_server = true};
static suite_factory secure = {.name = "websocket",
                               .make = make_secure,
                               .unmake = stop_listening,
                               .has_codes = true,
                               .silent_server = true};

static void count_handle(uv_handle_t *handle, void *arg) {
  (void)handle;
  ++*(unsigned *)arg;
}

/* Does the engine keep something on the loop, after its first listener? */
static bool keeps_handles(void) {
  suite_pair pair;
  unsigned before = 0, after = 0, turns;

  suite_start(&pair, &plain);
  uv_walk(aw_loop_uv(pair.loop), count_handle, &before);
  listen_with(&pair, (aw_listener_options){.url = NULL});
  stop_listening(&pair);
  for (turns = 0; turns < 10; turns++) {
    suite_turn(&pair, 0);
  }
  uv_walk(aw_loop_uv(pair.loop), count_handle, &after);
  aw_loop_free(pair.loop);
  return after != before;
}

static suite_pair the_pair;

static int setup(void **state) {
  suite_start(&the_pair, &plain);
  *state = &the_pair;
  return 0;
}

static int teardown(void **state) {
  suite_stop(*state);
  return 0;
}

static bool client_closed(suite_pair *pair) {
  return pair->client.closes == 1;
}

static bool server_closed(suite_pair *pair) {
  return pair->server.closes == 1;
}

static bool server_open(suite_pair *pair) {
  return pair->server.opens == 1;
}

static bool client_open(suite_pair *pair) {
  return pair->client.opens == 1;
}

static bool server_heard(suite_pair *pair) {
  return pair->server.messages == 1;
}

static void assert_contains(const char *text, const char *part) {
  if (strstr(text, part) == NULL) {
    fail_msg("\"%s\" is not in \"%s\"", part, text);
  }
}

static void assert_client_fails(suite_pair *pair, int error, const char *part) {
  suite_until(pair, client_closed);
  assert_int_equal(pair->client.opens, 0);
  if (error != AW_OK) {
    assert_int_equal(pair->client.closed_error, error);
  } else {
    assert_int_not_equal(pair->client.closed_error, AW_OK);
  }
  assert_contains(pair->client.closed_reason, part);
}

static void turn_raw(suite_pair *pair, raw_peer *raw) {
  pair->in_loop = true;
  raw_turn(raw);
  pair->in_loop = false;
}

/* The wait is in the loop, so that upcalls are legal. */
static bool take_frame(suite_pair *pair, raw_peer *raw, raw_frame *frame) {
  bool taken;

  pair->in_loop = true;
  taken = raw_take_frame(raw, frame);
  pair->in_loop = false;
  return taken;
}

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
  unsigned port = listen_with(pair, (aw_listener_options){.url = NULL});

  stop_listening(pair);
  connect_with(pair,
               (aw_websocket_options){.url = url_of("ws", "127.0.0.1", port)});
  assert_client_fails(pair, AW_E_REFUSED, "refused");
  assert_int_equal(pair->client.closed_code, 1006);
}

/* The system refuses to connect to the broadcast address at once. */
static void unreachable_address_says_so(void **state) {
  suite_pair *pair = *state;

  connect_with(pair, (aw_websocket_options){.url = "ws://255.255.255.255:9/"});
  assert_client_fails(pair, AW_OK, "");
  assert_true(pair->client.closed_reason[0] != '\0');
}

static void connects_by_name(void **state) {
  suite_pair *pair = *state;
  unsigned port = listen_with(pair, (aw_listener_options){.url = NULL});

  connect_with(pair,
               (aw_websocket_options){.url = url_of("ws", "localhost", port)});
  suite_until(pair, suite_both_open);
}

static void free_while_resolving_is_silent(void **state) {
  suite_pair *pair = *state;

  connect_with(pair, (aw_websocket_options){.url = "ws://localhost:9/"});
  suite_free(&pair->client);
  suite_turn(pair, 50);
}

static void tells_who_the_peer_is(void **state) {
  suite_pair *pair = *state;

  make_plain(pair);
  suite_until(pair, suite_both_open);
  assert_memory_equal(pair->client.info.peer, "127.0.0.1:", 10);
  assert_memory_equal(pair->server.info.peer, "127.0.0.1:", 10);
}

static void check_agreed(const char *client, const char *server,
                         const char *agreed) {
  suite_pair *pair = &the_pair;
  unsigned port = listen_with(pair, (aw_listener_options){.protocols = server});
  bool extended = strcmp(agreed, "agentwire.v1") == 0;

  connect_with(pair,
               (aw_websocket_options){.url = url_of("ws", "127.0.0.1", port),
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
      setup(state);
    }
    check_agreed(cases[i][0], cases[i][1], cases[i][2]);
  }
}

static void client_without_a_common_subprotocol_closes_with_1002(void **state) {
  suite_pair *pair = *state;
  unsigned port = listen_with(pair, (aw_listener_options){.url = NULL});

  connect_with(pair,
               (aw_websocket_options){.url = url_of("ws", "127.0.0.1", port),
                                      .protocols = "other.v1"});
  suite_until(pair, suite_both_closed);
  assert_int_equal(pair->client.opens, 0);
  assert_int_equal(pair->client.closed_error, AW_E_WS_PROTOCOL);
  assert_int_equal(pair->client.closed_code, 1002);
  assert_contains(pair->client.closed_reason, "subprotocol");
  assert_null(pair->server.info.protocol);
  assert_int_equal(pair->server.closed_code, 1002);
}

static void busy_port_is_an_error_that_says_so(void **state) {
  suite_pair *pair = *state;
  unsigned port = listen_with(pair, (aw_listener_options){.url = NULL});
  aw_listener_options options = {.url = url_of("ws", "127.0.0.1", port)};
  const char *why = "";
  aw_listener *second;

  assert_int_equal(aw_listener_new(pair->loop, &options, &listener_sink, pair,
                                   &second, &why),
                   AW_E_IO);
  assert_contains(why, "in use");
}

static void handshake_deadline_ends_a_wait_for_a_silent_server(void **state) {
  suite_pair *pair = *state;
  unsigned port;
  int silent = raw_listen(&port);

  connect_with(pair,
               (aw_websocket_options){.url = url_of("ws", "127.0.0.1", port),
                                      .handshake_ms = 100});
  assert_client_fails(pair, AW_E_TIMEOUT, "handshake");
  close(silent);
}

static void handshake_deadline_ends_a_silent_client(void **state) {
  suite_pair *pair = *state;
  unsigned port = listen_with(pair, (aw_listener_options){.handshake_ms = 100});
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

  connect_with(pair,
               (aw_websocket_options){.url = url_of("ws", "127.0.0.1", port)});
  suite_turn(pair, 0);
  raw_accept(&raw, pair->loop, listener);
  raw_head(&raw);
  raw_say(&raw, "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n");
  assert_client_fails(pair, AW_E_REFUSED, "403");
  raw_free(&raw);
  close(listener);
}

static void client_sends_the_headers_it_is_given(void **state) {
  suite_pair *pair = *state;
  unsigned port;
  int listener = raw_listen(&port);
  raw_peer raw;

  connect_with(
      pair, (aw_websocket_options){.url = url_of("ws", "127.0.0.1", port),
                                   .headers = "X-One: 1\r\nX-Two: zwei\r\n"});
  raw_accept(&raw, pair->loop, listener);
  raw_head(&raw);
  assert_contains(raw.in, "GET /x?y=z HTTP/1.1\r\n");
  assert_contains(raw.in, "\r\nX-One: 1\r\nX-Two: zwei\r\n");
  assert_contains(raw.in, "agentwire.v1, makai.v1\r\n");
  raw_free(&raw);
  close(listener);
}

static void plain_http_is_refused(void **state) {
  suite_pair *pair = *state;
  unsigned port = listen_with(pair, (aw_listener_options){.url = NULL});
  raw_peer raw;

  raw_dial(&raw, pair->loop, port);
  raw_say(&raw, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
  raw_head(&raw);
  assert_contains(raw.in, "HTTP/1.1 4");
  raw_free(&raw);
  assert_int_equal(pair->server.opens, 0);
}

static void ends_above_connections_max_are_refused(void **state) {
  suite_pair *pair = *state;
  unsigned port =
      listen_with(pair, (aw_listener_options){.connections_max = 1});
  raw_peer first;

  raw_dial(&first, pair->loop, port);
  pair->in_loop = true;
  raw_upgrade(&first);
  pair->in_loop = false;
  connect_with(pair,
               (aw_websocket_options){.url = url_of("ws", "127.0.0.1", port)});
  assert_client_fails(pair, AW_E_REFUSED, "503");
  suite_free(&pair->client);
  raw_free(&first);
  suite_until(pair, server_closed);
  suite_free(&pair->server);
  pair->client.closes = pair->server.closes = pair->server.opens = 0;
  connect_with(pair,
               (aw_websocket_options){.url = url_of("ws", "127.0.0.1", port)});
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
  unsigned port = listen_with(pair, (aw_listener_options){.url = NULL});
  raw_peer raw;

  raw_dial(&raw, pair->loop, port);
  raw_put(&raw, request, sizeof request - 1);
  suite_until(pair, server_heard);
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
  assert_true(take_frame(pair, raw, &frame));
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
    suite_pair *pair = &the_pair;
    raw_peer raw;
    unsigned port;

    if (i > 0) {
      suite_stop(pair);
      setup(state);
    }
    port = listen_with(pair, (aw_listener_options){.message_max = SMALL_MAX});
    raw_dial(&raw, pair->loop, port);
    pair->in_loop = true;
    raw_upgrade(&raw);
    pair->in_loop = false;
    suite_until(pair, server_open);
    check_violation(pair, &raw, &pair->server, server_closed, &violations[i]);
    raw_free(&raw);
  }
}

static void client_answers_violations(void **state) {
  size_t i;

  for (i = 0; i < VIOLATIONS; i++) {
    suite_pair *pair = &the_pair;
    unsigned port;
    int listener = raw_listen(&port);
    raw_peer raw;

    if (i > 0) {
      suite_stop(pair);
      setup(state);
    }
    connect_with(pair,
                 (aw_websocket_options){.url = url_of("ws", "127.0.0.1", port),
                                        .message_max = SMALL_MAX});
    raw_accept(&raw, pair->loop, listener);
    raw_answer_upgrade(&raw, "makai.v1");
    suite_until(pair, client_open);
    check_violation(pair, &raw, &pair->client, client_closed, &violations[i]);
    raw_free(&raw);
    close(listener);
  }
}

static void fragments_above_the_limit_in_sum_are_refused(void **state) {
  suite_pair *pair = *state;
  unsigned port =
      listen_with(pair, (aw_listener_options){.message_max = SMALL_MAX});
  raw_peer raw;
  raw_frame frame;

  raw_dial(&raw, pair->loop, port);
  pair->in_loop = true;
  raw_upgrade(&raw);
  pair->in_loop = false;
  raw_put_frame(&raw, 0x01, true, "0123456789", 10);
  raw_put_frame(&raw, 0x80, true, "0123456789", 10);
  assert_true(take_frame(pair, &raw, &frame));
  assert_int_equal(frame.code, 1009);
  raw_free(&raw);
  suite_until(pair, server_closed);
}

static void answer_to_a_close_is_not_answered(void **state) {
  suite_pair *pair = *state;
  unsigned port = listen_with(pair, (aw_listener_options){.url = NULL});
  raw_peer raw;
  raw_frame frame;

  raw_dial(&raw, pair->loop, port);
  pair->in_loop = true;
  raw_upgrade(&raw);
  pair->in_loop = false;
  suite_until(pair, server_open);
  aw_transport_close(pair->server.t, 4001, "enough");
  assert_true(take_frame(pair, &raw, &frame));
  assert_int_equal(frame.code, 4001);
  raw_put_frame(&raw, 0x88, true, "\x0f\xa1", 2);
  assert_false(take_frame(pair, &raw, &frame));
  suite_until(pair, server_closed);
  assert_int_equal(pair->server.closed_code, 4001);
  raw_free(&raw);
}

static void silent_peer_is_pinged_and_then_given_up(void **state) {
  suite_pair *pair = *state;
  unsigned port = listen_with(pair, (aw_listener_options){
                                        .ping_interval_ms = 50,
                                        .ping_deadline_ms = 50,
                                    });
  raw_peer raw;
  raw_frame frame;

  raw_dial(&raw, pair->loop, port);
  pair->in_loop = true;
  raw_upgrade(&raw);
  pair->in_loop = false;
  assert_true(take_frame(pair, &raw, &frame));
  assert_int_equal(frame.opcode, AW_WS_PING);
  suite_until(pair, server_closed);
  assert_int_equal(pair->server.closed_error, AW_E_TIMEOUT);
  assert_int_equal(pair->server.closed_code, 1006);
  raw_free(&raw);
}

static bool many_pongs_came(suite_pair *pair) {
  return pair->server.t->bytes_in >= 100;
}

static void answered_pings_keep_a_quiet_connection(void **state) {
  suite_pair *pair = *state;
  unsigned port = listen_with(pair, (aw_listener_options){
                                        .ping_interval_ms = 20,
                                        .ping_deadline_ms = 5000,
                                    });

  connect_with(pair,
               (aw_websocket_options){.url = url_of("ws", "127.0.0.1", port)});
  suite_until(pair, suite_both_open);
  suite_until(pair, many_pongs_came);
  assert_int_equal(pair->server.closes + pair->client.closes, 0);
}

static void open_connections_outlive_their_listener(void **state) {
  suite_pair *pair = *state;

  make_plain(pair);
  suite_until(pair, suite_both_open);
  stop_listening(pair);
  assert_int_equal(aw_transport_send(pair->client.t, "still", 5), AW_OK);
  suite_until(pair, server_heard);
  suite_turn(pair, 0);
  assert_int_equal(pair->server.closes, 0);
}

static void listener_that_goes_drops_handshakes(void **state) {
  suite_pair *pair = *state;
  unsigned port = listen_with(pair, (aw_listener_options){.url = NULL});
  raw_peer raw;
  unsigned i;

  raw_dial(&raw, pair->loop, port);
  for (i = 0; i < 10; i++) {
    turn_raw(pair, &raw);
  }
  stop_listening(pair);
  raw_until_ended(&raw);
  raw_free(&raw);
}

static void leaves_the_process_as_it_was(void **state) {
  suite_pair *pair = *state;
  struct sigaction sigpipe;

  setenv("http_proxy", "http://127.0.0.1:1", 1);
  make_plain(pair);
  suite_until(pair, suite_both_open);
  unsetenv("http_proxy");
  sigaction(SIGPIPE, NULL, &sigpipe);
  assert_ptr_equal(sigpipe.sa_handler, SIG_DFL);
}

static unsigned listen_secure(suite_pair *pair) {
  aw_tls_options tls = (aw_tls_options){.cert_file = files.server};

  return listen_with(pair, (aw_listener_options){.tls = &tls});
}

static void connect_secure(suite_pair *pair, unsigned port, const char *host,
                           aw_tls_options tls) {
  connect_with(pair, (aw_websocket_options){.url = url_of("wss", host, port),
                                            .tls = &tls});
}

static void certificate_of_an_unknown_ca_is_refused(void **state) {
  suite_pair *pair = *state;

  connect_secure(pair, listen_secure(pair), "127.0.0.1",
                 (aw_tls_options){.ca_file = files.stranger_ca});
  assert_client_fails(pair, AW_OK, "certificate");
  assert_int_equal(pair->server.opens, 0);
}

static void certificate_for_another_name_is_refused(void **state) {
  suite_pair *pair = *state;

  connect_secure(
      pair, listen_secure(pair), "127.0.0.1",
      (aw_tls_options){.ca_file = files.ca, .name = "wrong.example"});
  assert_client_fails(pair, AW_OK, "mismatch");
  assert_int_equal(pair->server.opens, 0);
}

static void certificate_is_checked_against_the_name_given(void **state) {
  suite_pair *pair = *state;

  connect_secure(pair, listen_secure(pair), "127.0.0.1",
                 (aw_tls_options){.ca_file = files.ca, .name = "localhost"});
  suite_until(pair, suite_both_open);
}

static void certificate_is_checked_against_the_host_name(void **state) {
  suite_pair *pair = *state;

  connect_secure(pair, listen_secure(pair), "localhost",
                 (aw_tls_options){.ca_file = files.ca});
  suite_until(pair, suite_both_open);
}

static void insecure_accepts_anything(void **state) {
  suite_pair *pair = *state;

  connect_secure(pair, listen_secure(pair), "127.0.0.1",
                 (aw_tls_options){.ca_file = files.stranger_ca,
                                  .name = "wrong.example",
                                  .insecure = true});
  suite_until(pair, suite_both_open);
}

static void plain_client_fails_at_a_tls_port(void **state) {
  suite_pair *pair = *state;
  unsigned port = listen_secure(pair);

  connect_with(pair,
               (aw_websocket_options){.url = url_of("ws", "127.0.0.1", port)});
  assert_client_fails(pair, AW_OK, "");
}

static void tls_client_fails_at_a_plain_port(void **state) {
  suite_pair *pair = *state;
  unsigned port = listen_with(pair, (aw_listener_options){.url = NULL});

  connect_secure(pair, port, "127.0.0.1",
                 (aw_tls_options){.ca_file = files.ca});
  assert_client_fails(pair, AW_OK, "");
  assert_true(pair->client.closed_reason[0] != '\0');
}

static void bad_tls_files_are_refused_at_once(void **state) {
  suite_pair *pair = *state;
  aw_tls_options missing = {.ca_file = "/missing.pem"};
  aw_websocket_options client = {.url = "wss://127.0.0.1:9/", .tls = &missing};
  aw_tls_options swapped = {.cert_file = files.server,
                            .key_file = files.client};
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
    assert_int_equal(aw_listener_new(pair->loop, &options, &listener_sink, pair,
                                     &listener, &why),
                     AW_E_INVALID);
    assert_true(why[0] != '\0');
  }
}

static unsigned listen_verifying(suite_pair *pair) {
  aw_tls_options tls = (aw_tls_options){.cert_file = files.server};

  tls.verify_peer = true;
  tls.ca_file = files.ca;
  return listen_with(pair, (aw_listener_options){.tls = &tls});
}

static void client_without_a_demanded_certificate_is_refused(void **state) {
  suite_pair *pair = *state;

  connect_secure(pair, listen_verifying(pair), "127.0.0.1",
                 (aw_tls_options){.ca_file = files.ca});
  assert_client_fails(pair, AW_OK, "");
  assert_int_equal(pair->server.opens, 0);
}

static void client_with_the_demanded_certificate_is_accepted(void **state) {
  suite_pair *pair = *state;

  connect_secure(
      pair, listen_verifying(pair), "127.0.0.1",
      (aw_tls_options){.ca_file = files.ca, .cert_file = files.client});
  suite_until(pair, suite_both_open);
}

static void reloaded_certificate_counts_from_then_on(void **state) {
  suite_pair *pair = *state;
  unsigned port = listen_secure(pair);
  aw_tls_options trust = {.ca_file = files.ca};
  aw_tls_options fresh = {.cert_file = files.elsewhere};
  const char *why = "";

  connect_secure(pair, port, "127.0.0.1", trust);
  suite_until(pair, suite_both_open);
  assert_int_equal(aw_listener_reload_tls(pair->extra, &fresh, &why), AW_OK);
  assert_int_equal(aw_transport_send(pair->client.t, "still", 5), AW_OK);
  suite_until(pair, server_heard);
  suite_free(&pair->client);
  suite_until(pair, server_closed);
  pair->client.opens = 0;
  connect_secure(pair, port, "127.0.0.1", trust);
  assert_client_fails(pair, AW_OK, "mismatch");
}

#define WITH(test)                                                             \
  { #test, test, setup, teardown, NULL }

static int run_particulars(void) {
  static const struct CMUnitTest tests[] = {
      WITH(refuses_bad_options),
      WITH(refused_connection_says_so),
      WITH(unreachable_address_says_so),
      WITH(connects_by_name),
      WITH(free_while_resolving_is_silent),
      WITH(tells_who_the_peer_is),
      WITH(agrees_on_a_subprotocol),
      WITH(client_without_a_common_subprotocol_closes_with_1002),
      WITH(busy_port_is_an_error_that_says_so),
      WITH(handshake_deadline_ends_a_wait_for_a_silent_server),
      WITH(handshake_deadline_ends_a_silent_client),
      WITH(refusal_of_the_upgrade_tells_the_status),
      WITH(client_sends_the_headers_it_is_given),
      WITH(plain_http_is_refused),
      WITH(ends_above_connections_max_are_refused),
      WITH(message_that_comes_with_the_request_is_kept),
      WITH(server_answers_violations),
      WITH(client_answers_violations),
      WITH(fragments_above_the_limit_in_sum_are_refused),
      WITH(answer_to_a_close_is_not_answered),
      WITH(silent_peer_is_pinged_and_then_given_up),
      WITH(answered_pings_keep_a_quiet_connection),
      WITH(open_connections_outlive_their_listener),
      WITH(listener_that_goes_drops_handshakes),
      WITH(leaves_the_process_as_it_was),
      WITH(certificate_of_an_unknown_ca_is_refused),
      WITH(certificate_for_another_name_is_refused),
      WITH(certificate_is_checked_against_the_name_given),
      WITH(certificate_is_checked_against_the_host_name),
      WITH(insecure_accepts_anything),
      WITH(plain_client_fails_at_a_tls_port),
      WITH(tls_client_fails_at_a_plain_port),
      WITH(bad_tls_files_are_refused_at_once),
      WITH(client_without_a_demanded_certificate_is_refused),
      WITH(client_with_the_demanded_certificate_is_accepted),
      WITH(reloaded_certificate_counts_from_then_on),
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
  tls_files_make(&files);
  plain.keeps_handles = secure.keeps_handles = keeps_handles();
  failed = run_particulars();
  failed += suite_run(&plain);
  failed += suite_run(&secure);
  tls_files_remove(&files);
  return failed != 0;
}
