/* The client's side of the opening handshake: it owns the stream until the
 * server has agreed, then hands it to the socket. */
#include "aw_dial.h"
#include "aw_error.h"
#include "aw_socket.h"
#include "aw_tls_cache.h"
#include <stdio.h>

/* Answers of 1xx before the one that counts (RFC 9110 section 15.2). */
#define INTERIM_MAX 16

/* What is told of a refusal's body, and how long it is waited for. */
#define BODY_MAX 160
#define BODY_WAIT_MS 250

#define WHY_MAX AW_SOCKET_REASON_MAX

/* The way through a proxy. */
enum tunnel { TUNNEL_NONE, TUNNEL_WANTED, TUNNEL_ASKED, TUNNEL_OPEN };

typedef struct opening {
  const aw_mem *mem;
  aw_loop *loop;
  aw_socket *socket; /* NULL: it is over */
  aw_dial *dial;     /* until there is a stream */
  aw_stream *stream;
  aw_flush flush;
  uv_timer_t timer; /* the deadline, and then that of a refusal's body */
  unsigned handshake_ms;
  enum tunnel tunnel;
  char *proxy_host, *proxy_user, *tunnel_to;
  unsigned proxy_port;
  bool refused; /* a head that refuses is in `in`, its body follows */
  unsigned interim;
  char why[WHY_MAX];
  const char *phase;
  SSL_CTX *context;
  aw_buf in;
  char key[AW_HTTP_KEY_TEXT];
  char peer[AW_TCP_ADDRESS_TEXT];
  unsigned port;
  char *host, *authority, *target, *protocols, *headers, *name;
} opening;

static void free_opening(opening *o) {
  SSL_CTX_free(o->context);
  aw_buf_fini(&o->in);
  aw_mem_free(o->mem, o->host);
  aw_mem_free(o->mem, o->authority);
  aw_mem_free(o->mem, o->target);
  aw_mem_free(o->mem, o->protocols);
  aw_mem_free(o->mem, o->headers);
  aw_mem_free(o->mem, o->name);
  aw_mem_free(o->mem, o->proxy_host);
  aw_mem_free(o->mem, o->proxy_user);
  aw_mem_free(o->mem, o->tunnel_to);
  aw_mem_free(o->mem, o);
}

static void on_timer_closed(uv_handle_t *handle) {
  free_opening(handle->data);
}

/* The socket has lost interest, or has all it needs. The memory lives until
 * libuv has let go of the timer, so that whoever works on it may come back. */
static void leave(opening *o) {
  o->socket = NULL;
  aw_dial_cancel(o->dial);
  o->dial = NULL;
  aw_node_remove(&o->flush.node);
  aw_stream_free(o->stream);
  o->stream = NULL;
  uv_close((uv_handle_t *)&o->timer, on_timer_closed);
}

static void on_cancelled(void *opener) {
  leave(opener);
}

static void fail(opening *o, int error, const char *why) {
  aw_socket *s = o->socket;
  leave(o);
  aw_socket_end(s, error, 1006, why);
}

static void refuse(opening *o, int error, const char *why) {
  (void)snprintf(o->why, sizeof o->why, "handshake refused: %s", why);
  fail(o, error, o->why);
}

/* Asking */

static void run_flush(aw_flush *flush) {
  opening *o = AW_CONTAINER(flush, opening, flush);
  aw_stream_flush(o->stream);
}

static void sent_or_fail(opening *o, int rc) {
  if (rc != AW_OK) {
    fail(o, rc, aw_error_text(rc));
    return;
  }
  aw_loop_mark(o->loop, &o->flush);
}

static void ask_proxy(opening *o) {
  size_t len = o->proxy_user != NULL ? strlen(o->proxy_user) : 0;
  o->tunnel = TUNNEL_ASKED;
  o->phase = "waiting for the proxy's answer";
  sent_or_fail(o, aw_http_build_connect(&o->stream->out, o->tunnel_to,
                                        (aw_http_span){o->proxy_user, len}));
}

static void ask_server(opening *o) {
  unsigned char random[16];
  o->phase = "waiting for the answer to the upgrade";
  if (aw_loop_entropy(random, sizeof random) != AW_OK) {
    fail(o, AW_E_IO, "no entropy");
    return;
  }
  aw_http_make_key(random, o->key);
  sent_or_fail(o,
               aw_http_build_request(&o->stream->out, o->authority, o->target,
                                     o->key, o->protocols, o->headers));
}

static void secure(opening *o) {
  aw_tls *tls = NULL;
  o->phase = "in the TLS handshake";
  if (aw_tls_new(&tls, o->mem, o->context, o->name) != AW_OK) {
    fail(o, AW_E_NOMEM, "out of memory");
    return;
  }
  aw_stream_secure(o->stream, tls);
}

/* With a proxy TLS comes later, inside of its tunnel. */
static void greet(opening *o) {
  if (o->tunnel == TUNNEL_WANTED) {
    ask_proxy(o);
  } else if (o->context != NULL) {
    secure(o);
  } else {
    ask_server(o);
  }
}

/* Why it was refused */

/* A text under way, which is cut where it does not fit. */
typedef struct words {
  char *text;
  size_t len, room;
} words;

static void say(words *w, const char *text) {
  size_t len = strlen(text), left = w->room - w->len;
  len = len < left ? len : left;
  memcpy(w->text + w->len, text, len);
  w->len += len;
}

/* Where it leads, or what the body says unless that is the reason again. */
static void say_more(words *w, const aw_http_head *head, const char *body,
                     size_t len) {
  aw_http_span location = aw_http_find(head, "Location");
  char text[BODY_MAX];
  size_t got;
  if (head->status >= 300 && head->status < 400 && location.bytes != NULL) {
    say(w, ", it points to ");
    w->len += aw_http_public_url(location, w->text + w->len, w->room - w->len);
    return;
  }
  (void)aw_http_read_body(head, body, len, text, sizeof text, &got);
  got = aw_http_excerpt(text, got, text, sizeof text);
  while (got > 0 && text[got - 1] == ' ') {
    got--;
  }
  if (got == 0 ||
      (got == head->reason.len && memcmp(text, head->reason.bytes, got) == 0)) {
    return;
  }
  say(w, ": ");
  got = got < w->room - w->len ? got : w->room - w->len;
  w->len += aw_http_excerpt(text, got, w->text + w->len, got);
}

/* Nobody's secrets, and nothing that could write to a terminal. */
static void explain_refusal(opening *o) {
  words w = {o->why, 0, sizeof o->why - 1};
  aw_http_head head;
  char status[24];
  size_t used;
  (void)aw_http_parse(&head, aw_buf_bytes(&o->in), aw_buf_len(&o->in), 0, false,
                      &used);
  (void)snprintf(status, sizeof status, "HTTP %d", head.status);
  if (o->tunnel == TUNNEL_ASKED) {
    say(&w, "refused by the proxy ");
    say(&w, o->proxy_host);
    say(&w, ": ");
  } else {
    say(&w, "handshake refused: ");
  }
  say(&w, status);
  if (head.reason.len > 0) {
    size_t len = head.reason.len < 80 ? head.reason.len : 80;
    say(&w, " ");
    w.len += aw_http_excerpt(head.reason.bytes, len, w.text + w.len, len);
  }
  say_more(&w, &head, aw_buf_bytes(&o->in) + used, aw_buf_len(&o->in) - used);
  o->why[w.len] = '\0';
}

static void end_refused(opening *o) {
  explain_refusal(o);
  fail(o, AW_E_REFUSED, o->why);
}

static void on_timer(uv_timer_t *timer) {
  opening *o = timer->data;
  if (o->refused) {
    end_refused(o);
    return;
  }
  (void)snprintf(
      o->why, sizeof o->why,
      "handshake not finished within %u ms: %s (%.120s:%u)", o->handshake_ms,
      o->dial != NULL ? aw_dial_phase(o->dial) : o->phase, o->host, o->port);
  fail(o, AW_E_TIMEOUT, o->why);
}

/* The body says more than the status, if it comes soon. */
static void await_body(opening *o, const aw_http_head *head, size_t used) {
  char body[BODY_MAX];
  size_t got;
  if (aw_http_read_body(head, aw_buf_bytes(&o->in) + used,
                        aw_buf_len(&o->in) - used, body, sizeof body, &got)) {
    end_refused(o);
  } else if (!o->refused) {
    o->refused = true;
    aw_loop_arm(o->loop, &o->timer, on_timer, BODY_WAIT_MS);
  }
}

/* Whatever speaks first on a port of another kind. */
static const char *name_mistake(const opening *o, const char *why) {
  const char *bytes = aw_buf_bytes(&o->in);
  size_t len = aw_buf_len(&o->in);
  if (len >= 2 && (bytes[0] == 0x15 || bytes[0] == 0x16) && bytes[1] == 3) {
    return "the answer is TLS: wss:// may be meant";
  }
  return len >= 5 && memcmp(bytes, "HTTP/", 5) == 0 ? why
                                                    : "the answer is not HTTP";
}

/* The answer */

/* A client that gets no subprotocol closes with 1002 (docs/wire.md section 1);
 * to do so it has to be a WebSocket first. */
static void open_socket(opening *o, aw_http_span protocol, size_t used) {
  aw_socket *s = o->socket;
  aw_stream *stream = o->stream;
  aw_buf early = o->in;
  bool lacking = protocol.bytes == NULL && o->protocols != NULL;
  aw_socket_agree(s, protocol);
  aw_buf_consume(&early, used);
  aw_buf_init(&o->in, o->mem);
  o->stream = NULL;
  leave(o);
  aw_socket_attach(s, stream, o->peer);
  if (lacking) {
    aw_buf_fini(&early);
    aw_socket_reject(s, AW_E_WS_PROTOCOL,
                     "no subprotocol was agreed: the server speaks none of "
                     "ours");
    return;
  }
  aw_socket_open(s, &early);
}

/* The tunnel is there: what follows is said to the server. */
static void enter_tunnel(opening *o, size_t used) {
  aw_buf_consume(&o->in, used);
  if (aw_buf_len(&o->in) > 0 || aw_stream_pending(o->stream) > 0) {
    /* Nobody has asked the server for anything, and it speaks second. */
    refuse(o, AW_E_REFUSED, "the proxy answered more than it was asked");
    return;
  }
  o->tunnel = TUNNEL_OPEN;
  greet(o);
}

static void take_final(opening *o, aw_http_head *head, size_t used) {
  aw_http_span protocol;
  if (o->tunnel == TUNNEL_ASKED) {
    if (head->status / 100 == 2) {
      enter_tunnel(o, used);
    } else {
      await_body(o, head, used);
    }
  } else if (aw_http_check_response(head, o->key, o->protocols, &protocol) ==
             0) {
    open_socket(o, protocol, used);
  } else if (head->status == 101) {
    refuse(o, AW_E_REFUSED, head->why);
  } else {
    await_body(o, head, used);
  }
}

/* False: more input is needed, or all is decided. */
static bool take_answer(opening *o) {
  aw_http_head head;
  size_t used;
  int rc = aw_http_parse(&head, aw_buf_bytes(&o->in), aw_buf_len(&o->in), 0,
                         false, &used);
  if (rc == AW_E_AGAIN) {
    return false;
  }
  if (rc != AW_OK) {
    refuse(o, AW_E_REFUSED, name_mistake(o, head.why));
    return false;
  }
  if (head.status >= 200 || head.status == 101) {
    take_final(o, &head, used);
    return false;
  }
  if (++o->interim > INTERIM_MAX) {
    refuse(o, AW_E_REFUSED, "too many interim answers");
    return false;
  }
  aw_buf_consume(&o->in, used);
  return true;
}

/* The stream */

static void on_secured(void *user) {
  ask_server(user);
}

static void on_input(void *user, char *bytes, size_t len) {
  opening *o = user;
  if (aw_buf_append(&o->in, bytes, len) != AW_OK) {
    refuse(o, AW_E_NOMEM, "out of memory");
    return;
  }
  while (take_answer(o)) {
  }
}

static void on_arrived(void *user, size_t len) {
  opening *o = user;
  aw_transport_received(&o->socket->base, len);
}

static void on_sent(void *user, size_t len) {
  (void)user; /* no one waits for room yet */
  (void)len;
}

static bool is_tls_error(int error) {
  return error <= AW_E_TLS && error >= AW_E_TLS_NONE;
}

/* What the stream says of its end does not say whose end it was. */
static void on_ended(void *user, int error, const char *why) {
  opening *o = user;
  char text[WHY_MAX];
  if (o->refused) {
    end_refused(o); /* that the body ended so is no other reason */
    return;
  }
  if (is_tls_error(error)) {
    bool renamed = strcmp(o->name, o->host) != 0;
    (void)snprintf(text, WHY_MAX, "TLS with %.80s:%u%s%.60s: %.80s", o->host,
                   o->port, renamed ? " as " : "", renamed ? o->name : "", why);
  } else if (error == AW_E_CLOSED || error == AW_E_IO) {
    (void)snprintf(text, WHY_MAX, "%.80s while %s (%.80s:%u)", why, o->phase,
                   o->host, o->port);
  } else {
    (void)snprintf(text, WHY_MAX, "%s", why);
  }
  fail(o, error, text);
}

static const aw_stream_sink stream_sink = {.secured = on_secured,
                                           .input = on_input,
                                           .arrived = on_arrived,
                                           .sent = on_sent,
                                           .ended = on_ended};

/* The dial */

static void on_connected(void *user, aw_stream *stream,
                         const struct sockaddr *address) {
  opening *o = user;
  o->dial = NULL;
  o->stream = stream;
  aw_tcp_format(address, true, o->peer);
  aw_tcp_tune(stream->fd);
  aw_stream_hand_over(stream, &stream_sink, o);
  greet(o);
}

static void on_failed(void *user, int error, const char *why) {
  opening *o = user;
  o->dial = NULL;
  fail(o, error, why);
}

static const aw_dial_sink dial_sink = {on_connected, on_failed};

/* Starting */

static bool copy_optional(const aw_mem *mem, char **out, const char *text) {
  return text == NULL || text[0] == '\0' ||
         aw_mem_text(mem, out, text, strlen(text));
}

/* host:port, as CONNECT wants it. */
static char *make_target(const aw_mem *mem, const aw_http_url *url) {
  size_t size = url->host.len + 16;
  char *text = aw_mem_alloc(mem, size);
  if (text != NULL) {
    (void)snprintf(text, size, url->is_ipv6 ? "[%.*s]:%u" : "%.*s:%u",
                   (int)url->host.len, url->host.bytes, url->port);
  }
  return text;
}

static int copy_proxy(opening *o, const aw_http_url *url, const char *proxy,
                      const char **why) {
  aw_http_url way;
  aw_buf scratch;
  int rc = aw_http_parse_proxy(&way, proxy, strlen(proxy), why);
  if (rc != AW_OK) {
    return rc;
  }
  if (url->file.bytes != NULL) {
    *why = "there is no proxy to a Unix socket";
    return AW_E_INVALID;
  }
  *why = "out of memory";
  o->tunnel = TUNNEL_WANTED;
  o->proxy_port = way.port;
  o->tunnel_to = make_target(o->mem, url);
  bool ok = o->tunnel_to != NULL &&
            aw_mem_text(o->mem, &o->proxy_host, way.host.bytes, way.host.len) &&
            (way.user.bytes == NULL ||
             aw_mem_text(o->mem, &o->proxy_user, way.user.bytes, way.user.len));
  if (!ok) {
    return AW_E_NOMEM;
  }
  aw_buf_init(&scratch, o->mem);
  rc = aw_http_build_connect(&scratch, o->tunnel_to, way.user);
  aw_buf_fini(&scratch);
  if (rc == AW_E_INVALID) {
    *why = "proxy has a user or password that cannot be sent";
  }
  return rc;
}

static char *make_authority(const aw_mem *mem, const aw_http_url *url,
                            const char *host) {
  if (host != NULL) {
    char *copy = NULL;
    (void)aw_mem_text(mem, &copy, host, strlen(host));
    return copy;
  }
  size_t size = url->host.len + 16;
  char *text = aw_mem_alloc(mem, size);
  if (text == NULL) {
    return NULL;
  }
  int len = snprintf(text, size, url->is_ipv6 ? "[%.*s]" : "%.*s",
                     (int)url->host.len, url->host.bytes);
  if (url->port != (url->secure ? 443u : 80u)) {
    (void)snprintf(text + len, size - (size_t)len, ":%u", url->port);
  }
  return text;
}

static int copy_options(opening *o, const aw_http_url *url,
                        const aw_websocket_options *given) {
  const char *protocols = given->protocols != NULL ? given->protocols
                                                   : AW_PROTOCOL_EXTENDED
                              ", " AW_PROTOCOL_BASE;
  const char *name = given->tls != NULL ? given->tls->name : NULL;
  o->port = url->port;
  o->handshake_ms = given->handshake_ms != 0 ? given->handshake_ms
                                             : AW_WEBSOCKET_HANDSHAKE_MS;
  o->authority = make_authority(o->mem, url, given->host);
  bool ok =
      o->authority != NULL &&
      aw_mem_text(o->mem, &o->host, url->host.bytes, url->host.len) &&
      aw_mem_text(o->mem, &o->target, url->target.bytes, url->target.len) &&
      copy_optional(o->mem, &o->protocols, protocols) &&
      copy_optional(o->mem, &o->headers, given->headers) &&
      copy_optional(o->mem, &o->name, name != NULL ? name : o->host);
  return ok ? AW_OK : AW_E_NOMEM;
}

static opening *new_opening(aw_loop *loop) {
  const aw_mem *mem = aw_loop_mem(loop);
  opening *o = aw_mem_zero(mem, 1, sizeof *o);
  if (o == NULL) {
    return NULL;
  }
  o->mem = mem;
  o->loop = loop;
  o->flush.run = run_flush;
  aw_buf_init(&o->in, mem);
  return o;
}

/* Fails now rather than after connecting when headers cannot be sent. */
static int try_request(opening *o, const char **why) {
  aw_buf scratch;
  aw_buf_init(&scratch, o->mem);
  memset(o->key, 'A', sizeof o->key);
  int rc = aw_http_build_request(&scratch, o->authority, o->target, o->key,
                                 o->protocols, o->headers);
  aw_buf_fini(&scratch);
  if (rc == AW_E_INVALID) {
    *why = "headers or protocols are not valid HTTP";
  }
  return rc;
}

static int start_dial(opening *o, const aw_http_url *url, const char **why) {
  struct sockaddr_storage file;
  aw_dial_options dial = {.host = o->host, .port = o->port, .role = ""};
  if (url->file.bytes != NULL) {
    if (aw_tcp_unix(url->file.bytes, url->file.len, &file) != 0) {
      *why = "the path of a Unix socket is too long";
      return AW_E_INVALID;
    }
    dial.file = &file;
  } else if (o->tunnel != TUNNEL_NONE) {
    dial = (aw_dial_options){
        .host = o->proxy_host, .port = o->proxy_port, .role = ", the proxy"};
  }
  return aw_dial_new(&o->dial, o->loop, &dial, &dial_sink, o);
}

static int start(opening *o, const aw_http_url *url,
                 const aw_websocket_options *given, const char **why) {
  aw_socket_settings settings = {
      .message_max = given->message_max,
      .ping_interval_ms = given->ping_interval_ms,
      .ping_deadline_ms = given->ping_deadline_ms,
  };
  int rc = aw_socket_new(&o->socket, o->loop, &settings);
  if (rc != AW_OK) {
    return rc;
  }
  rc = start_dial(o, url, why);
  if (rc != AW_OK) {
    aw_transport_free(&o->socket->base);
    return rc;
  }
  aw_socket_opened_by(o->socket, on_cancelled, o);
  uv_timer_init(aw_loop_uv(o->loop), &o->timer);
  o->timer.data = o;
  aw_loop_arm(o->loop, &o->timer, on_timer, o->handshake_ms);
  return AW_OK;
}

/* All but the socket and the dial. */
static int prepare(opening *o, const aw_http_url *url,
                   const aw_websocket_options *given, const char **why) {
  int rc = copy_options(o, url, given);
  if (rc == AW_OK && given->proxy != NULL && given->proxy[0] != '\0') {
    rc = copy_proxy(o, url, given->proxy, why);
  }
  if (rc == AW_OK) {
    rc = try_request(o, why);
  }
  if (rc == AW_OK && url->secure) {
    rc = aw_tls_shared_context(&o->context, o->loop, given->tls, why);
  }
  return rc;
}

int aw_websocket_connect(aw_loop *loop, const aw_websocket_options *options,
                         aw_transport **out, const char **why) {
  aw_http_url url;
  int rc = aw_http_parse_url(&url, options->url, strlen(options->url), why);
  if (rc != AW_OK) {
    return rc;
  }
  if (!url.secure && options->tls != NULL) {
    *why = AW_TCP_PLAIN_TLS;
    return AW_E_INVALID;
  }
  *why = "out of memory";
  opening *o = new_opening(loop);
  if (o == NULL) {
    return AW_E_NOMEM;
  }
  rc = prepare(o, &url, options, why);
  if (rc == AW_OK) {
    rc = start(o, &url, options, why);
  }
  if (rc != AW_OK) {
    free_opening(o);
    return rc;
  }
  *out = &o->socket->base;
  return AW_OK;
}
