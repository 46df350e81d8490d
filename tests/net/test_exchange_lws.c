/* Exchanges with an independent client: libwebsockets, in a process of its own,
 * on a loop of its own. */
#include "http_stage.h"
#include <libwebsockets.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define LENGTH 300000u
#define PIECE 5000u

static char letter(size_t at) {
  return (char)('a' + at % 23);
}

/* The client; a process has one. */

static struct client {
  bool posts, is_whole, is_over;
  size_t sent, got;
  unsigned status;
} client;

static int say_head(struct lws *wsi, unsigned char **at, size_t len) {
  if (!client.posts) {
    return 0;
  }
  lws_client_http_body_pending(wsi, 1);
  lws_callback_on_writable(wsi);
  return lws_add_http_header_content_length(wsi, LENGTH, at, *at + len);
}

static int say_body(struct lws *wsi) {
  unsigned char bytes[LWS_PRE + PIECE];
  bool last = client.sent + PIECE == LENGTH;

  for (size_t i = 0; i < PIECE; i++) {
    bytes[LWS_PRE + i] = (unsigned char)letter(client.sent + i);
  }
  client.sent += PIECE;
  lws_client_http_body_pending(wsi, !last);
  if (!last) {
    lws_callback_on_writable(wsi);
  }
  int n = lws_write(wsi, bytes + LWS_PRE, PIECE,
                    last ? LWS_WRITE_HTTP_FINAL : LWS_WRITE_HTTP);
  return n == (int)PIECE ? 0 : -1;
}

static int take_body(const char *bytes, size_t len) {
  for (size_t i = 0; i < len; i++) {
    if (bytes[i] != letter(client.got++)) {
      return -1;
    }
  }
  return 0;
}

static int on_event(struct lws *wsi, enum lws_callback_reasons reason,
                    void *user, void *in, size_t len) {
  char bytes[LWS_PRE + 4096], *at = bytes + LWS_PRE;
  int room = 4096;

  (void)user;
  switch ((int)reason) {
  case LWS_CALLBACK_CLIENT_APPEND_HANDSHAKE_HEADER:
    return say_head(wsi, in, len);
  case LWS_CALLBACK_CLIENT_HTTP_WRITEABLE:
    return client.posts && client.sent < LENGTH ? say_body(wsi) : 0;
  case LWS_CALLBACK_ESTABLISHED_CLIENT_HTTP:
    client.status = lws_http_client_http_response(wsi);
    return 0;
  case LWS_CALLBACK_RECEIVE_CLIENT_HTTP:
    return lws_http_client_read(wsi, &at, &room) < 0 ? -1 : 0;
  case LWS_CALLBACK_RECEIVE_CLIENT_HTTP_READ:
    return take_body(in, len);
  case LWS_CALLBACK_COMPLETED_CLIENT_HTTP:
    client.is_whole = client.is_over = true;
    return 0;
  case LWS_CALLBACK_CLIENT_CONNECTION_ERROR:
  case LWS_CALLBACK_CLOSED_CLIENT_HTTP:
    client.is_over = true;
    return 0;
  default:
    return 0;
  }
}

/* The status of the process: 0 when all of the answer came. */
static int ask(unsigned port, const char *method) {
  static const struct lws_protocols protocols[] = {
      {.name = "http", .callback = on_event}, {.name = NULL}};
  struct lws_context_creation_info info = {.port = CONTEXT_PORT_NO_LISTEN,
                                           .protocols = protocols};
  time_t deadline = time(NULL) + 20;

  lws_set_log_level(LLL_ERR, NULL);
  struct lws_context *context = lws_create_context(&info);
  struct lws_client_connect_info connect = {.context = context,
                                            .address = "127.0.0.1",
                                            .port = (int)port,
                                            .path = "/lws",
                                            .host = "127.0.0.1",
                                            .method = method,
                                            .protocol = "http",
                                            .alpn = "http/1.1"};
  if (context == NULL) {
    return 2;
  }
  client.posts = strcmp(method, "POST") == 0;
  if (lws_client_connect_via_info(&connect) == NULL) {
    return 3;
  }
  while (!client.is_over && time(NULL) < deadline) {
    lws_service(context, 0);
  }
  lws_context_destroy(context);
  return client.is_whole && client.status == 200 && client.got == LENGTH ? 0
                                                                         : 4;
}

/* Serves one client to its end. */
static void meet(http_stage *stage, const char *method, uint64_t length) {
  raw_peer none = {.loop = stage->loop, .ended = true, .in = ""};
  char *body = calloc(1, HTTP_BODY_MAX + 1), bytes[PIECE];
  size_t len = 0, sent = 0;
  int error, status = -1;

  assert_non_null(body);
  http_listen(stage, (aw_listener_options){0});
  pid_t pid = fork();
  if (pid == 0) {
    _exit(ask(stage->port, method));
  }
  aw_exchange *x = http_request(stage, &none, 0);
  assert_string_equal(aw_exchange_target(x), "/lws");
  HTTP_UNTIL(&none, http_read(x, body, &len, &error));
  assert_int_equal(len, strcmp(method, "POST") == 0 ? LENGTH : 0);
  for (size_t i = 0; i < len; i++) {
    assert_int_equal(body[i], letter(i));
  }
  assert_int_equal(aw_exchange_respond(x, 200, NULL, length), AW_OK);
  while (sent < LENGTH) {
    for (size_t i = 0; i < PIECE; i++) {
      bytes[i] = letter(sent + i);
    }
    HTTP_UNTIL(&none,
               (error = aw_exchange_write(x, bytes, PIECE)) != AW_E_AGAIN);
    assert_int_equal(error, AW_OK);
    sent += PIECE;
  }
  assert_int_equal(aw_exchange_finish(x), AW_OK);
  HTTP_UNTIL(&none, http_is_over(x, AW_OK));
  HTTP_UNTIL(&none, waitpid(pid, &status, WNOHANG) == pid);
  assert_true(WIFEXITED(status));
  assert_int_equal(WEXITSTATUS(status), 0);
  free(body);
}

static void libwebsockets_reads_chunks(void **state) {
  meet(*state, "GET", AW_EXCHANGE_UNKNOWN);
}

static void libwebsockets_reads_a_length(void **state) {
  meet(*state, "GET", LENGTH);
}

static void libwebsockets_posts(void **state) {
  meet(*state, "POST", LENGTH);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      HTTP_TEST(libwebsockets_reads_chunks),
      HTTP_TEST(libwebsockets_reads_a_length),
      HTTP_TEST(libwebsockets_posts),
  };

  return cmocka_run_group_tests(tests, NULL, NULL);
}
