#include "http_stage.h"
#include <stdlib.h>
#include <string.h>

/* Before each block; keeps it aligned for anything. */
union header {
  size_t size;
  max_align_t align;
};

/* Moves each block that grows, so that the sanitizer sees stale pointers. */
static void *count_realloc(void *user, void *block, size_t size) {
  http_stage *stage = user;
  union header *old = block == NULL ? NULL : (union header *)block - 1;

  if (size > 0 && ++stage->calls == stage->fail_at) {
    return NULL;
  }
  union header *made = size > 0 ? malloc(sizeof *made + size) : NULL;
  if (made != NULL) {
    made->size = size;
    stage->live += size;
  }
  if (old != NULL) {
    if (made != NULL) {
      memcpy(made + 1, old + 1, old->size < size ? old->size : size);
    }
    stage->live -= old->size;
    free(old);
  }
  stage->peak = stage->live > stage->peak ? stage->live : stage->peak;
  return made != NULL ? made + 1 : NULL;
}

int http_set_up(void **state) {
  http_stage *stage = calloc(1, sizeof *stage);

  assert_non_null(stage);
  stage->mem = (aw_mem){count_realloc, stage};
  assert_int_equal(aw_loop_new(&stage->loop, &stage->mem), 0);
  *state = stage;
  return 0;
}

int http_tear_down(void **state) {
  http_stage *stage = *state;

  aw_listener_free(stage->listener);
  for (unsigned i = 0; i < stage->count; i++) {
    aw_exchange_free(stage->x[i]);
  }
  aw_transport_free(stage->socket);
  if (stage->loop != NULL) {
    aw_loop_free(stage->loop);
  }
  assert_int_equal(stage->live, 0);
  free(stage);
  return 0;
}

static void on_accepted(void *user, aw_transport *t) {
  http_stage *stage = user;

  assert_null(stage->socket);
  stage->socket = t;
}

static void on_request(void *user, aw_exchange *x) {
  http_stage *stage = user;

  if (stage->on_request != NULL) {
    stage->on_request(stage, x);
    return;
  }
  assert_in_range(stage->count, 0, HTTP_STAGE_MAX - 1);
  stage->x[stage->count++] = x;
}

void http_listen(http_stage *stage, aw_listener_options options) {
  aw_listener_sink sink = {.accepted = on_accepted, .request = on_request};
  const char *why = NULL;

  options.url = options.tls != NULL ? "wss://127.0.0.1:0" : "ws://127.0.0.1:0";
  if (aw_listener_new(stage->loop, &options, &sink, stage, &stage->listener,
                      &why) != 0) {
    fail_msg("cannot listen: %s", why);
  }
  stage->port = aw_listener_port(stage->listener);
}

void http_dial(http_stage *stage, raw_peer *raw, const char *text) {
  raw_dial(raw, stage->loop, stage->port);
  raw_say(raw, text);
}

void http_idle(raw_peer *raw, unsigned turns) {
  for (unsigned i = 0; i < turns; i++) {
    raw_turn(raw);
  }
}

aw_exchange *http_request(http_stage *stage, raw_peer *raw, unsigned number) {
  HTTP_UNTIL(raw, stage->count > number);
  return stage->x[number];
}

aw_exchange *http_come(http_stage *stage, raw_peer *raw, const char *text) {
  http_dial(stage, raw, text);
  return http_request(stage, raw, stage->count);
}

void http_let_go(http_stage *stage, aw_exchange *x) {
  for (unsigned i = 0; i < stage->count; i++) {
    if (stage->x[i] == x) {
      stage->x[i] = NULL;
    }
  }
  aw_exchange_free(x);
}

bool http_read(aw_exchange *x, char *text, size_t *len, int *error) {
  const char *bytes;
  size_t got;

  while ((*error = aw_exchange_peek(x, &bytes, &got)) == AW_OK && got > 0) {
    assert_in_range(*len + got, 0, HTTP_BODY_MAX);
    memcpy(text + *len, bytes, got);
    *len += got;
    aw_exchange_consume(x, got);
  }
  text[*len] = '\0';
  return *error == AW_OK;
}

void http_answer(aw_exchange *x, int status, const char *body) {
  size_t len = strlen(body);

  assert_int_equal(aw_exchange_respond(x, status, NULL, len), AW_OK);
  assert_int_equal(aw_exchange_write(x, body, len), AW_OK);
  assert_int_equal(aw_exchange_finish(x), AW_OK);
}

unsigned http_count(const raw_peer *raw, const char *text) {
  unsigned count = 0;

  for (const char *at = raw->in; (at = strstr(at, text)) != NULL; at++) {
    count++;
  }
  return count;
}

bool http_is_over(const aw_exchange *x, int error) {
  const aw_exchange_end *end = aw_exchange_end_of(x);

  if (end != NULL && end->error != error) {
    fail_msg("error %d: %s", end->error, end->reason);
  }
  return end != NULL;
}

void http_until_over(http_stage *stage, aw_exchange *x, int error) {
  uint64_t deadline = uv_hrtime() + 10000000000u;

  while (!http_is_over(x, error)) {
    assert_true(uv_hrtime() < deadline);
    aw_loop_wait(stage->loop, 10);
  }
}

unsigned http_events(http_stage *stage, aw_exchange *x) {
  aw_source *source;
  unsigned events, all = 0;

  while ((source = aw_loop_ready(stage->loop, &events)) != NULL) {
    all |= source == aw_exchange_source(x) ? events : 0;
  }
  return all;
}
