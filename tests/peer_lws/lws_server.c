#include "aw_http.h"
#include "lws_tls.h"
#include "lws_transport.h"
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#define PROTOCOLS AW_PROTOCOL_EXTENDED "," AW_PROTOCOL_BASE
#define BACKLOG 511
#define ACCEPT_BATCH 64     /* then others have their turn */
#define ACCEPT_RETRY_MS 100 /* after running out of descriptors or memory */
/* libwebsockets copies the client's list into 128 bytes. */
#define OFFER_MAX 120

typedef struct server server;

struct aw_listener {
  aw_loop *loop;
  aw_lws *lws;
  aw_lws_context *context;
  SSL_CTX *ctx; /* NULL without TLS */
  aw_listener_sink sink;
  void *user;
  char *protocols;
  size_t message_max;
  unsigned handshake_ms, ping_interval_ms, ping_deadline_ms;
  unsigned connections_max, per_address_max, count, refusals, port;
  aw_queue servers;
  char address[64];
  int fd;
  uv_poll_t poll;
  uv_timer_t retry;
  unsigned handles;
};

/* A connection that was accepted. */
struct server {
  aw_lws_conn conn;
  aw_node node;          /* in the listener's */
  aw_listener *listener; /* NULL: freed */
  uint8_t origin[8];     /* whom per_address_max counts it for */
  unsigned refusal;      /* 0, or the HTTP status that it will get */
};

static server *of_conn(aw_lws_conn *conn) {
  return (server *)conn;
}

static void leave_listener(server *s) {
  if (s->listener == NULL) {
    return;
  }
  if (s->refusal == 0) {
    s->listener->count--;
  } else {
    s->listener->refusals--;
  }
  s->listener = NULL;
  aw_node_remove(&s->node);
}

static int refuse(aw_lws_conn *conn, unsigned status, const char *why) {
  lws_return_http_status(conn->wsi, status, why);
  return -1;
}

static bool is_key(struct lws *wsi) {
  char key[AW_HTTP_KEY_TEXT + 1];

  return lws_hdr_copy(wsi, key, sizeof key, WSI_TOKEN_KEY) ==
             AW_HTTP_KEY_TEXT &&
         strcmp(key + AW_HTTP_KEY_TEXT - 2, "==") == 0;
}

/* The client's list in the order that we prefer. */
static void pick(server *s, const char *offer) {
  aw_http_head head = {.is_request = true, .count = 1};
  aw_lws_conn *conn = &s->conn;
  aw_http_span picked;

  head.headers[0].name = (aw_http_span){"Sec-WebSocket-Protocol", 22};
  head.headers[0].value = (aw_http_span){offer, strlen(offer)};
  picked = aw_http_pick_protocol(&head, s->listener->protocols);
  if (picked.bytes != NULL && picked.len < sizeof conn->protocol) {
    memcpy(conn->protocol, picked.bytes, picked.len);
    conn->protocol[picked.len] = '\0';
  }
}

/* The name lives in `lws`, because libwebsockets keeps the pointer. */
static void name_protocol(server *s, const char *name, size_t len) {
  struct lws_protocols *protocol =
      (struct lws_protocols *)lws_get_protocol(s->conn.wsi);
  char *kept = s->conn.lws->protocol;

  len = len < AW_LWS_PROTOCOL_MAX ? len : AW_LWS_PROTOCOL_MAX - 1;
  memcpy(kept, name, len);
  kept[len] = '\0';
  protocol->name = kept;
}

/* libwebsockets takes the first of the client's list that it knows, and refuses
 * when it knows none. So it is made to know the first of the list, and given
 * the name that we picked before it answers ("": no answer). */
static void know_first(server *s, const char *offer) {
  const char *first = offer + strspn(offer, ", \t");

  name_protocol(s, first, strcspn(first, ", \t"));
}

static int on_upgrade(server *s, const char *upgrade) {
  struct lws *wsi = s->conn.wsi;
  char version[4] = "", offer[OFFER_MAX + 1] = "";

  if (s->listener == NULL || strcasecmp(upgrade, "websocket") != 0) {
    return refuse(&s->conn, 426, "only WebSocket is spoken here");
  }
  if (s->refusal != 0) {
    return refuse(&s->conn, s->refusal, "too many connections");
  }
  if (lws_hdr_copy(wsi, version, sizeof version, WSI_TOKEN_VERSION) <= 0 ||
      strcmp(version, "13") != 0) {
    return refuse(&s->conn, 426, "Sec-WebSocket-Version must be 13");
  }
  if (!is_key(wsi)) {
    return refuse(&s->conn, 400, "bad Sec-WebSocket-Key");
  }
  if (lws_hdr_copy(wsi, offer, sizeof offer, WSI_TOKEN_PROTOCOL) < 0) {
    return refuse(&s->conn, 400, "Sec-WebSocket-Protocol is too long");
  }
  pick(s, offer);
  know_first(s, offer);
  return 0;
}

/* Messages follow from the next turn on. */
static int on_established(server *s) {
  aw_lws_conn *conn = &s->conn;
  aw_transport *t = &conn->base;
  aw_listener *listener = s->listener;

  aw_lws_conn_ready(conn);
  conn->unowned = false;
  t->state = AW_TRANSPORT_OPEN;
  aw_loop_nudge(t->loop);
  conn->halted = true; /* until the flush, by apply_pause */
  lws_rx_flow_control(conn->wsi, 0);
  aw_lws_conn_wake(conn);
  listener->sink.accepted(listener->user, t);
  return 0;
}

static void server_flush(aw_lws_conn *conn) {
  (void)conn;
}

static void server_lost(aw_lws_conn *conn, struct lws *wsi, const char *why) {
  (void)wsi;
  aw_lws_conn_end(conn, AW_E_IO, 1006, why);
}

static int server_handle(aw_lws_conn *conn, enum lws_callback_reasons reason,
                         void *in, size_t len) {
  server *s = of_conn(conn);

  (void)len;
  switch (reason) {
  case LWS_CALLBACK_HTTP:
    return refuse(conn, 426, "only WebSocket is spoken here");
  case LWS_CALLBACK_HTTP_CONFIRM_UPGRADE:
    return on_upgrade(s, in);
  case LWS_CALLBACK_FILTER_PROTOCOL_CONNECTION:
    name_protocol(s, conn->protocol, strlen(conn->protocol));
    return 0;
  case LWS_CALLBACK_ESTABLISHED:
    return s->listener != NULL ? on_established(s) : -1;
  case LWS_CALLBACK_CLOSED_HTTP:
    server_lost(conn, conn->wsi, "closed in the handshake");
    return 0;
  default:
    return 0;
  }
}

static void server_ended(aw_lws_conn *conn) {
  leave_listener(of_conn(conn));
}

static void server_release(aw_lws_conn *conn) {
  aw_mem_free(aw_loop_mem(conn->base.loop), of_conn(conn));
}

static const aw_lws_role server_role = {server_handle, server_flush,
                                        NULL,          server_lost,
                                        server_ended,  server_release};

/* An IPv4 address, also a mapped one, or the first half of an IPv6 address,
 * because its owner chooses the second. */
static void find_origin(const struct sockaddr *address, uint8_t origin[8]) {
  const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)address;

  memset(origin, 0, 8);
  if (address->sa_family != AF_INET6) {
    memcpy(origin, &((const struct sockaddr_in *)address)->sin_addr, 4);
  } else if (IN6_IS_ADDR_V4MAPPED(&six->sin6_addr)) {
    memcpy(origin, six->sin6_addr.s6_addr + 12, 4);
  } else {
    memcpy(origin, six->sin6_addr.s6_addr, 8);
  }
}

static unsigned count_from(const aw_listener *listener,
                           const uint8_t origin[8]) {
  const aw_node *node = aw_queue_first(&listener->servers);
  unsigned count = 0;

  while (node != NULL) {
    const server *s = AW_CONTAINER(node, server, node);

    count += s->refusal == 0 && memcmp(s->origin, origin, 8) == 0;
    node = aw_queue_next(&listener->servers, node);
  }
  return count;
}

static unsigned refusal_of(const aw_listener *listener,
                           const uint8_t origin[8]) {
  if (listener->count >= listener->connections_max) {
    return 503;
  }
  if (listener->per_address_max > 0 &&
      count_from(listener, origin) >= listener->per_address_max) {
    return 429;
  }
  return 0;
}

static server *new_server(aw_listener *listener, const struct sockaddr *address,
                          const uint8_t origin[8], unsigned refusal) {
  server *s = aw_mem_zero(listener->lws->mem, 1, sizeof *s);

  if (s == NULL) {
    return NULL;
  }
  aw_lws_conn_limits(&s->conn, listener->message_max, listener->handshake_ms,
                     listener->ping_interval_ms, listener->ping_deadline_ms);
  aw_lws_conn_init(&s->conn, listener->lws, &server_role, true);
  aw_lws_format_address(address, s->conn.peer);
  memcpy(s->origin, origin, sizeof s->origin);
  s->conn.unowned = true;
  s->refusal = refusal;
  s->listener = listener;
  listener->count += refusal == 0;
  listener->refusals += refusal != 0;
  aw_queue_push(&listener->servers, &s->node);
  return s;
}

/* libwebsockets owns the descriptor from now on, also when it fails. */
static void adopt(aw_listener *listener, server *s, int fd) {
  lws_adopt_desc_t info;
  struct lws *wsi;

  memset(&info, 0, sizeof info);
  info.vh = listener->context->vhost;
  info.type = LWS_ADOPT_SOCKET | LWS_ADOPT_HTTP |
              (listener->ctx != NULL ? LWS_ADOPT_ALLOW_SSL : 0);
  info.fd.sockfd = fd;
  info.opaque = &s->conn;
  aw_transport_hold(&s->conn.base);
  s->conn.lws->accepting = listener->ctx;
  wsi = lws_adopt_descriptor_vhost_via_info(&info);
  s->conn.lws->accepting = NULL;
  if (wsi != NULL && aw_transport_alive(&s->conn.base)) {
    s->conn.wsi = wsi;
  } else {
    aw_lws_conn_end(&s->conn, AW_E_IO, 1006, "");
  }
  aw_transport_drop(&s->conn.base);
}

static void admit(aw_listener *listener, int fd,
                  const struct sockaddr *address) {
  server *s = NULL;
  uint8_t origin[8];
  unsigned refusal;

  find_origin(address, origin);
  refusal = refusal_of(listener, origin);
  if (refusal == 0 || listener->refusals < AW_LISTENER_REFUSALS_MAX) {
    s = new_server(listener, address, origin, refusal);
  }
  if (s == NULL) {
    close(fd);
    return;
  }
  aw_lws_tune(fd, s->conn.ping_interval_ms + s->conn.ping_deadline_ms);
  adopt(listener, s, fd);
}

static void on_acceptable(uv_poll_t *poll, int status, int events);

static void on_retry(uv_timer_t *retry) {
  aw_listener *listener = retry->data;

  uv_poll_start(&listener->poll, UV_READABLE, on_acceptable);
}

/* Out of descriptors or memory: a level-triggered poll would spin. */
static void rest(aw_listener *listener) {
  uv_poll_stop(&listener->poll);
  uv_timer_start(&listener->retry, on_retry, ACCEPT_RETRY_MS, 0);
}

static void on_acceptable(uv_poll_t *poll, int status, int events) {
  aw_listener *listener = poll->data;
  unsigned i;

  (void)status;
  (void)events;
  for (i = 0; i < ACCEPT_BATCH && listener->fd >= 0; i++) {
    struct sockaddr_storage address = {.ss_family = AF_INET};
    socklen_t size = sizeof address;
    int fd = accept4(listener->fd, (struct sockaddr *)&address, &size,
                     SOCK_NONBLOCK | SOCK_CLOEXEC);

    if (fd >= 0) {
      admit(listener, fd, (struct sockaddr *)&address);
    } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS ||
               errno == ENOMEM) {
      rest(listener);
      return;
    } else if (errno != EINTR && errno != ECONNABORTED) {
      return;
    }
  }
}

static int bind_one(const struct addrinfo *address, int backlog, int *fd) {
  int on = 1;

  *fd =
      socket(address->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (*fd >= 0 &&
      setsockopt(*fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0 &&
      bind(*fd, address->ai_addr, address->ai_addrlen) == 0 &&
      listen(*fd, backlog) == 0) {
    return 0;
  }
  return uv_translate_sys_error(errno);
}

static unsigned bound_port(int fd) {
  struct sockaddr_storage address = {.ss_family = AF_INET};
  socklen_t size = sizeof address;

  getsockname(fd, (struct sockaddr *)&address, &size);
  return address.ss_family == AF_INET6
             ? ntohs(((struct sockaddr_in6 *)&address)->sin6_port)
             : ntohs(((struct sockaddr_in *)&address)->sin_port);
}

/* A name is looked up at once, on this thread: it names an address of this
 * machine. */
static int open_socket(aw_listener *listener, const aw_http_url *url,
                       int backlog, const char **why) {
  struct addrinfo hints = {.ai_family = AF_UNSPEC,
                           .ai_socktype = SOCK_STREAM,
                           .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
  struct addrinfo *addresses;
  char host[256], port[8];
  int rc;

  snprintf(host, sizeof host, "%.*s", (int)url->host.len, url->host.bytes);
  snprintf(port, sizeof port, "%u", url->port);
  snprintf(listener->address, sizeof listener->address, "%.63s", host);
  if (getaddrinfo(host, port, &hints, &addresses) != 0) {
    *why = "cannot resolve the host";
    return AW_E_IO;
  }
  rc = bind_one(addresses, backlog != 0 ? backlog : BACKLOG, &listener->fd);
  freeaddrinfo(addresses);
  if (rc != 0) {
    *why = uv_strerror(rc);
    return AW_E_IO;
  }
  listener->port = bound_port(listener->fd);
  return AW_OK;
}

static void on_handle_closed(uv_handle_t *handle) {
  aw_listener *listener = handle->data;

  if (--listener->handles == 0) {
    aw_mem_free(aw_loop_mem(listener->loop), listener->protocols);
    aw_mem_free(aw_loop_mem(listener->loop), listener);
  }
}

static void free_unopened(aw_listener *listener) {
  if (listener->fd >= 0) {
    close(listener->fd);
  }
  SSL_CTX_free(listener->ctx);
  aw_mem_free(listener->lws->mem, listener->protocols);
  aw_mem_free(listener->lws->mem, listener);
}

static int copy_options(aw_listener *l, const aw_listener_options *o) {
  const char *protocols = o->protocols != NULL ? o->protocols : PROTOCOLS;
  size_t size = strlen(protocols) + 1;

  l->message_max = o->message_max;
  l->handshake_ms = o->handshake_ms;
  l->ping_interval_ms = o->ping_interval_ms;
  l->ping_deadline_ms = o->ping_deadline_ms;
  l->per_address_max = o->per_address_max;
  l->connections_max = o->connections_max != 0 ? o->connections_max
                                               : AW_LISTENER_CONNECTIONS_MAX;
  l->protocols = aw_mem_alloc(l->lws->mem, size);
  if (l->protocols == NULL) {
    return AW_E_NOMEM;
  }
  memcpy(l->protocols, protocols, size);
  return AW_OK;
}

static int prepare(aw_listener *l, const aw_listener_options *o,
                   const char **why) {
  aw_http_url url;
  int rc = aw_http_parse_url(&url, o->url, strlen(o->url), why);

  if (rc != AW_OK) {
    return rc;
  }
  *why = "out of memory";
  rc = copy_options(l, o);
  if (rc != AW_OK) {
    return rc;
  }
  l->context = aw_lws_pick(l->lws, true);
  if (l->context == NULL) {
    *why = "libwebsockets gives no context";
    return AW_E_NOMEM;
  }
  if (url.secure) {
    rc = aw_lws_server_ctx(o->tls, &l->ctx, why);
  }
  return rc == AW_OK ? open_socket(l, &url, o->backlog, why) : rc;
}

static void start_polling(aw_listener *listener) {
  uv_loop_t *uv = aw_loop_uv(listener->loop);

  uv_poll_init(uv, &listener->poll, listener->fd);
  uv_timer_init(uv, &listener->retry);
  listener->poll.data = listener->retry.data = listener;
  listener->handles = 2;
  uv_poll_start(&listener->poll, UV_READABLE, on_acceptable);
  aw_lws_kick(listener->lws);
}

int aw_listener_new(aw_loop *loop, const aw_listener_options *options,
                    const aw_listener_sink *sink, void *user, aw_listener **out,
                    const char **why) {
  aw_listener *listener;
  aw_lws *lws;
  int rc = aw_lws_get(loop, &lws);

  *out = NULL;
  if (sink->requested != NULL || sink->request != NULL) {
    *why = "this engine cannot park requests";
    return AW_E_UNSUPPORTED;
  }
  *why = "out of memory";
  if (rc != AW_OK) {
    return rc;
  }
  listener = aw_mem_zero(lws->mem, 1, sizeof *listener);
  if (listener == NULL) {
    return AW_E_NOMEM;
  }
  listener->loop = loop;
  listener->lws = lws;
  listener->sink = *sink;
  listener->user = user;
  listener->fd = -1;
  aw_queue_init(&listener->servers);
  rc = prepare(listener, options, why);
  if (rc != AW_OK) {
    free_unopened(listener);
    return rc;
  }
  start_polling(listener);
  *out = listener;
  return AW_OK;
}

unsigned aw_listener_port(const aw_listener *listener) {
  return listener->port;
}

/* A name in the URL is not looked at again. */
const char *aw_listener_address(const aw_listener *listener) {
  return listener->address;
}

int aw_listener_reload_tls(aw_listener *listener, const aw_tls_options *tls,
                           const char **why) {
  SSL_CTX *fresh;
  int rc;

  if (listener->ctx == NULL) {
    *why = "the listener has no TLS";
    return AW_E_UNSUPPORTED;
  }
  rc = aw_lws_server_ctx(tls, &fresh, why);
  if (rc == AW_OK) {
    SSL_CTX_free(listener->ctx);
    listener->ctx = fresh;
  }
  return rc;
}

/* Handshakes end; what is open goes on without a listener. */
static void let_servers_go(aw_listener *listener) {
  aw_node *node;

  while ((node = aw_queue_first(&listener->servers)) != NULL) {
    server *s = AW_CONTAINER(node, server, node);

    leave_listener(s);
    if (s->conn.unowned) {
      aw_lws_conn_end(&s->conn, AW_E_CLOSED, 1006, "");
    }
  }
}

void aw_listener_free(aw_listener *listener) {
  if (listener == NULL) {
    return;
  }
  let_servers_go(listener);
  uv_close((uv_handle_t *)&listener->poll, on_handle_closed);
  uv_close((uv_handle_t *)&listener->retry, on_handle_closed);
  close(listener->fd);
  listener->fd = -1;
  SSL_CTX_free(listener->ctx);
  aw_lws_kick(listener->lws);
}
