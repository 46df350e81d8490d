#include "house.h"
#include <stdio.h>
#include <string.h>

struct house house;
aw_identity *house_identity;

static void on_conn(void *user, aw_conn *conn) {
  (void)user;
  assert_in_range(house.accepted, 0, HOUSE_CONNS_MAX - 1);
  house.conns[house.accepted++] = conn;
}

static void on_transport(void *user, aw_transport *transport) {
  (void)user;
  transport->identity = aw_identity_hold(house_identity);
  aw_hub_take(house.hub, transport);
}

void house_open(aw_hub_options options) {
  aw_listener_options listen = {.url = "ws://127.0.0.1:0"};
  aw_listener_sink sink = {.accepted = on_transport};
  const char *why = NULL;

  for (int kind = 0; kind < AW_KIND_SCOPES; kind++) {
    options.mux.types[kind] = &house.types;
  }
  assert_int_equal(aw_hub_new(&house.hub, house.loop, &options, on_conn, NULL),
                   0);
  assert_int_equal(
      aw_listener_new(house.loop, &listen, &sink, NULL, &house.listener, &why),
      0);
}

int house_set_up(void **state) {
  (void)state;
  house = (struct house){.loop = NULL};
  aw_types_init(&house.types, aw_mem_default());
  return aw_loop_new(&house.loop, aw_mem_default());
}

int house_tear_down(void **state) {
  (void)state;
  for (unsigned i = 0; i < house.accepted; i++) {
    aw_conn_free(house.conns[i]);
  }
  aw_listener_free(house.listener);
  aw_hub_free(house.hub);
  aw_loop_free(house.loop);
  aw_types_fini(&house.types);
  return 0;
}

void house_come(raw_peer *raw) {
  raw_dial(raw, house.loop, aw_listener_port(house.listener));
  raw_upgrade_to(raw, "agentwire.v1");
}

void house_say(raw_peer *raw, const char *text) {
  raw_put_frame(raw, 0x81, true, text, strlen(text));
}

void house_greet_as(raw_peer *raw, unsigned number, const char *key,
                    unsigned attempt, const char *scopes) {
  char text[1000];

  snprintf(text, sizeof text,
           "{\"type\":\"hello\","
           "\"connection_id\":\"a0000000-0000-4000-8000-%012u\","
           "\"message_id\":\"b0000000-0000-4000-8000-000000000001\","
           "\"sequence\":0,\"timestamp\":0,\"version\":1,\"payload\":"
           "{\"key\":\"%s\",\"attempt\":%u,\"scopes\":%s}}",
           number, key, attempt, scopes);
  house_say(raw, text);
}

void house_greet(raw_peer *raw, const char *key, unsigned attempt,
                 const char *scopes) {
  house_greet_as(raw, 1, key, attempt, scopes);
}

void assert_welcomed(raw_peer *raw, unsigned generation) {
  char wanted[40];
  raw_frame frame;

  snprintf(wanted, sizeof wanted, "\"generation\":%u,", generation);
  assert_true(raw_take_frame(raw, &frame));
  assert_int_equal(frame.opcode, 1);
  assert_memory_equal(frame.bytes, "{\"type\":\"welcome\"", 17);
  frame.bytes[sizeof frame.bytes - 1] = '\0';
  assert_non_null(strstr(frame.bytes, wanted));
}

void assert_farewell(raw_peer *raw, unsigned code, const char *why) {
  raw_frame frame;

  do { /* messages may have been on their way */
    assert_true(raw_take_frame(raw, &frame));
  } while (frame.opcode == 1);
  assert_int_equal(frame.opcode, 8);
  assert_int_equal(frame.code, code);
  frame.bytes[frame.len < sizeof frame.bytes ? frame.len
                                             : sizeof frame.bytes - 1] = '\0';
  assert_non_null(strstr(frame.bytes + 2, why));
}

void house_until(bool (*done)(void)) {
  uint64_t deadline = uv_hrtime() / 1000000 + 10000;
  unsigned events = 0;

  while (!done()) {
    assert_true(uv_hrtime() / 1000000 < deadline);
    aw_loop_wait(house.loop, 100);
    while (aw_loop_ready(house.loop, &events) != NULL) {
    }
  }
}
