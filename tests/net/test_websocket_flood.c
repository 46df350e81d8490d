/* Floods that no credit bounds: they have their share of each turn of the loop,
 * and what has to be answered does not pile up. */
#include "aw_socket.h"
#include "house.h"
#include "stage.h"
#include "tls_files.h"
#include <openssl/ssl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define FLOOD_BYTES (150u << 10)

/* As many masked frames as there is room for. */
static size_t repeat_frame(char *out, uint8_t first, const char *text) {
  size_t len = strlen(text), used = 0;
  size_t whole = len + (len < 126 ? 6 : 8);

  while (used + whole <= FLOOD_BYTES) {
    char *at = out + used;
    *at++ = (char)first;
    if (len < 126) {
      *at++ = (char)(0x80 | len);
    } else {
      *at++ = (char)(0x80 | 126);
      *at++ = (char)(len >> 8);
      *at++ = (char)len;
    }
    memset(at, 0, 4);
    memcpy(at + 4, text, len);
    used += whole;
  }
  return used;
}

static size_t taken(void) {
  return aw_conn_transport(house.conns[0])->bytes_in;
}

/* The first read finds out; from then on each turn takes little, and in the end
 * everything was taken. */
static void assert_sips(uint8_t first, const char *text) {
  static char bytes[FLOOD_BYTES];
  size_t len = repeat_frame(bytes, first, text), before, end;
  unsigned reads = 0;
  raw_peer raw;

  house_open((aw_hub_options){.log_bytes = 0});
  house_come(&raw);
  house_greet(&raw, HOUSE_KEY, 1, HOUSE_NO_SCOPES);
  assert_welcomed(&raw, 1);
  end = taken() + len;
  assert_int_equal(send(raw.fd, bytes, len, MSG_DONTWAIT), len);
  while (taken() < end) {
    before = taken();
    aw_loop_wait(house.loop, 10);
    if (reads++ > 0) {
      assert_in_range(taken() - before, 0, AW_TRANSPORT_SIP);
    }
    assert_in_range(reads, 0, 1000);
    assert_true(aw_conn_is_up(house.conns[0]));
  }
  raw_free(&raw);
}

static void envelope_pings_are_sipped(void **state) {
  (void)state;
  assert_sips(0x81,
              "{\"type\":\"ping\","
              "\"stream_id\":\"a0000000-0000-4000-8000-000000000009\","
              "\"message_id\":\"b0000000-0000-4000-8000-000000000009\","
              "\"sequence\":0,\"timestamp\":0,\"version\":1,\"payload\":{}}");
}

static void what_is_refused_is_sipped(void **state) {
  (void)state;
  assert_sips(0x81, "{\"type\":\"no such thing\"}");
}

static void websocket_pings_are_sipped(void **state) {
  (void)state;
  assert_sips(0x89, "are you there?");
}

static void websocket_pongs_are_sipped(void **state) {
  (void)state;
  assert_sips(0x8A, "");
}

/* Each is to be answered by another; the answers are not read. */
static void key_updates_pile_up_no_further_than_one_batch(void **state) {
  enum { UPDATES = 40000, MOST = 400000, ENOUGH = 250000, SMALL = 4096 };
  test_stage *stage = *state;
  tls_files files;
  raw_peer raw;
  int small = SMALL;
  size_t high = 0;

  signal(SIGPIPE, SIG_IGN);
  tls_files_make(&files);
  aw_tls_options server = {.cert_file = files.server};
  stage_listen_with(stage, (aw_listener_options){.tls = &server}, false);
  raw_dial(&raw, stage->loop, stage->port);
  assert_int_equal(
      setsockopt(raw.fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small), 0);
  raw_secure(&raw, NULL);
  raw_upgrade(&raw);
  aw_stream *stream = ((aw_socket *)stage->servers[0].t)->stream;
  assert_int_equal(
      setsockopt(stream->fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof small), 0);
  for (int i = 0; i < UPDATES; i++) {
    if (SSL_key_update(raw.tls, SSL_KEY_UPDATE_REQUESTED) != 1 ||
        SSL_do_handshake(raw.tls) != 1) {
      break; /* nobody reads them any more */
    }
    if (i % 100 == 0) {
      aw_loop_wait(stage->loop, 0);
      size_t pending = aw_stream_pending(stream);
      high = pending > high ? pending : high;
    }
  }
  for (int i = 0; i < 1000; i++) {
    aw_loop_wait(stage->loop, 0);
    size_t pending = aw_stream_pending(stream);
    high = pending > high ? pending : high;
  }
  assert_in_range(high, ENOUGH, MOST);
  raw_free(&raw);
  tls_files_remove(&files);
}

int main(void) {
#define HOUSED(name)                                                           \
  cmocka_unit_test_setup_teardown(name, house_set_up, house_tear_down)
  const struct CMUnitTest tests[] = {
      HOUSED(envelope_pings_are_sipped),
      HOUSED(what_is_refused_is_sipped),
      HOUSED(websocket_pings_are_sipped),
      HOUSED(websocket_pongs_are_sipped),
      STAGED(key_updates_pile_up_no_further_than_one_batch),
  };

  return cmocka_run_group_tests_name("flood", tests, NULL, NULL);
}
