/* Every allocation of a whole connection's life fails once: nothing crashes,
 * leaks or hangs, and no end is left without a word. */
#include "aw_error.h"
#include "aw_websocket.h"
#include "failing_mem.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

struct end {
  aw_transport *t;
  bool opened, closed;
  size_t messages;
};

struct scene {
  aw_loop *loop;
  aw_listener *listener;
  struct end client, server;
};

static void on_open(void *user, const aw_transport_info *info) {
  struct end *end = user;

  (void)info;
  end->opened = true;
  (void)aw_transport_send(end->t, "hello", 5);
}

static void on_message(void *user, char *bytes, size_t len) {
  struct end *end = user;

  end->messages++;
  if (end->messages == 1) {
    (void)aw_transport_send(end->t, bytes, len);
  }
}

static void on_closed(void *user, int error, int code, const char *reason) {
  struct end *end = user;

  (void)error;
  (void)code;
  assert_non_null(reason);
  assert_false(end->closed);
  end->closed = true;
}

static void attach(struct end *end, aw_transport *t) {
  static const aw_transport_sink sink = {
      .open = on_open, .message = on_message, .closed = on_closed};

  end->t = t;
  t->sink = sink;
  t->user = end;
}

static void on_accepted(void *user, aw_transport *t) {
  struct scene *scene = user;

  attach(&scene->server, t);
}

static void on_requested(void *user, aw_upgrade *upgrade) {
  (void)user;
  assert_int_equal(aw_upgrade_accept(upgrade, NULL), AW_OK);
  aw_upgrade_free(upgrade);
}

/* A failed allocation may swallow a message; then nobody answers, and the
 * short pings of the scene end it. */
static void play(struct scene *scene) {
  uint64_t deadline = uv_hrtime() + 10000000000u;
  bool hung_up = false;

  while (!scene->client.closed) {
    assert_true(uv_hrtime() < deadline);
    aw_loop_wait(scene->loop, 100);
    if (!hung_up && scene->client.opened) {
      hung_up =
          scene->client.messages > 0 || uv_hrtime() > deadline - 9900000000u;
      if (hung_up) {
        aw_transport_close(scene->client.t, 1000, "done");
      }
    }
  }
}

static void open_scene(struct scene *scene) {
  aw_listener_sink sink = {.accepted = on_accepted, .requested = on_requested};
  aw_listener_options listen = {.url = "ws://127.0.0.1:0"};
  aw_websocket_options connect = {.handshake_ms = 500};
  const char *why = NULL;
  aw_transport *t;
  char url[64];

  if (aw_listener_new(scene->loop, &listen, &sink, scene, &scene->listener,
                      &why) != AW_OK) {
    assert_non_null(why);
    scene->listener = NULL;
    return;
  }
  snprintf(url, sizeof url, "ws://127.0.0.1:%u",
           aw_listener_port(scene->listener));
  connect.url = url;
  if (aw_websocket_connect(scene->loop, &connect, &t, &why) != AW_OK) {
    assert_non_null(why);
    return;
  }
  attach(&scene->client, t);
  play(scene);
}

static void run_once(failing_mem *failing) {
  struct scene scene = {0};

  if (aw_loop_new(&scene.loop, &failing->mem) != AW_OK) {
    return;
  }
  open_scene(&scene);
  aw_transport_free(scene.client.t);
  aw_transport_free(scene.server.t);
  aw_listener_free(scene.listener);
  aw_loop_free(scene.loop);
}

static void every_allocation_may_fail(void **state) {
  failing_mem failing;
  size_t at = 0;

  (void)state;
  do {
    failing_mem_init(&failing, ++at);
    run_once(&failing);
    assert_int_equal(failing.live, 0);
  } while (failing.calls >= at);
  assert_in_range(at, 20, 500);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_allocation_may_fail),
  };

  return cmocka_run_group_tests(tests, NULL, NULL);
}
