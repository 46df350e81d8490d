#include "aw_arrival.h"
#include "aw_error.h"
#include "aw_os_file.h"

#define WHY_MAX 128

struct aw_arrival {
  aw_node node;
  aw_arrival_host *host;
  aw_socket *socket;
  aw_upgrade *upgrade; /* NULL before it was asked for, or nobody is asked */
  aw_buf in;
  int refusal;
  struct sockaddr_storage peer;
  char address[AW_TCP_ADDRESS_TEXT];
};

enum answer { UNANSWERED, ACCEPTED, REFUSED };

struct aw_upgrade {
  const aw_mem *mem;
  aw_arrival *arrival; /* NULL: the connection is gone, or has gone on */
  enum answer answer;
  bool released; /* the owner has freed it */
  int status;
  char why[WHY_MAX];
  void *user;
  aw_identity *identity; /* once it is accepted */
  char *text;            /* the head; spans point into it */
  aw_http_head head;
  char *target, *subject;
  char address[AW_TCP_ADDRESS_TEXT];
};

static void free_upgrade(aw_upgrade *u) {
  aw_mem_free(u->mem, u->text);
  aw_mem_free(u->mem, u->target);
  aw_mem_free(u->mem, u->subject);
  aw_identity_drop(u->identity);
  aw_mem_free(u->mem, u);
}

static void part_from_upgrade(aw_arrival *a) {
  aw_upgrade *u = a->upgrade;
  if (u == NULL) {
    return;
  }
  a->upgrade = NULL;
  u->arrival = NULL;
  if (u->released) {
    free_upgrade(u);
  } else if (u->answer == UNANSWERED && a->host->sink.withdrawn != NULL) {
    aw_loop_nudge(a->host->loop);
    a->host->sink.withdrawn(a->host->user, u);
  }
}

/* Frees the arrival, not its socket. */
static void free_arrival(aw_arrival *a) {
  aw_node_remove(&a->node);
  if (a->refusal != 0) {
    a->host->refusals--;
  }
  part_from_upgrade(a);
  aw_buf_fini(&a->in);
  aw_mem_free(aw_loop_mem(a->host->loop), a);
}

static void on_lost(void *user, int error, const char *why) {
  aw_arrival *a = user;
  aw_socket *s = a->socket;
  (void)error; /* nobody knows this connection yet */
  (void)why;
  free_arrival(a);
  aw_transport_free(&s->base);
}

static void on_dropped(void *user) {
  free_arrival(user);
}

static void refuse(aw_arrival *a, int status, const char *why) {
  aw_socket *s = a->socket;
  int rc = aw_http_build_refusal(&s->stream->out, status, why);
  if (rc != AW_OK) {
    aw_socket_end(s, rc, 1006, "cannot answer");
    return;
  }
  part_from_upgrade(a);
  aw_socket_drain(s, AW_E_REFUSED, 1006, why);
}

/* What came behind the head waits until the socket is open. */
static void accept_upgrade(aw_arrival *a, const aw_http_head *head,
                           aw_identity *identity) {
  aw_arrival_host *host = a->host;
  aw_socket *s = a->socket;
  char accept[AW_HTTP_ACCEPT_TEXT];
  aw_http_span key = aw_http_find(head, "Sec-WebSocket-Key");
  aw_http_span protocol = aw_http_pick_protocol(head, host->protocols);
  aw_http_make_accept(key.bytes, accept);
  int rc = aw_http_build_accept(&s->stream->out, accept, protocol, NULL);
  if (rc != AW_OK) {
    aw_socket_end(s, rc, 1006, "cannot answer");
    return;
  }
  aw_socket_agree(s, protocol);
  aw_buf_fini(&s->early);
  s->early = a->in;
  aw_buf_init(&a->in, s->early.mem);
  free_arrival(a);
  aw_socket_mark(s);
  aw_socket_open(s);
  s->base.identity = aw_identity_hold(identity);
  aw_loop_nudge(host->loop);
  host->sink.accepted(host->user, &s->base);
}

/* In the one form that a rule about paths can be compared with, whatever form
 * it came in. */
static char *copy_target(const aw_mem *mem, aw_http_head *head) {
  if (aw_http_read_target(head) != NULL) {
    return NULL;
  }
  aw_http_span query = head->query;
  char *target = aw_mem_alloc(mem, head->path.len + query.len + 2);
  if (target == NULL) {
    return NULL;
  }
  size_t len = aw_http_normal_path(head->path, target);
  if (query.bytes != NULL) {
    target[len++] = '?';
    memcpy(target + len, query.bytes, query.len);
    len += query.len;
  }
  target[len] = '\0';
  return target;
}

/* The upgrade keeps its own copy of the head: it may outlive everything. */
static int make_upgrade(aw_upgrade **out, aw_arrival *a, size_t used) {
  const aw_mem *mem = aw_loop_mem(a->host->loop);
  aw_upgrade *u = aw_mem_zero(mem, 1, sizeof *u);
  size_t ignored;
  if (u == NULL) {
    return AW_E_NOMEM;
  }
  u->mem = mem;
  memcpy(u->address, a->address, sizeof u->address);
  u->text = aw_mem_alloc(mem, used);
  if (u->text == NULL) {
    goto fail;
  }
  memcpy(u->text, aw_buf_bytes(&a->in), used);
  if (aw_http_parse(&u->head, u->text, used, used, true, &ignored) != AW_OK) {
    goto fail;
  }
  const char *subject = a->socket->stream->tls != NULL
                            ? aw_tls_subject(a->socket->stream->tls)
                            : NULL;
  u->target = copy_target(mem, &u->head);
  if (u->target == NULL ||
      (subject != NULL &&
       !aw_socket_copy(mem, &u->subject, subject, strlen(subject)))) {
    goto fail;
  }
  *out = u;
  return AW_OK;
fail:
  free_upgrade(u);
  return AW_E_NOMEM;
}

static void ask_owner(aw_arrival *a, size_t used) {
  if (make_upgrade(&a->upgrade, a, used) != AW_OK) {
    refuse(a, 503, "out of memory");
    return;
  }
  a->upgrade->arrival = a;
  aw_buf_consume(&a->in, used);
  aw_loop_nudge(a->host->loop);
  a->host->sink.requested(a->host->user, a->upgrade);
}

static bool read_peer(const struct sockaddr *peer, aw_address *out) {
  static const aw_address mapped = {{[10] = 0xFF, [11] = 0xFF}};
  if (peer->sa_family == AF_INET) {
    *out = mapped;
    memcpy(out->bytes + 12, &((const struct sockaddr_in *)peer)->sin_addr, 4);
  } else if (peer->sa_family == AF_INET6) {
    memcpy(out->bytes, &((const struct sockaddr_in6 *)peer)->sin6_addr, 16);
  }
  return peer->sa_family != AF_UNIX;
}

bool aw_arrival_trusts(const aw_arrival_host *host,
                       const struct sockaddr *peer) {
  aw_address address;
  return read_peer(peer, &address)
             ? aw_http_is_trusted(&host->proxies, &address)
             : host->trusts_unix;
}

/* From here on the connection is that of whom a proxy of ours speaks for. 0, or
 * the status to answer with. */
static int find_client(aw_arrival *a, const aw_http_head *head) {
  const struct sockaddr *peer = (struct sockaddr *)&a->peer;
  struct sockaddr_in6 client = {.sin6_family = AF_INET6};
  aw_seat *seat = &a->socket->seat;
  aw_address address = {{0}};
  unsigned most = a->host->per_address_max;
  if (!aw_arrival_trusts(a->host, peer)) {
    return 0;
  }
  bool has_address = read_peer(peer, &address);
  aw_address nearest = address;
  if (!aw_http_client_of(head, &a->host->proxies, has_address ? &nearest : NULL,
                         &address)) {
    return 400;
  }
  memcpy(&client.sin6_addr, address.bytes, sizeof address.bytes);
  if (memcmp(address.bytes, nearest.bytes, sizeof address.bytes) != 0) {
    aw_tcp_format((struct sockaddr *)&client, false, a->address);
    memcpy(a->socket->peer, a->address, sizeof a->address);
  }
  if (seat->roster == NULL) {
    return 0;
  }
  if (most != 0 &&
      aw_roster_count_from(seat->roster, (struct sockaddr *)&client) >= most) {
    return 429;
  }
  aw_seat_move(seat, (struct sockaddr *)&client);
  return 0;
}

static const char *name_refusal(int status) {
  return status == 429   ? "too many connections from this address"
         : status == 400 ? "malformed X-Forwarded-For header"
                         : "too many connections";
}

static void take_request(aw_arrival *a, aw_http_head *head, size_t used) {
  int crowd = a->refusal == 0 ? find_client(a, head) : 0;
  if (crowd != 0) {
    refuse(a, crowd, name_refusal(crowd));
    return;
  }
  if (a->refusal != 0) {
    refuse(a, a->refusal, name_refusal(a->refusal));
    return;
  }
  int status = aw_http_check_request(head, a->host->path);
  if (status != 0) {
    refuse(a, status, head->why);
  } else if (a->host->sink.requested != NULL) {
    ask_owner(a, used);
  } else {
    /* The head's spans stay valid: consuming moves no byte. */
    aw_buf_consume(&a->in, used);
    accept_upgrade(a, head, NULL);
  }
}

static void on_input(void *user, char *bytes, size_t len) {
  aw_arrival *a = user;
  aw_http_head head;
  size_t used;
  if (a->upgrade != NULL && aw_buf_len(&a->in) + len > AW_SOCKET_EARLY_MAX) {
    refuse(a, 400, "frames before the upgrade was agreed");
    return;
  }
  if (aw_buf_append(&a->in, bytes, len) != AW_OK) {
    aw_socket_end(a->socket, AW_E_NOMEM, 1006, "out of memory");
    return;
  }
  if (a->upgrade != NULL) {
    return;
  }
  int rc = aw_http_parse(&head, aw_buf_bytes(&a->in), aw_buf_len(&a->in),
                         a->host->head_max, true, &used);
  if (rc == AW_OK) {
    take_request(a, &head, used);
  } else if (rc == AW_E_LIMIT) {
    refuse(a, 431, head.why);
  } else if (rc != AW_E_AGAIN) {
    refuse(a, 400, head.why);
  }
}

static void on_ready(void *user) {
  (void)user; /* the client speaks first */
}

static void act_on_answer(aw_arrival *a) {
  aw_upgrade *u = a->upgrade;
  char why[WHY_MAX];
  if (u->answer == REFUSED) {
    memcpy(why, u->why, sizeof why);
    refuse(a, u->status, why);
    return;
  }
  /* The head must live until the answer is built. */
  bool released = u->released;
  u->arrival = NULL;
  a->upgrade = NULL;
  accept_upgrade(a, &u->head, u->identity);
  if (released) {
    free_upgrade(u);
  }
}

static void on_timer(void *user) {
  aw_arrival *a = user;
  if (a->upgrade != NULL && a->upgrade->answer != UNANSWERED) {
    act_on_answer(a);
  } else if (a->upgrade != NULL) {
    refuse(a, 503, "not decided in time");
  } else {
    aw_socket_end(a->socket, AW_E_TIMEOUT, 1006, "handshake too slow");
  }
}

static const aw_greeter server_greeter = {on_ready, on_input, on_timer, on_lost,
                                          on_dropped};

static aw_arrival *new_arrival(aw_arrival_host *host, int refusal) {
  const aw_mem *mem = aw_loop_mem(host->loop);
  aw_arrival *a = aw_mem_zero(mem, 1, sizeof *a);
  if (a == NULL) {
    return NULL;
  }
  aw_buf_init(&a->in, mem);
  if (aw_socket_new(&a->socket, host->loop, &host->settings, &server_greeter,
                    a) != AW_OK) {
    aw_mem_free(mem, a);
    return NULL;
  }
  a->host = host;
  a->refusal = refusal;
  host->refusals += refusal != 0;
  aw_queue_push(&host->arrivals, &a->node);
  return a;
}

int aw_arrival_new(aw_arrival_host *host, int fd, const struct sockaddr *peer,
                   SSL_CTX *context, aw_roster *roster, int refusal) {
  aw_tls *tls = NULL;
  aw_stream *stream = NULL;
  aw_arrival *a = NULL;
  const aw_mem *mem = aw_loop_mem(host->loop);
  if (context != NULL && aw_tls_new(&tls, mem, context, NULL) != AW_OK) {
    goto fail;
  }
  a = new_arrival(host, refusal);
  if (a == NULL || aw_stream_adopt(&stream, host->loop, fd, NULL, NULL) != 0) {
    goto fail;
  }
  memcpy(&a->peer, peer, aw_tcp_size(peer));
  aw_tcp_format(peer, false, a->address);
  if (roster != NULL) {
    aw_seat_take(&a->socket->seat, roster, peer);
  }
  aw_socket_attach(a->socket, stream, tls, peer);
  return AW_OK;
fail:
  if (a != NULL) {
    aw_transport_free(&a->socket->base);
  }
  aw_tls_free(tls);
  aw_os_close(fd);
  return AW_E_NOMEM;
}

void aw_arrival_end_all(aw_arrival_host *host) {
  aw_node *node;
  while ((node = aw_queue_first(&host->arrivals)) != NULL) {
    aw_arrival *a = AW_CONTAINER(node, aw_arrival, node);
    aw_transport_free(&a->socket->base);
  }
}

/* The owner's side */

static int answer(aw_upgrade *u, enum answer answer) {
  if (u->arrival == NULL || u->answer != UNANSWERED) {
    return AW_E_CLOSED;
  }
  u->answer = answer;
  aw_socket_soon(u->arrival->socket);
  return AW_OK;
}

int aw_upgrade_accept(aw_upgrade *u, aw_identity *identity) {
  int rc = answer(u, ACCEPTED);
  if (rc == AW_OK) {
    u->identity = aw_identity_hold(identity);
  }
  return rc;
}

int aw_upgrade_refuse(aw_upgrade *u, int status, const char *why) {
  size_t len = 0;
  if (status < 400 || status > 599) {
    return AW_E_INVALID;
  }
  if (u->answer == UNANSWERED) {
    u->status = status;
    for (; len < sizeof u->why - 1 && why[len] != '\0'; len++) {
      u->why[len] = (unsigned char)why[len] < ' ' ? ' ' : why[len];
    }
  }
  return answer(u, REFUSED);
}

void aw_upgrade_free(aw_upgrade *u) {
  if (u == NULL) {
    return;
  }
  (void)aw_upgrade_refuse(u, 503, "not decided");
  if (u->arrival != NULL) {
    u->released = true;
  } else {
    free_upgrade(u);
  }
}

bool aw_upgrade_waits(const aw_upgrade *u) {
  return u->arrival != NULL && u->answer == UNANSWERED;
}

void aw_upgrade_set_user(aw_upgrade *u, void *user) {
  u->user = user;
}

void *aw_upgrade_user(const aw_upgrade *u) {
  return u->user;
}

const char *aw_upgrade_peer(const aw_upgrade *u) {
  return u->address;
}

const char *aw_upgrade_target(const aw_upgrade *u) {
  return u->target;
}

const char *aw_upgrade_tls_subject(const aw_upgrade *u) {
  return u->subject;
}

const char *aw_upgrade_header(const aw_upgrade *u, const char *name,
                              size_t *len) {
  aw_http_span value = aw_http_find(&u->head, name);
  *len = value.len;
  return value.bytes;
}

bool aw_upgrade_headers(const aw_upgrade *u, unsigned index,
                        aw_upgrade_field *field) {
  if (index >= u->head.count) {
    return false;
  }
  const aw_http_header *header = &u->head.headers[index];
  *field = (aw_upgrade_field){header->name.bytes, header->value.bytes,
                              header->name.len, header->value.len};
  return true;
}
