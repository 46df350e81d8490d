#include "aw_socket.h"
#include "aw_error.h"
#include <limits.h>
#include <stdio.h>

static void on_timer(uv_timer_t *timer);

static void copy_text(char *out, size_t size, const char *text, size_t len) {
  len = len < size ? len : size - 1;
  if (len > 0) {
    memcpy(out, text, len);
  }
  out[len] = '\0';
}

static void arm(aw_socket *s, uint64_t delay_ms) {
  aw_loop_arm(s->base.loop, &s->timer, on_timer, delay_ms);
}

static void on_handle_closed(uv_handle_t *handle) {
  aw_socket *s = handle->data;
  aw_transport_drop(&s->base);
}

static void cancel_opening(aw_socket *s) {
  void (*cancel)(void *opener) = s->cancel;
  s->cancel = NULL;
  if (cancel != NULL) {
    cancel(s->opener);
  }
}

/* Gives back everything but the memory. */
static void let_go(aw_socket *s) {
  aw_node_remove(&s->flush.node);
  aw_stream_free(s->stream);
  s->stream = NULL;
  aw_seat_leave(&s->seat);
  if (!s->let_go) {
    s->let_go = true;
    uv_close((uv_handle_t *)&s->timer, on_handle_closed);
    uv_close((uv_handle_t *)&s->soon, on_handle_closed);
  }
}

void aw_socket_end(aw_socket *s, int error, int code, const char *why) {
  char reason[AW_SOCKET_REASON_MAX];
  if (!aw_transport_alive(&s->base)) {
    return;
  }
  copy_text(reason, sizeof reason, why, strlen(why));
  s->cancel = NULL;
  let_go(s);
  aw_transport_hold(&s->base);
  aw_transport_give_closed(&s->base, error, code, reason);
  aw_transport_drop(&s->base);
}

static void end_as_decided(aw_socket *s) {
  aw_socket_end(s, s->end_error, s->end_code, s->end_reason);
}

static void decide(aw_socket *s, int error, int code, const char *why,
                   size_t len) {
  s->end_error = error;
  s->end_code = code;
  copy_text(s->end_reason, sizeof s->end_reason, why, len);
}

/* Output */

static void mark(aw_socket *s) {
  aw_loop_mark(s->base.loop, &s->flush);
}

static const uint8_t *next_mask(aw_socket *s, uint8_t mask[4]) {
  if (s->settings.is_server) {
    return NULL;
  }
  uint32_t bits = (uint32_t)(aw_random_next(&s->random) >> 32);
  memcpy(mask, &bits, sizeof bits);
  return mask;
}

static int put_frame(aw_socket *s, enum aw_ws_opcode opcode, const char *bytes,
                     size_t len) {
  uint8_t mask[4];
  aw_buf *out = &s->stream->out;
  size_t before = aw_buf_len(out);
  int rc = aw_ws_build(out, opcode, bytes, len, next_mask(s, mask));
  s->base.pending += aw_buf_len(out) - before;
  mark(s);
  return rc;
}

static void put_close(aw_socket *s, int code, const char *why, size_t len) {
  uint8_t mask[4];
  (void)aw_ws_build_close(&s->stream->out, (uint16_t)code, why, len,
                          next_mask(s, mask));
  s->base.pending = aw_stream_pending(s->stream);
  mark(s);
}

static void put_pong(aw_socket *s, const char *bytes, size_t len) {
  if (s->pongs < AW_SOCKET_PONGS_MAX) {
    s->pongs++;
    (void)put_frame(s, AW_WS_PONG, bytes, len);
    return;
  }
  memcpy(s->pong, bytes, len);
  s->pong_len = len;
  s->pong_waits = true;
  mark(s);
}

static void put_waiting_pong(aw_socket *s) {
  if (s->stream == NULL || aw_buf_len(&s->stream->out) > 0) {
    return;
  }
  s->pongs = 0;
  if (s->pong_waits) {
    s->pong_waits = false;
    put_pong(s, s->pong, s->pong_len);
  }
}

static void run_flush(aw_flush *flush) {
  aw_socket *s = AW_CONTAINER(flush, aw_socket, flush);
  if (s->stream == NULL) {
    return;
  }
  aw_transport_hold(&s->base);
  aw_stream_flush(s->stream);
  put_waiting_pong(s);
  if (s->stream != NULL && s->draining && s->settings.is_server && !s->shut) {
    /* RFC 6455 section 7.1.1: the server closes first. */
    s->shut = true;
    aw_stream_shutdown(s->stream);
  }
  aw_transport_drop(&s->base);
}

/* The end */

/* From here on input is read only to be thrown away: closing a socket that has
 * unread input makes a reset, which can overtake our last words. */
static void start_drain(aw_socket *s) {
  s->draining = true;
  if (s->base.state == AW_TRANSPORT_OPEN) {
    s->base.state = AW_TRANSPORT_CLOSING;
  }
  aw_stream_read(s->stream, true);
  arm(s, AW_TRANSPORT_LINGER_MS);
  mark(s);
}

/* What is in the output goes out, then the stream is ended without losing it;
 * `closed` follows with this error. */
static void drain(aw_socket *s, int error, int code, const char *why) {
  decide(s, error, code, why, strlen(why));
  s->base.pending = aw_stream_pending(s->stream);
  start_drain(s);
}

void aw_socket_violate(aw_socket *s, int error, const char *why) {
  uint16_t code = aw_ws_close_code(error);
  if (s->base.state == AW_TRANSPORT_OPEN) {
    put_close(s, code, why, strlen(why));
  }
  drain(s, error, code, why);
}

void aw_socket_reject(aw_socket *s, int error, const char *why) {
  uint16_t code = aw_ws_close_code(error);
  aw_transport_hold(&s->base);
  put_close(s, code, why, strlen(why));
  aw_stream_flush(s->stream);
  aw_socket_end(s, error, code, why);
  aw_transport_drop(&s->base);
}

/* Section 5.5.1: the answer carries the code that came. Whoever closed first
 * decides what the end is called. */
static void take_close(aw_socket *s, const aw_ws_event *event) {
  if (s->base.state == AW_TRANSPORT_OPEN) {
    put_close(s, event->code, NULL, 0);
    decide(s, AW_OK, event->code, event->bytes, event->len);
  }
  start_drain(s);
}

/* Input */

static void take_event(aw_socket *s, const aw_ws_event *event) {
  switch (event->kind) {
  case AW_WS_EVENT_MESSAGE:
    if (s->base.state == AW_TRANSPORT_OPEN) {
      aw_transport_give_message(&s->base, event->bytes, event->len);
    }
    break;
  case AW_WS_EVENT_SKIPPED:
    if (s->base.state == AW_TRANSPORT_OPEN) {
      aw_transport_give_skipped(&s->base, event->bytes, event->len,
                                event->whole);
    }
    break;
  case AW_WS_EVENT_PING:
    aw_transport_toll(&s->base);
    if (s->base.state == AW_TRANSPORT_OPEN) {
      put_pong(s, event->bytes, event->len);
    }
    break;
  case AW_WS_EVENT_CLOSE:
    take_close(s, event);
    break;
  case AW_WS_EVENT_PONG:
    aw_transport_toll(&s->base);
    break;
  case AW_WS_EVENT_NONE:
    break;
  }
}

static void take_frames(aw_socket *s, char *bytes, size_t len) {
  aw_ws_event event;
  size_t used;
  while (!s->draining && aw_transport_alive(&s->base)) {
    int rc = aw_ws_parse(&s->ws, bytes, len, &used, &event);
    if (rc != AW_OK) {
      aw_socket_violate(s, rc, aw_ws_why(&s->ws));
      return;
    }
    if (event.kind == AW_WS_EVENT_NONE) {
      return;
    }
    bytes += used;
    len -= used;
    take_event(s, &event);
  }
}

static void count_part(aw_socket *s) {
  size_t part = aw_buf_len(&s->ws.message) > 0 ? s->ws.message.size : 0;
  aw_transport_keeps(&s->base, part + aw_buf_len(&s->early));
}

static void on_input(void *user, char *bytes, size_t len) {
  aw_socket *s = user;
  if (s->draining) {
    return;
  }
  aw_transport_hold(&s->base);
  take_frames(s, bytes, len);
  count_part(s);
  if (aw_transport_is_flooded(&s->base) && s->stream != NULL) {
    aw_stream_sip(s->stream);
  }
  aw_transport_drop(&s->base);
}

static void on_arrived(void *user, size_t len) {
  aw_socket *s = user;
  aw_transport_received(&s->base, len);
}

/* TLS records are longer than what they carry, so that the rest is measured
 * instead of counted down. */
static void on_sent(void *user, size_t len) {
  aw_socket *s = user;
  s->base.writes++;
  s->base.pending = aw_stream_pending(s->stream) + len;
  aw_transport_sent(&s->base, len);
  put_waiting_pong(s);
}

static void on_ended(void *user, int error, const char *why) {
  aw_socket *s = user;
  if (s->draining) {
    end_as_decided(s);
  } else if (error == AW_E_CLOSED) {
    aw_socket_end(s, AW_E_IO, 1006, "closed by the peer without a close frame");
  } else {
    aw_socket_end(s, error, 1006, why);
  }
}

static const aw_stream_sink stream_sink = {
    .input = on_input,
    .arrived = on_arrived,
    .sent = on_sent,
    .ended = on_ended,
};

/* Time */

static void ping(aw_socket *s, uint64_t now) {
  s->pinged = true;
  s->pinged_ms = now;
  (void)put_frame(s, AW_WS_PING, NULL, 0);
}

/* A host that was stopped for a while finds its timers due before it has read
 * what came meanwhile: look before giving up. */
static bool is_dead(aw_socket *s, uint64_t now) {
  if (now - s->pinged_ms < s->settings.ping_deadline_ms) {
    return false;
  }
  aw_stream_poke(s->stream);
  return aw_transport_alive(&s->base) && s->base.last_in_ms < s->pinged_ms;
}

/* While we do not read, silence tells nothing, but unacknowledged pings do:
 * the kernel watches those. It must not where the peer has shut its window,
 * which for the kernel is no better than being gone. */
static void guard(aw_socket *s, bool on) {
  if (s->guarded != on) {
    uint64_t sum =
        (uint64_t)s->settings.ping_interval_ms + s->settings.ping_deadline_ms;
    s->guarded = on;
    aw_tcp_give_up_after(s->stream->fd, !on             ? 0
                                        : sum < INT_MAX ? (unsigned)sum
                                                        : INT_MAX);
  }
}

/* One timer serves all messages: it is not moved by them, but looks when it
 * is due how long the silence has lasted. A paused socket cannot hear; it
 * pings all the same, so that the peer hears it. */
static void check_life(aw_socket *s) {
  uint64_t now = aw_loop_now(s->base.loop);
  uint64_t silence = now - s->base.last_in_ms;
  unsigned interval = s->settings.ping_interval_ms;
  char why[64];
  if (s->pinged && s->base.last_in_ms >= s->pinged_ms) {
    s->pinged = false;
  }
  if (s->paused) {
    guard(s, !s->stream->blocked);
    if (!s->stream->blocked) {
      ping(s, now);
    }
    arm(s, interval);
  } else if (!s->pinged && silence < interval) {
    arm(s, interval - silence);
  } else if (!s->pinged) {
    ping(s, now);
    arm(s, s->settings.ping_deadline_ms);
  } else if (is_dead(s, now)) {
    (void)snprintf(why, sizeof why, "no answer to a ping within %u ms",
                   s->settings.ping_deadline_ms);
    aw_socket_end(s, AW_E_TIMEOUT, 1006, why);
  } else if (s->base.state == AW_TRANSPORT_OPEN) {
    uint64_t due = s->pinged_ms + s->settings.ping_deadline_ms;
    arm(s, due > now ? due - now : 0);
  }
}

/* Idle connections keep no buffers. */
static void trim(aw_socket *s) {
  if (s->handled == s->base.bytes_out && aw_buf_len(&s->stream->out) == 0) {
    aw_buf_reset(&s->stream->out, 0);
  }
  s->handled = s->base.bytes_out;
}

static void take_early(aw_socket *s) {
  aw_buf early = s->early;
  aw_buf_init(&s->early, early.mem);
  take_frames(s, aw_buf_bytes(&early), aw_buf_len(&early));
  aw_buf_fini(&early);
}

/* Once we have said close, the peer's answer has to be read in any case. */
static bool wants_input(const aw_socket *s) {
  return s->base.state == AW_TRANSPORT_CLOSING ||
         (s->base.state == AW_TRANSPORT_OPEN && !s->paused);
}

static void run_open(aw_socket *s) {
  if (!s->draining && wants_input(s) && aw_buf_len(&s->early) > 0) {
    take_early(s);
  }
  if (s->draining || !aw_transport_alive(&s->base)) {
    return;
  }
  if (wants_input(s)) {
    aw_stream_read(s->stream, true);
  }
  if (s->base.state == AW_TRANSPORT_OPEN) {
    trim(s);
    check_life(s);
  }
}

static void run_timer(aw_socket *s) {
  char why[80];
  if (s->draining || s->stream == NULL) {
    end_as_decided(s);
  } else if (s->base.state == AW_TRANSPORT_OPEN) {
    run_open(s);
  } else {
    (void)snprintf(why, sizeof why, "no answer to a close within %d ms",
                   AW_TRANSPORT_LINGER_MS);
    aw_socket_end(s, AW_E_TIMEOUT, 1006, why);
  }
}

static void on_timer(uv_timer_t *timer) {
  aw_socket *s = timer->data;
  aw_transport_hold(&s->base);
  run_timer(s);
  aw_transport_drop(&s->base);
}

static void on_soon(uv_idle_t *soon) {
  aw_socket *s = soon->data;
  uv_idle_stop(soon);
  aw_transport_hold(&s->base);
  run_open(s);
  aw_transport_drop(&s->base);
}

/* Goes on in the next turn of the loop. */
static void soon(aw_socket *s) {
  uv_idle_start(&s->soon, on_soon);
  aw_loop_ring(s->base.loop);
}

/* The vtable */

static int socket_send(aw_transport *t, const char *bytes, size_t len) {
  aw_socket *s = (aw_socket *)t;
  if (t->state != AW_TRANSPORT_OPEN) {
    return AW_E_CLOSED;
  }
  return put_frame(s, AW_WS_TEXT, bytes, len);
}

static void socket_pause(aw_transport *t, bool paused) {
  aw_socket *s = (aw_socket *)t;
  if (s->paused == paused) {
    return;
  }
  s->paused = paused;
  if (t->state != AW_TRANSPORT_OPEN) {
    return;
  }
  if (paused) {
    aw_stream_read(s->stream, false);
  } else {
    /* The silence was ours. */
    t->last_in_ms = aw_loop_clock(t->loop);
    guard(s, false);
    soon(s);
  }
}

static int legal_code(int code) {
  bool legal = code == 1005 || (code > 0 && aw_ws_code_legal((unsigned)code));
  return legal ? code : 1000;
}

static void socket_close(aw_transport *t, int code, const char *reason) {
  aw_socket *s = (aw_socket *)t;
  size_t len = reason != NULL ? strlen(reason) : 0;
  if (t->state >= AW_TRANSPORT_CLOSING) {
    return;
  }
  decide(s, AW_OK, code, reason, len);
  bool was_open = t->state == AW_TRANSPORT_OPEN;
  t->state = AW_TRANSPORT_CLOSING;
  if (!was_open) {
    cancel_opening(s);
    arm(s, 0);
    return;
  }
  put_close(s, legal_code(code), reason, len);
  arm(s, AW_TRANSPORT_LINGER_MS);
  soon(s);
}

static void socket_free(aw_transport *t) {
  aw_socket *s = (aw_socket *)t;
  aw_transport_mute(t);
  let_go(s);
  cancel_opening(s);
  aw_transport_drop(t);
}

static void socket_shed(aw_transport *t) {
  static const char why[] =
      "the server holds too much input (inbound_process_bytes)";
  aw_socket *s = (aw_socket *)t;
  if (t->state == AW_TRANSPORT_OPEN) {
    put_close(s, 1013, why, sizeof why - 1);
  }
  if (s->stream != NULL && !s->draining) {
    drain(s, AW_E_LIMIT, 1013, why);
  }
  aw_ws_fini(&s->ws);
  aw_buf_fini(&s->early);
  aw_transport_keeps(t, 0);
}

static const aw_transport_ops socket_ops = {
    socket_send, socket_pause, socket_close, socket_free, socket_shed};

static void release_socket(aw_transport *t) {
  aw_socket *s = (aw_socket *)t;
  aw_ws_fini(&s->ws);
  aw_buf_fini(&s->early);
  aw_mem_free(aw_loop_mem(t->loop), s);
}

static void set_default(unsigned *value, unsigned otherwise) {
  if (*value == 0) {
    *value = otherwise;
  }
}

static void fill_settings(aw_socket *s, const aw_socket_settings *given) {
  s->settings = *given;
  set_default(&s->settings.ping_interval_ms, AW_SOCKET_PING_MS);
  set_default(&s->settings.ping_deadline_ms, AW_SOCKET_PING_MS);
}

/* A mask must not be foreseen by whoever chooses the payload (RFC 6455 section
 * 10.3). The seed is the system's entropy, new for each connection; only half
 * of each output shows on the wire, and only to those who carry the bytes. */
static int seed_masks(aw_socket *s) {
  uint8_t seed[32];
  int rc = aw_loop_entropy(seed, sizeof seed);
  aw_random_seed(&s->random, seed);
  return rc;
}

int aw_socket_new(aw_socket **out, aw_loop *loop,
                  const aw_socket_settings *settings) {
  const aw_mem *mem = aw_loop_mem(loop);
  aw_socket *s = aw_mem_zero(mem, 1, sizeof *s);
  if (s == NULL) {
    return AW_E_NOMEM;
  }
  if (!settings->is_server && seed_masks(s) != AW_OK) {
    aw_mem_free(mem, s);
    return AW_E_IO;
  }
  aw_ws_options options = {
      .role = settings->is_server ? AW_WS_SERVER : AW_WS_CLIENT,
      .message_max = settings->message_max,
      .refuse_binary = true,
  };
  aw_transport_init(&s->base, &socket_ops, loop, "websocket", release_socket);
  s->base.info.is_server = settings->is_server;
  s->base.info.agreed = s->base.info.has_codes = true;
  fill_settings(s, settings);
  s->flush.run = run_flush;
  aw_ws_init(&s->ws, mem, &options);
  aw_buf_init(&s->early, mem);
  uv_timer_init(aw_loop_uv(loop), &s->timer);
  s->timer.data = s;
  uv_idle_init(aw_loop_uv(loop), &s->soon);
  s->soon.data = s;
  aw_transport_hold(&s->base);
  aw_transport_hold(&s->base);
  *out = s;
  return AW_OK;
}

void aw_socket_opened_by(aw_socket *s, void (*cancel)(void *opener),
                         void *opener) {
  s->cancel = cancel;
  s->opener = opener;
}

void aw_socket_attach(aw_socket *s, aw_stream *stream, const char *peer) {
  s->cancel = NULL;
  s->stream = stream;
  aw_stream_hand_over(stream, &stream_sink, s);
  copy_text(s->peer, sizeof s->peer, peer, strlen(peer));
  s->base.info.peer = s->peer;
  mark(s); /* what the handshake has said last may still wait */
}

void aw_socket_agree(aw_socket *s, aw_http_span protocol) {
  if (protocol.bytes != NULL && protocol.len < sizeof s->protocol) {
    copy_text(s->protocol, sizeof s->protocol, protocol.bytes, protocol.len);
    s->base.info.protocol = s->protocol;
    s->base.info.extended = strcmp(s->protocol, AW_PROTOCOL_EXTENDED) == 0;
    s->ws.options.skip_large = s->base.info.extended;
  }
}

void aw_socket_open(aw_socket *s, aw_buf *early) {
  s->early = *early;
  aw_buf_init(early, s->early.mem);
  s->base.last_in_ms = aw_loop_clock(s->base.loop);
  aw_stream_read(s->stream, false);
  if (s->settings.is_server) {
    s->base.state = AW_TRANSPORT_OPEN;
    soon(s);
    return;
  }
  aw_transport_hold(&s->base);
  aw_transport_give_open(&s->base);
  run_open(s);
  aw_transport_drop(&s->base);
}
