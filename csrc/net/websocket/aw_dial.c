#include "aw_dial.h"
#include "aw_error.h"
#include "aw_tcp.h"
#include <stdio.h>
#include <string.h>

/* Addresses of one name that are tried; a resolver can give hundreds. */
#define ADDRESSES_MAX 8

/* A further address is tried beside the first one after this time (RFC 8305
 * section 5): a black hole must not eat the whole deadline. */
#define STAGGER_MS 250

#define WHY_MAX 256

typedef struct attempt {
  aw_dial *dial;
  aw_stream *stream;
} attempt;

struct aw_dial {
  const aw_mem *mem;
  aw_loop *loop;
  aw_dial_sink sink;
  void *user;
  unsigned holds; /* whoever waits, the timer, the resolver */
  bool over;      /* nobody waits any more */
  bool resolving;
  const char *phase, *role;
  char *host;
  unsigned port;
  uv_getaddrinfo_t resolver;
  uv_timer_t timer;
  struct sockaddr_storage addresses[ADDRESSES_MAX];
  attempt attempts[ADDRESSES_MAX];
  unsigned count, next, live;
  int error;
  char why[WHY_MAX];
};

static void drop(aw_dial *d) {
  if (--d->holds == 0) {
    aw_mem_free(d->mem, d->host);
    aw_mem_free(d->mem, d);
  }
}

static void on_timer_closed(uv_handle_t *handle) {
  drop(handle->data);
}

void aw_dial_cancel(aw_dial *d) {
  if (d == NULL) {
    return;
  }
  d->over = true;
  for (unsigned i = 0; i < d->next; i++) {
    aw_stream_free(d->attempts[i].stream);
    d->attempts[i].stream = NULL;
  }
  if (d->resolving) {
    (void)uv_cancel((uv_req_t *)&d->resolver);
  }
  uv_close((uv_handle_t *)&d->timer, on_timer_closed);
  drop(d);
}

static void fail(aw_dial *d) {
  char why[WHY_MAX];
  aw_dial_sink sink = d->sink;
  void *user = d->user;
  int error = d->error;
  memcpy(why, d->why, sizeof why);
  aw_dial_cancel(d);
  sink.failed(user, error, why);
}

static void note_failure(aw_dial *d, int rc, const struct sockaddr *address) {
  char text[AW_TCP_ADDRESS_TEXT];
  aw_tcp_format(address, true, text);
  (void)snprintf(d->why, sizeof d->why, "%s: %s%s", uv_strerror(rc), text,
                 d->role);
  d->error = rc == UV_ECONNREFUSED ? AW_E_REFUSED
             : rc == UV_ENOENT     ? AW_E_NOT_FOUND
             : rc == UV_ETIMEDOUT  ? AW_E_TIMEOUT
                                   : AW_E_IO;
}

static void on_timer(uv_timer_t *timer);
static const aw_stream_sink attempt_sink;

/* One address after the other, each as soon as the one before has failed or has
 * taken long. */
static void try_next(aw_dial *d) {
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
    fail(d);
  }
}

static void succeed(aw_dial *d, aw_stream *stream, unsigned index) {
  struct sockaddr_storage address = d->addresses[index];
  aw_dial_sink sink = d->sink;
  void *user = d->user;
  aw_dial_cancel(d);
  sink.connected(user, stream, (struct sockaddr *)&address);
}

static void on_connected(void *user, int rc) {
  attempt *a = user;
  aw_dial *d = a->dial;
  unsigned index = (unsigned)(a - d->attempts);
  aw_stream *stream = a->stream;
  a->stream = NULL;
  if (rc == 0) {
    succeed(d, stream, index);
    return;
  }
  note_failure(d, rc, (struct sockaddr *)&d->addresses[index]);
  aw_stream_free(stream);
  d->live--;
  try_next(d);
}

static const aw_stream_sink attempt_sink = {.connected = on_connected};

static void take_addresses(aw_dial *d, const struct addrinfo *info) {
  for (; info != NULL && d->count < ADDRESSES_MAX; info = info->ai_next) {
    if (info->ai_addrlen <= sizeof d->addresses[0]) {
      memcpy(&d->addresses[d->count++], info->ai_addr, info->ai_addrlen);
    }
  }
}

static void fail_resolving(aw_dial *d, int rc) {
  (void)snprintf(d->why, sizeof d->why, "cannot resolve %.120s: %s", d->host,
                 uv_strerror(rc));
  d->error = rc == UV_EAI_NONAME ? AW_E_NOT_FOUND : AW_E_IO;
  fail(d);
}

static void on_resolved(uv_getaddrinfo_t *request, int rc,
                        struct addrinfo *info) {
  aw_dial *d = request->data;
  d->resolving = false;
  if (!d->over) {
    d->phase = "connecting";
    take_addresses(d, info);
    if (rc == 0 && d->count > 0) {
      try_next(d);
    } else {
      fail_resolving(d, rc == 0 ? UV_EAI_NONAME : rc);
    }
  }
  uv_freeaddrinfo(info);
  drop(d);
}

static void resolve(aw_dial *d) {
  struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
                           .ai_flags = AI_NUMERICSERV};
  char port[8];
  d->phase = "resolving the name";
  (void)snprintf(port, sizeof port, "%u", d->port);
  d->resolver.data = d;
  int rc = uv_getaddrinfo(aw_loop_uv(d->loop), &d->resolver, on_resolved,
                          d->host, port, &hints);
  if (rc != 0) {
    fail_resolving(d, rc);
    return;
  }
  d->resolving = true;
  d->holds++;
}

/* True when there is nothing to be resolved. */
static bool take_literal(aw_dial *d) {
  void *first = &d->addresses[0];
  if (d->count == 0 && (uv_ip4_addr(d->host, (int)d->port, first) == 0 ||
                        uv_ip6_addr(d->host, (int)d->port, first) == 0)) {
    d->count = 1;
  }
  return d->count > 0;
}

static void on_timer(uv_timer_t *timer) {
  aw_dial *d = timer->data;
  if (d->next > 0 || take_literal(d)) {
    d->phase = "connecting";
    try_next(d);
  } else {
    resolve(d);
  }
}

const char *aw_dial_phase(const aw_dial *d) {
  return d->phase;
}

int aw_dial_new(aw_dial **out, aw_loop *loop, const aw_dial_options *options,
                const aw_dial_sink *sink, void *user) {
  const aw_mem *mem = aw_loop_mem(loop);
  aw_dial *d = aw_mem_zero(mem, 1, sizeof *d);
  if (d == NULL) {
    return AW_E_NOMEM;
  }
  d->mem = mem;
  if (!aw_mem_text(mem, &d->host, options->host, strlen(options->host))) {
    aw_mem_free(mem, d);
    return AW_E_NOMEM;
  }
  d->loop = loop;
  d->sink = *sink;
  d->user = user;
  d->phase = "starting";
  d->role = options->role;
  d->port = options->port;
  if (options->file != NULL) {
    d->addresses[0] = *options->file;
    d->count = 1;
  }
  d->holds = 2;
  uv_timer_init(aw_loop_uv(loop), &d->timer);
  d->timer.data = d;
  aw_loop_arm(loop, &d->timer, on_timer, 0);
  *out = d;
  return AW_OK;
}
