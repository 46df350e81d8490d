#include "aw_arrival.h"
#include "aw_error.h"
#include "aw_os_file.h"
#include <stdio.h>

#define BACKLOG 511
#define SOCKET_MODE 0600 /* of a Unix socket's file: this user alone */
#define ACCEPTS_MAX 64   /* in one turn; open connections want their turn too */

/* Out of memory or descriptors: accepting again at once would only spin. */
#define REST_MS 100

struct aw_listener {
  aw_arrival_host host;
  const aw_mem *mem;
  uv_poll_t poll;
  uv_timer_t rest;
  unsigned handles; /* libuv handles that are not closed yet */
  int fd, reserve;
  aw_roster *roster;
  SSL_CTX *context;
  unsigned connections_max, port;
  struct sockaddr_storage bound;
  aw_os_stamp file; /* of a Unix socket: ours to remove while it is this one */
  char address[AW_TCP_ADDRESS_TEXT];
};

static void on_poll(uv_poll_t *poll, int status, int events);

static int refusal_of(const aw_listener *l, const struct sockaddr *peer) {
  if (aw_roster_count(l->roster) >= l->connections_max) {
    return 503;
  }
  if (l->host.per_address_max != 0 && !aw_arrival_trusts(&l->host, peer) &&
      aw_roster_count_from(l->roster, peer) >= l->host.per_address_max) {
    return 429;
  }
  return 0;
}

static void receive(aw_listener *l, int fd, const struct sockaddr *peer) {
  int refusal = refusal_of(l, peer);
  if (refusal != 0 && l->host.refusals >= AW_LISTENER_REFUSALS_MAX) {
    aw_os_close(fd);
    return;
  }
  (void)aw_arrival_new(&l->host, fd, peer, l->context,
                       refusal == 0 ? l->roster : NULL, refusal);
}

static void on_rested(uv_timer_t *timer) {
  aw_listener *l = timer->data;
  if (l->reserve < 0) {
    l->reserve = aw_tcp_reserve();
  }
  uv_poll_start(&l->poll, UV_READABLE, on_poll);
}

static void rest(aw_listener *l) {
  uv_poll_stop(&l->poll);
  aw_loop_arm(l->host.loop, &l->rest, on_rested, REST_MS);
}

/* Without a descriptor the connection could only be left in the backlog, where
 * it would wake the loop again and again. The one in reserve lets it be taken
 * and closed, so that the client knows. */
static bool shed(aw_listener *l) {
  struct sockaddr_storage peer;
  int fd;
  if (l->reserve < 0) {
    return false;
  }
  aw_os_close(l->reserve);
  int rc = aw_tcp_accept(l->fd, &peer, &fd);
  if (rc == 0) {
    aw_os_close(fd);
  }
  l->reserve = aw_tcp_reserve();
  return rc == 0 || rc == UV_EAGAIN;
}

static bool is_passing(int rc) {
  return rc == UV_ECONNABORTED || rc == UV_EPROTO || rc == UV_EPERM ||
         rc == UV_ENETDOWN || rc == UV_EHOSTUNREACH || rc == UV_ENETUNREACH;
}

static bool is_shortage(int rc) {
  return rc == UV_EMFILE || rc == UV_ENFILE || rc == UV_ENOBUFS ||
         rc == UV_ENOMEM;
}

static void fail(aw_listener *l, int rc) {
  uv_poll_stop(&l->poll);
  aw_loop_nudge(l->host.loop);
  if (l->host.sink.closed != NULL) {
    l->host.sink.closed(l->host.user, AW_E_IO, uv_strerror(rc));
  }
}

/* True when there may be more to accept. */
static bool handle_error(aw_listener *l, int rc) {
  if (rc == UV_EAGAIN) {
    return false;
  }
  if (is_passing(rc)) {
    return true;
  }
  if ((rc == UV_EMFILE || rc == UV_ENFILE) && shed(l)) {
    return true;
  }
  if (is_shortage(rc)) {
    rest(l);
  } else {
    fail(l, rc);
  }
  return false;
}

/* Upcalls may free the listener, which shows in the descriptor. */
static void on_poll(uv_poll_t *poll, int status, int events) {
  aw_listener *l = poll->data;
  struct sockaddr_storage peer;
  (void)events;
  if (status != 0) {
    fail(l, aw_tcp_error(l->fd));
    return;
  }
  for (int i = 0; i < ACCEPTS_MAX && l->fd >= 0; i++) {
    int fd;
    int rc = aw_tcp_accept(l->fd, &peer, &fd);
    if (rc == 0) {
      receive(l, fd, (struct sockaddr *)&peer);
    } else if (!handle_error(l, rc)) {
      return;
    }
  }
}

/* Starting */

/* Names are looked up here and now: a listener starts before there is anything
 * to keep waiting. */
static int look_up(aw_listener *l, const char *host, unsigned port,
                   struct sockaddr_storage *address) {
  uv_getaddrinfo_t request;
  struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
  if (uv_ip4_addr(host, (int)port, (void *)address) == 0 ||
      uv_ip6_addr(host, (int)port, (void *)address) == 0) {
    return 0;
  }
  char text[8];
  (void)snprintf(text, sizeof text, "%u", port);
  int rc = uv_getaddrinfo(aw_loop_uv(l->host.loop), &request, NULL, host, text,
                          &hints);
  if (rc == 0) {
    memcpy(address, request.addrinfo->ai_addr, request.addrinfo->ai_addrlen);
    uv_freeaddrinfo(request.addrinfo);
  }
  return rc;
}

/* What the system made of the address: the port it picked for 0. */
static void note_bound(aw_listener *l) {
  struct sockaddr_storage address;
  const char *file = aw_tcp_file((struct sockaddr *)&l->bound);
  if (file != NULL) {
    (void)aw_os_stamp_read(&l->file, file, false);
    aw_tcp_format((struct sockaddr *)&l->bound, false, l->address);
    return;
  }
  if (aw_tcp_bound(l->fd, &address) == 0) {
    l->port = aw_tcp_port((struct sockaddr *)&address);
  }
  aw_tcp_format((struct sockaddr *)&address, false, l->address);
}

static int find_address(aw_listener *l, const aw_http_url *url,
                        const char *host) {
  if (url->file.bytes != NULL) {
    return aw_tcp_unix(url->file.bytes, url->file.len, &l->bound);
  }
  if (host != NULL) {
    return look_up(l, host, url->port, &l->bound);
  }
  char *copy;
  if (!aw_mem_text(l->mem, &copy, url->host.bytes, url->host.len)) {
    return UV_ENOMEM;
  }
  int rc = look_up(l, copy, url->port, &l->bound);
  aw_mem_free(l->mem, copy);
  return rc;
}

static int bind_to(aw_listener *l, const aw_http_url *url,
                   const aw_listener_options *o, const char **why) {
  aw_tcp_listening listening = {
      .backlog = o->backlog > 0 ? o->backlog : BACKLOG,
      .reuse_port = o->reuse_port,
      .mode = o->socket_mode != 0 ? o->socket_mode : SOCKET_MODE,
  };
  int rc = find_address(l, url, o->host);
  if (rc == 0) {
    rc = aw_tcp_listen((struct sockaddr *)&l->bound, &listening, &l->fd);
  }
  if (rc != 0) {
    *why = uv_strerror(rc);
    return rc == UV_ENOMEM ? AW_E_NOMEM : AW_E_IO;
  }
  note_bound(l);
  return AW_OK;
}

static bool copy_path(aw_listener *l, aw_http_span path) {
  l->host.path = aw_mem_alloc(l->mem, path.len + 1);
  if (l->host.path != NULL) {
    l->host.path[aw_http_normal_path(path, l->host.path)] = '\0';
  }
  return l->host.path != NULL;
}

/* Takes the first item off a list with commas. */
static aw_http_span next_item(const char **list) {
  const char *start = *list + strspn(*list, " ,");
  size_t len = strcspn(start, " ,");
  *list = start + len;
  return (aw_http_span){start, len};
}

static int read_proxies(aw_listener *l, const char *list, const char **why) {
  aw_http_proxies *proxies = &l->host.proxies;
  /* Each takes a byte and a comma at least. */
  proxies->networks =
      aw_mem_zero(l->mem, strlen(list) / 2 + 1, sizeof *proxies->networks);
  if (proxies->networks == NULL) {
    return AW_E_NOMEM;
  }
  for (aw_http_span item = next_item(&list); item.len > 0;
       item = next_item(&list)) {
    if (item.len == 4 && memcmp(item.bytes, "unix", 4) == 0) {
      l->host.trusts_unix = true;
    } else if (aw_network_parse(&proxies->networks[proxies->count++],
                                item.bytes, item.len) != 0) {
      *why = "trusted_proxies: expected addresses, networks such as 10.0.0.0/8 "
             "without bits beyond the prefix, or unix";
      return AW_E_INVALID;
    }
  }
  return AW_OK;
}

static int fill(aw_listener *l, const aw_listener_options *o,
                const aw_http_url *url) {
  const char *protocols = o->protocols != NULL ? o->protocols
                                               : AW_PROTOCOL_EXTENDED
                              ", " AW_PROTOCOL_BASE;
  l->host.settings = (aw_socket_settings){
      .is_server = true,
      .message_max = o->message_max,
      .ping_interval_ms = o->ping_interval_ms,
      .ping_deadline_ms = o->ping_deadline_ms,
  };
  l->host.handshake_ms =
      o->handshake_ms != 0 ? o->handshake_ms : AW_WEBSOCKET_HANDSHAKE_MS;
  l->host.head_max = o->head_max;
  l->host.keep_alive_ms =
      o->keep_alive_ms != 0 ? o->keep_alive_ms : AW_EXCHANGE_KEEP_ALIVE_MS;
  l->host.exchange = (aw_exchange_settings){
      .body_max = o->body_max != 0 ? o->body_max : AW_EXCHANGE_BODY_MAX,
      .stall_ms = o->stall_ms != 0 ? o->stall_ms : AW_EXCHANGE_STALL_MS,
  };
  l->connections_max = o->connections_max != 0 ? o->connections_max
                                               : AW_LISTENER_CONNECTIONS_MAX;
  l->host.per_address_max = o->per_address_max;
  l->reserve = aw_tcp_reserve();
  l->roster = aw_roster_new(l->mem);
  bool ok =
      l->roster != NULL &&
      aw_mem_text(l->mem, &l->host.protocols, protocols, strlen(protocols)) &&
      (o->any_path || copy_path(l, url->path));
  return ok ? AW_OK : AW_E_NOMEM;
}

/* Unless another listener has put its own there meanwhile. */
static void remove_file(aw_listener *l) {
  const char *file = aw_tcp_file((struct sockaddr *)&l->bound);
  aw_os_stamp now;
  if (file != NULL && aw_os_stamp_read(&now, file, false) &&
      now.inode == l->file.inode && now.device == l->file.device) {
    aw_os_remove(file);
  }
}

static void free_parts(aw_listener *l) {
  if (l->fd >= 0) {
    remove_file(l);
    aw_os_close(l->fd);
  }
  if (l->reserve >= 0) {
    aw_os_close(l->reserve);
  }
  l->fd = l->reserve = -1;
  if (l->roster != NULL) {
    aw_roster_drop(l->roster);
  }
  SSL_CTX_free(l->context);
  aw_mem_free(l->mem, l->host.protocols);
  aw_mem_free(l->mem, l->host.path);
  aw_mem_free(l->mem, l->host.proxies.networks);
}

static void on_handle_closed(uv_handle_t *handle) {
  aw_listener *l = handle->data;
  if (--l->handles == 0) {
    aw_mem_free(l->mem, l);
  }
}

static int start(aw_listener *l) {
  uv_loop_t *uv = aw_loop_uv(l->host.loop);
  if (uv_poll_init_socket(uv, &l->poll, l->fd) != 0) {
    return AW_E_IO;
  }
  l->poll.data = l;
  uv_timer_init(uv, &l->rest);
  l->rest.data = l;
  l->handles = 2;
  uv_poll_start(&l->poll, UV_READABLE, on_poll);
  return AW_OK;
}

static aw_listener *new_listener(aw_loop *loop, const aw_listener_sink *sink,
                                 void *user) {
  const aw_mem *mem = aw_loop_mem(loop);
  aw_listener *l = aw_mem_zero(mem, 1, sizeof *l);
  if (l == NULL) {
    return NULL;
  }
  l->mem = mem;
  l->fd = l->reserve = -1;
  l->host.loop = loop;
  l->host.sink = *sink;
  l->host.user = user;
  aw_queue_init(&l->host.arrivals);
  return l;
}

int aw_listener_new(aw_loop *loop, const aw_listener_options *options,
                    const aw_listener_sink *sink, void *user, aw_listener **out,
                    const char **why) {
  aw_http_url url;
  int rc = aw_http_parse_url(&url, options->url, strlen(options->url), why);
  if (rc != AW_OK) {
    return rc;
  }
  if (!url.secure && options->tls != NULL) {
    *why = AW_TCP_PLAIN_TLS;
    return AW_E_INVALID;
  }
  if (url.query.len > 0) {
    *why = "URL to listen at has a query";
    return AW_E_INVALID;
  }
  *why = "out of memory";
  aw_listener *l = new_listener(loop, sink, user);
  if (l == NULL) {
    return AW_E_NOMEM;
  }
  rc = fill(l, options, &url);
  if (rc == AW_OK && options->trusted_proxies != NULL) {
    rc = read_proxies(l, options->trusted_proxies, why);
  }
  if (rc == AW_OK && url.secure) {
    rc = aw_tls_server_context(&l->context, options->tls, why);
  }
  if (rc == AW_OK) {
    rc = bind_to(l, &url, options, why);
  }
  if (rc == AW_OK) {
    rc = start(l);
  }
  if (rc != AW_OK) {
    free_parts(l);
    aw_mem_free(l->mem, l);
    return rc;
  }
  *out = l;
  return AW_OK;
}

unsigned aw_listener_port(const aw_listener *l) {
  return l->port;
}

const char *aw_listener_address(const aw_listener *l) {
  return l->address;
}

int aw_listener_reload_tls(aw_listener *l, const aw_tls_options *tls,
                           const char **why) {
  SSL_CTX *fresh;
  if (l->context == NULL) {
    *why = "the listener has no TLS";
    return AW_E_UNSUPPORTED;
  }
  int rc = aw_tls_server_context(&fresh, tls, why);
  if (rc != AW_OK) {
    return rc;
  }
  SSL_CTX_free(l->context);
  l->context = fresh;
  return AW_OK;
}

void aw_listener_free(aw_listener *l) {
  if (l == NULL) {
    return;
  }
  aw_arrival_end_all(&l->host);
  uv_close((uv_handle_t *)&l->poll, on_handle_closed);
  uv_close((uv_handle_t *)&l->rest, on_handle_closed);
  free_parts(l);
}
