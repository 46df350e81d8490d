#include "ws_pair.h"
#include <stdio.h>
#include <string.h>

#define URL_MAX 128

tls_files ws_files;

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

const aw_listener_sink ws_listener_sink = {.accepted = on_accepted,
                                           .closed = on_listener_closed};

unsigned ws_listen_with(suite_pair *pair, aw_listener_options options) {
  const char *why = "";
  aw_listener *listener;

  if (options.url == NULL) {
    options.url =
        options.tls != NULL ? "wss://127.0.0.1:0" : "ws://127.0.0.1:0";
  }
  if (aw_listener_new(pair->loop, &options, &ws_listener_sink, pair, &listener,
                      &why) != AW_OK) {
    fail_msg("cannot listen: %s", why);
  }
  pair->extra = listener;
  return aw_listener_port(listener);
}

const char *ws_url_of(const char *scheme, const char *host, unsigned port) {
  static char url[URL_MAX];

  snprintf(url, sizeof url, "%s://%s:%u/", scheme, host, port);
  return url;
}

aw_transport *ws_connect_with(suite_pair *pair, aw_websocket_options options) {
  const char *why = "";
  aw_transport *t;

  if (aw_websocket_connect(pair->loop, &options, &t, &why) != AW_OK) {
    fail_msg("cannot connect to %s: %s", options.url, why);
  }
  suite_attach(&pair->client, t);
  return t;
}

void ws_make_plain(suite_pair *pair) {
  unsigned port = ws_listen_with(pair, (aw_listener_options){.url = NULL});

  ws_connect_with(
      pair, (aw_websocket_options){.url = ws_url_of("ws", "127.0.0.1", port)});
  while (pair->server.opens == 0 && pair->client.closes == 0) {
    suite_turn(pair, 1000);
  }
}

static void make_secure(suite_pair *pair) {
  aw_tls_options tls = (aw_tls_options){.cert_file = ws_files.server};
  aw_tls_options trust = {.ca_file = ws_files.ca};
  unsigned port = ws_listen_with(pair, (aw_listener_options){.tls = &tls});

  ws_connect_with(
      pair, (aw_websocket_options){.url = ws_url_of("wss", "127.0.0.1", port),
                                   .tls = &trust});
  while (pair->server.opens == 0 && pair->client.closes == 0) {
    suite_turn(pair, 1000);
  }
}

void ws_stop_listening(suite_pair *pair) {
  aw_listener_free(pair->extra);
  pair->extra = NULL;
}

suite_factory ws_plain = {.name = "websocket",
                          .make = ws_make_plain,
                          .unmake = ws_stop_listening,
                          .has_codes = true,
                          .silent_server = true};
suite_factory ws_secure = {.name = "websocket",
                           .make = make_secure,
                           .unmake = ws_stop_listening,
                           .has_codes = true,
                           .silent_server = true};

static void count_handle(uv_handle_t *handle, void *arg) {
  (void)handle;
  ++*(unsigned *)arg;
}

/* Does the engine keep something on the loop, after its first listener? */
bool ws_keeps_handles(void) {
  suite_pair pair;
  unsigned before = 0, after = 0, turns;

  suite_start(&pair, &ws_plain);
  uv_walk(aw_loop_uv(pair.loop), count_handle, &before);
  ws_listen_with(&pair, (aw_listener_options){.url = NULL});
  ws_stop_listening(&pair);
  for (turns = 0; turns < 10; turns++) {
    suite_turn(&pair, 0);
  }
  uv_walk(aw_loop_uv(pair.loop), count_handle, &after);
  aw_loop_free(pair.loop);
  return after != before;
}

suite_pair ws_the_pair;

int ws_setup(void **state) {
  suite_start(&ws_the_pair, &ws_plain);
  *state = &ws_the_pair;
  return 0;
}

int ws_teardown(void **state) {
  suite_stop(*state);
  return 0;
}

bool ws_client_closed(suite_pair *pair) {
  return pair->client.closes == 1;
}

bool ws_server_closed(suite_pair *pair) {
  return pair->server.closes == 1;
}

bool ws_server_open(suite_pair *pair) {
  return pair->server.opens == 1;
}

bool ws_client_open(suite_pair *pair) {
  return pair->client.opens == 1;
}

bool ws_server_heard(suite_pair *pair) {
  return pair->server.messages == 1;
}

void ws_assert_contains(const char *text, const char *part) {
  if (strstr(text, part) == NULL) {
    fail_msg("\"%s\" is not in \"%s\"", part, text);
  }
}

void ws_assert_client_fails(suite_pair *pair, int error, const char *part) {
  suite_until(pair, ws_client_closed);
  assert_int_equal(pair->client.opens, 0);
  if (error != AW_OK) {
    assert_int_equal(pair->client.closed_error, error);
  } else {
    assert_int_not_equal(pair->client.closed_error, AW_OK);
  }
  ws_assert_contains(pair->client.closed_reason, part);
}

void ws_turn_raw(suite_pair *pair, raw_peer *raw) {
  pair->in_loop = true;
  raw_turn(raw);
  pair->in_loop = false;
}

/* The wait is in the loop, so that upcalls are legal. */
bool ws_take_frame(suite_pair *pair, raw_peer *raw, raw_frame *frame) {
  bool taken;

  pair->in_loop = true;
  taken = raw_take_frame(raw, frame);
  pair->in_loop = false;
  return taken;
}
