/* How connections begin with the engine of csrc/net/websocket: reasons of
 * failures, the opening handshake, the limits of a listener. */
#include "stage.h"
#include "tls_files.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static tls_files files;

/* Reasons */

static void says_that_a_connection_was_refused(void **state) {
  test_stage *stage = *state;
  char where[64];

  close(raw_listen(&stage->port));
  stage_connect(stage);
  stage_until(stage, &stage->client, end_is_closed);
  snprintf(where, sizeof where, "connection refused: 127.0.0.1:%u",
           stage->port);
  assert_end(&stage->client, AW_E_REFUSED, 1006, where);
  assert_int_equal(stage->client.opens, 0);
}

static void says_that_a_name_is_unknown(void **state) {
  test_stage *stage = *state;

  stage->port = 1;
  stage_connect_to(stage, "ws", "nowhere.invalid", (aw_websocket_options){0});
  stage_until(stage, &stage->client, end_is_closed);
  assert_string_equal(stage->client.protocol, "");
  assert_non_null(strstr(stage->client.reason, "cannot resolve nowhere.inv"));
}

static void says_which_status_refused_the_handshake(void **state) {
  test_stage *stage = *state;
  int listener = raw_listen(&stage->port);
  raw_peer raw;

  stage_connect(stage);
  raw_accept(&raw, stage->loop, listener);
  raw_head(&raw);
  raw_say(&raw, "HTTP/1.1 403 Not you\r\nContent-Length: 0\r\n\r\n");
  stage_until(stage, &stage->client, end_is_closed);
  assert_end(&stage->client, AW_E_REFUSED, 1006,
             "handshake refused: HTTP 403 Not you");
  raw_free(&raw);
  close(listener);
}

static void says_that_the_peer_reset_the_connection(void **state) {
  test_stage *stage = *state;
  struct linger hard = {.l_onoff = 1, .l_linger = 0};
  raw_peer raw;

  stage_listen(stage);
  raw_dial(&raw, stage->loop, stage->port);
  raw_upgrade(&raw);
  setsockopt(raw.fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
  raw_free(&raw);
  stage_until(stage, &stage->servers[0], end_is_closed);
  assert_end(&stage->servers[0], AW_E_IO, 1006, "connection reset by peer");
}

static void says_that_no_close_frame_came(void **state) {
  test_stage *stage = *state;
  raw_peer raw;

  stage_listen(stage);
  raw_dial(&raw, stage->loop, stage->port);
  raw_upgrade(&raw);
  raw_free(&raw);
  stage_until(stage, &stage->servers[0], end_is_closed);
  assert_end(&stage->servers[0], AW_E_IO, 1006, "without a close frame");
}

static void says_that_the_address_is_in_use(void **state) {
  test_stage *stage = *state;
  char url[64];
  const char *why = "";
  aw_listener *second = NULL;
  aw_listener_sink sink = {.accepted = stage_accepted};
  aw_listener_options options = {.url = url};

  stage_listen(stage);
  snprintf(url, sizeof url, "ws://127.0.0.1:%u", stage->port);
  assert_int_equal(
      aw_listener_new(stage->loop, &options, &sink, stage, &second, &why),
      AW_E_IO);
  assert_string_equal(why, "address already in use");
}

static void bad_headers_are_refused_before_connecting(void **state) {
  test_stage *stage = *state;
  const char *why = NULL;
  aw_transport *t = NULL;
  aw_websocket_options options = {.url = "ws://127.0.0.1:1",
                                  .headers = "A: b\r\n\r\nC: d\r\n"};

  assert_int_equal(aw_websocket_connect(stage->loop, &options, &t, &why),
                   AW_E_INVALID);
  assert_non_null(why);
  assert_null(t);
}

static void plain_text_takes_no_tls_options(void **state) {
  test_stage *stage = *state;
  const char *why = NULL;
  aw_transport *t = NULL;
  aw_listener *listener = NULL;
  aw_tls_options tls = {.cert_file = files.server};
  aw_listener_sink sink = {.accepted = stage_accepted};
  aw_websocket_options client = {.url = "ws://127.0.0.1:1", .tls = &tls};
  aw_listener_options server = {.url = "ws://127.0.0.1:0", .tls = &tls};

  assert_int_equal(aw_websocket_connect(stage->loop, &client, &t, &why),
                   AW_E_INVALID);
  assert_non_null(strstr(why, "wss://"));
  assert_int_equal(
      aw_listener_new(stage->loop, &server, &sink, stage, &listener, &why),
      AW_E_INVALID);
  assert_non_null(strstr(why, "wss://"));
}

/* The opening handshake */

static void client_without_an_agreed_protocol_closes_with_1002(void **state) {
  test_stage *stage = *state;
  int listener = raw_listen(&stage->port);
  raw_peer raw;
  raw_frame frame;

  stage_connect(stage);
  raw_accept(&raw, stage->loop, listener);
  raw_answer_upgrade(&raw, NULL);
  assert_true(raw_take_frame(&raw, &frame));
  assert_int_equal(frame.code, 1002);
  raw_free(&raw);
  stage_until(stage, &stage->client, end_is_closed);
  assert_end(&stage->client, AW_E_WS_PROTOCOL, 1002, "no subprotocol");
  assert_int_equal(stage->client.opens, 0);
  close(listener);
}

static void agrees_on_the_extended_protocol(void **state) {
  test_stage *stage = *state;

  stage_listen(stage);
  stage_connect(stage);
  stage_until(stage, &stage->client, end_is_settled);
  assert_string_equal(stage->client.protocol, AW_PROTOCOL_EXTENDED);
  stage_until_accepted(stage, 1);
  assert_true(stage->servers[0].t->info.extended);
  assert_memory_equal(stage->servers[0].t->info.peer, "127.0.0.1:", 10);
}

static void slow_client_is_dropped_at_the_deadline(void **state) {
  test_stage *stage = *state;
  raw_peer raw;

  stage_listen_with(stage, (aw_listener_options){.handshake_ms = 100}, false);
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
  test_stage *stage = *state;
  aw_tls_options tls = {.cert_file = files.server};
  raw_peer raw;

  stage_listen_with(
      stage, (aw_listener_options){.handshake_ms = 100, .tls = &tls}, false);
  raw_dial(&raw, stage->loop, stage->port);
  raw_put(&raw, "\x16\x03\x01", 3);
  raw_until_ended(&raw);
  raw_free(&raw);
}

static void slow_server_ends_the_client_at_the_deadline(void **state) {
  test_stage *stage = *state;
  int listener = raw_listen(&stage->port);

  stage_connect_to(stage, "ws", "127.0.0.1",
                   (aw_websocket_options){.handshake_ms = 100});
  stage_until(stage, &stage->client, end_is_closed);
  assert_end(&stage->client, AW_E_TIMEOUT, 1006,
             "handshake not finished within 100 ms: waiting for the answer");
  close(listener);
}

static void long_head_is_refused_with_431(void **state) {
  test_stage *stage = *state;
  raw_peer raw;
  char filler[600];

  stage_listen_with(stage, (aw_listener_options){.head_max = 512}, false);
  memset(filler, 'x', sizeof filler);
  raw_dial(&raw, stage->loop, stage->port);
  raw_say(&raw, "GET / HTTP/1.1\r\nX: ");
  raw_put(&raw, filler, sizeof filler);
  assert_refused(&raw, "HTTP/1.1 431");
  raw_free(&raw);
}

static void garbage_is_refused_with_400(void **state) {
  test_stage *stage = *state;
  raw_peer raw;

  stage_listen(stage);
  raw_dial(&raw, stage->loop, stage->port);
  raw_say(&raw, "\x16\x03\x01 what?\r\n\r\n");
  assert_refused(&raw, "HTTP/1.1 400");
  raw_free(&raw);
}

static void request_that_is_no_upgrade_is_refused_with_426(void **state) {
  test_stage *stage = *state;
  raw_peer raw;

  stage_listen(stage);
  raw_dial(&raw, stage->loop, stage->port);
  raw_say(&raw, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  assert_refused(&raw, "HTTP/1.1 426");
  raw_free(&raw);
}

static void frames_right_behind_the_request_are_not_lost(void **state) {
  test_stage *stage = *state;
  raw_peer raw;

  stage_listen(stage);
  raw_dial(&raw, stage->loop, stage->port);
  raw_say(&raw, "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
                "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
                "\x81\x85"
                "aaaa"
                "\x09\x04\x0D\x0D\x0E");
  stage_until_accepted(stage, 1);
  assert_int_equal(stage->servers[0].messages, 0);
  stage_until(stage, &stage->servers[0], end_has_message);
  assert_string_equal(stage->servers[0].last, "hello");
  raw_free(&raw);
}

/* Limits */

static void connection_above_the_maximum_gets_503(void **state) {
  test_stage *stage = *state;
  raw_peer first, second, third;

  stage_listen_with(stage, (aw_listener_options){.connections_max = 1}, false);
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
  test_stage *stage = *state;
  raw_peer first, second;

  stage_listen_with(stage, (aw_listener_options){.per_address_max = 1}, false);
  raw_dial(&first, stage->loop, stage->port);
  raw_upgrade(&first);
  raw_dial(&second, stage->loop, stage->port);
  raw_say(&second, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  assert_refused(&second, "HTTP/1.1 429");
  raw_free(&first);
  raw_free(&second);
}

static void refusals_above_their_maximum_are_just_closed(void **state) {
  test_stage *stage = *state;
  raw_peer first, crowd[64 + 4];
  size_t count = sizeof crowd / sizeof crowd[0];

  stage_listen_with(stage, (aw_listener_options){.connections_max = 1}, false);
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

static bool is_hung_up_on(int fd) {
  struct timeval patience = {.tv_sec = 5};
  char byte;

  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  return recv(fd, &byte, 1, 0) == 0 || errno == ECONNRESET;
}

/* The clients live in another process, which has descriptors enough. It says
 * whether the last of them was hung up on. */
static pid_t make_crowd(unsigned port, int count, int parent[2]) {
  struct sockaddr_in address = {.sin_family = AF_INET,
                                .sin_port = htons((uint16_t)port),
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  pid_t pid = fork();
  int fd = -1;

  if (pid != 0) {
    return pid;
  }
  for (int i = 0; i < count; i++) {
    fd = socket(AF_INET, SOCK_STREAM, 0);
    (void)!connect(fd, (struct sockaddr *)&address, sizeof address);
  }
  (void)!write(parent[1], "x", 1);
  (void)!write(parent[1], is_hung_up_on(fd) ? "y" : "n", 1);
  close(parent[0]);
  (void)!read(parent[1], &(char){0}, 1); /* until the parent is gone */
  _exit(0);
}

static char await_byte(test_stage *stage, int fd) {
  uint64_t deadline = uv_hrtime() + 10000000000u;
  char byte;

  while (read(fd, &byte, 1) != 1) {
    assert_true(uv_hrtime() < deadline);
    aw_loop_wait(stage->loop, 5);
  }
  return byte;
}

static void assert_idle_for(test_stage *stage, uint64_t ms) {
  uint64_t used = cpu_us(), start = uv_hrtime();

  while (uv_hrtime() - start < ms * 1000000) {
    aw_loop_wait(stage->loop, (int)ms);
  }
  assert_in_range(cpu_us() - used, 0, ms * 1000 / 5);
}

/* spare: descriptors above those that are open when the crowd comes. */
static void crowd_without_descriptors(test_stage *stage, int spare,
                                      bool hangs_up) {
  struct rlimit before, low;
  int ends[2];
  raw_peer raw;

  stage_listen(stage);
  assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
  fcntl(ends[0], F_SETFL, O_NONBLOCK);
  getrlimit(RLIMIT_NOFILE, &before);
  low = before;
  low.rlim_cur = spare < 0 ? 3 : (rlim_t)(ends[1] + 1 + spare);
  pid_t pid = make_crowd(stage->port, 60, ends);
  assert_true(pid > 0);
  setrlimit(RLIMIT_NOFILE, &low);
  assert_int_equal(await_byte(stage, ends[0]), 'x');
  if (hangs_up) {
    assert_int_equal(await_byte(stage, ends[0]), 'y');
  }
  assert_idle_for(stage, 400);
  close(ends[0]);
  close(ends[1]);
  waitpid(pid, NULL, 0);
  setrlimit(RLIMIT_NOFILE, &before);
  raw_dial(&raw, stage->loop, stage->port);
  raw_upgrade(&raw); /* and it accepts again */
  raw_free(&raw);
}

static void clients_without_a_descriptor_are_hung_up_on(void **state) {
  crowd_without_descriptors(*state, 10, true);
}

static void having_not_even_a_reserve_costs_no_cpu(void **state) {
  crowd_without_descriptors(*state, -1, false);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      STAGED(says_that_a_connection_was_refused),
      STAGED(says_that_a_name_is_unknown),
      STAGED(says_which_status_refused_the_handshake),
      STAGED(says_that_the_peer_reset_the_connection),
      STAGED(says_that_no_close_frame_came),
      STAGED(says_that_the_address_is_in_use),
      STAGED(bad_headers_are_refused_before_connecting),
      STAGED(plain_text_takes_no_tls_options),
      STAGED(client_without_an_agreed_protocol_closes_with_1002),
      STAGED(agrees_on_the_extended_protocol),
      STAGED(slow_client_is_dropped_at_the_deadline),
      STAGED(slow_tls_client_is_dropped_at_the_deadline),
      STAGED(slow_server_ends_the_client_at_the_deadline),
      STAGED(long_head_is_refused_with_431),
      STAGED(garbage_is_refused_with_400),
      STAGED(request_that_is_no_upgrade_is_refused_with_426),
      STAGED(frames_right_behind_the_request_are_not_lost),
      STAGED(connection_above_the_maximum_gets_503),
      STAGED(connection_above_the_address_maximum_gets_429),
      STAGED(refusals_above_their_maximum_are_just_closed),
      STAGED(clients_without_a_descriptor_are_hung_up_on),
      STAGED(having_not_even_a_reserve_costs_no_cpu),
  };

  tls_files_make(&files);
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  tls_files_remove(&files);
  return failed;
}
