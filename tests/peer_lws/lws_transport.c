#include "lws_transport.h"
#include "aw_json.h"
#include "aw_utf8.h"
#include "aw_ws.h"
#include "lws_tls.h"
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/socket.h>

#define HANDSHAKE_MS 10000
#define PING_MS 15000

#define KEEP_BYTES 4096 /* what an idle connection keeps of a burst */

static aw_lws_conn *of_transport(aw_transport *t) {
  return (aw_lws_conn *)t;
}

void aw_lws_conn_wake(aw_lws_conn *conn) {
  aw_loop_mark(conn->base.loop, &conn->flush);
}

static void set_timer(aw_lws_conn *conn, uint64_t ms);

static void on_timer_closed(uv_handle_t *handle) {
  aw_lws_conn *conn = handle->data;

  aw_transport_drop(&conn->base);
}

static void close_timer(aw_lws_conn *conn) {
  if (conn->has_timer) {
    conn->has_timer = false;
    uv_close((uv_handle_t *)&conn->timer, on_timer_closed);
  }
}

/* Lets go of libwebsockets' side, which ends with it. libwebsockets would try
 * to send what it still holds first, hence the shutdown. */
static void detach(aw_lws_conn *conn) {
  struct lws *wsi = conn->wsi;

  aw_node_remove(&conn->flush.node);
  if (wsi == NULL) {
    return;
  }
  conn->wsi = NULL;
  lws_set_opaque_user_data(wsi, NULL);
  if (lws_partial_buffered(wsi)) {
    shutdown(lws_get_socket_fd(wsi), SHUT_RDWR);
  }
  if (conn->inside > 0) {
    conn->drop = true;
  } else {
    lws_set_timeout(wsi, PENDING_TIMEOUT_USER_OK, LWS_TO_KILL_SYNC);
  }
  aw_lws_kick(conn->lws);
}

static void let_go(aw_lws_conn *conn) {
  detach(conn);
  close_timer(conn);
  conn->role->ended(conn);
}

void aw_lws_conn_end(aw_lws_conn *conn, int error, int code,
                     const char *reason) {
  aw_transport *t = &conn->base;

  if (!aw_transport_alive(t)) {
    return;
  }
  aw_transport_hold(t);
  let_go(conn);
  if (conn->unowned) {
    aw_transport_mute(t);
    aw_transport_drop(t);
  } else {
    aw_transport_give_closed(t, error, code, reason);
  }
  aw_transport_drop(t);
}

static void end_as_decided(aw_lws_conn *conn) {
  char reason[AW_LWS_REASON_MAX];

  memcpy(reason, conn->end_reason, sizeof reason);
  aw_lws_conn_end(conn, conn->end_error, conn->end_code, reason);
}

static void decide(aw_lws_conn *conn, int error, int code, const char *reason,
                   size_t len) {
  len = len < AW_LWS_REASON_MAX ? len : AW_LWS_REASON_MAX - 1;
  conn->base.state = AW_TRANSPORT_CLOSING;
  conn->decided = true;
  conn->end_error = error;
  conn->end_code = code;
  if (len > 0) {
    memcpy(conn->end_reason, reason, len);
  }
  conn->end_reason[len] = '\0';
  set_timer(conn, AW_TRANSPORT_LINGER_MS);
  aw_lws_conn_wake(conn);
}

static const uint8_t *next_mask(aw_lws_conn *conn, uint8_t mask[4], int *rc) {
  *rc = AW_OK;
  if (conn->base.info.is_server) {
    return NULL;
  }
  *rc = aw_lws_mask(conn->lws, mask);
  return mask;
}

static int put_frame(aw_lws_conn *conn, enum aw_ws_opcode opcode,
                     const char *bytes, size_t len) {
  size_t before = aw_buf_len(&conn->out);
  uint8_t space[4];
  int rc;
  const uint8_t *mask = next_mask(conn, space, &rc);

  if (rc == AW_OK) {
    rc = aw_ws_build(&conn->out, opcode, bytes, len, mask);
  }
  if (rc == AW_OK) {
    conn->base.pending += aw_buf_len(&conn->out) - before;
    aw_lws_conn_wake(conn);
  }
  return rc;
}

/* A code that must not stand in a frame (1006, ...) is sent as none. */
static void put_close(aw_lws_conn *conn, int code, const char *reason) {
  bool legal = code > 0 && aw_ws_code_legal((unsigned)code);
  size_t before = aw_buf_len(&conn->out);
  uint8_t space[4];
  int rc;
  const uint8_t *mask = next_mask(conn, space, &rc);

  if (rc == AW_OK) {
    aw_ws_build_close(&conn->out, legal ? (uint16_t)code : 1005, reason,
                      reason != NULL && legal ? strlen(reason) : 0, mask);
    conn->base.pending += aw_buf_len(&conn->out) - before;
  }
}

void aw_lws_conn_fail(aw_lws_conn *conn, int error, int code,
                      const char *reason) {
  put_close(conn, code, reason);
  decide(conn, error, code, reason, strlen(reason));
}

static int conn_send(aw_transport *t, const char *bytes, size_t len) {
  if (t->state != AW_TRANSPORT_OPEN) {
    return AW_E_CLOSED;
  }
  return put_frame(of_transport(t), AW_WS_TEXT, bytes, len);
}

static void conn_pause(aw_transport *t, bool paused) {
  aw_lws_conn *conn = of_transport(t);

  conn->paused = paused;
  if (aw_transport_alive(t)) {
    aw_lws_conn_wake(conn);
  }
}

static void conn_close(aw_transport *t, int code, const char *reason) {
  aw_lws_conn *conn = of_transport(t);

  if (t->state >= AW_TRANSPORT_CLOSING) {
    return;
  }
  if (t->state == AW_TRANSPORT_OPEN) {
    put_close(conn, code, reason);
  }
  decide(conn, AW_OK, code, reason, reason != NULL ? strlen(reason) : 0);
}

static void conn_free(aw_transport *t) {
  aw_lws_conn *conn = of_transport(t);

  if (aw_transport_alive(t)) {
    let_go(conn);
  }
  aw_transport_mute(t);
  aw_transport_drop(t);
}

static void conn_release(aw_transport *t) {
  aw_lws_conn *conn = of_transport(t);

  aw_node_remove(&conn->flush.node);
  aw_buf_fini(&conn->out);
  aw_buf_fini(&conn->message);
  conn->role->release(conn);
}

static const aw_transport_ops conn_ops = {conn_send, conn_pause, conn_close,
                                          conn_free, NULL};

/* The whole output in one call, because pongs of libwebsockets may come between
 * two calls, and those must not fall into a frame. While it holds a part of the
 * last, nothing may be added. */
static void write_out(aw_lws_conn *conn) {
  size_t len = aw_buf_len(&conn->out);
  int rc;

  if (conn->wsi == NULL || len == 0 || conn->given > 0 ||
      lws_partial_buffered(conn->wsi)) {
    return;
  }
  rc = lws_write(conn->wsi, (unsigned char *)aw_buf_bytes(&conn->out), len,
                 LWS_WRITE_RAW);
  if (rc < 0) {
    aw_lws_conn_end(conn, AW_E_IO, 1006, "the connection was lost");
    return;
  }
  conn->base.writes++;
  aw_buf_consume(&conn->out, len);
  if (lws_partial_buffered(conn->wsi)) {
    conn->given = len;
    aw_lws_kick(conn->lws);
  } else {
    aw_transport_sent(&conn->base, len);
  }
}

/* What libwebsockets held is out. */
static void on_writable(aw_lws_conn *conn) {
  size_t len = conn->given;

  if (len > 0 && !lws_partial_buffered(conn->wsi)) {
    conn->given = 0;
    aw_transport_sent(&conn->base, len);
  }
  write_out(conn);
}

/* An end that was decided reads on, to see the peer's close frame. */
static void apply_pause(aw_lws_conn *conn) {
  bool halt = conn->paused && !conn->decided;

  if (conn->wsi != NULL && conn->halted != halt && conn->ready) {
    conn->halted = halt;
    lws_rx_flow_control(conn->wsi, !halt);
    aw_lws_kick(conn->lws);
  }
}

static void run_flush(aw_flush *flush) {
  aw_lws_conn *conn = AW_CONTAINER(flush, aw_lws_conn, flush);
  aw_transport *t = &conn->base;

  aw_transport_hold(t);
  conn->role->flush(conn);
  if (conn->decided && !conn->ready) {
    end_as_decided(conn); /* closed before it was open */
  }
  if (aw_transport_alive(t)) {
    apply_pause(conn);
    write_out(conn);
  }
  aw_transport_drop(t);
}

static uint64_t silence(const aw_lws_conn *conn) {
  return aw_loop_now(conn->base.loop) - conn->base.last_in_ms;
}

/* While we do not read, silence says nothing. */
static void check_silence(aw_lws_conn *conn) {
  if (aw_buf_len(&conn->out) == 0) {
    aw_buf_reset(&conn->out, KEEP_BYTES);
  }
  if (conn->halted) {
    conn->pinged = false;
    set_timer(conn, conn->ping_interval_ms);
  } else if (conn->pinged) {
    aw_lws_conn_end(conn, AW_E_TIMEOUT, 1006, "the peer does not answer");
  } else if (silence(conn) < conn->ping_interval_ms) {
    set_timer(conn, conn->ping_interval_ms - silence(conn));
  } else {
    conn->pinged = true;
    put_frame(conn, AW_WS_PING, "aw", 2); /* an empty pong is not reported */
    set_timer(conn, conn->ping_deadline_ms);
  }
}

static void on_timer(uv_timer_t *timer) {
  aw_lws_conn *conn = timer->data;
  aw_transport *t = &conn->base;

  aw_transport_hold(t);
  if (conn->decided && !conn->answered && t->pending > 0) {
    aw_lws_conn_end(conn, AW_E_TIMEOUT, 1006, "the peer does not read");
  } else if (conn->decided) {
    end_as_decided(conn);
  } else if (t->state == AW_TRANSPORT_OPEN) {
    check_silence(conn);
  } else {
    aw_lws_conn_end(conn, AW_E_TIMEOUT, 1006, "the handshake timed out");
  }
  aw_transport_drop(t);
}

static void set_timer(aw_lws_conn *conn, uint64_t ms) {
  if (conn->has_timer) {
    uv_timer_start(&conn->timer, on_timer, ms, 0);
  }
}

static unsigned or_default(unsigned value, unsigned otherwise) {
  return value != 0 ? value : otherwise;
}

void aw_lws_conn_limits(aw_lws_conn *conn, size_t message_max,
                        unsigned handshake_ms, unsigned ping_interval_ms,
                        unsigned ping_deadline_ms) {
  conn->message_max = message_max != 0 ? message_max : AW_TRANSPORT_MESSAGE_MAX;
  conn->handshake_ms = or_default(handshake_ms, HANDSHAKE_MS);
  conn->ping_interval_ms = or_default(ping_interval_ms, PING_MS);
  conn->ping_deadline_ms = or_default(ping_deadline_ms, PING_MS);
}

void aw_lws_conn_init(aw_lws_conn *conn, aw_lws *lws, const aw_lws_role *role,
                      bool is_server) {
  aw_transport *t = &conn->base;

  aw_transport_init(t, &conn_ops, lws->loop, "websocket", conn_release);
  t->info.is_server = is_server;
  conn->role = role;
  conn->lws = lws;
  conn->flush.run = run_flush;
  aw_buf_init(&conn->out, lws->mem);
  aw_buf_init(&conn->message, lws->mem);
  uv_timer_init(aw_loop_uv(lws->loop), &conn->timer);
  conn->timer.data = conn;
  conn->has_timer = true;
  aw_transport_hold(t);
  uv_update_time(aw_loop_uv(lws->loop));
  set_timer(conn, conn->handshake_ms);
}

void aw_lws_conn_ready(aw_lws_conn *conn) {
  aw_transport *t = &conn->base;

  t->info.protocol = conn->protocol[0] != '\0' ? conn->protocol : NULL;
  t->info.agreed = t->info.has_codes = true;
  t->info.extended = strcmp(conn->protocol, AW_PROTOCOL_EXTENDED) == 0;
  t->info.peer = conn->peer;
  t->last_in_ms = aw_loop_now(t->loop);
  conn->ready = true;
  set_timer(conn, conn->ping_interval_ms);
}

/* The bytes that stood in front of a frame's payload. */
static size_t header_size(const aw_lws_conn *conn, size_t payload) {
  size_t size = payload < 126 ? 2 : payload < 65536 ? 4 : 10;

  return conn->base.info.is_server ? size + 4 : size;
}

static void heard(aw_lws_conn *conn, size_t len) {
  aw_transport_received(&conn->base, len);
  if (conn->pinged) {
    conn->pinged = false;
    set_timer(conn, conn->ping_interval_ms);
  }
}

static void refuse_text(aw_lws_conn *conn) {
  aw_lws_conn_fail(conn, AW_E_WS_UTF8, 1007, "text message is not UTF-8");
}

static void deliver_whole(aw_lws_conn *conn, char *bytes, size_t len) {
  if (aw_utf8_valid(bytes, len)) {
    aw_transport_give_message(&conn->base, bytes, len);
  } else {
    refuse_text(conn);
  }
}

/* A chunk that is neither the whole message nor too much. */
static void assemble(aw_lws_conn *conn, const char *bytes, size_t len,
                     bool final) {
  static char nothing[1];
  aw_buf *message = &conn->message;
  size_t total;

  conn->utf8 = aw_utf8_check(conn->utf8, bytes, len);
  if (conn->utf8 == AW_UTF8_BAD || (final && conn->utf8 != AW_UTF8_START)) {
    refuse_text(conn);
  } else if (aw_buf_append(message, bytes, len) != AW_OK) {
    aw_lws_conn_fail(conn, AW_E_NOMEM, 1011, "out of memory");
  } else if (final) {
    total = aw_buf_len(message);
    aw_transport_give_message(
        &conn->base, total > 0 ? aw_buf_bytes(message) : nothing, total);
    aw_buf_reset(message, 0);
  }
}

static void receive(aw_lws_conn *conn, char *bytes, size_t len) {
  struct lws *wsi = conn->wsi;
  size_t rest = lws_remaining_packet_payload(wsi);
  bool first = lws_is_first_fragment(wsi) != 0;
  bool final = lws_is_final_fragment(wsi) != 0;

  heard(conn, len);
  if (rest == 0) {
    heard(conn, header_size(conn, len));
    conn->fragments++;
  }
  if (conn->base.state != AW_TRANSPORT_OPEN) {
    return;
  }
  if (lws_frame_is_binary(wsi)) {
    aw_lws_conn_fail(conn, AW_E_WS_UNSUPPORTED, 1003, "binary message");
  } else if (rest + len + aw_buf_len(&conn->message) > conn->message_max) {
    aw_lws_conn_fail(conn, AW_E_WS_TOO_BIG, 1009, "message too big");
  } else if (conn->fragments > AW_WS_FRAGMENTS_MAX) {
    aw_lws_conn_fail(conn, AW_E_WS_POLICY, 1008, "too many fragments");
  } else if (first && final) {
    deliver_whole(conn, bytes, len);
  } else {
    assemble(conn, bytes, len, final);
  }
  if (final) {
    conn->fragments = 0;
  }
}

/* Ours is out: this was the answer. Else both ends close at once, and the
 * answer of libwebsockets takes the place of ours. */
static void answer_to_ours(aw_lws_conn *conn) {
  conn->answered = true;
  if (conn->base.pending == 0) {
    end_as_decided(conn);
    return;
  }
  conn->base.pending -= aw_buf_len(&conn->out);
  aw_buf_reset(&conn->out, 0);
}

static void violate(aw_lws_conn *conn, int error, int code, const char *why) {
  aw_lws_conn_fail(conn, error, code, why);
  write_out(conn);
}

/* libwebsockets answers with the same frame and ends the connection, unless
 * this says -1: then we have answered. It has put 1002 into the frame where it
 * does not like the code, which 1012 to 1014 are among. */
static int on_peer_close(aw_lws_conn *conn, const char *bytes, size_t len) {
  unsigned code = 1005;

  if (conn->decided) {
    answer_to_ours(conn);
    return 0;
  }
  if (len >= 2) {
    code = (unsigned)(unsigned char)bytes[0] << 8 | (unsigned char)bytes[1];
  }
  if (len == 1 || (len >= 2 && !aw_ws_code_legal(code))) {
    violate(conn, AW_E_WS_PROTOCOL, 1002, "illegal close code");
    return -1;
  }
  if (len > 2 && !aw_utf8_valid(bytes + 2, len - 2)) {
    violate(conn, AW_E_WS_UTF8, 1007, "close reason is not UTF-8");
    return -1;
  }
  conn->answered = true;
  decide(conn, AW_OK, (int)code, bytes + 2, len > 2 ? len - 2 : 0);
  return 0;
}

/* Is the peer still there? */
static bool is_alive(struct lws *wsi) {
  SSL *ssl = lws_get_ssl(wsi);
  char byte;
  ssize_t n = recv(lws_get_socket_fd(wsi), &byte, 1, MSG_PEEK | MSG_DONTWAIT);

  return (n > 0 || (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))) &&
         (ssl == NULL || (SSL_get_shutdown(ssl) & SSL_RECEIVED_SHUTDOWN) == 0);
}

/* libwebsockets gives the connection up. A server whose parser found an error
 * has a close frame of its own prepared; a client has not, and does not say
 * why, but when the peer is still there it can be nothing else. */
static void on_given_up(aw_lws_conn *conn) {
  const unsigned char *bytes = lws_get_close_payload(conn->wsi);
  size_t len = (size_t)lws_get_close_length(conn->wsi);

  if (conn->decided || !conn->ready) {
    return;
  }
  if (len >= 2) {
    decide(conn, AW_E_WS_PROTOCOL, bytes[0] << 8 | bytes[1],
           (const char *)bytes + 2, len - 2);
  } else if (is_alive(conn->wsi)) {
    violate(conn, AW_E_WS_PROTOCOL, 1002, "protocol error");
  }
}

static void on_lost(aw_lws_conn *conn) {
  if (conn->decided && (conn->answered || conn->base.pending == 0)) {
    end_as_decided(conn);
  } else {
    aw_lws_conn_end(conn, AW_E_IO, 1006, "the connection was lost");
  }
}

static int dispatch(aw_lws_conn *conn, struct lws *wsi,
                    enum lws_callback_reasons reason, void *in, size_t len) {
  switch (reason) {
  case LWS_CALLBACK_RECEIVE:
  case LWS_CALLBACK_CLIENT_RECEIVE:
    receive(conn, in, len);
    return 0;
  case LWS_CALLBACK_RECEIVE_PONG:
  case LWS_CALLBACK_CLIENT_RECEIVE_PONG:
    heard(conn, len + header_size(conn, len));
    return 0;
  case LWS_CALLBACK_SERVER_WRITEABLE:
  case LWS_CALLBACK_CLIENT_WRITEABLE:
    on_writable(conn);
    return 0;
  case LWS_CALLBACK_WS_PEER_INITIATED_CLOSE:
    return on_peer_close(conn, in, len);
  case LWS_CALLBACK_WS_SERVER_DROP_PROTOCOL:
  case LWS_CALLBACK_WS_CLIENT_DROP_PROTOCOL:
    on_given_up(conn);
    return 0;
  case LWS_CALLBACK_CLOSED:
  case LWS_CALLBACK_CLIENT_CLOSED:
    on_given_up(conn);
    on_lost(conn);
    return 0;
  case LWS_CALLBACK_WSI_DESTROY:
    if (conn->base.state == AW_TRANSPORT_OPENING) {
      conn->role->lost(conn, wsi, "the connection was lost");
    } else {
      on_lost(conn);
    }
    return 0;
  default:
    return conn->role->handle(conn, reason, in, len);
  }
}

/* Counts those too that were let go. */
static void on_destroy(struct lws *wsi) {
  aw_lws_context *context = lws_context_user(lws_get_context(wsi));

  if (context == &context->lws->small && context->used > 0) {
    context->used--;
  }
}

int aw_lws_callback(struct lws *wsi, enum lws_callback_reasons reason,
                    void *user, void *in, size_t len) {
  aw_lws_conn *conn = wsi != NULL ? lws_get_opaque_user_data(wsi) : NULL;
  int rc = 0;

  if (reason == LWS_CALLBACK_OPENSSL_LOAD_EXTRA_SERVER_VERIFY_CERTS) {
    aw_lws_context *context = lws_context_user(lws_get_context(wsi));

    aw_lws_tls_adopt(user, context->lws);
    return 0;
  }
  if (conn != NULL) {
    aw_transport_hold(&conn->base);
    conn->inside++;
    if (reason == LWS_CALLBACK_OPENSSL_PERFORM_SERVER_CERT_VERIFICATION) {
      conn->role->verdict(conn, user, len != 0);
    } else {
      rc = dispatch(conn, wsi, reason, in, len);
    }
    conn->inside--;
    if (conn->drop && conn->inside == 0) {
      conn->drop = false;
      rc = -1;
    }
    aw_transport_drop(&conn->base);
  } else if (reason == LWS_CALLBACK_RECEIVE ||
             reason == LWS_CALLBACK_CLIENT_RECEIVE) {
    rc = -1; /* let go while it still had input */
  }
  if (reason == LWS_CALLBACK_WSI_DESTROY) {
    on_destroy(wsi);
  }
  return rc;
}

void aw_lws_format_address(const struct sockaddr *address,
                           char text[AW_LWS_PEER_MAX]) {
  bool six = address->sa_family == AF_INET6;
  char host[INET6_ADDRSTRLEN] = "?", port[8] = "?";

  getnameinfo(
      address, six ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in),
      host, sizeof host, port, sizeof port, NI_NUMERICHOST | NI_NUMERICSERV);
  snprintf(text, AW_LWS_PEER_MAX, six ? "[%s]:%s" : "%s:%s", host, port);
}

void aw_lws_tune(int fd, unsigned ping_ms) {
  int on = 1;

  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &ping_ms, sizeof ping_ms);
}
