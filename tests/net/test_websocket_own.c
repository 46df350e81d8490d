/* The WebSocket engine of csrc/net/websocket: the transport suite on plain and
 * TLS connections, and what the engine adds to the common contract. */
#include "aw_socket.h"
#include "aw_websocket.h"
#include "raw_peer.h"
#include "tls_files.h"
#include "transport_suite.h"
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static tls_files files;

/* The suite */

static void on_suite_accepted(void *user, aw_transport *t) {
  suite_pair *pair = user;

  suite_attach(&pair->server, t);
}

static bool server_is_there(suite_pair *pair) {
  return pair->server.opens > 0;
}

static void make_pair(suite_pair *pair, const char *scheme,
                      const aw_tls_options *server_tls,
                      const aw_tls_options *client_tls) {
  static const aw_listener_sink sink = {.accepted = on_suite_accepted};
  char url[64];
  const char *why;
  aw_listener *listener;
  aw_transport *client;
  aw_listener_options listen = {.url = url, .tls = server_tls};
  aw_websocket_options connect = {.url = url, .tls = client_tls};

  snprintf(url, sizeof url, "%s://127.0.0.1:0", scheme);
  assert_int_equal(
      aw_listener_new(pair->loop, &listen, &sink, pair, &listener, &why), 0);
  pair->extra = listener;
  snprintf(url, sizeof url, "%s://127.0.0.1:%u", scheme,
           aw_listener_port(listener));
  assert_int_equal(aw_websocket_connect(pair->loop, &connect, &client, &why),
                   0);
  suite_attach(&pair->client, client);
  suite_until(pair, server_is_there);
}

static void make_plain(suite_pair *pair) {
  make_pair(pair, "ws", NULL, NULL);
}

static void make_tls(suite_pair *pair) {
  aw_tls_options server = {.cert_file = files.server};
  aw_tls_options client = {.ca_file = files.ca};

  make_pair(pair, "wss", &server, &client);
}

static void unmake(suite_pair *pair) {
  aw_listener_free(pair->extra);
}

/* One end under test, and what it reported */

struct end {
  aw_transport *t;
  unsigned opens, messages, closes;
  int error, code;
  char reason[256], last[256], protocol[32];
};

/* A loop, perhaps a listener, the transports that it gave. */
struct stage {
  aw_loop *loop;
  aw_listener *listener;
  unsigned port;
  struct end client, servers[8];
  unsigned accepted;
  aw_upgrade *upgrade;
  void (*on_request)(struct stage *stage, aw_upgrade *upgrade);
};

static void on_open(void *user, const aw_transport_info *info) {
  struct end *end = user;

  end->opens++;
  snprintf(end->protocol, sizeof end->protocol, "%s",
           info->protocol != NULL ? info->protocol : "");
}

static void on_message(void *user, char *bytes, size_t len) {
  struct end *end = user;

  end->messages++;
  snprintf(end->last, sizeof end->last, "%.*s", (int)len, bytes);
}

static void on_closed(void *user, int error, int code, const char *reason) {
  struct end *end = user;

  end->closes++;
  end->error = error;
  end->code = code;
  snprintf(end->reason, sizeof end->reason, "%s", reason);
}

static void attach(struct end *end, aw_transport *t) {
  static const aw_transport_sink sink = {on_open, on_message, NULL, NULL,
                                         on_closed};

  *end = (struct end){.t = t};
  t->sink = sink;
  t->user = end;
}

static void on_accepted(void *user, aw_transport *t) {
  struct stage *stage = user;

  assert_in_range(stage->accepted, 0, 7);
  attach(&stage->servers[stage->accepted++], t);
}

static void on_requested(void *user, aw_upgrade *upgrade) {
  struct stage *stage = user;

  stage->upgrade = upgrade;
  if (stage->on_request != NULL) {
    stage->on_request(stage, upgrade);
  }
}

static int set_up(void **state) {
  struct stage *stage = calloc(1, sizeof *stage);

  assert_non_null(stage);
  assert_int_equal(aw_loop_new(&stage->loop, aw_mem_default()), 0);
  *state = stage;
  return 0;
}

static int tear_down(void **state) {
  struct stage *stage = *state;

  aw_transport_free(stage->client.t);
  for (unsigned i = 0; i < stage->accepted; i++) {
    aw_transport_free(stage->servers[i].t);
  }
  aw_listener_free(stage->listener);
  aw_upgrade_free(stage->upgrade);
  if (stage->loop != NULL) {
    aw_loop_free(stage->loop);
  }
  free(stage);
  return 0;
}

static void listen_with(struct stage *stage, aw_listener_options options,
                        bool ask) {
  aw_listener_sink sink = {.accepted = on_accepted,
                           .requested = ask ? on_requested : NULL};
  const char *why = NULL;

  options.url = options.tls != NULL ? "wss://127.0.0.1:0" : "ws://127.0.0.1:0";
  if (aw_listener_new(stage->loop, &options, &sink, stage, &stage->listener,
                      &why) != 0) {
    fail_msg("cannot listen: %s", why);
  }
  stage->port = aw_listener_port(stage->listener);
}

static void listen_plain(struct stage *stage) {
  listen_with(stage, (aw_listener_options){0}, false);
}

static void connect_to(struct stage *stage, const char *scheme,
                       const char *host, aw_websocket_options options) {
  char url[128];
  const char *why = NULL;
  aw_transport *t;

  snprintf(url, sizeof url, "%s://%s:%u/", scheme, host, stage->port);
  options.url = url;
  if (aw_websocket_connect(stage->loop, &options, &t, &why) != 0) {
    fail_msg("cannot connect: %s", why);
  }
  attach(&stage->client, t);
}

static void connect_plain(struct stage *stage) {
  connect_to(stage, "ws", "127.0.0.1", (aw_websocket_options){0});
}

static bool is_closed(const struct end *end) {
  return end->closes > 0;
}

static bool is_settled(const struct end *end) {
  return end->opens > 0 || end->closes > 0;
}

static bool has_message(const struct end *end) {
  return end->messages > 0;
}

static void until(struct stage *stage, const struct end *end,
                  bool (*done)(const struct end *end)) {
  uint64_t deadline = uv_hrtime() / 1000000 + 10000;

  while (!done(end)) {
    assert_true(uv_hrtime() / 1000000 < deadline);
    aw_loop_wait(stage->loop, 100);
  }
}

static void until_accepted(struct stage *stage, unsigned count) {
  uint64_t deadline = uv_hrtime() / 1000000 + 10000;

  while (stage->accepted < count) {
    assert_true(uv_hrtime() / 1000000 < deadline);
    aw_loop_wait(stage->loop, 100);
  }
}

static void until_requested(struct stage *stage) {
  uint64_t deadline = uv_hrtime() / 1000000 + 10000;

  while (stage->upgrade == NULL) {
    assert_true(uv_hrtime() / 1000000 < deadline);
    aw_loop_wait(stage->loop, 100);
  }
}

static void assert_end(const struct end *end, int error, int code,
                       const char *reason) {
  if (end->closes != 1 || end->error != error || end->code != code ||
      strstr(end->reason, reason) == NULL) {
    fail_msg("closed %u times, error %d, code %d, \"%s\"", end->closes,
             end->error, end->code, end->reason);
  }
}

/* Waits for a refusal and checks its first line. */
static void assert_refused(raw_peer *raw, const char *status) {
  raw_until_ended(raw);
  assert_int_equal(raw->error, 0);
  if (strstr(raw->in, status) == NULL) {
    fail_msg("%s instead of %s", raw->in, status);
  }
}

/* Reasons */

static void says_that_a_connection_was_refused(void **state) {
  struct stage *stage = *state;
  char where[64];

  close(raw_listen(&stage->port));
  connect_plain(stage);
  until(stage, &stage->client, is_closed);
  snprintf(where, sizeof where, "connection refused: 127.0.0.1:%u",
           stage->port);
  assert_end(&stage->client, AW_E_REFUSED, 1006, where);
  assert_int_equal(stage->client.opens, 0);
}

static void says_that_a_name_is_unknown(void **state) {
  struct stage *stage = *state;

  stage->port = 1;
  connect_to(stage, "ws", "nowhere.invalid", (aw_websocket_options){0});
  until(stage, &stage->client, is_closed);
  assert_string_equal(stage->client.protocol, "");
  assert_non_null(strstr(stage->client.reason, "cannot resolve nowhere.inv"));
}

static void says_which_status_refused_the_handshake(void **state) {
  struct stage *stage = *state;
  int listener = raw_listen(&stage->port);
  raw_peer raw;

  connect_plain(stage);
  raw_accept(&raw, stage->loop, listener);
  raw_head(&raw);
  raw_say(&raw, "HTTP/1.1 403 Not you\r\nContent-Length: 0\r\n\r\n");
  until(stage, &stage->client, is_closed);
  assert_end(&stage->client, AW_E_REFUSED, 1006,
             "handshake refused: HTTP 403 Not you");
  raw_free(&raw);
  close(listener);
}

static void says_that_the_peer_reset_the_connection(void **state) {
  struct stage *stage = *state;
  struct linger hard = {.l_onoff = 1, .l_linger = 0};
  raw_peer raw;

  listen_plain(stage);
  raw_dial(&raw, stage->loop, stage->port);
  raw_upgrade(&raw);
  setsockopt(raw.fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
  raw_free(&raw);
  until(stage, &stage->servers[0], is_closed);
  assert_end(&stage->servers[0], AW_E_IO, 1006, "connection reset by peer");
}

static void says_that_no_close_frame_came(void **state) {
  struct stage *stage = *state;
  raw_peer raw;

  listen_plain(stage);
  raw_dial(&raw, stage->loop, stage->port);
  raw_upgrade(&raw);
  raw_free(&raw);
  until(stage, &stage->servers[0], is_closed);
  assert_end(&stage->servers[0], AW_E_IO, 1006, "without a close frame");
}

static void says_that_the_address_is_in_use(void **state) {
  struct stage *stage = *state;
  char url[64];
  const char *why = "";
  aw_listener *second = NULL;
  aw_listener_sink sink = {.accepted = on_accepted};
  aw_listener_options options = {.url = url};

  listen_plain(stage);
  snprintf(url, sizeof url, "ws://127.0.0.1:%u", stage->port);
  assert_int_equal(
      aw_listener_new(stage->loop, &options, &sink, stage, &second, &why),
      AW_E_IO);
  assert_string_equal(why, "address already in use");
}

static void bad_headers_are_refused_before_connecting(void **state) {
  struct stage *stage = *state;
  const char *why = NULL;
  aw_transport *t = NULL;
  aw_websocket_options options = {.url = "ws://127.0.0.1:1",
                                  .headers = "A: b\r\n\r\nC: d\r\n"};

  assert_int_equal(aw_websocket_connect(stage->loop, &options, &t, &why),
                   AW_E_INVALID);
  assert_non_null(why);
  assert_null(t);
}

static void falls_back_to_the_next_address_of_a_name(void **state) {
  struct stage *stage = *state;

  listen_plain(stage);
  connect_to(stage, "ws", "localhost", (aw_websocket_options){0});
  until(stage, &stage->client, is_settled);
  assert_int_equal(stage->client.opens, 1);
}

/* The opening handshake */

static void client_without_an_agreed_protocol_closes_with_1002(void **state) {
  struct stage *stage = *state;
  int listener = raw_listen(&stage->port);
  raw_peer raw;
  raw_frame frame;

  connect_plain(stage);
  raw_accept(&raw, stage->loop, listener);
  raw_answer_upgrade(&raw, NULL);
  assert_true(raw_take_frame(&raw, &frame));
  assert_int_equal(frame.code, 1002);
  raw_free(&raw);
  until(stage, &stage->client, is_closed);
  assert_end(&stage->client, AW_E_WS_PROTOCOL, 1002, "no subprotocol");
  assert_int_equal(stage->client.opens, 0);
  close(listener);
}

static void agrees_on_the_extended_protocol(void **state) {
  struct stage *stage = *state;

  listen_plain(stage);
  connect_plain(stage);
  until(stage, &stage->client, is_settled);
  assert_string_equal(stage->client.protocol, AW_PROTOCOL_EXTENDED);
  until_accepted(stage, 1);
  assert_true(stage->servers[0].t->info.extended);
  assert_memory_equal(stage->servers[0].t->info.peer, "127.0.0.1:", 10);
}

static void slow_client_is_dropped_at_the_deadline(void **state) {
  struct stage *stage = *state;
  raw_peer raw;

  listen_with(stage, (aw_listener_options){.handshake_ms = 100}, false);
  raw_dial(&raw, stage->loop, stage->port);
  uint64_t start = uv_hrtime();
  while (!raw.ended) {
    raw_say(&raw, "X"); /* a byte now and then does not prolong it */
    raw_turn(&raw);
    assert_true(uv_hrtime() - start < 5000000000u);
  }
  assert_in_range((uv_hrtime() - start) / 1000000, 90, 4000);
  raw_free(&raw);
}

static void slow_tls_client_is_dropped_at_the_deadline(void **state) {
  struct stage *stage = *state;
  aw_tls_options tls = {.cert_file = files.server};
  raw_peer raw;

  listen_with(stage, (aw_listener_options){.handshake_ms = 100, .tls = &tls},
              false);
  raw_dial(&raw, stage->loop, stage->port);
  raw_put(&raw, "\x16\x03\x01", 3);
  raw_until_ended(&raw);
  raw_free(&raw);
}

static void slow_server_ends_the_client_at_the_deadline(void **state) {
  struct stage *stage = *state;
  int listener = raw_listen(&stage->port);

  connect_to(stage, "ws", "127.0.0.1",
             (aw_websocket_options){.handshake_ms = 100});
  until(stage, &stage->client, is_closed);
  assert_end(&stage->client, AW_E_TIMEOUT, 1006,
             "handshake not finished within 100 ms: waiting for the answer");
  close(listener);
}

static void long_head_is_refused_with_431(void **state) {
  struct stage *stage = *state;
  raw_peer raw;
  char filler[600];

  listen_with(stage, (aw_listener_options){.head_max = 512}, false);
  memset(filler, 'x', sizeof filler);
  raw_dial(&raw, stage->loop, stage->port);
  raw_say(&raw, "GET / HTTP/1.1\r\nX: ");
  raw_put(&raw, filler, sizeof filler);
  assert_refused(&raw, "HTTP/1.1 431");
  raw_free(&raw);
}

static void garbage_is_refused_with_400(void **state) {
  struct stage *stage = *state;
  raw_peer raw;

  listen_plain(stage);
  raw_dial(&raw, stage->loop, stage->port);
  raw_say(&raw, "\x16\x03\x01 what?\r\n\r\n");
  assert_refused(&raw, "HTTP/1.1 400");
  raw_free(&raw);
}

static void request_that_is_no_upgrade_is_refused_with_426(void **state) {
  struct stage *stage = *state;
  raw_peer raw;

  listen_plain(stage);
  raw_dial(&raw, stage->loop, stage->port);
  raw_say(&raw, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  assert_refused(&raw, "HTTP/1.1 426");
  raw_free(&raw);
}

static void frames_right_behind_the_request_are_not_lost(void **state) {
  struct stage *stage = *state;
  raw_peer raw;

  listen_plain(stage);
  raw_dial(&raw, stage->loop, stage->port);
  raw_say(&raw, "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
                "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
                "\x81\x85"
                "aaaa"
                "\x09\x04\x0D\x0D\x0E");
  until_accepted(stage, 1);
  assert_int_equal(stage->servers[0].messages, 0);
  until(stage, &stage->servers[0], has_message);
  assert_string_equal(stage->servers[0].last, "hello");
  raw_free(&raw);
}

/* Limits */

static void connection_above_the_maximum_gets_503(void **state) {
  struct stage *stage = *state;
  raw_peer first, second, third;

  listen_with(stage, (aw_listener_options){.connections_max = 1}, false);
  raw_dial(&first, stage->loop, stage->port);
  raw_upgrade(&first);
  raw_dial(&second, stage->loop, stage->port);
  raw_say(&second, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  assert_refused(&second, "HTTP/1.1 503");
  aw_transport_free(stage->servers[0].t);
  stage->servers[0].t = NULL;
  raw_dial(&third, stage->loop, stage->port);
  raw_upgrade(&third);
  raw_free(&first);
  raw_free(&second);
  raw_free(&third);
}

static void connection_above_the_address_maximum_gets_429(void **state) {
  struct stage *stage = *state;
  raw_peer first, second;

  listen_with(stage, (aw_listener_options){.per_address_max = 1}, false);
  raw_dial(&first, stage->loop, stage->port);
  raw_upgrade(&first);
  raw_dial(&second, stage->loop, stage->port);
  raw_say(&second, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  assert_refused(&second, "HTTP/1.1 429");
  raw_free(&first);
  raw_free(&second);
}

static void refusals_above_their_maximum_are_just_closed(void **state) {
  struct stage *stage = *state;
  raw_peer first, crowd[AW_LISTENER_REFUSALS_MAX + 4];
  size_t count = sizeof crowd / sizeof crowd[0];

  listen_with(stage, (aw_listener_options){.connections_max = 1}, false);
  raw_dial(&first, stage->loop, stage->port);
  raw_upgrade(&first);
  for (size_t i = 0; i < count; i++) {
    raw_dial(&crowd[i], stage->loop, stage->port);
  }
  raw_until_ended(&crowd[count - 1]);
  assert_int_equal(crowd[count - 1].len, 0);
  raw_turn(&crowd[0]);
  assert_false(crowd[0].ended);
  for (size_t i = 0; i < count; i++) {
    raw_free(&crowd[i]);
  }
  raw_free(&first);
}

static uint64_t cpu_us(void) {
  struct rusage usage;

  getrusage(RUSAGE_SELF, &usage);
  return (uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000 +
         (uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

/* The clients live in another process, which has descriptors enough. */
static pid_t crowd_of(unsigned port, int count, int started) {
  pid_t pid = fork();

  if (pid != 0) {
    return pid;
  }
  for (int i = 0; i < count; i++) {
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    (void)!connect(fd, (struct sockaddr *)&address, sizeof address);
  }
  (void)!write(started, "x", 1);
  pause();
  _exit(0);
}

static void running_out_of_descriptors_costs_no_cpu(void **state) {
  struct stage *stage = *state;
  struct rlimit before, low;
  int pipe_fds[2];
  char byte;
  raw_peer raw;

  listen_plain(stage);
  assert_int_equal(pipe(pipe_fds), 0);
  getrlimit(RLIMIT_NOFILE, &before);
  pid_t pid = crowd_of(stage->port, 60, pipe_fds[1]);
  assert_true(pid > 0);
  low = before;
  low.rlim_cur = (rlim_t)pipe_fds[1] + 12;
  setrlimit(RLIMIT_NOFILE, &low);
  assert_int_equal(read(pipe_fds[0], &byte, 1), 1);
  for (int i = 0; i < 20; i++) {
    aw_loop_wait(stage->loop, 5);
  }
  uint64_t used = cpu_us(), start = uv_hrtime();
  while (uv_hrtime() - start < 300000000u) {
    aw_loop_wait(stage->loop, 300);
  }
  assert_in_range(cpu_us() - used, 0, 60000);
  kill(pid, SIGKILL);
  waitpid(pid, NULL, 0);
  close(pipe_fds[0]);
  close(pipe_fds[1]);
  setrlimit(RLIMIT_NOFILE, &before);
  raw_dial(&raw, stage->loop, stage->port);
  raw_upgrade(&raw); /* and it still accepts */
  raw_free(&raw);
}

/* Life */

static void silent_peer_ends_with_a_timeout(void **state) {
  struct stage *stage = *state;
  raw_peer raw;
  raw_frame frame;

  listen_with(
      stage,
      (aw_listener_options){.ping_interval_ms = 50, .ping_deadline_ms = 60},
      false);
  raw_dial(&raw, stage->loop, stage->port);
  raw_upgrade(&raw);
  assert_true(raw_take_frame(&raw, &frame));
  assert_int_equal(frame.opcode, AW_WS_PING);
  until(stage, &stage->servers[0], is_closed);
  assert_end(&stage->servers[0], AW_E_TIMEOUT, 1006,
             "no answer to a ping within 60 ms");
  raw_free(&raw);
}

static void any_byte_counts_as_life(void **state) {
  struct stage *stage = *state;
  raw_peer raw;
  raw_frame frame;
  unsigned pings = 0;

  listen_with(
      stage,
      (aw_listener_options){.ping_interval_ms = 40, .ping_deadline_ms = 500},
      false);
  raw_dial(&raw, stage->loop, stage->port);
  raw_upgrade(&raw);
  raw_put(&raw, "\x81\xFE\x10", 3); /* a frame that goes on for ever */
  while (pings < 5) {
    assert_true(raw_take_frame(&raw, &frame));
    assert_int_equal(frame.opcode, AW_WS_PING);
    pings++;
    raw_put(&raw, "\0", 1);
  }
  assert_int_equal(stage->servers[0].closes, 0);
  raw_free(&raw);
}

/* The pong has come while the process was away from its loop. */
static void host_that_slept_does_not_give_up_a_live_peer(void **state) {
  struct stage *stage = *state;
  raw_peer raw;
  raw_frame frame;

  listen_with(
      stage,
      (aw_listener_options){.ping_interval_ms = 30, .ping_deadline_ms = 100},
      false);
  raw_dial(&raw, stage->loop, stage->port);
  raw_upgrade(&raw);
  assert_true(raw_take_frame(&raw, &frame));
  assert_int_equal(frame.opcode, AW_WS_PING);
  raw_put_frame(&raw, 0x8A, true, "", 0);
  uint64_t start = uv_hrtime();
  while (uv_hrtime() - start < 200000000u) {
  }
  aw_loop_wait(stage->loop, 0);
  aw_loop_wait(stage->loop, 0);
  assert_int_equal(stage->servers[0].closes, 0);
  raw_free(&raw);
}

static void paused_end_pings_and_does_not_judge(void **state) {
  struct stage *stage = *state;
  raw_peer raw;
  raw_frame frame;

  listen_with(
      stage,
      (aw_listener_options){.ping_interval_ms = 20, .ping_deadline_ms = 20},
      false);
  raw_dial(&raw, stage->loop, stage->port);
  raw_upgrade(&raw);
  aw_transport_pause(stage->servers[0].t, true);
  for (int i = 0; i < 5; i++) {
    assert_true(raw_take_frame(&raw, &frame));
    assert_int_equal(frame.opcode, AW_WS_PING);
  }
  assert_int_equal(stage->servers[0].closes, 0);
  raw_put_frame(&raw, 0x81, true, "hi", 2);
  aw_transport_pause(stage->servers[0].t, false);
  until(stage, &stage->servers[0], has_message);
  assert_string_equal(stage->servers[0].last, "hi");
  raw_free(&raw);
}

static void pings_without_reading_do_not_grow_the_output(void **state) {
  enum { PINGS = 1000, PING_SIZE = 131 };
  static char block[1u << 20];
  struct stage *stage = *state;
  char ping[PING_SIZE] = "\x89\xFD";
  raw_peer raw;

  listen_plain(stage);
  raw_dial(&raw, stage->loop, stage->port);
  raw_upgrade(&raw);
  aw_transport *t = stage->servers[0].t;
  memset(block, 'x', sizeof block);
  for (int i = 0; i < 16; i++) {
    assert_int_equal(aw_transport_send(t, block, sizeof block), 0);
    aw_loop_step(stage->loop);
  }
  size_t stuck = t->pending, heard = t->bytes_in;
  assert_true(stuck > 0);
  memset(ping + 6, 'a', 125);
  for (int i = 0; i < PINGS; i++) {
    assert_int_equal(send(raw.fd, ping, sizeof ping, 0), sizeof ping);
    aw_loop_step(stage->loop);
  }
  while (t->bytes_in < heard + PINGS * PING_SIZE) {
    aw_loop_wait(stage->loop, 1000);
  }
  assert_in_range(t->pending, 1, stuck + AW_SOCKET_PONGS_MAX * 127);
  raw_free(&raw);
}

static void newest_of_many_pings_is_answered(void **state) {
  struct stage *stage = *state;
  raw_peer raw;
  raw_frame frame = {0};
  char pings[40 * 7];

  listen_plain(stage);
  raw_dial(&raw, stage->loop, stage->port);
  raw_upgrade(&raw);
  for (int i = 0; i < 40; i++) {
    char ping[7] = {(char)0x89, (char)0x81, 0, 0, 0, 0, (char)('A' + i)};
    memcpy(pings + i * 7, ping, 7);
  }
  raw_put(&raw, pings, sizeof pings);
  while (frame.bytes[0] != 'A' + 39) {
    assert_true(raw_take_frame(&raw, &frame));
    assert_int_equal(frame.opcode, AW_WS_PONG);
  }
  raw_free(&raw);
}

/* The end */

static void close_frame_survives_input_that_is_not_read(void **state) {
  struct stage *stage = *state;
  char junk[4096] = {0};
  raw_peer raw;
  raw_frame frame;

  listen_plain(stage);
  raw_dial(&raw, stage->loop, stage->port);
  raw_upgrade(&raw);
  raw_put(&raw,
          "\x83\x80"
          "aaaa",
          6);
  for (int i = 0; i < 200; i++) {
    raw_put(&raw, junk, sizeof junk);
  }
  assert_true(raw_take_frame(&raw, &frame));
  assert_int_equal(frame.opcode, AW_WS_CLOSE);
  assert_int_equal(frame.code, 1002);
  assert_true(frame.len > 2);
  raw_until_ended(&raw);
  assert_int_equal(raw.error, 0);
  raw_free(&raw);
  until(stage, &stage->servers[0], is_closed);
  assert_end(&stage->servers[0], AW_E_WS_PROTOCOL, 1002, "");
}

static void server_hangs_up_first(void **state) {
  struct stage *stage = *state;
  raw_peer raw;
  raw_frame frame;

  listen_plain(stage);
  raw_dial(&raw, stage->loop, stage->port);
  raw_upgrade(&raw);
  raw_put_frame(&raw, 0x88, true, "\x0F\xA1why", 5);
  assert_true(raw_take_frame(&raw, &frame));
  assert_int_equal(frame.code, 4001);
  raw_until_ended(&raw);
  assert_int_equal(stage->servers[0].closes, 0);
  raw_free(&raw);
  until(stage, &stage->servers[0], is_closed);
  assert_end(&stage->servers[0], AW_OK, 4001, "why");
}

static void client_waits_for_the_server_to_hang_up(void **state) {
  struct stage *stage = *state;
  int listener = raw_listen(&stage->port);
  raw_peer raw;
  raw_frame frame;

  connect_plain(stage);
  raw_accept(&raw, stage->loop, listener);
  raw_answer_upgrade(&raw, AW_PROTOCOL_BASE);
  until(stage, &stage->client, is_settled);
  aw_transport_close(stage->client.t, 1000, "done");
  assert_true(raw_take_frame(&raw, &frame));
  assert_int_equal(frame.code, 1000);
  assert_memory_equal(frame.bytes + 2, "done", 4);
  raw_put_frame(&raw, 0x88, false, "\x03\xE8", 2);
  for (int i = 0; i < 20; i++) {
    raw_turn(&raw);
  }
  assert_false(raw.ended);
  assert_int_equal(stage->client.closes, 0);
  raw_free(&raw);
  until(stage, &stage->client, is_closed);
  assert_end(&stage->client, AW_OK, 1000, "done");
  close(listener);
}

static void peer_that_never_answers_a_close_is_left(void **state) {
  struct stage *stage = *state;
  raw_peer raw;

  listen_plain(stage);
  raw_dial(&raw, stage->loop, stage->port);
  raw_upgrade(&raw);
  uint64_t start = uv_hrtime();
  aw_transport_close(stage->servers[0].t, 1000, NULL);
  until(stage, &stage->servers[0], is_closed);
  assert_end(&stage->servers[0], AW_E_TIMEOUT, 1006, "no answer to a close");
  assert_in_range((uv_hrtime() - start) / 1000000, AW_TRANSPORT_LINGER_MS - 100,
                  AW_TRANSPORT_LINGER_MS * 2);
  raw_free(&raw);
}

/* The process has the default disposition of SIGPIPE, which kills. */
static void writing_to_a_lost_peer_raises_no_signal(void **state) {
  struct stage *stage = *state;
  raw_peer raw;

  assert_ptr_equal(signal(SIGPIPE, SIG_DFL), SIG_DFL);
  listen_plain(stage);
  raw_dial(&raw, stage->loop, stage->port);
  raw_upgrade(&raw);
  aw_transport_pause(stage->servers[0].t, true);
  raw_free(&raw);
  for (int i = 0; i < 200 && stage->servers[0].closes == 0; i++) {
    aw_transport_send(stage->servers[0].t, "x", 1);
    aw_loop_wait(stage->loop, 1);
  }
  assert_int_equal(stage->servers[0].closes, 1);
  assert_int_equal(stage->servers[0].code, 1006);
}

static void what_came_before_a_reset_is_delivered(void **state) {
  struct stage *stage = *state;
  raw_peer raw;

  listen_plain(stage);
  raw_dial(&raw, stage->loop, stage->port);
  raw_upgrade(&raw);
  raw_turn(&raw);
  raw_put_frame(&raw, 0x81, true, "last words", 10);
  raw_free(&raw);
  /* Two writes before the input is looked at: the second one fails. */
  for (int i = 0; i < 2; i++) {
    aw_transport_send(stage->servers[0].t, "x", 1);
    aw_stream_flush(((aw_socket *)stage->servers[0].t)->stream);
  }
  until(stage, &stage->servers[0], is_closed);
  assert_string_equal(stage->servers[0].last, "last words");
  assert_int_equal(stage->servers[0].code, 1006);
}

/* Requests that are asked about */

static void owner_sees_the_request_and_accepts_it_later(void **state) {
  struct stage *stage = *state;
  aw_upgrade_field field;
  size_t len;
  bool seen = false;

  listen_with(stage, (aw_listener_options){0}, true);
  connect_to(stage, "ws", "127.0.0.1",
             (aw_websocket_options){.headers = "X-Token: secret\r\n"});
  until_requested(stage);
  assert_string_equal(aw_upgrade_peer(stage->upgrade), "127.0.0.1");
  assert_string_equal(aw_upgrade_target(stage->upgrade), "/");
  assert_null(aw_upgrade_tls_subject(stage->upgrade));
  const char *token = aw_upgrade_header(stage->upgrade, "x-TOKEN", &len);
  assert_int_equal(len, 6);
  assert_memory_equal(token, "secret", 6);
  assert_null(aw_upgrade_header(stage->upgrade, "X-Other", &len));
  for (unsigned i = 0; aw_upgrade_headers(stage->upgrade, i, &field); i++) {
    seen = seen || (field.name_len == 7 && field.value_len == 6 &&
                    memcmp(field.name, "X-Token", 7) == 0);
  }
  assert_true(seen);
  for (int i = 0; i < 5; i++) {
    aw_loop_wait(stage->loop, 1);
  }
  assert_int_equal(stage->client.opens + stage->accepted, 0);
  assert_int_equal(aw_upgrade_accept(stage->upgrade, stage), AW_OK);
  assert_int_equal(aw_upgrade_accept(stage->upgrade, stage), AW_E_CLOSED);
  assert_int_equal(stage->accepted, 0);
  until(stage, &stage->client, is_settled);
  assert_int_equal(stage->client.opens, 1);
  assert_int_equal(stage->accepted, 1);
}

static void check_tag(void *user, aw_transport *t) {
  assert_string_equal(t->user, "who it is");
  on_accepted(user, t);
}

static void accepted_transport_carries_the_tag(void **state) {
  static char tag[] = "who it is";
  struct stage *stage = *state;
  aw_listener_sink sink = {.accepted = check_tag, .requested = on_requested};
  aw_listener_options options = {.url = "ws://127.0.0.1:0"};
  const char *why;

  assert_int_equal(aw_listener_new(stage->loop, &options, &sink, stage,
                                   &stage->listener, &why),
                   0);
  stage->port = aw_listener_port(stage->listener);
  connect_plain(stage);
  until_requested(stage);
  assert_int_equal(aw_upgrade_accept(stage->upgrade, tag), AW_OK);
  aw_upgrade_free(stage->upgrade); /* before the answer is out */
  stage->upgrade = NULL;
  until_accepted(stage, 1);
}

static void owner_refuses(void **state) {
  struct stage *stage = *state;

  listen_with(stage, (aw_listener_options){0}, true);
  connect_plain(stage);
  until_requested(stage);
  assert_int_equal(aw_upgrade_refuse(stage->upgrade, 200, "?"), AW_E_INVALID);
  assert_int_equal(
      aw_upgrade_refuse(stage->upgrade, 401, "no\r\nInjected: yes"), AW_OK);
  until(stage, &stage->client, is_closed);
  assert_end(&stage->client, AW_E_REFUSED, 1006,
             "handshake refused: HTTP 401 Unauthorized");
  assert_int_equal(aw_upgrade_refuse(stage->upgrade, 401, "no"), AW_E_CLOSED);
}

static void forgotten_request_is_refused(void **state) {
  struct stage *stage = *state;

  listen_with(stage, (aw_listener_options){0}, true);
  connect_plain(stage);
  until_requested(stage);
  aw_upgrade_free(stage->upgrade);
  stage->upgrade = NULL;
  until(stage, &stage->client, is_closed);
  assert_end(&stage->client, AW_E_REFUSED, 1006, "HTTP 503");
}

static void undecided_request_ends_at_the_deadline(void **state) {
  struct stage *stage = *state;

  listen_with(stage, (aw_listener_options){.handshake_ms = 80}, true);
  connect_plain(stage);
  until(stage, &stage->client, is_closed);
  assert_end(&stage->client, AW_E_REFUSED, 1006, "HTTP 503");
  assert_int_equal(aw_upgrade_accept(stage->upgrade, NULL), AW_E_CLOSED);
  assert_string_equal(aw_upgrade_target(stage->upgrade), "/");
}

static void request_of_a_lost_client_stays_readable(void **state) {
  struct stage *stage = *state;

  listen_with(stage, (aw_listener_options){0}, true);
  connect_plain(stage);
  until_requested(stage);
  aw_transport_free(stage->client.t);
  stage->client.t = NULL;
  for (int i = 0; i < 10; i++) {
    aw_loop_wait(stage->loop, 5);
  }
  assert_int_equal(aw_upgrade_accept(stage->upgrade, NULL), AW_E_CLOSED);
  assert_string_equal(aw_upgrade_peer(stage->upgrade), "127.0.0.1");
}

static void request_outlives_listener_and_loop(void **state) {
  struct stage *stage = *state;

  listen_with(stage, (aw_listener_options){0}, true);
  connect_plain(stage);
  until_requested(stage);
  aw_listener_free(stage->listener);
  stage->listener = NULL;
  until(stage, &stage->client, is_closed);
  aw_transport_free(stage->client.t);
  stage->client.t = NULL;
  aw_loop_free(stage->loop);
  stage->loop = NULL;
  assert_int_equal(aw_upgrade_accept(stage->upgrade, NULL), AW_E_CLOSED);
  assert_string_equal(aw_upgrade_target(stage->upgrade), "/");
}

static void accept_at_once(struct stage *stage, aw_upgrade *upgrade) {
  assert_int_equal(aw_upgrade_accept(upgrade, NULL), AW_OK);
  aw_upgrade_free(upgrade);
  stage->upgrade = NULL;
}

static void owner_may_answer_inside_the_upcall(void **state) {
  struct stage *stage = *state;

  stage->on_request = accept_at_once;
  listen_with(stage, (aw_listener_options){0}, true);
  connect_plain(stage);
  until(stage, &stage->client, is_settled);
  assert_int_equal(stage->client.opens, 1);
}

static void invalid_request_is_not_asked_about(void **state) {
  struct stage *stage = *state;
  raw_peer raw;

  listen_with(stage, (aw_listener_options){0}, true);
  raw_dial(&raw, stage->loop, stage->port);
  raw_say(&raw, "POST / HTTP/1.1\r\nHost: a\r\n\r\n");
  assert_refused(&raw, "HTTP/1.1 405");
  assert_null(stage->upgrade);
  raw_free(&raw);
}

/* TLS */

static void check_tls(struct stage *stage, const aw_tls_options *server,
                      const aw_tls_options *client, const char *host,
                      const char *reason) {
  listen_with(stage, (aw_listener_options){.tls = server}, false);
  connect_to(stage, "wss", host, (aw_websocket_options){.tls = client});
  until(stage, &stage->client, is_settled);
  if (reason == NULL) {
    assert_int_equal(stage->client.opens, 1);
  } else {
    assert_end(&stage->client, AW_E_IO, 1006, reason);
    assert_int_equal(stage->client.opens, 0);
  }
}

static void certificate_of_a_known_authority_is_accepted(void **state) {
  aw_tls_options server = {.cert_file = files.server};
  aw_tls_options client = {.ca_file = files.ca};

  check_tls(*state, &server, &client, "localhost", NULL);
}

static void unknown_authority_is_refused_by_default(void **state) {
  aw_tls_options server = {.cert_file = files.server};

  check_tls(*state, &server, NULL, "localhost",
            "unable to get local issuer certificate");
}

static void expired_certificate_is_refused(void **state) {
  aw_tls_options server = {.cert_file = files.expired};
  aw_tls_options client = {.ca_file = files.ca};

  check_tls(*state, &server, &client, "localhost", "certificate has expired");
}

static void certificate_for_another_name_is_refused(void **state) {
  aw_tls_options server = {.cert_file = files.elsewhere};
  aw_tls_options client = {.ca_file = files.ca};

  check_tls(*state, &server, &client, "localhost", "hostname mismatch");
}

static void certificate_for_another_address_is_refused(void **state) {
  aw_tls_options server = {.cert_file = files.elsewhere};
  aw_tls_options client = {.ca_file = files.ca};

  check_tls(*state, &server, &client, "127.0.0.1", "IP address mismatch");
}

static void name_option_overrides_the_host(void **state) {
  aw_tls_options server = {.cert_file = files.elsewhere};
  aw_tls_options client = {.ca_file = files.ca, .name = "example.com"};

  check_tls(*state, &server, &client, "127.0.0.1", NULL);
}

static void insecure_client_accepts_anything(void **state) {
  aw_tls_options server = {.cert_file = files.expired};
  aw_tls_options client = {.insecure = true};

  check_tls(*state, &server, &client, "localhost", NULL);
}

static void plain_server_fails_a_tls_client(void **state) {
  struct stage *stage = *state;

  listen_plain(stage);
  connect_to(stage, "wss", "localhost", (aw_websocket_options){0});
  until(stage, &stage->client, is_closed);
  assert_end(&stage->client, AW_E_IO, 1006, "");
  assert_true(strlen(stage->client.reason) > 0);
}

static void client_certificate_names_its_owner(void **state) {
  struct stage *stage = *state;
  aw_tls_options server = {
      .cert_file = files.server, .verify_peer = true, .ca_file = files.ca};
  aw_tls_options client = {.ca_file = files.ca, .cert_file = files.client};

  listen_with(stage, (aw_listener_options){.tls = &server}, true);
  connect_to(stage, "wss", "localhost", (aw_websocket_options){.tls = &client});
  until_requested(stage);
  assert_string_equal(aw_upgrade_tls_subject(stage->upgrade), "CN=robot");
}

static void missing_client_certificate_is_refused(void **state) {
  struct stage *stage = *state;
  aw_tls_options server = {
      .cert_file = files.server, .verify_peer = true, .ca_file = files.ca};
  aw_tls_options client = {.ca_file = files.ca};

  listen_with(stage, (aw_listener_options){.tls = &server}, true);
  connect_to(stage, "wss", "localhost", (aw_websocket_options){.tls = &client});
  until(stage, &stage->client, is_closed);
  assert_end(&stage->client, AW_E_IO, 1006, "");
  assert_null(stage->upgrade);
}

static void client_certificate_of_a_stranger_is_refused(void **state) {
  struct stage *stage = *state;
  aw_tls_options server = {.cert_file = files.server,
                           .verify_peer = true,
                           .ca_file = files.stranger_ca};
  aw_tls_options client = {.ca_file = files.ca, .cert_file = files.client};

  listen_with(stage, (aw_listener_options){.tls = &server}, true);
  connect_to(stage, "wss", "localhost", (aw_websocket_options){.tls = &client});
  until(stage, &stage->client, is_closed);
  assert_null(stage->upgrade);
}

static void wrong_tls_files_are_explained(void **state) {
  struct stage *stage = *state;
  const char *why = NULL;
  aw_transport *t;
  aw_tls_options tls = {.ca_file = "/nowhere/ca.pem"};
  aw_websocket_options options = {.url = "wss://127.0.0.1:1", .tls = &tls};
  aw_tls_options no_ca = {.cert_file = files.server, .verify_peer = true};
  aw_listener_options listen = {.url = "wss://127.0.0.1:0", .tls = &no_ca};
  aw_listener_sink sink = {.accepted = on_accepted};

  assert_int_equal(aw_websocket_connect(stage->loop, &options, &t, &why),
                   AW_E_INVALID);
  assert_true(strlen(why) > 0);
  assert_int_equal(aw_listener_new(stage->loop, &listen, &sink, stage,
                                   &stage->listener, &why),
                   AW_E_INVALID);
  assert_string_equal(why, "verify_peer needs a ca_file");
}

static const char *subject_seen(struct end *end) {
  aw_stream *stream = ((aw_socket *)end->t)->stream;

  return aw_tls_subject(stream->tls);
}

static void reload_serves_new_connections_and_keeps_old_ones(void **state) {
  struct stage *stage = *state;
  aw_tls_options server = {.cert_file = files.server};
  aw_tls_options renewed = {.cert_file = files.server_two};
  aw_tls_options broken = {.cert_file = "/nowhere.pem"};
  aw_tls_options client = {.ca_file = files.ca};
  aw_websocket_options options = {.tls = &client};
  const char *why = NULL;

  listen_with(stage, (aw_listener_options){.tls = &server}, false);
  connect_to(stage, "wss", "localhost", options);
  until(stage, &stage->client, is_settled);
  until_accepted(stage, 1);
  assert_string_equal(subject_seen(&stage->client), "CN=server");
  struct end old = stage->client;
  assert_int_equal(aw_listener_reload_tls(stage->listener, &broken, &why),
                   AW_E_INVALID);
  assert_int_equal(aw_listener_reload_tls(stage->listener, &renewed, &why), 0);
  connect_to(stage, "wss", "localhost", options);
  until(stage, &stage->client, is_settled);
  assert_string_equal(subject_seen(&stage->client), "CN=server-two");
  assert_int_equal(aw_transport_send(old.t, "still here", 10), 0);
  until(stage, &stage->servers[0], has_message);
  assert_string_equal(stage->servers[0].last, "still here");
  aw_transport_free(old.t);
}

static void plain_listener_has_no_tls_to_reload(void **state) {
  struct stage *stage = *state;
  aw_tls_options tls = {.cert_file = files.server};
  const char *why = NULL;

  listen_plain(stage);
  assert_int_equal(aw_listener_reload_tls(stage->listener, &tls, &why),
                   AW_E_UNSUPPORTED);
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

static int run_own(void) {
  const struct CMUnitTest tests[] = {
      CASE(says_that_a_connection_was_refused),
      CASE(says_that_a_name_is_unknown),
      CASE(says_which_status_refused_the_handshake),
      CASE(says_that_the_peer_reset_the_connection),
      CASE(says_that_no_close_frame_came),
      CASE(says_that_the_address_is_in_use),
      CASE(bad_headers_are_refused_before_connecting),
      CASE(falls_back_to_the_next_address_of_a_name),
      CASE(client_without_an_agreed_protocol_closes_with_1002),
      CASE(agrees_on_the_extended_protocol),
      CASE(slow_client_is_dropped_at_the_deadline),
      CASE(slow_tls_client_is_dropped_at_the_deadline),
      CASE(slow_server_ends_the_client_at_the_deadline),
      CASE(long_head_is_refused_with_431),
      CASE(garbage_is_refused_with_400),
      CASE(request_that_is_no_upgrade_is_refused_with_426),
      CASE(frames_right_behind_the_request_are_not_lost),
      CASE(connection_above_the_maximum_gets_503),
      CASE(connection_above_the_address_maximum_gets_429),
      CASE(refusals_above_their_maximum_are_just_closed),
      CASE(running_out_of_descriptors_costs_no_cpu),
      CASE(silent_peer_ends_with_a_timeout),
      CASE(any_byte_counts_as_life),
      CASE(host_that_slept_does_not_give_up_a_live_peer),
      CASE(paused_end_pings_and_does_not_judge),
      CASE(pings_without_reading_do_not_grow_the_output),
      CASE(newest_of_many_pings_is_answered),
      CASE(close_frame_survives_input_that_is_not_read),
      CASE(server_hangs_up_first),
      CASE(client_waits_for_the_server_to_hang_up),
      CASE(peer_that_never_answers_a_close_is_left),
      CASE(writing_to_a_lost_peer_raises_no_signal),
      CASE(what_came_before_a_reset_is_delivered),
      CASE(owner_sees_the_request_and_accepts_it_later),
      CASE(accepted_transport_carries_the_tag),
      CASE(owner_refuses),
      CASE(forgotten_request_is_refused),
      CASE(undecided_request_ends_at_the_deadline),
      CASE(request_of_a_lost_client_stays_readable),
      CASE(request_outlives_listener_and_loop),
      CASE(owner_may_answer_inside_the_upcall),
      CASE(invalid_request_is_not_asked_about),
      CASE(certificate_of_a_known_authority_is_accepted),
      CASE(unknown_authority_is_refused_by_default),
      CASE(expired_certificate_is_refused),
      CASE(certificate_for_another_name_is_refused),
      CASE(certificate_for_another_address_is_refused),
      CASE(name_option_overrides_the_host),
      CASE(insecure_client_accepts_anything),
      CASE(plain_server_fails_a_tls_client),
      CASE(client_certificate_names_its_owner),
      CASE(missing_client_certificate_is_refused),
      CASE(client_certificate_of_a_stranger_is_refused),
      CASE(wrong_tls_files_are_explained),
      CASE(reload_serves_new_connections_and_keeps_old_ones),
      CASE(plain_listener_has_no_tls_to_reload),
  };

  return cmocka_run_group_tests_name("websocket engine", tests, NULL, NULL);
}

int main(void) {
  static const suite_factory plain = {.name = "websocket",
                                      .make = make_plain,
                                      .unmake = unmake,
                                      .has_codes = true,
                                      .silent_server = true};
  static const suite_factory secure = {.name = "websocket",
                                       .make = make_tls,
                                       .unmake = unmake,
                                       .has_codes = true,
                                       .silent_server = true};

  tls_files_make(&files);
  int failed = suite_run(&plain);
  failed += suite_run(&secure);
  failed += run_own();
  tls_files_remove(&files);
  return failed;
}
