#include "mux_pair.h"
#include <stdio.h>
#include <stdlib.h>

void pair_prepare(pair *p, const aw_mem *mem) {
  *p = (pair){.now_ms = 1000};
  kit_init(&p->kit, mem);
  p->client_options = kit_options(&p->kit, true);
  p->server_options = kit_options(&p->kit, false);
}

void pair_make(pair *p) {
  p->client = kit_mux(&p->kit, &p->client_options);
  p->server = kit_mux(&p->kit, &p->server_options);
}

void pair_init(pair *p) {
  pair_prepare(p, aw_mem_default());
  pair_make(p);
}

void pair_fini(pair *p) {
  aw_mux_free(p->client);
  aw_mux_free(p->server);
  wire_fini(&p->up);
  wire_fini(&p->down);
  kit_fini(&p->kit);
}

void pair_anew(pair *p) {
  pair_fini(p);
  pair_prepare(p, aw_mem_default());
}

void pair_greet(pair *p) {
  assert_int_equal(aw_mux_attach(p->client, true, &p->client_generation), 0);
  kit_write(p->client, &p->up, SIZE_MAX);
  assert_int_equal(
      kit_accept(p->server, &p->up, "epoch", &p->server_generation), 0);
  kit_write(p->server, &p->down, SIZE_MAX);
}

static bool move(aw_mux *from, wire *w, aw_mux *to, uint32_t generation) {
  if (aw_mux_writable(from)) {
    kit_write(from, w, SIZE_MAX);
  }
  bool moved = wire_len(w) > 0;
  assert_int_equal(kit_deliver(to, generation, w), 0);
  return moved;
}

void pair_settle(pair *p) {
  for (bool moved = true; moved;) {
    while (moved) {
      moved = move(p->client, &p->up, p->server, p->server_generation);
      moved |= move(p->server, &p->down, p->client, p->client_generation);
    }
    moved = aw_mux_deadline(p->client) != UINT64_MAX ||
            aw_mux_deadline(p->server) != UINT64_MAX;
    if (moved) {
      pair_wait(p, AW_FLOW_DELAY_MS);
    }
  }
}

void pair_connect(pair *p) {
  pair_greet(p);
  pair_settle(p);
}

void pair_cut(pair *p) {
  wire_drop(&p->up);
  wire_drop(&p->down);
  aw_mux_detach(p->client, p->client_generation, AW_E_IO);
  aw_mux_detach(p->server, p->server_generation, AW_E_IO);
}

void pair_restart_server(pair *p) {
  pair_cut(p);
  aw_mux_free(p->server);
  p->server_options.seed[1]++;
  p->server = kit_mux(&p->kit, &p->server_options);
  pair_wait(p, 0);
}

void pair_wait(pair *p, unsigned ms) {
  p->now_ms += ms;
  aw_mux_clock(p->client, p->now_ms, 0);
  aw_mux_clock(p->server, p->now_ms, 0);
  aw_mux_tick(p->client);
  aw_mux_tick(p->server);
}

aw_channel *pair_at_server(pair *p, const aw_channel *channel) {
  return aw_mux_find(p->server, channel->kind, &channel->id);
}

aw_channel *pair_at_client(pair *p, const aw_channel *channel) {
  return aw_mux_find(p->client, channel->kind, &channel->id);
}

void pair_consume(aw_channel *channel, uint64_t *last) {
  uint64_t number = 0;
  while ((number = kit_consume(channel)) != 0) {
    assert_int_equal(number, *last + 1);
    *last = number;
  }
}

const char *pair_find(const wire *w, const char *type, size_t n) {
  char start[80];
  int len = snprintf(start, sizeof start, "{\"type\":\"%s\"", type);
  for (size_t i = 0; i < wire_len(w); i++) {
    const char *text = wire_at(w, i);
    if (strncmp(text, start, (size_t)len) == 0 && n-- == 0) {
      return text;
    }
  }
  return NULL;
}

size_t pair_count(const wire *w, const char *type) {
  size_t count = 0;
  while (pair_find(w, type, count) != NULL) {
    count++;
  }
  return count;
}

const char *pair_status(const wire *w, const aw_uuid *id) {
  static char status[16];
  char text[AW_UUID_TEXT + 1] = {0};
  aw_uuid_format(id, text);
  status[0] = '\0';
  const char *welcome = NULL;
  for (size_t n = 0; (welcome = pair_find(w, "welcome", n)) != NULL; n++) {
    const char *at = strstr(welcome, text);
    if (at != NULL) {
      sscanf(at + AW_UUID_TEXT, "\",\"%15[a-z]", status);
    }
  }
  return status;
}
