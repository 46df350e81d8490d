/* Our WebSocket engine against an independent one: libwebsockets, in both
 * roles, plain and over TLS. The peer (tests/peer_lws) is compiled with its
 * public functions renamed, so that both can be in one program. */
#include "lws_peer.h"
#include "stage.h"
#include "tls_files.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct engine {
  int (*connect)(aw_loop *, const aw_websocket_options *, aw_transport **,
                 const char **);
  int (*listen)(aw_loop *, const aw_listener_options *,
                const aw_listener_sink *, void *, aw_listener **,
                const char **);
  unsigned (*port)(const aw_listener *);
  void (*free)(aw_listener *);
} engine;

static const engine own = {aw_websocket_connect, aw_listener_new,
                           aw_listener_port, aw_listener_free};
static const engine lws = {lws_websocket_connect, lws_listener_new,
                           lws_listener_port, lws_listener_free};

/* Every length form of RFC 6455 section 5.2, and more than one read. */
static const size_t sizes[] = {1, 125, 126, 65535, 65536, 300000, 7};
#define SIZES (sizeof sizes / sizeof sizes[0])
#define ROUNDS 20

typedef struct side {
  aw_transport *t;
  size_t received;
  unsigned opens, closes;
  int error, code;
  char reason[128];
} side;

typedef struct meeting {
  aw_loop *loop;
  aw_listener *listener;
  const engine *server_engine;
  side client, server;
} meeting;

static void on_open(void *user, const aw_transport_info *info) {
  side *s = user;

  assert_string_equal(info->protocol, AW_PROTOCOL_EXTENDED);
  s->opens++;
}

static char letter(size_t n) {
  return (char)('a' + n % 26);
}

static void on_message(void *user, char *bytes, size_t len) {
  side *s = user;

  assert_int_equal(len, sizes[s->received % SIZES]);
  assert_int_equal(bytes[0], letter(s->received));
  assert_int_equal(bytes[len - 1], letter(s->received));
  s->received++;
}

static void on_closed(void *user, int error, int code, const char *reason) {
  side *s = user;

  s->closes++;
  s->error = error;
  s->code = code;
  snprintf(s->reason, sizeof s->reason, "%s", reason);
}

static void attach(side *s, aw_transport *t) {
  s->t = t;
  t->sink = (aw_transport_sink){
      .open = on_open, .message = on_message, .closed = on_closed};
  t->user = s;
}

static void on_accepted(void *user, aw_transport *t) {
  meeting *m = user;

  attach(&m->server, t);
}

static bool both_open(const meeting *m) {
  return m->client.opens == 1 && m->server.t != NULL;
}

static bool both_have_all(const meeting *m) {
  return m->client.received == SIZES * ROUNDS &&
         m->server.received == SIZES * ROUNDS;
}

static bool both_closed(const meeting *m) {
  return m->client.closes == 1 && m->server.closes == 1;
}

static void turn_until(meeting *m, bool (*done)(const meeting *)) {
  uint64_t end = aw_loop_now(m->loop) + 20000;

  while (!done(m)) {
    assert_true(aw_loop_now(m->loop) < end);
    aw_loop_wait(m->loop, 100);
  }
}

static void meet(meeting *m, const engine *server, const engine *client,
                 const tls_files *tls) {
  aw_tls_options server_tls = {0}, client_tls = {0};
  aw_listener_options listening = {.url = "ws://127.0.0.1:0"};
  aw_websocket_options dialling = {0};
  aw_listener_sink sink = {.accepted = on_accepted};
  char url[64];
  const char *why = NULL;

  if (tls != NULL) {
    server_tls.cert_file = server_tls.key_file = tls->server;
    client_tls.ca_file = tls->ca;
    listening.url = "wss://127.0.0.1:0";
    listening.tls = &server_tls;
    dialling.tls = &client_tls;
  }
  *m = (meeting){.server_engine = server};
  assert_int_equal(aw_loop_new(&m->loop, aw_mem_default()), 0);
  assert_int_equal(
      server->listen(m->loop, &listening, &sink, m, &m->listener, &why), 0);
  snprintf(url, sizeof url, "%s://127.0.0.1:%u", tls != NULL ? "wss" : "ws",
           server->port(m->listener));
  dialling.url = url;
  aw_transport *t = NULL;
  assert_int_equal(client->connect(m->loop, &dialling, &t, &why), 0);
  attach(&m->client, t);
  turn_until(m, both_open);
}

static void part(meeting *m) {
  aw_transport_free(m->client.t);
  aw_transport_free(m->server.t);
  m->server_engine->free(m->listener);
  aw_loop_free(m->loop);
}

static void send_all(side *s) {
  char *bytes = malloc(300000);

  assert_non_null(bytes);
  for (size_t n = 0; n < SIZES * ROUNDS; n++) {
    memset(bytes, letter(n), sizes[n % SIZES]);
    assert_int_equal(aw_transport_send(s->t, bytes, sizes[n % SIZES]), 0);
  }
  free(bytes);
}

static void talk(const engine *server, const engine *client,
                 const tls_files *tls, bool client_closes) {
  meeting m;

  meet(&m, server, client, tls);
  send_all(&m.client);
  send_all(&m.server);
  turn_until(&m, both_have_all);
  aw_transport_close(client_closes ? m.client.t : m.server.t, 1000, "bye");
  turn_until(&m, both_closed);
  assert_int_equal(m.client.code, 1000);
  assert_int_equal(m.server.code, 1000);
  assert_int_equal(m.client.error, AW_OK);
  assert_int_equal(m.server.error, AW_OK);
  part(&m);
}

static void interop_our_client_talks_to_their_server(void **state) {
  (void)state;
  talk(&lws, &own, NULL, true);
  talk(&lws, &own, NULL, false);
}

static void interop_their_client_talks_to_our_server(void **state) {
  (void)state;
  talk(&own, &lws, NULL, true);
  talk(&own, &lws, NULL, false);
}

static void interop_both_ways_over_tls(void **state) {
  tls_files tls;

  (void)state;
  tls_files_make(&tls);
  talk(&lws, &own, &tls, true);
  talk(&own, &lws, &tls, true);
  tls_files_remove(&tls);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(interop_our_client_talks_to_their_server),
      cmocka_unit_test(interop_their_client_talks_to_our_server),
      cmocka_unit_test(interop_both_ways_over_tls),
  };

  return cmocka_run_group_tests(tests, NULL, NULL);
}
