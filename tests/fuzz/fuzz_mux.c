/* A peer that says anything, to a mux in each of its roles. The input's first
 * byte chooses the role; then each line is a message, or a letter for what the
 * application does between messages. Nothing crashes, the counters agree with
 * what is there, and what the mux writes is well formed. Between messages the
 * mux may be saved, and go on as it is loaded: from its own bytes, or from
 * forged ones, which may say anything in its name. */
#include "aw_mux_codec.h"
#include "aw_mux_hello.h"
#include "mux_check.h"
#include <stdlib.h>

typedef struct subject {
  aw_types types[AW_KIND_SCOPES];
  aw_mux *mux;
  aw_mux_options options;
  bool extended, is_client;
  bool forged; /* what it writes is whatever it was told to */
  uint32_t generation;
  uint64_t now_ms;
} subject;

static void demand(int holds) {
  if (!holds) {
    abort();
  }
}

static void define_types(aw_types types[AW_KIND_SCOPES]) {
  static const struct {
    const char *name;
    unsigned flags;
  } all[] = {{"stream_request", AW_TYPE_OPENS},
             {"agent_start", AW_TYPE_OPENS},
             {"tool_register", AW_TYPE_OPENS},
             {"result", AW_TYPE_ENDS},
             {"agent_stopped", AW_TYPE_ENDS},
             {"goodbye", AW_TYPE_ENDS},
             {"nack", AW_TYPE_ZERO},
             {"abort", AW_TYPE_URGENT},
             {"ping", AW_TYPE_FLOATS},
             {"sync", AW_TYPE_FLOATS | AW_TYPE_STATE}};

  for (int kind = 0; kind < AW_KIND_SCOPES; kind++) {
    aw_types_init(&types[kind], aw_mem_default());
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
      demand(aw_types_add(&types[kind], all[i].name, strlen(all[i].name),
                          all[i].flags) == 0);
    }
    types[kind].restart = kind != AW_KIND_PROVIDER;
  }
}

static void accept_hello(subject *s, const aw_hello *hello) {
  uint32_t generation = 0;

  if (aw_mux_accept(s->mux, hello, "fuzz", &generation) == 0) {
    s->generation = generation;
  }
}

static void hear_hello(subject *s, const char *line, size_t len) {
  const char *why = NULL;
  char *text = malloc(len > 0 ? len : 1);
  aw_hello hello;

  demand(text != NULL);
  memcpy(text, line, len);
  aw_hello_init(&hello, aw_mem_default(), 8);
  if (aw_hello_read(&hello, text, len, &why) == 0) {
    accept_hello(s, &hello);
  }
  demand(hello.count <= 8);
  aw_hello_fini(&hello);
  free(text);
}

static void connect(subject *s) {
  if (s->extended && !s->is_client) {
    aw_hello hello = {.max_inbound_bytes = 3000, .begun = true};

    memcpy(hello.epoch, s->mux->epoch, sizeof hello.epoch);
    accept_hello(s, &hello);
  } else {
    int rc = aw_mux_attach(s->mux, s->extended, &s->generation);
    demand(rc == 0 || (s->forged && rc == AW_E_CLOSED));
  }
}

static int check_message(void *user, const char *text, size_t len) {
  aw_json_tape tape;
  aw_envelope envelope;
  aw_envelope_error error;
  const subject *s = user;
  char *copy = malloc(len > 0 ? len : 1);

  demand(copy != NULL);
  memcpy(copy, text, len);
  aw_json_tape_init(&tape, aw_mem_default());
  int rc = aw_envelope_read(&envelope, &tape, copy, len, AW_JSON_DEPTH, &error);
  demand(s->forged || rc == 0 ||
         (rc == AW_E_VERSION_MISMATCH && envelope.type_len == 5));
  aw_json_tape_fini(&tape);
  free(copy);
  return 0;
}

static void send_one(aw_channel *channel, const char *type) {
  aw_draft draft;

  if (aw_mux_begin(channel, type, strlen(type), NULL, &draft) == 0) {
    demand(aw_buf_append(draft.out, "{}", 2) == 0);
    (void)aw_draft_commit(&draft);
  }
}

static void fold(aw_channel *channel) {
  aw_draft draft;
  bool may = aw_mux_may_fold(channel);
  int rc = aw_mux_begin_fold(channel, "sync", 4, &draft);

  demand((rc == 0) == may);
  if (rc == 0) {
    demand(aw_buf_append(draft.out, "{}", 2) == 0);
    demand(aw_draft_commit(&draft) == 0 &&
           aw_mux_log_count(&channel->log) == 1);
  }
}

/* Does something to the first channel of the map that is not released. */
static void touch(aw_mux *mux, char letter) {
  size_t cursor = 0;
  aw_channel *channel = NULL;

  channel = aw_mux_next(mux, &cursor);
  if (channel == NULL) {
    return;
  }
  switch (letter) {
  case 'c':
    aw_mux_consume(channel);
    break;
  case 'e':
    send_one(channel, "result");
    break;
  case 'f':
    fold(channel);
    break;
  case 'g':
    aw_mux_give_up(channel);
    break;
  case 'r':
    aw_mux_release(channel);
    break;
  case 's':
    send_one(channel, "note");
    break;
  default:
    send_one(channel, "abort");
  }
}

static void listen(aw_mux *mux) {
  unsigned events = 0;
  aw_refusal refusal;
  aw_control control;

  while (aw_mux_poll(mux, &events) != NULL) {
    demand(events != 0);
  }
  while (aw_mux_refusal(mux, &refusal)) {
    demand(refusal.code < 0 && refusal.what != NULL);
  }
  while (aw_mux_control(mux, &control)) {
    demand(control.message->type_len > 0);
    aw_mux_control_drop(mux);
  }
  while (aw_mux_notice(mux) != AW_MUX_NOTICE_NONE) {
  }
  demand(!aw_mux_has_news(mux));
}

static void act(subject *s, char letter) {
  static const aw_uuid id = {{0xA0, 0, 0, 0, 0, 0, 0x40, 0, 0x80}};
  aw_mux_sink sink = {check_message, s};
  aw_channel *channel = NULL;

  switch (letter) {
  case 'o':
    if (aw_mux_open(s->mux, AW_KIND_AGENT, &id, &channel) == 0) {
      send_one(channel, "agent_start");
    }
    break;
  case 'd':
    aw_mux_detach(s->mux, s->generation, AW_E_IO);
    break;
  case 'a':
    aw_mux_detach(s->mux, s->generation, AW_E_IO);
    connect(s);
    break;
  case 'l':
    listen(s->mux);
    break;
  case 't':
    s->now_ms += AW_FLOW_DELAY_MS;
    aw_mux_clock(s->mux, s->now_ms, 0);
    aw_mux_tick(s->mux);
    break;
  case 'w':
    demand(aw_mux_write(s->mux, &sink, 2000) == 0);
    break;
  default:
    touch(s->mux, letter);
  }
}

/* Each edit is three bytes: where, and what is changed there. */
static void forge(aw_buf *saved, const char *edits, size_t len) {
  const unsigned char *at = (const unsigned char *)edits;
  saved->tail -= 8; /* the seal */
  for (; len >= 3 && aw_buf_len(saved) > 0; len -= 3, at += 3) {
    size_t offset = (at[0] * 256u + at[1]) % aw_buf_len(saved);
    char *byte = aw_buf_bytes(saved) + offset;
    if (at[2] == 'X') {
      saved->tail--; /* the byte goes */
      memmove(byte, byte + 1, aw_buf_len(saved) - offset);
    } else {
      *byte = (char)(*byte ^ at[2]);
    }
  }
  aw_mux_codec c = {.out = saved};
  aw_mux_codec_seal(&c, 0);
  demand(c.rc == 0);
}

static void reload(subject *s, const char *edits, size_t len) {
  aw_buf saved;
  aw_mux *mux = NULL;
  const char *why = NULL;
  uint32_t generation = 0;

  aw_buf_init(&saved, aw_mem_default());
  demand(aw_mux_save(s->mux, &saved) == 0);
  if (len > 0) {
    forge(&saved, edits, len);
  }
  int rc =
      aw_mux_load(&mux, aw_mem_default(), &s->options, aw_buf_bytes(&saved),
                  aw_buf_len(&saved), &generation, &why);
  demand(len > 0 ? rc == 0 || why != NULL : rc == 0);
  if (rc == 0) {
    aw_mux_free(s->mux);
    s->mux = mux;
    s->generation = generation;
    s->extended = s->mux->extended;
    s->forged = s->forged || len > 0;
    aw_mux_clock(mux, s->now_ms, 0);
  }
  aw_buf_fini(&saved);
}

static void hear(subject *s, const char *line, size_t len) {
  char *text = malloc(len > 0 ? len : 1); /* exact, for ASan */

  demand(text != NULL);
  memcpy(text, line, len);
  int rc = aw_mux_receive(s->mux, s->generation, text, len);
  if (rc != 0) {
    demand(rc == AW_E_SEQUENCE_GAP || rc == AW_E_REFUSED || rc == AW_E_CLOSED);
    aw_mux_detach(s->mux, s->generation, rc);
  }
  free(text);
}

static void run_line(subject *s, const char *line, size_t len) {
  if (s->extended && !s->is_client && aw_hello_is(line, len)) {
    hear_hello(s, line, len);
  } else if (len > 0 && line[0] == 'Z') {
    reload(s, line + 1, len - 1);
  } else if (len == 1 && line[0] != '{') {
    act(s, line[0]);
  } else {
    hear(s, line, len);
  }
  demand(mux_find_flaw(s->mux) == NULL);
}

static void run(uint8_t role, const char *text, size_t len) {
  subject s = {.extended = role % 3 != 0, .is_client = role % 3 == 2};
  s.options = (aw_mux_options){.is_client = s.is_client,
                               .scopes_max = 8,
                               .tombs_max = 2,
                               .inbound_bytes = 3000,
                               .control_bytes = 2000,
                               .session_bytes = 4000,
                               .log_bytes = 2000,
                               .seed = {1}};

  define_types(s.types);
  for (int kind = 0; kind < AW_KIND_SCOPES; kind++) {
    s.options.types[kind] = &s.types[kind];
  }
  demand(aw_mux_new(&s.mux, aw_mem_default(), &s.options) == 0);
  connect(&s);
  while (len > 0) {
    const char *end = memchr(text, '\n', len);
    size_t line = end == NULL ? len : (size_t)(end - text);

    run_line(&s, text, line);
    text += line + (end != NULL);
    len -= line + (end != NULL);
  }
  listen(s.mux);
  aw_mux_abandon(s.mux, AW_E_CLOSED);
  demand(mux_find_flaw(s.mux) == NULL);
  demand(s.mux->stats.log_bytes == 0 && s.mux->stats.open_scopes == 0);
  aw_mux_free(s.mux);
  for (int kind = 0; kind < AW_KIND_SCOPES; kind++) {
    aw_types_fini(&s.types[kind]);
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
  if (len > 0) {
    run(data[0], (const char *)data + 1, len - 1);
  }
  return 0;
}
