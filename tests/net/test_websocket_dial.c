/* Names with several addresses, some of which do not answer. The resolver is
 * this program's own: whoever calls getaddrinfo gets what a test has set. */
#include "stage.h"
#include <arpa/inet.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define ADDRESSES_MAX 4

static const char *addresses[ADDRESSES_MAX + 1]; /* ends with NULL */

struct entry {
  struct addrinfo info;
  struct sockaddr_in address;
};

/* Visible, or libuv would find the C library's. */
#define EXPORT __attribute__((visibility("default")))

EXPORT int getaddrinfo(const char *host, const char *service,
                       const struct addrinfo *hints, struct addrinfo **out) {
  struct entry *entries = calloc(ADDRESSES_MAX, sizeof *entries);

  (void)host;
  (void)hints;
  if (entries == NULL || addresses[0] == NULL) {
    free(entries);
    return EAI_NONAME;
  }
  for (int i = 0; addresses[i] != NULL; i++) {
    struct entry *e = &entries[i];
    e->address.sin_family = AF_INET;
    e->address.sin_port = htons((uint16_t)atoi(service));
    inet_pton(AF_INET, addresses[i], &e->address.sin_addr);
    e->info.ai_family = AF_INET;
    e->info.ai_addr = (struct sockaddr *)&e->address;
    e->info.ai_addrlen = sizeof e->address;
    e->info.ai_next = addresses[i + 1] != NULL ? &entries[i + 1].info : NULL;
  }
  *out = &entries[0].info;
  return 0;
}

EXPORT void freeaddrinfo(struct addrinfo *info) {
  free(info);
}

static void resolve_to(const char *first, const char *second,
                       const char *third) {
  addresses[0] = first;
  addresses[1] = second;
  addresses[2] = third;
}

static void next_address_is_tried_when_one_refuses(void **state) {
  test_stage *stage = *state;

  resolve_to("127.0.0.2", "127.0.0.3", "127.0.0.1");
  stage_listen(stage);
  stage_connect_to(stage, "ws", "many.test", (aw_websocket_options){0});
  stage_until(stage, &stage->client, end_is_settled);
  assert_int_equal(stage->client.opens, 1);
}

static void last_failure_is_told_when_all_refuse(void **state) {
  test_stage *stage = *state;

  resolve_to("127.0.0.2", "127.0.0.3", NULL);
  close(raw_listen(&stage->port));
  stage_connect_to(stage, "ws", "many.test", (aw_websocket_options){0});
  stage_until(stage, &stage->client, end_is_closed);
  assert_end(&stage->client, AW_E_REFUSED, 1006,
             "connection refused: 127.0.0.3:");
}

static void name_without_addresses_is_told(void **state) {
  test_stage *stage = *state;

  resolve_to(NULL, NULL, NULL);
  stage->port = 1;
  stage_connect_to(stage, "ws", "none.test", (aw_websocket_options){0});
  stage_until(stage, &stage->client, end_is_closed);
  assert_end(&stage->client, AW_E_NOT_FOUND, 1006, "cannot resolve none.test");
}

/* A listener whose backlog is full answers nothing, like a router that drops
 * packets. */
static int make_black_hole(const char *address, unsigned port, int fill[8]) {
  struct sockaddr_in where = {.sin_family = AF_INET,
                              .sin_port = htons((uint16_t)port)};
  int fd = socket(AF_INET, SOCK_STREAM, 0);

  inet_pton(AF_INET, address, &where.sin_addr);
  assert_int_equal(bind(fd, (struct sockaddr *)&where, sizeof where), 0);
  assert_int_equal(listen(fd, 0), 0);
  for (int i = 0; i < 8; i++) {
    fill[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    (void)!connect(fill[i], (struct sockaddr *)&where, sizeof where);
  }
  return fd;
}

static void black_hole_is_overtaken(void **state) {
  test_stage *stage = *state;
  int fill[8];

  resolve_to("127.0.0.2", "127.0.0.1", NULL);
  stage_listen(stage);
  int hole = make_black_hole("127.0.0.2", stage->port, fill);
  uint64_t start = uv_hrtime();
  stage_connect_to(stage, "ws", "many.test", (aw_websocket_options){0});
  stage_until(stage, &stage->client, end_is_settled);
  assert_int_equal(stage->client.opens, 1);
  assert_in_range((uv_hrtime() - start) / 1000000, 200, 3000);
  for (int i = 0; i < 8; i++) {
    close(fill[i]);
  }
  close(hole);
}

static void freeing_while_dialling_leaves_nothing(void **state) {
  test_stage *stage = *state;

  resolve_to("127.0.0.2", "127.0.0.1", NULL);
  stage_listen(stage);
  for (int turns = 0; turns < 8; turns++) {
    stage_connect_to(stage, "ws", "many.test", (aw_websocket_options){0});
    for (int i = 0; i < turns; i++) {
      aw_loop_wait(stage->loop, 5);
    }
    aw_transport_free(stage->client.t);
    stage->client.t = NULL;
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      STAGED(next_address_is_tried_when_one_refuses),
      STAGED(last_failure_is_told_when_all_refuse),
      STAGED(name_without_addresses_is_told),
      STAGED(black_hole_is_overtaken),
      STAGED(freeing_while_dialling_leaves_nothing),
  };

  return cmocka_run_group_tests(tests, NULL, NULL);
}
