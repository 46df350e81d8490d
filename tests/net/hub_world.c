#include "hub_world.h"
#include "aw_error.h"
#include "aw_hub.h"
#include "aw_socket.h"
#include "world_kit.h"
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PEERS 6
#define CONNS 8
#define NAPS 2
#define LOG_BYTES 3000
#define IN_BYTES 30000

typedef struct peer {
  int fd; /* -1: none */
  unsigned greeted;
} peer;

typedef struct world {
  aw_loop *loop;
  aw_hub *hub;
  aw_types types;
  aw_conn *conns[CONNS];
  peer peers[PEERS];
  unsigned attempt, naps;
  world_choices choices;
} world;

static world w;

static unsigned next_byte(void) {
  return world_choose(&w.choices);
}

/* The server's side */

static void on_accepted(void *user, aw_conn *conn) {
  (void)user;
  for (int i = 0; i < CONNS; i++) {
    if (w.conns[i] == NULL) {
      w.conns[i] = conn;
      return;
    }
  }
  aw_conn_free(conn); /* as an owner may */
}

static const aw_stream_sink no_sink;

/* The opening handshake has been: the server gets one end of a pair. */
static void take_fd(int fd, const char *protocol) {
  aw_socket_settings settings = {.is_server = true, .message_max = 5000};
  aw_http_span span = {protocol, strlen(protocol)};
  aw_socket *s = NULL;
  aw_stream *stream = NULL;
  aw_buf early;

  aw_buf_init(&early, aw_mem_default());
  demand(aw_socket_new(&s, w.loop, &settings) == 0);
  demand(aw_stream_adopt(&stream, w.loop, fd, &no_sink, NULL) == 0);
  aw_socket_agree(s, span);
  aw_socket_attach(s, stream, "0.0.0.0:0");
  aw_socket_open(s, &early);
  aw_hub_take(w.hub, &s->base);
}

static void send_one(aw_conn *conn, aw_channel *channel, unsigned count) {
  aw_draft draft;

  for (unsigned i = 0; i < count; i++) {
    if (aw_mux_begin(channel, "note", 4, NULL, &draft) != 0) {
      break;
    }
    char text[300];
    int len = snprintf(text, sizeof text, "{\"t\":\"%0250u\"}", i);
    demand(aw_buf_append(draft.out, text, (size_t)len) == 0);
    (void)aw_draft_commit(&draft);
  }
  aw_conn_touch(conn);
}

static void use_channel(aw_conn *conn, aw_channel *channel, unsigned how) {
  switch (how % 4) {
  case 0:
    aw_mux_release(channel);
    break;
  case 1:
    while (aw_channel_peek(channel) != NULL) {
      aw_mux_consume(channel);
    }
    break;
  default:
    send_one(conn, channel, how);
  }
}

/* What an application does with the news of a connection. */
static void use_conn(aw_conn *conn, unsigned how) {
  aw_mux *mux = aw_conn_mux(conn);
  aw_channel *channel = NULL;
  unsigned events = 0;
  aw_refusal refusal;
  aw_control control;

  while ((channel = aw_mux_poll(mux, &events)) != NULL) {
    use_channel(conn, channel, how);
  }
  while (aw_mux_refusal(mux, &refusal)) {
    (void)aw_mux_send_error(mux, "invalid", "no", 2);
  }
  while (aw_mux_control(mux, &control)) {
    aw_mux_control_drop(mux);
  }
  while (aw_mux_notice(mux) != AW_MUX_NOTICE_NONE) {
  }
  aw_conn_touch(conn);
}

/* The first connection from `which` on. */
static aw_conn **pick_conn(unsigned which) {
  for (unsigned i = 0; i < CONNS; i++) {
    aw_conn **slot = &w.conns[(which + i) % CONNS];
    if (*slot != NULL) {
      return slot;
    }
  }
  return NULL;
}

static void own(unsigned what, unsigned which) {
  aw_conn **slot = pick_conn(which);

  if (slot == NULL) {
    return;
  }
  switch (what) {
  case 0:
    aw_conn_cut(*slot, "test");
    break;
  case 1:
    aw_conn_close(*slot, 1000, "test");
    break;
  case 2:
    aw_conn_abandon(*slot, AW_E_CLOSED, "test");
    break;
  case 3:
    aw_conn_free(*slot);
    *slot = NULL;
    break;
  default:
    use_conn(*slot, which);
  }
}

static void turn(void) {
  unsigned events = 0;

  aw_loop_step(w.loop);
  while (aw_loop_ready(w.loop, &events) != NULL) {
  }
  for (int i = 0; i < CONNS; i++) {
    if (w.conns[i] != NULL && aw_conn_is_closed(w.conns[i])) {
      aw_conn_free(w.conns[i]);
      w.conns[i] = NULL;
    }
  }
}

static void nap(unsigned how) {
  if (how % 8 == 0 && w.naps++ < NAPS) {
    aw_loop_wait(w.loop, 12);
  }
}

/* The peers' side */

static void hang_up(peer *p) {
  if (p->fd >= 0) {
    close(p->fd);
    p->fd = -1;
  }
}

static void come(peer *p, bool extended) {
  int fds[2];

  hang_up(p);
  demand(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0,
                    fds) == 0);
  p->fd = fds[0];
  take_fd(fds[1], extended ? AW_PROTOCOL_EXTENDED : AW_PROTOCOL_BASE);
}

static void put(const peer *p, const void *bytes, size_t len) {
  (void)!send(p->fd, bytes, len, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* Masked with zeros. */
static void put_frame(const peer *p, uint8_t first, const char *bytes,
                      size_t len) {
  char frame[2100] = {(char)first, (char)(0x80 | 126), (char)(len >> 8),
                      (char)len};

  demand(len <= sizeof frame - 8);
  if (len < 126) {
    frame[1] = (char)(0x80 | len);
    memcpy(frame + 6, bytes, len);
    memset(frame + 2, 0, 4);
    put(p, frame, len + 6);
    return;
  }
  memcpy(frame + 8, bytes, len);
  put(p, frame, len + 8);
}

static void say(const peer *p, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void say(const peer *p, const char *format, ...) {
  char text[2000];
  va_list arguments;

  va_start(arguments, format);
  int len = vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  put_frame(p, 0x81, text, (size_t)len);
}

#define HEAD(type, id)                                                         \
  "{\"type\":\"" type "\",\"" id "\":\"a0000000-0000-4000-8000-%012u\","       \
  "\"message_id\":\"b0000000-0000-4000-8000-000000000001\","                   \
  "\"sequence\":%u,\"timestamp\":0,\"version\":1,\"payload\":"

/* Few ids and keys, so that twins are common. */
static void greet(peer *p, unsigned how) {
  unsigned attempt = how & 0x40 ? how % 5 : ++w.attempt;

  p->greeted = how % 3;
  say(p,
      HEAD("hello", "connection_id") "{\"key\":\"%032u\",\"attempt\":%u,"
                                     "\"max_inbound_bytes\":%u,\"scopes\":"
                                     "[],\"more\":%s}}",
      p->greeted, 0, (how & 0x1c) == 0x1c ? 1u : 0u, attempt,
      how & 0x80 ? 100000u : 500u, (how & 0x38) == 0x38 ? "true" : "false");
}

static void open_scope(const peer *p, unsigned how) {
  say(p, HEAD("stream_request", "stream_id") "{\"t\":\"%0*u\"}}", how % 6,
      how & 0x40 ? 2u : 1u, (int)(how & 0x80 ? 1500 : 10), 0);
}

static void grant(const peer *p, unsigned how) {
  say(p,
      HEAD("flow", "connection_id") "{\"scopes\":[[\"provider\","
                                    "\"a0000000-0000-4000-8000-%012u\","
                                    "%u,9999,999999]],"
                                    "\"connection_limit_bytes\":%u}}",
      p->greeted, 0, how % 6, how & 0x40 ? how % 9 : 0,
      how & 0x80 ? 1u : 99999999u);
}

static void flood(const peer *p, unsigned how) {
  for (unsigned i = 0; i < how % 40; i++) {
    if (how & 0x80) {
      put_frame(p, 0x89, "ping", 4);
    } else {
      say(p, HEAD("ping", "stream_id") "{}}", i, 0);
    }
  }
}

static void listen_to(const peer *p) {
  char bytes[4096];

  while (recv(p->fd, bytes, sizeof bytes, MSG_DONTWAIT) > 0) {
  }
}

static void speak(peer *p, unsigned what, unsigned how) {
  char raw[16];

  switch (what) {
  case 3:
  case 4:
  case 5:
    greet(p, how);
    break;
  case 6:
  case 7:
    open_scope(p, how);
    break;
  case 8:
    grant(p, how);
    break;
  case 9:
    flood(p, how);
    break;
  case 10:
    listen_to(p);
    break;
  case 11:
    for (size_t i = 0; i < how % sizeof raw; i++) {
      raw[i] = (char)next_byte();
    }
    put(p, raw, how % sizeof raw);
    break;
  case 12:
    put_frame(p, 0x88, "\3\350", how & 1 ? 2 : 0);
    break;
  case 13:
    put_frame(p, how & 1 ? 0x01 : 0x80, "{\"type\":", how & 2 ? 8 : 0);
    break;
  default:
    hang_up(p);
  }
}

static void step(void) {
  unsigned what = next_byte(), how = next_byte();
  peer *p = &w.peers[what / 24 % PEERS];

  what %= 24;
  if (what < 3) {
    come(p, what > 0);
  } else if (what < 15) {
    if (p->fd >= 0) {
      speak(p, what, how);
    }
  } else if (what < 19) {
    own(how >> 4, how);
  } else if (what < 23) {
    turn();
  } else {
    nap(how);
  }
}

/* The counters agree with what is there. */
static void check(void) {
  size_t logs = 0;

  for (int i = 0; i < CONNS; i++) {
    if (w.conns[i] != NULL) {
      const aw_mux *mux = aw_conn_mux(w.conns[i]);
      logs += aw_mux_stats_get(mux)->log_bytes;
    }
  }
  demand(aw_hub_log_bytes(w.hub) <= logs);
  demand(aw_hub_sessions(w.hub) <= 2);
}

static void begin(void) {
  aw_hub_options options = {.log_bytes = LOG_BYTES,
                            .in_bytes = IN_BYTES,
                            .greeting_ms = 10,
                            .sessions_max = 2,
                            .mux = {.scopes_max = 4,
                                    .tombs_max = 2,
                                    .inbound_bytes = 4000,
                                    .control_bytes = 2000,
                                    .session_bytes = 8000,
                                    .log_bytes = 4000,
                                    .window_ms = 10}};

  aw_types_init(&w.types, aw_mem_default());
  demand(aw_types_add(&w.types, "stream_request", 14, AW_TYPE_OPENS) == 0);
  demand(aw_types_add(&w.types, "result", 6, AW_TYPE_ENDS) == 0);
  demand(aw_types_add(&w.types, "ping", 4, AW_TYPE_FLOATS) == 0);
  for (int kind = 0; kind < AW_KIND_SCOPES; kind++) {
    options.mux.types[kind] = &w.types;
  }
  demand(aw_loop_new(&w.loop, aw_mem_default()) == 0);
  demand(aw_hub_new(&w.hub, w.loop, &options, on_accepted, NULL) == 0);
  for (int i = 0; i < PEERS; i++) {
    w.peers[i].fd = -1;
  }
}

static void finish(void) {
  for (int i = 0; i < PEERS; i++) {
    hang_up(&w.peers[i]);
  }
  turn();
  for (int i = 0; i < CONNS; i++) {
    aw_conn_free(w.conns[i]);
  }
  demand(aw_hub_sessions(w.hub) == 0);
  demand(aw_hub_log_bytes(w.hub) == 0);
  aw_hub_free(w.hub);
  aw_loop_free(w.loop);
  aw_types_fini(&w.types);
}

void hub_world_run(const uint8_t *bytes, size_t len) {
  w = (world){.choices = {bytes, len}};
  begin();
  while (w.choices.left > 0) {
    step();
    check();
  }
  finish();
}
