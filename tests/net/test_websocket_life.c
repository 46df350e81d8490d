/* How connections live and end with the engine of csrc/net/websocket: pings,
 * silence, closing, loss. */
#include "aw_socket.h"
#include "stage.h"
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

/* Life */

static void silent_peer_ends_with_a_timeout(void **state) {
  test_stage *stage = *state;
  raw_peer raw;
  raw_frame frame;

  stage_listen_with(
      stage,
      (aw_listener_options){.ping_interval_ms = 50, .ping_deadline_ms = 60},
      false);
  raw_dial(&raw, stage->loop, stage->port);
  raw_upgrade(&raw);
  assert_true(raw_take_frame(&raw, &frame));
  assert_int_equal(frame.opcode, AW_WS_PING);
  stage_until(stage, &stage->servers[0], end_is_closed);
  assert_end(&stage->servers[0], AW_E_TIMEOUT, 1006,
             "no answer to a ping within 60 ms");
  raw_free(&raw);
}

static void any_byte_counts_as_life(void **state) {
  test_stage *stage = *state;
  raw_peer raw;
  raw_frame frame;
  unsigned pings = 0;

  stage_listen_with(
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
  test_stage *stage = *state;
  raw_peer raw;
  raw_frame frame;

  stage_listen_with(
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

static unsigned kernel_patience(aw_transport *t) {
  unsigned ms = 0;
  socklen_t size = sizeof ms;

  getsockopt(((aw_socket *)t)->stream->fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &ms,
             &size);
  return ms;
}

static void fill_for(test_stage *stage, uint64_t ms) {
  static char block[1u << 20];
  uint64_t start = uv_hrtime();

  memset(block, 'x', sizeof block);
  while (uv_hrtime() - start < ms * 1000000) {
    aw_transport *ends[] = {stage->servers[0].t, stage->client.t};
    for (int i = 0; i < 2; i++) {
      if (aw_transport_room(ends[i]) > 0) {
        aw_transport_send(ends[i], block, sizeof block);
      }
    }
    aw_loop_wait(stage->loop, 10);
  }
}

static void open_with_pings(test_stage *stage, unsigned ms) {
  aw_listener_options listen = {.ping_interval_ms = ms, .ping_deadline_ms = ms};
  aw_websocket_options dial = {.ping_interval_ms = ms, .ping_deadline_ms = ms};

  stage_listen_with(stage, listen, false);
  stage_connect_to(stage, "ws", "127.0.0.1", dial);
  stage_until(stage, &stage->client, end_is_settled);
  stage_until_accepted(stage, 1);
}

/* The reader has paused, its window is shut; its bytes say that it lives. */
static void writer_is_patient_with_a_paused_reader(void **state) {
  test_stage *stage = *state;

  open_with_pings(stage, 100);
  aw_transport_pause(stage->client.t, true);
  fill_for(stage, 2000);
  assert_true(stage->servers[0].t->pending > 0);
  assert_int_equal(stage->servers[0].closes + stage->client.closes, 0);
}

static void two_paused_ends_wait_for_each_other(void **state) {
  test_stage *stage = *state;

  open_with_pings(stage, 100);
  aw_transport_pause(stage->client.t, true);
  aw_transport_pause(stage->servers[0].t, true);
  fill_for(stage, 2000);
  assert_true(stage->servers[0].t->pending > 0);
  assert_true(stage->client.t->pending > 0);
  assert_int_equal(stage->servers[0].closes + stage->client.closes, 0);
  aw_transport_pause(stage->servers[0].t, false);
  aw_transport_pause(stage->client.t, false);
  stage_until(stage, &stage->client, end_has_message);
  stage_until(stage, &stage->servers[0], end_has_message);
}

static void paused_end_pings_and_does_not_judge(void **state) {
  test_stage *stage = *state;
  raw_peer raw;
  raw_frame frame;

  stage_listen_with(
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
  assert_int_equal(kernel_patience(stage->servers[0].t), 40);
  raw_put_frame(&raw, 0x81, true, "hi", 2);
  aw_transport_pause(stage->servers[0].t, false);
  assert_int_equal(kernel_patience(stage->servers[0].t), 0);
  stage_until(stage, &stage->servers[0], end_has_message);
  assert_string_equal(stage->servers[0].last, "hi");
  raw_free(&raw);
}

static void pings_without_reading_do_not_grow_the_output(void **state) {
  enum { PINGS = 1000, PING_SIZE = 131 };
  static char block[1u << 20];
  test_stage *stage = *state;
  char ping[PING_SIZE] = "\x89\xFD";
  raw_peer raw;

  stage_listen(stage);
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
  assert_in_range(t->pending, 1, stuck + 16 * 127);
  raw_free(&raw);
}

static void newest_of_many_pings_is_answered(void **state) {
  test_stage *stage = *state;
  raw_peer raw;
  raw_frame frame = {0};
  char pings[40 * 7];

  stage_listen(stage);
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

/* The peer goes on sending and looks for an answer only afterwards. */
static void close_frame_survives_input_that_is_not_read(void **state) {
  enum { JUNK = 16u << 20 };
  static char junk[1u << 16];
  test_stage *stage = *state;
  size_t sent = 0;
  raw_peer raw;
  raw_frame frame;

  stage_listen(stage);
  raw_dial(&raw, stage->loop, stage->port);
  raw_upgrade(&raw);
  raw_put(&raw,
          "\x83\x80"
          "aaaa",
          6);
  while (sent < JUNK) {
    ssize_t n = send(raw.fd, junk, sizeof junk, MSG_NOSIGNAL);
    assert_true(n > 0 || errno == EAGAIN);
    sent += n > 0 ? (size_t)n : 0;
    aw_loop_wait(stage->loop, 1);
  }
  shutdown(raw.fd, SHUT_WR);
  stage_until(stage, &stage->servers[0], end_is_closed);
  assert_end(&stage->servers[0], AW_E_WS_PROTOCOL, 1002, "");
  assert_true(raw_take_frame(&raw, &frame));
  assert_int_equal(frame.opcode, AW_WS_CLOSE);
  assert_int_equal(frame.code, 1002);
  assert_true(frame.len > 2);
  raw_until_ended(&raw);
  assert_int_equal(raw.error, 0);
  raw_free(&raw);
}

static void server_hangs_up_first(void **state) {
  test_stage *stage = *state;
  raw_peer raw;
  raw_frame frame;

  stage_listen(stage);
  raw_dial(&raw, stage->loop, stage->port);
  raw_upgrade(&raw);
  raw_put_frame(&raw, 0x88, true, "\x0F\xA1why", 5);
  assert_true(raw_take_frame(&raw, &frame));
  assert_int_equal(frame.code, 4001);
  raw_until_ended(&raw);
  assert_int_equal(stage->servers[0].closes, 0);
  raw_free(&raw);
  stage_until(stage, &stage->servers[0], end_is_closed);
  assert_end(&stage->servers[0], AW_OK, 4001, "why");
}

static void close_at_once(void *user, aw_transport *t) {
  stage_accepted(user, t);
  aw_transport_close(t, 4000, "not now");
}

static void close_inside_accepted_hears_the_answer(void **state) {
  test_stage *stage = *state;
  aw_listener_sink sink = {.accepted = close_at_once};
  aw_listener_options options = {.url = "ws://127.0.0.1:0"};
  const char *why;

  assert_int_equal(aw_listener_new(stage->loop, &options, &sink, stage,
                                   &stage->listener, &why),
                   0);
  stage->port = aw_listener_port(stage->listener);
  stage_connect(stage);
  stage_until(stage, &stage->client, end_is_closed);
  assert_end(&stage->client, AW_OK, 4000, "not now");
  stage_until(stage, &stage->servers[0], end_is_closed);
  assert_end(&stage->servers[0], AW_OK, 4000, "not now");
}

static void client_waits_for_the_server_to_hang_up(void **state) {
  test_stage *stage = *state;
  int listener = raw_listen(&stage->port);
  raw_peer raw;
  raw_frame frame;

  stage_connect(stage);
  raw_accept(&raw, stage->loop, listener);
  raw_answer_upgrade(&raw, AW_PROTOCOL_BASE);
  stage_until(stage, &stage->client, end_is_settled);
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
  stage_until(stage, &stage->client, end_is_closed);
  assert_end(&stage->client, AW_OK, 1000, "done");
  close(listener);
}

static void peer_that_never_answers_a_close_is_left(void **state) {
  test_stage *stage = *state;
  raw_peer raw;

  stage_listen(stage);
  raw_dial(&raw, stage->loop, stage->port);
  raw_upgrade(&raw);
  uint64_t start = uv_hrtime();
  aw_transport_close(stage->servers[0].t, 1000, NULL);
  stage_until(stage, &stage->servers[0], end_is_closed);
  assert_end(&stage->servers[0], AW_E_TIMEOUT, 1006, "no answer to a close");
  assert_in_range((uv_hrtime() - start) / 1000000, AW_TRANSPORT_LINGER_MS - 100,
                  AW_TRANSPORT_LINGER_MS * 2);
  raw_free(&raw);
}

/* The process has the default disposition of SIGPIPE, which kills. */
static void writing_to_a_lost_peer_raises_no_signal(void **state) {
  test_stage *stage = *state;
  raw_peer raw;

  assert_ptr_equal(signal(SIGPIPE, SIG_DFL), SIG_DFL);
  stage_listen(stage);
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
  test_stage *stage = *state;
  raw_peer raw;

  stage_listen(stage);
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
  stage_until(stage, &stage->servers[0], end_is_closed);
  assert_string_equal(stage->servers[0].last, "last words");
  assert_int_equal(stage->servers[0].code, 1006);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      STAGED(silent_peer_ends_with_a_timeout),
      STAGED(any_byte_counts_as_life),
      STAGED(host_that_slept_does_not_give_up_a_live_peer),
      STAGED(writer_is_patient_with_a_paused_reader),
      STAGED(two_paused_ends_wait_for_each_other),
      STAGED(paused_end_pings_and_does_not_judge),
      STAGED(pings_without_reading_do_not_grow_the_output),
      STAGED(newest_of_many_pings_is_answered),
      STAGED(close_frame_survives_input_that_is_not_read),
      STAGED(server_hangs_up_first),
      STAGED(close_inside_accepted_hears_the_answer),
      STAGED(client_waits_for_the_server_to_hang_up),
      STAGED(peer_that_never_answers_a_close_is_left),
      STAGED(writing_to_a_lost_peer_raises_no_signal),
      STAGED(what_came_before_a_reset_is_delivered),
  };

  return cmocka_run_group_tests(tests, NULL, NULL);
}
