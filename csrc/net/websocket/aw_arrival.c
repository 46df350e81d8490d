#include "aw_arrival.h"
#include "aw_error.h"
#include "aw_os_file.h"

#define WHY_MAX 128

enum arrival_state {
  READING,  /* the head */
  PARKED,   /* the owner is asked about an upgrade */
  LENT,     /* an exchange has the stream */
  DRAINING, /* refused: input is read only to be thrown away, because closing
               what has unread input makes a reset, which can overtake our last
               words */
  OVER
};

struct aw_arrival {
  aw_node node;
  aw_loop *loop;
  aw_arrival_host *host; /* NULL: the listener has gone while LENT, so that
                            this is the last request */
  enum arrival_state state;
  bool shut;   /* the output was ended */
  bool rested; /* nothing has come since the last response */
  aw_stream *stream;
  aw_flush flush;
  aw_teardown teardown; /* of one without a listener */
  uv_timer_t timer;
  aw_seat seat;
  aw_upgrade *upgrade;   /* while PARKED */
  aw_exchange *exchange; /* while LENT */
  aw_buf in;
  int refusal; /* the status to answer with whatever is asked for, or 0 */
  struct sockaddr_storage from;
  char peer[AW_TCP_ADDRESS_TEXT];    /* with the port */
  char address[AW_TCP_ADDRESS_TEXT]; /* without */
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
  aw_request request;
};

static void free_upgrade(aw_upgrade *u) {
  aw_request_fini(&u->request, u->mem);
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

static void on_timer_closed(uv_handle_t *handle) {
  aw_arrival *a = handle->data;
  const aw_mem *mem = a->in.mem; /* the host may be gone already */
  aw_buf_fini(&a->in);
  aw_mem_free(mem, a);
}

/* Over, with the stream unless that was handed on. The memory lives until libuv
 * has let go of the timer, so that whoever works on it may come back. */
static void end(aw_arrival *a) {
  if (a->state == OVER) {
    return;
  }
  a->state = OVER;
  aw_node_remove(&a->node);
  aw_node_remove(&a->flush.node);
  aw_node_remove(&a->teardown.node);
  aw_stream_free(a->stream);
  a->stream = NULL;
  aw_seat_leave(&a->seat);
  if (a->refusal != 0) {
    a->host->refusals--;
  }
  uv_close((uv_handle_t *)&a->timer, on_timer_closed);
  part_from_upgrade(a);
}

static void on_timer(uv_timer_t *timer);
static const aw_stream_sink stream_sink;

/* What is in the output is the last of it. */
static void drain(aw_arrival *a) {
  a->state = DRAINING;
  aw_stream_read(a->stream, true);
  aw_loop_arm(a->loop, &a->timer, on_timer, AW_TRANSPORT_LINGER_MS);
  aw_loop_mark(a->loop, &a->flush);
}

static void refuse(aw_arrival *a, int status, const char *why) {
  if (aw_http_build_refusal(&a->stream->out, status, why) != AW_OK) {
    end(a);
    return;
  }
  drain(a);
  part_from_upgrade(a);
}

static int answer_upgrade(aw_arrival *a, const aw_http_head *head,
                          aw_http_span protocol) {
  char accept[AW_HTTP_ACCEPT_TEXT];
  aw_http_span key = aw_http_find(head, "Sec-WebSocket-Key");
  aw_http_make_accept(key.bytes, accept);
  return aw_http_build_accept(&a->stream->out, accept, protocol, NULL);
}

/* What came behind the head waits until the socket is open. */
static void hand_on(aw_arrival *a, aw_socket *s, aw_identity *identity) {
  aw_arrival_host *host = a->host;
  aw_stream *stream = a->stream;
  aw_buf early = a->in;
  aw_buf_init(&a->in, early.mem);
  a->stream = NULL;
  aw_seat_pass(&a->seat, &s->seat);
  aw_socket_attach(s, stream, a->peer);
  end(a);
  aw_socket_open(s, &early);
  s->base.identity = aw_identity_hold(identity);
  aw_loop_nudge(host->loop);
  host->sink.accepted(host->user, &s->base);
}

static void accept_upgrade(aw_arrival *a, const aw_http_head *head,
                           aw_identity *identity) {
  aw_http_span protocol = aw_http_pick_protocol(head, a->host->protocols);
  aw_socket *s = NULL;
  int rc = aw_socket_new(&s, a->host->loop, &a->host->settings);
  if (rc == AW_OK) {
    rc = answer_upgrade(a, head, protocol);
  }
  if (rc != AW_OK) {
    aw_transport_free(s != NULL ? &s->base : NULL);
    refuse(a, 503, "out of memory");
    return;
  }
  aw_socket_agree(s, protocol);
  hand_on(a, s, identity);
}

/* The upgrade keeps its own copy of the head: it may outlive everything. */
static int make_upgrade(aw_upgrade **out, aw_arrival *a, size_t used) {
  const aw_mem *mem = aw_loop_mem(a->loop);
  aw_upgrade *u = aw_mem_zero(mem, 1, sizeof *u);
  if (u == NULL) {
    return AW_E_NOMEM;
  }
  u->mem = mem;
  int rc = aw_request_init(&u->request, mem, aw_buf_bytes(&a->in), used,
                           a->stream->tls, a->address);
  if (rc != AW_OK) {
    aw_mem_free(mem, u);
    return rc;
  }
  *out = u;
  return AW_OK;
}

static void ask_owner(aw_arrival *a, size_t used) {
  if (make_upgrade(&a->upgrade, a, used) != AW_OK) {
    refuse(a, 503, "out of memory");
    return;
  }
  a->state = PARKED;
  a->upgrade->arrival = a;
  aw_buf_consume(&a->in, used);
  aw_loop_nudge(a->host->loop);
  a->host->sink.requested(a->host->user, a->upgrade);
}

static void act_on_answer(aw_arrival *a) {
  aw_upgrade *u = a->upgrade;
  if (u->answer == REFUSED) {
    char why[WHY_MAX];
    memcpy(why, u->why, sizeof why);
    refuse(a, u->status, why);
    return;
  }
  /* The head must live until the answer is built. */
  bool released = u->released;
  u->arrival = NULL;
  a->upgrade = NULL;
  accept_upgrade(a, &u->request.head, u->identity);
  if (released) {
    free_upgrade(u);
  }
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

/* Each request of a proxy may be for somebody else. */
static void forget_client(aw_arrival *a) {
  const struct sockaddr *peer = (struct sockaddr *)&a->from;
  aw_tcp_format(peer, true, a->peer);
  aw_tcp_format(peer, false, a->address);
  if (a->seat.roster != NULL) {
    aw_seat_move(&a->seat, peer);
  }
}

/* From here on the connection is that of whom a proxy of ours speaks for. 0, or
 * the status to answer with. */
static int find_client(aw_arrival *a, const aw_http_head *head) {
  const struct sockaddr *peer = (struct sockaddr *)&a->from;
  struct sockaddr_in6 client = {.sin6_family = AF_INET6};
  aw_seat *seat = &a->seat;
  aw_address address = {{0}};
  unsigned most = a->host->per_address_max;
  if (!aw_arrival_trusts(a->host, peer)) {
    return 0;
  }
  forget_client(a);
  bool has_address = read_peer(peer, &address);
  aw_address nearest = address;
  if (!aw_http_client_of(head, &a->host->proxies, has_address ? &nearest : NULL,
                         &address)) {
    return 400;
  }
  memcpy(&client.sin6_addr, address.bytes, sizeof address.bytes);
  bool is_other =
      memcmp(address.bytes, nearest.bytes, sizeof address.bytes) != 0;
  if (is_other) {
    aw_tcp_format((struct sockaddr *)&client, false, a->address);
    memcpy(a->peer, a->address, sizeof a->address);
  }
  if (seat->roster == NULL) {
    return 0;
  }
  /* A proxy that speaks for itself is counted there already. */
  bool is_counted = has_address && !is_other;
  if (most != 0 &&
      aw_roster_count_from(seat->roster, (struct sockaddr *)&client) -
              is_counted >=
          most) {
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

static void take_upgrade(aw_arrival *a, aw_http_head *head, size_t used) {
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

static void take_back(void *user, aw_stream *stream, aw_buf *rest, int status,
                      const char *why);

/* The owner may answer, and let go, before this returns. */
static void lend(aw_arrival *a, aw_exchange *x) {
  aw_arrival_host *host = a->host;
  aw_exchange_keeper keeper = {a, take_back};
  aw_stream *stream = a->stream;
  a->state = LENT;
  a->stream = NULL;
  a->exchange = x;
  uv_timer_stop(&a->timer);
  aw_exchange_begin(x, stream, &a->in, &keeper);
  if (a->exchange == NULL) { /* what came with the head is malformed */
    aw_exchange_free(x);
    return;
  }
  aw_loop_nudge(host->loop);
  host->sink.request(host->user, x);
}

static void take_plain(aw_arrival *a, aw_http_head *head, size_t used) {
  aw_http_body body;
  aw_request request;
  aw_exchange *x = NULL;
  int status = aw_http_check_plain(head);
  if (status == 0) {
    status = aw_http_begin_request_body(&body, head);
  }
  if (status == 0 && body.left > a->host->exchange.body_max) {
    status = 413;
    head->why = "the body is longer than body_max";
  }
  if (status != 0) {
    refuse(a, status, head->why);
    return;
  }
  int rc = aw_request_init(&request, aw_loop_mem(a->loop), aw_buf_bytes(&a->in),
                           used, a->stream->tls, a->address);
  if (rc == AW_OK) {
    rc = aw_exchange_new(&x, a->loop, &a->host->exchange, &request, &body);
  }
  if (rc != AW_OK) {
    refuse(a, 503, "out of memory");
    return;
  }
  aw_buf_consume(&a->in, used);
  lend(a, x);
}

static void take_request(aw_arrival *a, aw_http_head *head, size_t used) {
  int crowd = a->refusal != 0 ? a->refusal : find_client(a, head);
  if (crowd != 0) {
    refuse(a, crowd, name_refusal(crowd));
  } else if (a->host->sink.request == NULL || aw_http_asks_upgrade(head)) {
    take_upgrade(a, head, used);
  } else {
    take_plain(a, head, used);
  }
}

static void read_head(aw_arrival *a) {
  aw_http_head head;
  size_t used;
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

/* A head has its time from its first byte on. */
static void read_next(aw_arrival *a) {
  bool idle = aw_buf_len(&a->in) == 0;
  a->state = READING;
  a->rested = idle;
  aw_loop_arm(a->loop, &a->timer, on_timer,
              idle ? a->host->keep_alive_ms : a->host->handshake_ms);
  if (idle) {
    aw_buf_reset(&a->in, 0);
    aw_buf_reset(&a->stream->out, 0);
  }
  aw_stream_read(a->stream, true);
  if (!idle) {
    read_head(a);
  }
}

static void take_back(void *user, aw_stream *stream, aw_buf *rest, int status,
                      const char *why) {
  aw_arrival *a = user;
  a->exchange = NULL;
  if (stream == NULL) {
    end(a);
    return;
  }
  a->stream = stream;
  aw_stream_hand_over(stream, &stream_sink, a);
  a->in = *rest;
  if (status > AW_EXCHANGE_LAST) {
    refuse(a, status, why);
  } else if (status == AW_EXCHANGE_LAST) {
    drain(a);
  } else {
    read_next(a);
  }
}

static void on_secured(void *user) {
  (void)user; /* the client speaks first */
}

static void on_input(void *user, char *bytes, size_t len) {
  aw_arrival *a = user;
  if (a->state == DRAINING) {
    return;
  }
  if (a->state == PARKED && aw_buf_len(&a->in) + len > AW_ARRIVAL_EARLY_MAX) {
    refuse(a, 400, "frames before the upgrade was agreed");
  } else if (aw_buf_append(&a->in, bytes, len) != AW_OK) {
    end(a);
  } else if (a->state == READING) {
    if (a->rested) {
      a->rested = false;
      aw_loop_arm(a->loop, &a->timer, on_timer, a->host->handshake_ms);
    }
    read_head(a);
  }
}

static void on_arrived(void *user, size_t len) {
  (void)user;
  (void)len;
}

static void on_sent(void *user, size_t len) {
  (void)user; /* no one waits for room */
  (void)len;
}

static void on_ended(void *user, int error, const char *why) {
  (void)error; /* nobody knows this connection yet */
  (void)why;
  end(user);
}

static const aw_stream_sink stream_sink = {.secured = on_secured,
                                           .input = on_input,
                                           .arrived = on_arrived,
                                           .sent = on_sent,
                                           .ended = on_ended};

static void on_timer(uv_timer_t *timer) {
  aw_arrival *a = timer->data;
  if (a->state == PARKED) {
    refuse(a, 503, "not decided in time");
  } else {
    end(a);
  }
}

static void run_flush(aw_flush *flush) {
  aw_arrival *a = AW_CONTAINER(flush, aw_arrival, flush);
  if (a->state == PARKED && a->upgrade->answer != UNANSWERED) {
    act_on_answer(a);
  }
  if (a->state != OVER) {
    aw_stream_flush(a->stream);
  }
  if (a->state == DRAINING && !a->shut) {
    /* RFC 6455 section 7.1.1: the server closes first. */
    a->shut = true;
    aw_stream_shutdown(a->stream);
  }
}

static aw_arrival *new_arrival(aw_arrival_host *host,
                               const struct sockaddr *peer) {
  const aw_mem *mem = aw_loop_mem(host->loop);
  aw_arrival *a = aw_mem_zero(mem, 1, sizeof *a);
  if (a == NULL) {
    return NULL;
  }
  aw_buf_init(&a->in, mem);
  a->loop = host->loop;
  a->host = host;
  a->flush.run = run_flush;
  memcpy(&a->from, peer, aw_tcp_size(peer));
  aw_tcp_format(peer, true, a->peer);
  aw_tcp_format(peer, false, a->address);
  return a;
}

static void begin(aw_arrival *a, aw_roster *roster, int refusal) {
  aw_arrival_host *host = a->host;
  a->refusal = refusal;
  host->refusals += refusal != 0;
  aw_queue_push(&host->arrivals, &a->node);
  if (roster != NULL) {
    aw_seat_take(&a->seat, roster, (struct sockaddr *)&a->from);
  }
  uv_timer_init(aw_loop_uv(host->loop), &a->timer);
  a->timer.data = a;
  aw_loop_arm(host->loop, &a->timer, on_timer, host->handshake_ms);
}

int aw_arrival_new(aw_arrival_host *host, int fd, const struct sockaddr *peer,
                   SSL_CTX *context, aw_roster *roster, int refusal) {
  aw_tls *tls = NULL;
  const aw_mem *mem = aw_loop_mem(host->loop);
  aw_arrival *a = new_arrival(host, peer);
  if (a == NULL) {
    goto fail;
  }
  if (context != NULL && aw_tls_new(&tls, mem, context, NULL) != AW_OK) {
    goto fail;
  }
  if (aw_stream_adopt(&a->stream, host->loop, fd, &stream_sink, a) != 0) {
    goto fail;
  }
  aw_tcp_tune(fd);
  begin(a, roster, refusal);
  if (tls != NULL) {
    aw_stream_secure(a->stream, tls);
  }
  return AW_OK;
fail:
  aw_tls_free(tls);
  aw_mem_free(mem, a);
  aw_os_close(fd);
  return AW_E_NOMEM;
}

static void run_teardown(aw_teardown *teardown) {
  aw_arrival *a = AW_CONTAINER(teardown, aw_arrival, teardown);
  if (a->exchange != NULL) {
    aw_exchange_cut(a->exchange);
  } else {
    end(a);
  }
}

/* The response that is under way does not need a listener. */
static void orphan(aw_arrival *a) {
  aw_node_remove(&a->node);
  a->host = NULL;
  a->teardown.run = run_teardown;
  aw_loop_at_free(a->loop, &a->teardown);
  aw_exchange_let_end(a->exchange);
}

void aw_arrival_end_all(aw_arrival_host *host) {
  aw_node *node;
  while ((node = aw_queue_first(&host->arrivals)) != NULL) {
    aw_arrival *a = AW_CONTAINER(node, aw_arrival, node);
    if (a->state == LENT) {
      orphan(a);
    } else {
      end(a);
    }
  }
}

/* The owner's side */

static int answer(aw_upgrade *u, enum answer answer) {
  if (u->arrival == NULL || u->answer != UNANSWERED) {
    return AW_E_CLOSED;
  }
  u->answer = answer;
  aw_loop_mark(u->arrival->host->loop, &u->arrival->flush);
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
  return u->request.address;
}

const char *aw_upgrade_target(const aw_upgrade *u) {
  return u->request.target;
}

const char *aw_upgrade_tls_subject(const aw_upgrade *u) {
  return u->request.subject;
}

const char *aw_upgrade_header(const aw_upgrade *u, const char *name,
                              size_t *len) {
  aw_http_span value = aw_http_find(&u->request.head, name);
  *len = value.len;
  return value.bytes;
}

bool aw_upgrade_headers(const aw_upgrade *u, unsigned index,
                        aw_upgrade_field *field) {
  return aw_request_field(&u->request, index, field);
}
