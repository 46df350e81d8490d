#include "aw_error.h"
#include "aw_socket.h"
#include "aw_tls_cache.h"
#include <stdio.h>

/* Addresses of one name that are tried; a resolver can give hundreds. */
#define ADDRESSES_MAX 8

/* A further address is tried beside the first one after this time (RFC 8305
 * section 5): a black hole must not eat the whole deadline. */
#define STAGGER_MS 250

/* Answers of 1xx before the one that counts (RFC 9110 section 15.2). */
#define INTERIM_MAX 16

/* What is told of a refusal's body, and how long it is waited for. */
#define BODY_MAX 160
#define BODY_WAIT_MS 250

#define WHY_MAX AW_SOCKET_REASON_MAX

typedef struct dial dial;
typedef struct attempt attempt;

struct attempt {
  dial *dial;
  aw_stream *stream;
};

/* The way through a proxy. */
enum tunnel { TUNNEL_NONE, TUNNEL_WANTED, TUNNEL_ASKED, TUNNEL_OPEN };

struct dial {
  const aw_mem *mem;
  aw_loop *loop;
  aw_socket *socket; /* NULL: nobody waits any more */
  unsigned holds;    /* the socket, the timer, the resolver */
  bool started, resolving;
  enum tunnel tunnel;
  char *proxy_host, *proxy_user, *tunnel_to;
  unsigned proxy_port;
  bool is_unix;  /* the address is a file's */
  bool attached; /* the socket has a stream */
  bool refused;  /* a head that refuses is in `in`, its body follows */
  unsigned interim;
  uv_getaddrinfo_t resolver;
  uv_timer_t timer;
  struct sockaddr_storage addresses[ADDRESSES_MAX];
  attempt attempts[ADDRESSES_MAX];
  unsigned count, next, live;
  int error;
  char why[WHY_MAX];
  const char *phase;
  SSL_CTX *context;
  aw_buf in;
  char key[AW_HTTP_KEY_TEXT];
  unsigned port;
  char *host, *authority, *target, *protocols, *headers, *name;
};

static void on_timer(uv_timer_t *timer);
static void end_refused(dial *d);

static void drop_dial(dial *d) {
  if (--d->holds > 0) {
    return;
  }
  SSL_CTX_free(d->context);
  aw_buf_fini(&d->in);
  aw_mem_free(d->mem, d->host);
  aw_mem_free(d->mem, d->authority);
  aw_mem_free(d->mem, d->target);
  aw_mem_free(d->mem, d->protocols);
  aw_mem_free(d->mem, d->headers);
  aw_mem_free(d->mem, d->name);
  aw_mem_free(d->mem, d->proxy_host);
  aw_mem_free(d->mem, d->proxy_user);
  aw_mem_free(d->mem, d->tunnel_to);
  aw_mem_free(d->mem, d);
}

static void on_timer_closed(uv_handle_t *handle) {
  drop_dial(handle->data);
}

static void end_attempts(dial *d) {
  for (unsigned i = 0; i < d->next; i++) {
    aw_stream_free(d->attempts[i].stream);
    d->attempts[i].stream = NULL;
  }
  d->live = 0;
  uv_timer_stop(&d->timer);
}

/* The socket has lost interest, or has all it needs. */
static void give_up(dial *d) {
  d->socket = NULL;
  end_attempts(d);
  if (d->resolving) {
    (void)uv_cancel((uv_req_t *)&d->resolver);
  }
  uv_close((uv_handle_t *)&d->timer, on_timer_closed);
  drop_dial(d);
}

/* Connecting: one address after the other, each as soon as the one before has
 * failed or has taken long. */

static void note_failure(dial *d, int rc, const struct sockaddr *address) {
  char text[AW_TCP_ADDRESS_TEXT];
  aw_tcp_format(address, true, text);
  (void)snprintf(d->why, sizeof d->why, "%s: %s%s", uv_strerror(rc), text,
                 d->tunnel != TUNNEL_NONE ? ", the proxy" : "");
  d->error = rc == UV_ECONNREFUSED ? AW_E_REFUSED
             : rc == UV_ENOENT     ? AW_E_NOT_FOUND
             : rc == UV_ETIMEDOUT  ? AW_E_TIMEOUT
                                   : AW_E_IO;
}

static const aw_stream_sink attempt_sink;

static void try_next(dial *d) {
  while (d->next < d->count) {
    attempt *a = &d->attempts[d->next];
    struct sockaddr *address = (struct sockaddr *)&d->addresses[d->next];
    d->next++;
    a->dial = d;
    int rc = aw_stream_dial(&a->stream, d->loop, address, &attempt_sink, a);
    if (rc == 0) {
      d->live++;
      if (d->next < d->count) {
        aw_loop_arm(d->loop, &d->timer, on_timer, STAGGER_MS);
      }
      return;
    }
    note_failure(d, rc, address);
  }
  if (d->live == 0) {
    aw_socket_end(d->socket, d->error, 1006, d->why);
  }
}

/* With a proxy TLS comes later, inside of its tunnel. */
static void use_stream(dial *d, aw_stream *stream, unsigned index) {
  aw_tls *tls = NULL;
  d->phase = "waiting for the answer to the upgrade";
  d->attached = true;
  if (d->context != NULL && d->tunnel == TUNNEL_NONE) {
    d->phase = "in the TLS handshake";
    if (aw_tls_new(&tls, d->mem, d->context, d->name) != AW_OK) {
      aw_stream_free(stream);
      aw_socket_end(d->socket, AW_E_NOMEM, 1006, "out of memory");
      return;
    }
  }
  aw_socket_attach(d->socket, stream, tls,
                   (struct sockaddr *)&d->addresses[index]);
}

static void on_connected(void *user, int rc) {
  attempt *a = user;
  dial *d = a->dial;
  unsigned index = (unsigned)(a - d->attempts);
  aw_stream *stream = a->stream;
  a->stream = NULL;
  if (rc == 0) {
    end_attempts(d);
    use_stream(d, stream, index);
    return;
  }
  note_failure(d, rc, (struct sockaddr *)&d->addresses[index]);
  aw_stream_free(stream);
  d->live--;
  try_next(d);
}

static const aw_stream_sink attempt_sink = {.connected = on_connected};

/* Resolving */

static void take_addresses(dial *d, const struct addrinfo *info) {
  for (; info != NULL && d->count < ADDRESSES_MAX; info = info->ai_next) {
    if (info->ai_addrlen <= sizeof d->addresses[0]) {
      memcpy(&d->addresses[d->count++], info->ai_addr, info->ai_addrlen);
    }
  }
}

/* Whom to connect to: the server, or the proxy, which finds the server. */
static const char *next_host(const dial *d) {
  return d->tunnel != TUNNEL_NONE ? d->proxy_host : d->host;
}

static unsigned next_port(const dial *d) {
  return d->tunnel != TUNNEL_NONE ? d->proxy_port : d->port;
}

static void fail_resolving(dial *d, int rc) {
  (void)snprintf(d->why, sizeof d->why, "cannot resolve %.120s: %s",
                 next_host(d), uv_strerror(rc));
  aw_socket_end(d->socket, rc == UV_EAI_NONAME ? AW_E_NOT_FOUND : AW_E_IO, 1006,
                d->why);
}

static void on_resolved(uv_getaddrinfo_t *request, int rc,
                        struct addrinfo *info) {
  dial *d = request->data;
  d->resolving = false;
  if (d->socket != NULL) {
    d->phase = "connecting";
    take_addresses(d, info);
    if (rc == 0 && d->count > 0) {
      try_next(d);
    } else {
      fail_resolving(d, rc == 0 ? UV_EAI_NONAME : rc);
    }
  }
  uv_freeaddrinfo(info);
  drop_dial(d);
}

static bool take_literal(dial *d) {
  void *first = &d->addresses[0];
  if (d->is_unix) {
    d->count = 1; /* it is there */
    return true;
  }
  if (uv_ip4_addr(next_host(d), (int)next_port(d), first) != 0 &&
      uv_ip6_addr(next_host(d), (int)next_port(d), first) != 0) {
    return false;
  }
  d->count = 1;
  return true;
}

static void start(dial *d) {
  struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
                           .ai_flags = AI_NUMERICSERV};
  char port[8];
  d->started = true;
  d->phase = "connecting";
  if (take_literal(d)) {
    try_next(d);
    return;
  }
  d->phase = "resolving the name";
  (void)snprintf(port, sizeof port, "%u", next_port(d));
  d->resolver.data = d;
  int rc = uv_getaddrinfo(aw_loop_uv(d->loop), &d->resolver, on_resolved,
                          next_host(d), port, &hints);
  if (rc != 0) {
    fail_resolving(d, rc);
    return;
  }
  d->resolving = true;
  d->holds++;
}

static void on_timer(uv_timer_t *timer) {
  dial *d = timer->data;
  if (d->refused) {
    end_refused(d);
  } else if (d->started) {
    try_next(d);
  } else {
    start(d);
  }
}

/* The greeter */

static void ask_proxy(dial *d) {
  size_t len = d->proxy_user != NULL ? strlen(d->proxy_user) : 0;
  d->tunnel = TUNNEL_ASKED;
  d->phase = "waiting for the proxy's answer";
  int rc = aw_http_build_connect(&d->socket->stream->out, d->tunnel_to,
                                 (aw_http_span){d->proxy_user, len});
  if (rc != AW_OK) {
    aw_socket_end(d->socket, rc, 1006, aw_error_text(rc));
    return;
  }
  aw_socket_mark(d->socket);
}

static void on_ready(void *user) {
  dial *d = user;
  unsigned char random[16];
  if (d->tunnel == TUNNEL_WANTED) {
    ask_proxy(d);
    return;
  }
  d->phase = "waiting for the answer to the upgrade";
  if (aw_loop_entropy(random, sizeof random) != AW_OK) {
    aw_socket_end(d->socket, AW_E_IO, 1006, "no entropy");
    return;
  }
  aw_http_make_key(random, d->key);
  int rc = aw_http_build_request(&d->socket->stream->out, d->authority,
                                 d->target, d->key, d->protocols, d->headers);
  if (rc != AW_OK) {
    aw_socket_end(d->socket, rc, 1006, aw_error_text(rc));
    return;
  }
  aw_socket_mark(d->socket);
}

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
static void explain_refusal(dial *d) {
  words w = {d->why, 0, sizeof d->why - 1};
  aw_http_head head;
  char status[24];
  size_t used;
  (void)aw_http_parse(&head, aw_buf_bytes(&d->in), aw_buf_len(&d->in), 0, false,
                      &used);
  (void)snprintf(status, sizeof status, "HTTP %d", head.status);
  if (d->tunnel == TUNNEL_ASKED) {
    say(&w, "refused by the proxy ");
    say(&w, d->proxy_host);
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
  say_more(&w, &head, aw_buf_bytes(&d->in) + used, aw_buf_len(&d->in) - used);
  d->why[w.len] = '\0';
}

static void end_refused(dial *d) {
  explain_refusal(d);
  aw_socket_end(d->socket, AW_E_REFUSED, 1006, d->why);
}

/* The body says more than the status, if it comes soon. */
static void await_body(dial *d, const aw_http_head *head, size_t used) {
  char body[BODY_MAX];
  size_t got;
  if (aw_http_read_body(head, aw_buf_bytes(&d->in) + used,
                        aw_buf_len(&d->in) - used, body, sizeof body, &got)) {
    end_refused(d);
  } else if (!d->refused) {
    d->refused = true;
    aw_loop_arm(d->loop, &d->timer, on_timer, BODY_WAIT_MS);
  }
}

static void refuse(dial *d, int error, const char *why) {
  (void)snprintf(d->why, sizeof d->why, "handshake refused: %s", why);
  aw_socket_end(d->socket, error, 1006, d->why);
}

/* A client that gets no subprotocol closes with 1002 (docs/wire.md section 1);
 * to do so it has to be a WebSocket first. */
static void open_socket(dial *d, aw_http_span protocol, size_t used) {
  aw_socket *s = d->socket;
  bool lacking = protocol.bytes == NULL && d->protocols != NULL;
  aw_buf_fini(&s->early);
  s->early = d->in;
  aw_buf_init(&d->in, d->mem);
  if (lacking) {
    s->greeter = NULL;
    give_up(d);
    aw_socket_reject(s, AW_E_WS_PROTOCOL,
                     "no subprotocol was agreed: the server speaks none of "
                     "ours");
    return;
  }
  aw_socket_agree(s, protocol);
  aw_buf_consume(&s->early, used);
  give_up(d);
  aw_socket_open(s);
}

/* Whatever speaks first on a port of another kind. */
static const char *name_mistake(const dial *d, const char *why) {
  const char *bytes = aw_buf_bytes(&d->in);
  size_t len = aw_buf_len(&d->in);
  if (len >= 2 && (bytes[0] == 0x15 || bytes[0] == 0x16) && bytes[1] == 3) {
    return "the answer is TLS: wss:// may be meant";
  }
  return len >= 5 && memcmp(bytes, "HTTP/", 5) == 0 ? why
                                                    : "the answer is not HTTP";
}

/* The tunnel is there: what follows is said to the server. True: go on. */
static bool enter_tunnel(dial *d, size_t used) {
  aw_socket *s = d->socket;
  aw_tls *tls = NULL;
  aw_buf_consume(&d->in, used);
  if (aw_buf_len(&d->in) > 0 || aw_stream_pending(s->stream) > 0) {
    /* Nobody has asked the server for anything, and it speaks second. */
    refuse(d, AW_E_REFUSED, "the proxy answered more than it was asked");
    return false;
  }
  d->tunnel = TUNNEL_OPEN;
  if (d->context == NULL) {
    on_ready(d);
    return false;
  }
  d->phase = "in the TLS handshake";
  if (aw_tls_new(&tls, d->mem, d->context, d->name) != AW_OK) {
    refuse(d, AW_E_NOMEM, "out of memory");
    return false;
  }
  aw_stream_secure(s->stream, tls);
  return false;
}

/* False: more input is needed, or all is decided. */
static bool take_answer(dial *d) {
  aw_http_head head;
  aw_http_span protocol;
  size_t used;
  int rc = aw_http_parse(&head, aw_buf_bytes(&d->in), aw_buf_len(&d->in), 0,
                         false, &used);
  if (rc == AW_E_AGAIN) {
    return false;
  }
  if (rc != AW_OK) {
    refuse(d, AW_E_REFUSED, name_mistake(d, head.why));
    return false;
  }
  if (head.status < 200 && head.status != 101) {
    if (++d->interim > INTERIM_MAX) {
      refuse(d, AW_E_REFUSED, "too many interim answers");
      return false;
    }
    aw_buf_consume(&d->in, used);
    return true;
  }
  if (d->tunnel == TUNNEL_ASKED) {
    if (head.status / 100 == 2) {
      return enter_tunnel(d, used);
    }
    await_body(d, &head, used);
    return false;
  }
  if (aw_http_check_response(&head, d->key, d->protocols, &protocol) == 0) {
    open_socket(d, protocol, used);
  } else if (head.status == 101) {
    refuse(d, AW_E_REFUSED, head.why);
  } else {
    await_body(d, &head, used);
  }
  return false;
}

static void on_input(void *user, char *bytes, size_t len) {
  dial *d = user;
  if (aw_buf_append(&d->in, bytes, len) != AW_OK) {
    refuse(d, AW_E_NOMEM, "out of memory");
    return;
  }
  while (take_answer(d)) {
  }
}

static void on_deadline(void *user) {
  dial *d = user;
  (void)snprintf(d->why, sizeof d->why,
                 "handshake not finished within %u ms: %s (%.120s:%u)",
                 d->socket->settings.handshake_ms, d->phase, d->host, d->port);
  aw_socket_end(d->socket, AW_E_TIMEOUT, 1006, d->why);
}

static bool is_tls_error(int error) {
  return error <= AW_E_TLS && error >= AW_E_TLS_NONE;
}

/* What the stream says of its end does not say whose end it was. */
static int explain_loss(dial *d, int error, const char *why,
                        char text[WHY_MAX]) {
  if (d->refused && error != AW_E_REFUSED) {
    explain_refusal(d);
    memcpy(text, d->why, WHY_MAX);
    return AW_E_REFUSED; /* that the body ended so is no other reason */
  }
  if (is_tls_error(error)) {
    bool renamed = strcmp(d->name, d->host) != 0;
    (void)snprintf(text, WHY_MAX, "TLS with %.80s:%u%s%.60s: %.80s", d->host,
                   d->port, renamed ? " as " : "", renamed ? d->name : "", why);
  } else if (d->attached && (error == AW_E_CLOSED || error == AW_E_IO)) {
    (void)snprintf(text, WHY_MAX, "%.80s while %s (%.80s:%u)", why, d->phase,
                   d->host, d->port);
  } else {
    (void)snprintf(text, WHY_MAX, "%s", why);
  }
  return error;
}

static void on_lost(void *user, int error, const char *why) {
  dial *d = user;
  aw_socket *s = d->socket;
  char text[WHY_MAX];
  error = explain_loss(d, error, why, text);
  give_up(d);
  int code = error == AW_OK ? s->end_code : 1006;
  aw_transport_give_closed(&s->base, error, code, text);
}

static void on_dropped(void *user) {
  give_up(user);
}

static const aw_greeter client_greeter = {on_ready, on_input, on_deadline,
                                          on_lost, on_dropped};

/* Starting */

static bool copy_optional(const aw_mem *mem, char **out, const char *text) {
  return text == NULL || text[0] == '\0' ||
         aw_socket_copy(mem, out, text, strlen(text));
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

static int copy_proxy(dial *d, const aw_http_url *url, const char *proxy,
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
  d->tunnel = TUNNEL_WANTED;
  d->proxy_port = way.port;
  d->tunnel_to = make_target(d->mem, url);
  bool ok =
      d->tunnel_to != NULL &&
      aw_socket_copy(d->mem, &d->proxy_host, way.host.bytes, way.host.len) &&
      (way.user.bytes == NULL ||
       aw_socket_copy(d->mem, &d->proxy_user, way.user.bytes, way.user.len));
  if (!ok) {
    return AW_E_NOMEM;
  }
  aw_buf_init(&scratch, d->mem);
  rc = aw_http_build_connect(&scratch, d->tunnel_to, way.user);
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
    (void)aw_socket_copy(mem, &copy, host, strlen(host));
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

static int copy_options(dial *d, const aw_http_url *url,
                        const aw_websocket_options *o) {
  const char *protocols = o->protocols != NULL ? o->protocols
                                               : AW_PROTOCOL_EXTENDED
                              ", " AW_PROTOCOL_BASE;
  const char *name = o->tls != NULL ? o->tls->name : NULL;
  d->port = url->port;
  d->authority = make_authority(d->mem, url, o->host);
  bool ok =
      d->authority != NULL &&
      aw_socket_copy(d->mem, &d->host, url->host.bytes, url->host.len) &&
      aw_socket_copy(d->mem, &d->target, url->target.bytes, url->target.len) &&
      copy_optional(d->mem, &d->protocols, protocols) &&
      copy_optional(d->mem, &d->headers, o->headers) &&
      copy_optional(d->mem, &d->name, name != NULL ? name : d->host);
  return ok ? AW_OK : AW_E_NOMEM;
}

static dial *new_dial(aw_loop *loop) {
  const aw_mem *mem = aw_loop_mem(loop);
  dial *d = aw_mem_zero(mem, 1, sizeof *d);
  if (d == NULL) {
    return NULL;
  }
  d->mem = mem;
  d->loop = loop;
  d->holds = 1;
  d->phase = "starting";
  aw_buf_init(&d->in, mem);
  return d;
}

/* Fails now rather than after connecting when headers cannot be sent. */
static int try_request(dial *d, const char **why) {
  aw_buf scratch;
  aw_buf_init(&scratch, d->mem);
  memset(d->key, 'A', sizeof d->key);
  int rc = aw_http_build_request(&scratch, d->authority, d->target, d->key,
                                 d->protocols, d->headers);
  aw_buf_fini(&scratch);
  if (rc == AW_E_INVALID) {
    *why = "headers or protocols are not valid HTTP";
  }
  return rc;
}

/* The first step waits for the loop, because upcalls have to. */
static int start_later(dial *d, const aw_websocket_options *o) {
  aw_socket_settings settings = {
      .message_max = o->message_max,
      .handshake_ms = o->handshake_ms,
      .ping_interval_ms = o->ping_interval_ms,
      .ping_deadline_ms = o->ping_deadline_ms,
  };
  int rc = aw_socket_new(&d->socket, d->loop, &settings, &client_greeter, d);
  if (rc != AW_OK) {
    return rc;
  }
  uv_timer_init(aw_loop_uv(d->loop), &d->timer);
  d->timer.data = d;
  d->holds++;
  aw_loop_arm(d->loop, &d->timer, on_timer, 0);
  return AW_OK;
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
  dial *d = new_dial(loop);
  if (d == NULL) {
    return AW_E_NOMEM;
  }
  rc = copy_options(d, &url, options);
  if (rc == AW_OK && url.file.bytes != NULL) {
    d->is_unix = true;
    if (aw_tcp_unix(url.file.bytes, url.file.len, &d->addresses[0]) != 0) {
      *why = "the path of a Unix socket is too long";
      rc = AW_E_INVALID;
    }
  }
  if (rc == AW_OK && options->proxy != NULL && options->proxy[0] != '\0') {
    rc = copy_proxy(d, &url, options->proxy, why);
  }
  if (rc == AW_OK) {
    rc = try_request(d, why);
  }
  if (rc == AW_OK && url.secure) {
    rc = aw_tls_shared_context(&d->context, loop, options->tls, why);
  }
  if (rc == AW_OK) {
    rc = start_later(d, options);
  }
  if (rc != AW_OK) {
    drop_dial(d);
    return rc;
  }
  *out = &d->socket->base;
  return AW_OK;
}
