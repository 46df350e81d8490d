#include "mux_kit.h"
#include <stdio.h>
#include <stdlib.h>

static void add_type(aw_types *types, const char *name, unsigned flags) {
  assert_int_equal(aw_types_add(types, name, strlen(name), flags), 0);
}

void kit_init(kit *k, const aw_mem *mem) {
  *k = (kit){.mem = mem};
  for (int kind = 0; kind < AW_KIND_SCOPES; kind++) {
    aw_types *types = &k->types[kind];
    aw_types_init(types, aw_mem_default());
    add_type(types, "open", AW_TYPE_OPENS);
    add_type(types, "end", AW_TYPE_ENDS);
    add_type(types, "error", AW_TYPE_ZERO);
    add_type(types, "ping", AW_TYPE_FLOATS);
    add_type(types, "stop", AW_TYPE_URGENT);
    add_type(types, "sync", AW_TYPE_FLOATS | AW_TYPE_STATE);
    types->restart = kind != AW_KIND_PROVIDER;
  }
}

void kit_fini(kit *k) {
  for (int kind = 0; kind < AW_KIND_SCOPES; kind++) {
    aw_types_fini(&k->types[kind]);
  }
}

aw_mux_options kit_options(kit *k, bool is_client) {
  aw_mux_options options = {.is_client = is_client};
  for (int kind = 0; kind < AW_KIND_SCOPES; kind++) {
    options.types[kind] = &k->types[kind];
  }
  options.seed[0] = ++k->seeds;
  options.key[0] = 0xAB;
  return options;
}

aw_mux *kit_mux(kit *k, const aw_mux_options *options) {
  aw_mux *mux = NULL;
  assert_int_equal(aw_mux_new(&mux, k->mem, options), 0);
  aw_mux_clock(mux, 1000, 1767225600000);
  return mux;
}

void wire_put(wire *w, const char *text, size_t len) {
  if (w->count == w->size) {
    w->size = w->size == 0 ? 64 : 2 * w->size;
    w->texts = realloc(w->texts, w->size * sizeof *w->texts);
    assert_non_null(w->texts);
  }
  char *copy = malloc(len + 1);
  assert_non_null(copy);
  memcpy(copy, text, len);
  copy[len] = '\0';
  w->texts[w->count++] = copy;
}

size_t wire_len(const wire *w) {
  return w->count - w->first;
}

const char *wire_at(const wire *w, size_t index) {
  assert_true(index < wire_len(w));
  return w->texts[w->first + index];
}

char *wire_take(wire *w) {
  if (wire_len(w) == 0) {
    w->first = w->count = 0;
    return NULL;
  }
  return w->texts[w->first++];
}

void wire_drop(wire *w) {
  for (char *text = NULL; (text = wire_take(w)) != NULL;) {
    free(text);
  }
}

void wire_fini(wire *w) {
  wire_drop(w);
  free(w->texts);
  *w = (wire){0};
}

static int put_message(void *user, const char *text, size_t len) {
  wire_put(user, text, len);
  return AW_OK;
}

void kit_write(aw_mux *mux, wire *out, size_t room) {
  aw_mux_sink sink = {put_message, out};
  assert_int_equal(aw_mux_write(mux, &sink, room), 0);
}

/* An exact block, so that ASan sees whoever reads past the message. */
int kit_hear(aw_mux *mux, uint32_t generation, const char *text) {
  size_t len = strlen(text);
  char *copy = malloc(len > 0 ? len : 1);
  assert_non_null(copy);
  memcpy(copy, text, len);
  int rc = aw_mux_receive(mux, generation, copy, len);
  free(copy);
  return rc;
}

int kit_deliver(aw_mux *mux, uint32_t generation, wire *in) {
  int rc = AW_OK;
  char *text = NULL;
  while (rc == AW_OK && (text = wire_take(in)) != NULL) {
    rc = kit_hear(mux, generation, text);
    free(text);
  }
  return rc;
}

int kit_accept(aw_mux *server, wire *in, const char *epoch,
               uint32_t *generation) {
  aw_hello hello;
  const char *why = NULL;
  int rc = AW_E_AGAIN;
  aw_hello_init(&hello, aw_mem_default(), AW_MUX_SCOPES_MAX);
  while (rc == AW_E_AGAIN) {
    char *text = wire_take(in);
    assert_non_null(text);
    rc = aw_hello_read(&hello, text, strlen(text), &why);
    free(text);
  }
  assert_int_equal(rc, 0);
  rc = aw_mux_accept(server, &hello, epoch, generation);
  aw_hello_fini(&hello);
  return rc;
}

static int finish(aw_draft *draft, const char *payload) {
  if (aw_buf_append(draft->out, payload, strlen(payload)) != AW_OK) {
    aw_draft_cancel(draft);
    return AW_E_NOMEM;
  }
  return aw_draft_commit(draft);
}

int kit_send(aw_channel *channel, const char *type, const char *payload) {
  aw_draft draft;
  int rc = aw_mux_begin(channel, type, strlen(type), NULL, &draft);
  return rc == AW_OK ? finish(&draft, payload) : rc;
}

int kit_send_urgent(aw_channel *channel) {
  return kit_send(channel, "stop", "{}");
}

int kit_send_control(aw_mux *mux, enum aw_kind kind, const aw_uuid *id,
                     const char *type) {
  aw_draft draft;
  int rc =
      aw_mux_begin_control(mux, kind, id, type, strlen(type), NULL, &draft);
  return rc == AW_OK ? finish(&draft, "{}") : rc;
}

void kit_sends(aw_channel *channel, const char *type, unsigned count) {
  while (count-- > 0) {
    assert_int_equal(kit_send(channel, type, "{}"), 0);
  }
}

aw_uuid kit_id(unsigned n) {
  aw_uuid id = {{0xC0}};
  id.bytes[14] = (uint8_t)(n >> 8);
  id.bytes[15] = (uint8_t)n;
  return id;
}

aw_channel *kit_open(aw_mux *mux, enum aw_kind kind, const aw_uuid *id) {
  aw_channel *channel = NULL;
  assert_int_equal(aw_mux_open(mux, kind, id, &channel), 0);
  assert_int_equal(kit_send(channel, "open", "{}"), 0);
  return channel;
}

uint64_t kit_consume(aw_channel *channel) {
  const aw_message *message = aw_channel_peek(channel);
  if (message == NULL) {
    return 0;
  }
  uint64_t sequence = message->sequence;
  aw_mux_consume(channel);
  return sequence;
}

unsigned kit_consume_all(aw_channel *channel) {
  unsigned count = 0;
  while (kit_consume(channel) != 0) {
    count++;
  }
  return count;
}

unsigned kit_events(aw_mux *mux, const aw_channel *channel) {
  unsigned events = 0;
  assert_ptr_equal(aw_mux_poll(mux, &events), channel);
  return events;
}

void kit_no_events(aw_mux *mux) {
  unsigned events = 0;
  assert_null(aw_mux_poll(mux, &events));
}

void kit_say(wire *w, const char *key, const aw_uuid *id, const char *type,
             uint64_t sequence, const char *payload) {
  static unsigned count;
  char uuid[AW_UUID_TEXT + 1] = {0}, text[2048];
  aw_uuid_format(id, uuid);
  int len =
      snprintf(text, sizeof text,
               "{\"type\":\"%s\",\"%s\":\"%s\",\"message_id\":"
               "\"00000000-0000-4000-8000-%012x\",\"sequence\":%llu,"
               "\"payload\":%s}",
               type, key, uuid, ++count, (unsigned long long)sequence, payload);
  assert_true(len > 0 && (size_t)len < sizeof text);
  wire_put(w, text, (size_t)len);
}

unsigned kit_fill(aw_channel *channel, const char *payload) {
  unsigned sent = 0;
  int rc = 0;
  while ((rc = kit_send(channel, "note", payload)) == 0) {
    sent++;
  }
  assert_int_equal(rc, AW_E_AGAIN);
  return sent;
}

unsigned kit_poll_all(aw_mux *mux) {
  unsigned count = 0, events = 0;
  while (aw_mux_poll(mux, &events) != NULL) {
    count++;
  }
  return count;
}
