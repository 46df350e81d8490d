#include "aw_http.h"
#include "lws_tls.h"
#include "lws_transport.h"
#include <netdb.h>
#include <stdio.h>

#define PROTOCOLS AW_PROTOCOL_EXTENDED ", " AW_PROTOCOL_BASE

/* What libwebsockets has fixed buffers for when it writes the request; it would
 * cut what is longer. */
#define HOST_MAX 118
#define TARGET_MAX 2000
#define HEADERS_MAX (AW_LWS_BUFFER / 4)

typedef struct client client;

struct client {
  aw_lws_conn conn;
  char *host, *authority, *target, *protocols, *headers; /* headers: or NULL */
  unsigned port;
  bool secure;
  aw_lws_security security;
  uv_getaddrinfo_t resolve;
  struct addrinfo *addresses, *next;
  bool resolving;
  bool calling;   /* inside lws_client_connect_via_info */
  bool gone;      /* the connection ended meanwhile */
  bool connected; /* TCP */
  unsigned status;
  uv_tcp_t probe;
  uv_connect_t probe_request;
  bool probing;
};

static client *of_conn(aw_lws_conn *conn) {
  return (client *)conn;
}

static void drop_addresses(client *c) {
  if (c->addresses != NULL) {
    uv_freeaddrinfo(c->addresses);
  }
  c->addresses = c->next = NULL;
}

/* TCP is up or never was: says how the handshake ended. */
static void give_up(client *c, const char *detail) {
  const aw_lws_security *s = &c->security;
  char why[AW_LWS_REASON_MAX];

  if (c->secure && s->why != NULL) {
    snprintf(why, sizeof why, "TLS: %s", s->why);
    aw_lws_conn_end(&c->conn, s->refused ? AW_E_REFUSED : AW_E_IO, 1015, why);
  } else if (c->status != 0 && c->status != 101) {
    snprintf(why, sizeof why, "the server answered with HTTP status %u",
             c->status);
    aw_lws_conn_end(&c->conn, AW_E_REFUSED, 1006, why);
  } else {
    snprintf(why, sizeof why, "the handshake failed: %s", detail);
    aw_lws_conn_end(&c->conn, AW_E_IO, 1006, why);
  }
}

static void on_probe_closed(uv_handle_t *handle) {
  client *c = handle->data;

  aw_transport_drop(&c->conn.base);
}

static void close_probe(client *c) {
  if (c->probing) {
    c->probing = false;
    uv_close((uv_handle_t *)&c->probe, on_probe_closed);
  }
}

static void on_probe(uv_connect_t *request, int status) {
  client *c = request->data;
  const char *why = status == 0 ? "cannot connect" : uv_strerror(status);

  int error = status == UV_ECONNREFUSED ? AW_E_REFUSED
              : status == UV_ETIMEDOUT  ? AW_E_TIMEOUT
                                        : AW_E_IO;

  if (status != UV_ECANCELED) {
    aw_lws_conn_end(&c->conn, error, 1006, why);
  }
}

/* libwebsockets has lost the reason: a connect of our own shows it. */
static void probe(client *c, const struct sockaddr *address) {
  aw_transport_hold(&c->conn.base);
  c->probing = true;
  uv_tcp_init(aw_loop_uv(c->conn.base.loop), &c->probe);
  c->probe.data = c->probe_request.data = c;
  if (uv_tcp_connect(&c->probe_request, &c->probe, address, on_probe) != 0) {
    aw_lws_conn_end(&c->conn, AW_E_IO, 1006, "cannot connect");
  }
}

static void try_next(client *c) {
  const struct addrinfo *tried = c->next;

  c->next = tried->ai_next;
  if (c->next != NULL) {
    aw_lws_conn_wake(&c->conn);
  } else {
    probe(c, tried->ai_addr);
  }
}

static void fill_info(client *c, const aw_lws_context *context,
                      const char *address, struct lws_client_connect_info *i) {
  memset(i, 0, sizeof *i);
  i->context = context->context;
  i->vhost = context->vhost;
  i->address = address;
  i->port = (int)c->port;
  i->host = c->authority;
  i->path = c->target;
  i->protocol = c->protocols;
  i->ietf_version_or_minus_one = -1;
  i->opaque_user_data = &c->conn;
  i->pwsi = &c->conn.wsi;
  i->alpn = "http/1.1";
  i->ssl_connection = LCCSCF_HTTP_NO_FOLLOW_REDIRECT;
  if (c->secure) { /* the name is checked as lws_tls.c says */
    i->ssl_connection |=
        LCCSCF_USE_SSL | LCCSCF_SKIP_SERVER_CERT_HOSTNAME_CHECK;
  }
  if (c->security.insecure) {
    i->ssl_connection |=
        LCCSCF_ALLOW_SELFSIGNED | LCCSCF_ALLOW_INSECURE | LCCSCF_ALLOW_EXPIRED;
  }
}

static void attempt(client *c) {
  aw_lws *lws = c->conn.lws;
  aw_lws_context *context = aw_lws_pick(lws, false);
  struct lws_client_connect_info info;
  char address[AW_LWS_PEER_MAX];
  struct lws *wsi;

  if (context == NULL) {
    aw_lws_conn_end(&c->conn, AW_E_NOMEM, 1006, "no room for a connection");
    return;
  }
  getnameinfo(c->next->ai_addr, c->next->ai_addrlen, address, sizeof address,
              NULL, 0, NI_NUMERICHOST);
  fill_info(c, context, address, &info);
  c->gone = c->connected = false;
  c->calling = true;
  context->used += context == &lws->small;
  wsi = lws_client_connect_via_info(&info);
  c->calling = false;
  if (wsi == NULL && !c->gone && context == &lws->small) {
    context->used--;
  }
  if (wsi == NULL || c->gone) {
    c->conn.wsi = NULL;
    try_next(c);
  } else {
    c->conn.wsi = wsi;
  }
  aw_lws_kick(lws);
}

static void client_flush(aw_lws_conn *conn) {
  client *c = of_conn(conn);

  if (conn->base.state == AW_TRANSPORT_OPENING && conn->wsi == NULL &&
      c->next != NULL && !c->probing) {
    attempt(c);
  }
}

/* lws_get_socket_fd is -1 when the descriptor was closed behind the back of
 * its poll handle. */
static void client_lost(aw_lws_conn *conn, struct lws *wsi, const char *why) {
  client *c = of_conn(conn);

  lws_set_opaque_user_data(wsi, NULL);
  if (!c->connected && lws_get_socket_fd(wsi) < 0) {
    aw_lws_reap(conn->lws, wsi);
  }
  if (c->calling) {
    c->gone = true;
    return;
  }
  conn->wsi = NULL;
  if (c->connected) {
    give_up(c, why);
  } else {
    try_next(c);
  }
}

static void note_protocol(aw_lws_conn *conn) {
  if (lws_hdr_copy(conn->wsi, conn->protocol, sizeof conn->protocol,
                   WSI_TOKEN_PROTOCOL) < 0) {
    conn->protocol[0] = '\0';
  }
}

static int on_established(client *c) {
  aw_lws_conn *conn = &c->conn;
  int fd = lws_get_socket_fd(conn->wsi);
  struct sockaddr_storage peer = {.ss_family = AF_INET};
  socklen_t size = sizeof peer;

  getpeername(fd, (struct sockaddr *)&peer, &size);
  aw_lws_format_address((struct sockaddr *)&peer, conn->peer);
  aw_lws_tune(fd, conn->ping_interval_ms + conn->ping_deadline_ms);
  drop_addresses(c);
  aw_node_remove(&c->security.node);
  aw_lws_conn_ready(conn);
  if (conn->protocol[0] == '\0') {
    aw_lws_conn_fail(conn, AW_E_WS_PROTOCOL, 1002, "no common subprotocol");
  } else {
    aw_transport_give_open(&conn->base);
  }
  return 0;
}

static int append_headers(client *c, char **cursor, size_t room) {
  size_t len = c->headers != NULL ? strlen(c->headers) : 0;

  if (len > room) {
    return -1;
  }
  if (len > 0) {
    memcpy(*cursor, c->headers, len);
    *cursor += len;
  }
  return 0;
}

static void on_error(aw_lws_conn *conn, const char *bytes, size_t len) {
  char why[AW_LWS_REASON_MAX / 2];

  snprintf(why, sizeof why, "%.*s", (int)len, bytes != NULL ? bytes : "");
  client_lost(conn, conn->wsi, why);
}

static int client_handle(aw_lws_conn *conn, enum lws_callback_reasons reason,
                         void *in, size_t len) {
  client *c = of_conn(conn);

  switch (reason) {
  case LWS_CALLBACK_WSI_CREATE: /* at this time for a client */
    c->connected = true;
    return 0;
  case LWS_CALLBACK_CLIENT_APPEND_HANDSHAKE_HEADER:
    return append_headers(c, in, len);
  case LWS_CALLBACK_ESTABLISHED_CLIENT_HTTP:
    c->status = lws_http_client_http_response(conn->wsi);
    return 0;
  case LWS_CALLBACK_CLIENT_FILTER_PRE_ESTABLISH:
    note_protocol(conn);
    return 0;
  case LWS_CALLBACK_CLIENT_ESTABLISHED:
    return on_established(c);
  case LWS_CALLBACK_CLIENT_CONNECTION_ERROR:
    if (conn->wsi != NULL) {
      on_error(conn, in, len);
    }
    return 0;
  default:
    return 0;
  }
}

static void client_verdict(aw_lws_conn *conn, X509_STORE_CTX *store,
                           bool good) {
  aw_lws_tls_verdict(&of_conn(conn)->security, store, good);
}

static void client_ended(aw_lws_conn *conn) {
  client *c = of_conn(conn);

  aw_node_remove(&c->security.node);
  close_probe(c);
  if (c->resolving) {
    uv_cancel((uv_req_t *)&c->resolve);
  }
}

static void client_release(aw_lws_conn *conn) {
  client *c = of_conn(conn);
  const aw_mem *mem = aw_loop_mem(conn->base.loop);

  drop_addresses(c);
  aw_lws_security_fini(&c->security, mem);
  aw_mem_free(mem, c->host);
  aw_mem_free(mem, c->authority);
  aw_mem_free(mem, c->target);
  aw_mem_free(mem, c->protocols);
  aw_mem_free(mem, c->headers);
  aw_mem_free(mem, c);
}

static const aw_lws_role client_role = {client_handle,  client_flush,
                                        client_verdict, client_lost,
                                        client_ended,   client_release};

static void on_resolved(uv_getaddrinfo_t *request, int status,
                        struct addrinfo *addresses) {
  client *c = request->data;
  char why[AW_LWS_REASON_MAX];

  c->resolving = false;
  c->addresses = c->next = addresses;
  if (!aw_transport_alive(&c->conn.base)) {
    drop_addresses(c);
  } else if (status != 0) {
    snprintf(why, sizeof why, "cannot resolve the host: %s",
             uv_strerror(status));
    aw_lws_conn_end(&c->conn,
                    status == UV_EAI_NONAME ? AW_E_NOT_FOUND : AW_E_IO, 1006,
                    why);
  } else {
    aw_lws_conn_wake(&c->conn);
  }
  aw_transport_drop(&c->conn.base);
}

/* An address literal needs no thread. */
static int resolve(client *c, const char **why) {
  struct addrinfo hints = {.ai_family = AF_UNSPEC,
                           .ai_socktype = SOCK_STREAM,
                           .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV};
  char port[8];
  int rc;

  snprintf(port, sizeof port, "%u", c->port);
  if (getaddrinfo(c->host, port, &hints, &c->addresses) == 0) {
    c->next = c->addresses;
    aw_lws_conn_wake(&c->conn);
    return AW_OK;
  }
  c->addresses = NULL;
  hints.ai_flags = AI_NUMERICSERV;
  c->resolve.data = c;
  rc = uv_getaddrinfo(aw_loop_uv(c->conn.base.loop), &c->resolve, on_resolved,
                      c->host, port, &hints);
  if (rc != 0) {
    *why = uv_strerror(rc);
    return rc == UV_ENOMEM ? AW_E_NOMEM : AW_E_INVALID;
  }
  c->resolving = true;
  aw_transport_hold(&c->conn.base);
  aw_lws_kick(c->conn.lws);
  return AW_OK;
}

static char *copy_span(const aw_mem *mem, const char *bytes, size_t len) {
  char *copy = aw_mem_alloc(mem, len + 1);

  if (copy != NULL) {
    memcpy(copy, bytes, len);
    copy[len] = '\0';
  }
  return copy;
}

/* Whole lines, none empty: an empty one would end the head. */
static bool are_headers(const char *text) {
  size_t len = strlen(text), i, start = 0;

  for (i = 0; i < len; i++) {
    if (text[i] == '\r' && text[i + 1] == '\n') {
      if (i == start) {
        return false;
      }
      start = i + 2;
      i++;
    } else if (text[i] == '\r' || text[i] == '\n') {
      return false;
    }
  }
  return start == len && len <= HEADERS_MAX;
}

static int parse_url(const aw_websocket_options *o, aw_http_url *url,
                     const char **why) {
  int rc;

  *why = "no URL";
  if (o->url == NULL) {
    return AW_E_INVALID;
  }
  rc = aw_http_parse_url(url, o->url, strlen(o->url), why);
  if (rc == AW_OK && (url->host.len > HOST_MAX - sizeof "[]:65535" ||
                      url->target.len > TARGET_MAX)) {
    *why = "the URL is too long";
    return AW_E_INVALID;
  }
  if (rc == AW_OK && o->headers != NULL && !are_headers(o->headers)) {
    *why = "headers are not whole lines";
    return AW_E_INVALID;
  }
  return rc;
}

static int copy_options(client *c, const aw_websocket_options *o,
                        const aw_http_url *url) {
  const aw_mem *mem = c->conn.lws->mem;
  const char *protocols = o->protocols != NULL ? o->protocols : PROTOCOLS;
  char authority[HOST_MAX + 1], port[8] = "";
  int len = (int)url->host.len;

  if (url->port_given) {
    snprintf(port, sizeof port, ":%u", url->port);
  }
  snprintf(authority, sizeof authority, url->is_ipv6 ? "[%.*s]%s" : "%.*s%s",
           len, url->host.bytes, port);
  c->port = url->port;
  c->secure = url->secure;
  c->host = copy_span(mem, url->host.bytes, url->host.len);
  c->authority = copy_span(mem, authority, strlen(authority));
  c->target = copy_span(mem, url->target.bytes, url->target.len);
  c->protocols = copy_span(mem, protocols, strlen(protocols));
  if (o->headers != NULL) {
    c->headers = copy_span(mem, o->headers, strlen(o->headers));
  }
  return c->host != NULL && c->authority != NULL && c->target != NULL &&
                 c->protocols != NULL &&
                 (o->headers == NULL || c->headers != NULL)
             ? AW_OK
             : AW_E_NOMEM;
}

static int start(client *c, const aw_websocket_options *o,
                 const aw_http_url *url, const char **why) {
  int rc = copy_options(c, o, url);

  *why = "out of memory";
  if (rc == AW_OK && c->secure) {
    rc = aw_lws_security_init(&c->security, c->conn.lws->mem, o->tls, c->host,
                              why);
    c->security.wsi = &c->conn.wsi;
    aw_queue_push(&c->conn.lws->securing, &c->security.node);
  }
  return rc == AW_OK ? resolve(c, why) : rc;
}

int aw_websocket_connect(aw_loop *loop, const aw_websocket_options *options,
                         aw_transport **out, const char **why) {
  aw_http_url url;
  aw_lws *lws;
  client *c;
  int rc = parse_url(options, &url, why);

  *out = NULL;
  if (rc != AW_OK) {
    return rc;
  }
  *why = "out of memory";
  rc = aw_lws_get(loop, &lws);
  if (rc != AW_OK) {
    return rc;
  }
  c = aw_mem_zero(lws->mem, 1, sizeof *c);
  if (c == NULL) {
    return AW_E_NOMEM;
  }
  aw_lws_conn_limits(&c->conn, options->message_max, options->handshake_ms,
                     options->ping_interval_ms, options->ping_deadline_ms);
  aw_lws_conn_init(&c->conn, lws, &client_role, false);
  rc = start(c, options, &url, why);
  if (rc != AW_OK) {
    aw_transport_free(&c->conn.base);
    return rc;
  }
  *out = &c->conn.base;
  return AW_OK;
}
