#include "exchange_world.h"
#include "aw_arrival.h"
#include "aw_error.h"
#include "world_kit.h"
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define CLIENTS 3
#define EXCHANGES 8
#define BODY_MAX 300000
#define NAPS 2

/* Of each client: what waits of its body and behind it, what waits for it, each
 * with the doubling of a buffer, and of all the loop's own. */
#define LIVE_MAX (6u << 20)

#define HOST " HTTP/1.1\r\nHost: a\r\n"

static const char *const words[] = {
    "GET /g" HOST "\r\n",
    "POST /p" HOST "Content-Length: 5\r\n\r\nhello",
    "POST /p" HOST "Content-Length: 99999\r\n\r\n",
    "POST /p" HOST "Transfer-Encoding: chunked\r\n\r\n",
    "PUT /e" HOST "Expect: 100-continue\r\nContent-Length: 3\r\n\r\n",
    "GET / HTTP/1.0\r\n\r\n",
    "GET /c" HOST "Connection: close\r\n\r\n",
    "OPTIONS *" HOST "\r\n",
    "5\r\nhello\r\n",
    "3;x\r\nabc\r\n",
    "0\r\n\r\n",
    "0\r\nX: y\r\n\r\n",
    "abc",
    "\r\n",
    "GET /w" HOST "Upgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    "POST /s" HOST "Content-Length: 3\r\nContent-Length: 4\r\n\r\n",
};

typedef struct client {
  int fd; /* -1: none */
  bool upgraded, in_body, ended;
  aw_buf in; /* of responses, not looked at yet */
  aw_http_body body;
} client;

typedef struct world {
  aw_mem mem;
  size_t live;
  aw_loop *loop;
  aw_arrival_host host;
  aw_exchange *x[EXCHANGES];
  client clients[CLIENTS];
  aw_transport *sockets[EXCHANGES];
  unsigned naps;
  world_choices choices;
} world;

static world w;
static char block[70000];

static unsigned next_byte(void) {
  return world_choose(&w.choices);
}

union header {
  size_t size;
  max_align_t align;
};

static void *count_realloc(void *user, void *bytes, size_t size) {
  union header *old = bytes == NULL ? NULL : (union header *)bytes - 1;
  union header *made = size > 0 ? malloc(sizeof *made + size) : NULL;

  (void)user;
  demand(size == 0 || made != NULL);
  if (made != NULL) {
    made->size = size;
    w.live += size;
  }
  if (old != NULL) {
    if (made != NULL) {
      memcpy(made + 1, old + 1, old->size < size ? old->size : size);
    }
    w.live -= old->size;
    free(old);
  }
  demand(w.live <= LIVE_MAX);
  return made != NULL ? made + 1 : NULL;
}

/* The owner */

static void let_go(aw_exchange **slot) {
  aw_exchange_free(*slot);
  *slot = NULL;
}

static void use(aw_exchange **slot, unsigned what, unsigned how);

static void on_request(void *user, aw_exchange *x) {
  size_t len;
  const char *method = aw_exchange_method(x, &len);

  (void)user;
  demand(aw_exchange_end_of(x) == NULL);
  for (int i = 0; i < EXCHANGES; i++) {
    /* Who asks for the head alone is not followed by this reader. */
    if (w.x[i] == NULL && (len != 4 || memcmp(method, "HEAD", 4) != 0)) {
      w.x[i] = x;
      aw_exchange_source(x)->user = &w.x[i];
      if (next_byte() % 2 == 0) {
        use(&w.x[i], next_byte() % 6, next_byte());
      }
      return;
    }
  }
  aw_exchange_free(x);
}

static void on_accepted(void *user, aw_transport *t) {
  (void)user;
  for (int i = 0; i < EXCHANGES; i++) {
    if (w.sockets[i] == NULL) {
      w.sockets[i] = t;
      return;
    }
  }
  aw_transport_free(t);
}

static void respond(aw_exchange *x, unsigned how) {
  static const int statuses[] = {200, 204, 304, 404};
  static const char *const headers[] = {NULL, "X: y\r\n", "X: y",
                                        "Date: x\r\n"};
  uint64_t length = how & 0x40 ? how & 15 : AW_EXCHANGE_UNKNOWN;
  bool over = aw_exchange_end_of(x) != NULL;
  int rc =
      aw_exchange_respond(x, statuses[how % 4], headers[how / 4 % 4], length);

  demand(!over || rc != AW_OK);
}

static void read_some(aw_exchange *x, unsigned how) {
  const char *bytes;
  size_t len;
  int rc = aw_exchange_peek(x, &bytes, &len);

  demand(rc == AW_OK || rc == AW_E_AGAIN || rc == AW_E_CLOSED ||
         aw_exchange_end_of(x) != NULL);
  if (rc == AW_OK && len > 0) {
    demand(bytes[0] + bytes[len - 1] != -1000); /* they can be read */
    aw_exchange_consume(x, how & 1 ? len : (len + 1) / 2);
  }
}

static void use(aw_exchange **slot, unsigned what, unsigned how) {
  aw_exchange *x = *slot;

  switch (what) {
  case 0:
  case 1:
    respond(x, how);
    break;
  case 2:
    (void)aw_exchange_write(x, block, how & 0x80 ? sizeof block : how % 16);
    break;
  case 3:
    (void)aw_exchange_finish(x);
    break;
  case 4:
    read_some(x, how);
    break;
  default:
    if (how % 4 == 0) {
      let_go(slot);
    }
  }
}

static void own(unsigned what, unsigned how) {
  for (unsigned i = 0; i < EXCHANGES; i++) {
    aw_exchange **slot = &w.x[(how + i) % EXCHANGES];
    if (*slot != NULL) {
      use(slot, what, next_byte());
      return;
    }
  }
}

/* The clients */

/* Whatever comes has to be responses, one behind the other. */
static void look(client *c) {
  aw_http_head head;
  aw_http_span content;
  size_t used;

  while (!c->upgraded && aw_buf_len(&c->in) > 0) {
    const char *at = aw_buf_bytes(&c->in);
    size_t len = aw_buf_len(&c->in);

    if (c->in_body) {
      demand(aw_http_take_body(&c->body, at, len, &used, &content) == AW_OK);
    } else {
      int rc = aw_http_parse(&head, at, len, 0, false, &used);
      if (rc == AW_E_AGAIN) {
        return;
      }
      demand(rc == AW_OK && !c->ended);
      c->upgraded = head.status == 101;
      c->ended =
          head.status >= 200 && aw_http_has_token(&head, "Connection", "close");
      aw_http_begin_response_body(&c->body, &head);
    }
    aw_buf_consume(&c->in, used);
    c->in_body = !aw_http_is_body_whole(&c->body);
  }
}

static void listen_to(client *c, size_t most) {
  char bytes[4096];
  ssize_t n;

  while (most > 0 && (n = recv(c->fd, bytes, sizeof bytes, MSG_DONTWAIT)) > 0) {
    demand(aw_buf_append(&c->in, bytes, (size_t)n) == AW_OK);
    most -= (size_t)n < most ? (size_t)n : most;
    look(c);
  }
}

static void hang_up(client *c) {
  if (c->fd >= 0) {
    close(c->fd);
  }
  aw_buf_fini(&c->in);
  *c = (client){.fd = -1};
  aw_buf_init(&c->in, aw_mem_default());
}

static void come(client *c) {
  struct sockaddr_un peer = {.sun_family = AF_UNIX};
  int fds[2];

  hang_up(c);
  demand(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0,
                    fds) == 0);
  c->fd = fds[0];
  (void)aw_arrival_new(&w.host, fds[1], (struct sockaddr *)&peer, NULL, NULL,
                       0);
}

static void put(const client *c, const void *bytes, size_t len) {
  (void)!send(c->fd, bytes, len, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void speak(client *c, unsigned what, unsigned how) {
  char raw[16];

  if (what == 0 || c->fd < 0) {
    come(c);
  }
  switch (what) {
  case 1:
    hang_up(c);
    break;
  case 2:
    for (size_t i = 0; i < how % sizeof raw; i++) {
      raw[i] = (char)next_byte();
    }
    put(c, raw, how % sizeof raw);
    break;
  case 3:
    listen_to(c, how & 1 ? SIZE_MAX : how);
    break;
  case 4:
    put(c, block, how & 0x80 ? sizeof block : how);
    break;
  default:
    put(c, words[how % 16], strlen(words[how % 16]));
  }
}

static void turn(void) {
  aw_source *source;
  unsigned events;

  aw_loop_step(w.loop);
  while ((source = aw_loop_ready(w.loop, &events)) != NULL) {
    aw_exchange **slot = source->user;
    demand(slot == NULL ||
           (*slot != NULL && aw_exchange_source(*slot) == source));
  }
}

static void step(void) {
  unsigned what = next_byte(), how = next_byte();

  if (what >= 250) {
    if (w.naps++ < NAPS) {
      aw_loop_wait(w.loop, 4);
    }
  } else if (what >= 248) {
    aw_arrival_end_all(&w.host);
  } else if (what >= 160) {
    turn();
  } else if (what >= 100) {
    own(what % 6, how);
  } else {
    speak(&w.clients[what % CLIENTS], what / CLIENTS % 10, how);
  }
}

static void open_world(unsigned how) {
  static char protocols[] = AW_PROTOCOL_BASE;
  static const aw_listener_sink sink = {.accepted = on_accepted,
                                        .request = on_request};

  w.mem = (aw_mem){count_realloc, NULL};
  demand(aw_loop_new(&w.loop, &w.mem) == AW_OK);
  w.host = (aw_arrival_host){
      .loop = w.loop,
      .sink = sink,
      .settings = {.is_server = true, .message_max = 5000},
      .exchange = {BODY_MAX, how & 1 ? 1 : 10000},
      .handshake_ms = how & 2 ? 1 : 10000,
      .keep_alive_ms = how & 4 ? 1 : 10000,
      .protocols = protocols,
  };
  aw_queue_init(&w.host.arrivals);
  for (int i = 0; i < CLIENTS; i++) {
    w.clients[i].fd = -1;
    aw_buf_init(&w.clients[i].in, aw_mem_default());
  }
}

static void close_world(bool early) {
  if (early) {
    aw_arrival_end_all(&w.host);
  }
  for (int i = 0; i < EXCHANGES; i++) {
    let_go(&w.x[i]);
    aw_transport_free(w.sockets[i]);
  }
  aw_arrival_end_all(&w.host);
  aw_loop_free(w.loop);
  for (int i = 0; i < CLIENTS; i++) {
    if (w.clients[i].fd >= 0) {
      listen_to(&w.clients[i], SIZE_MAX);
    }
    hang_up(&w.clients[i]);
  }
  demand(w.live == 0);
}

void exchange_world_run(const uint8_t *bytes, size_t len) {
  w = (world){.choices = {bytes, len}};
  memset(block, '1', sizeof block);
  unsigned how = next_byte();
  open_world(how);
  while (w.choices.left > 0) {
    step();
  }
  turn();
  close_world(how & 8);
}
