#include "stage.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void on_open(void *user, const aw_transport_info *info) {
  stage_end *end = user;

  end->opens++;
  snprintf(end->protocol, sizeof end->protocol, "%s",
           info->protocol != NULL ? info->protocol : "");
}

static void on_message(void *user, char *bytes, size_t len) {
  stage_end *end = user;

  end->messages++;
  snprintf(end->last, sizeof end->last, "%.*s", (int)len, bytes);
}

static void on_closed(void *user, int error, int code, const char *reason) {
  stage_end *end = user;

  end->closes++;
  end->error = error;
  end->code = code;
  snprintf(end->reason, sizeof end->reason, "%s", reason);
}

void stage_attach(stage_end *end, aw_transport *t) {
  static const aw_transport_sink sink = {
      .open = on_open, .message = on_message, .closed = on_closed};

  *end = (stage_end){.t = t};
  t->sink = sink;
  t->user = end;
}

void stage_accepted(void *user, aw_transport *t) {
  test_stage *stage = user;

  assert_in_range(stage->accepted, 0, STAGE_SERVERS_MAX - 1);
  stage_attach(&stage->servers[stage->accepted++], t);
}

void stage_requested(void *user, aw_upgrade *upgrade) {
  test_stage *stage = user;

  stage->upgrade = upgrade;
  if (stage->on_request != NULL) {
    stage->on_request(stage, upgrade);
  }
}

int stage_set_up(void **state) {
  test_stage *stage = calloc(1, sizeof *stage);

  assert_non_null(stage);
  assert_int_equal(aw_loop_new(&stage->loop, aw_mem_default()), 0);
  *state = stage;
  return 0;
}

int stage_tear_down(void **state) {
  test_stage *stage = *state;

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

void stage_listen_with(test_stage *stage, aw_listener_options options,
                       bool ask) {
  aw_listener_sink sink = {.accepted = stage_accepted,
                           .requested = ask ? stage_requested : NULL};
  const char *why = NULL;

  options.url = options.tls != NULL ? "wss://127.0.0.1:0" : "ws://127.0.0.1:0";
  if (aw_listener_new(stage->loop, &options, &sink, stage, &stage->listener,
                      &why) != 0) {
    fail_msg("cannot listen: %s", why);
  }
  stage->port = aw_listener_port(stage->listener);
}

void stage_listen(test_stage *stage) {
  stage_listen_with(stage, (aw_listener_options){0}, false);
}

void stage_connect_to(test_stage *stage, const char *scheme, const char *host,
                      aw_websocket_options options) {
  char url[128];
  const char *why = NULL;
  aw_transport *t;

  snprintf(url, sizeof url, "%s://%s:%u/", scheme, host, stage->port);
  options.url = url;
  if (aw_websocket_connect(stage->loop, &options, &t, &why) != 0) {
    fail_msg("cannot connect: %s", why);
  }
  stage_attach(&stage->client, t);
}

void stage_connect(test_stage *stage) {
  stage_connect_to(stage, "ws", "127.0.0.1", (aw_websocket_options){0});
}

bool end_is_closed(const stage_end *end) {
  return end->closes > 0;
}

bool end_is_settled(const stage_end *end) {
  return end->opens > 0 || end->closes > 0;
}

bool end_has_message(const stage_end *end) {
  return end->messages > 0;
}

void stage_until(test_stage *stage, const stage_end *end,
                 bool (*done)(const stage_end *end)) {
  uint64_t deadline = uv_hrtime() / 1000000 + 10000;

  while (!done(end)) {
    assert_true(uv_hrtime() / 1000000 < deadline);
    aw_loop_wait(stage->loop, 100);
  }
}

void stage_until_accepted(test_stage *stage, unsigned count) {
  uint64_t deadline = uv_hrtime() / 1000000 + 10000;

  while (stage->accepted < count) {
    assert_true(uv_hrtime() / 1000000 < deadline);
    aw_loop_wait(stage->loop, 100);
  }
}

void stage_until_requested(test_stage *stage) {
  uint64_t deadline = uv_hrtime() / 1000000 + 10000;

  while (stage->upgrade == NULL) {
    assert_true(uv_hrtime() / 1000000 < deadline);
    aw_loop_wait(stage->loop, 100);
  }
}

void assert_end(const stage_end *end, int error, int code, const char *reason) {
  if (end->closes != 1 || end->error != error || end->code != code ||
      strstr(end->reason, reason) == NULL) {
    fail_msg("closed %u times, error %d, code %d, \"%s\"", end->closes,
             end->error, end->code, end->reason);
  }
}

/* Waits for a refusal and checks its first line. */
void assert_refused(raw_peer *raw, const char *status) {
  raw_until_ended(raw);
  assert_int_equal(raw->error, 0);
  if (strstr(raw->in, status) == NULL) {
    fail_msg("%s instead of %s", raw->in, status);
  }
}
