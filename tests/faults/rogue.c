#include "rogue.h"
#include <stdlib.h>
#include <string.h>

#define HANDSHAKE                                                              \
  "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n"                \
  "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"                       \
  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"                            \
  "Sec-WebSocket-Protocol: makai.v1\r\n\r\n"
#define NONSENSE "\x16\x03\x01\xff\xfe\xfd\x80\x81\x82 nonsense\r\n\r\n"

enum rogue_kind { SILENT, CUT, HALF, GARBAGE, FRAME, SLOW, KINDS };
static const char *const kind_names[KINDS] = {"silent",  "cut",   "half",
                                              "garbage", "frame", "slow"};

typedef struct rogue {
  struct rogue *next, **link; /* in the list of those that are there */
  enum rogue_kind kind;
  uv_tcp_t tcp;
  uv_timer_t timer;
  uv_connect_t connecting;
  size_t said;
  unsigned handles;
} rogue;

static rogue *all;
static unsigned open_count, closed_count;

static void on_handle_closed(uv_handle_t *handle) {
  rogue *r = handle->data;
  if (--r->handles == 0) {
    free(r);
  }
}

static void end_rogue(rogue *r, int reset) {
  if (uv_is_closing((uv_handle_t *)&r->tcp)) {
    return;
  }
  *r->link = r->next;
  if (r->next != NULL) {
    r->next->link = r->link;
  }
  open_count--;
  closed_count++;
  uv_close((uv_handle_t *)&r->timer, on_handle_closed);
  if (!reset || uv_tcp_close_reset(&r->tcp, (uv_close_cb)on_handle_closed)) {
    uv_close((uv_handle_t *)&r->tcp, on_handle_closed);
  }
}

static void say(rogue *r, const char *text, size_t len) {
  uv_buf_t buf = uv_buf_init((char *)text, (unsigned)len);
  /* It fits the socket buffer; a rogue that cannot speak is silent. */
  (void)uv_try_write((uv_stream_t *)&r->tcp, &buf, 1);
}

static void on_second(uv_timer_t *timer) {
  rogue *r = timer->data;
  if (r->said < sizeof HANDSHAKE - 1) {
    say(r, HANDSHAKE + r->said++, 1);
  }
}

static void on_alloc(uv_handle_t *handle, size_t wanted, uv_buf_t *buf) {
  static char bytes[4096];
  (void)handle;
  (void)wanted;
  *buf = uv_buf_init(bytes, sizeof bytes);
}

static void on_read(uv_stream_t *stream, ssize_t len, const uv_buf_t *buf) {
  rogue *r = stream->data;
  (void)buf;
  if (len < 0) {
    end_rogue(r, 0);
  } else if (len > 0 && r->kind == FRAME && r->said == 0) {
    r->said = sizeof NONSENSE - 1;
    say(r, NONSENSE, sizeof NONSENSE - 1);
  }
}

static void misbehave(rogue *r) {
  switch (r->kind) {
  case CUT:
    say(r, HANDSHAKE, 20);
    end_rogue(r, 1);
    break;
  case HALF:
    say(r, HANDSHAKE, sizeof HANDSHAKE / 2);
    break;
  case GARBAGE:
    say(r, NONSENSE, sizeof NONSENSE - 1);
    break;
  case FRAME:
    say(r, HANDSHAKE, sizeof HANDSHAKE - 1);
    break;
  case SLOW:
    uv_timer_start(&r->timer, on_second, 0, 1000);
    break;
  default:
    break;
  }
}

static void on_connected(uv_connect_t *connecting, int status) {
  rogue *r = connecting->data;
  if (status == UV_ECANCELED) {
    return;
  }
  if (status != 0) {
    end_rogue(r, 0);
    return;
  }
  uv_read_start((uv_stream_t *)&r->tcp, on_alloc, on_read);
  misbehave(r);
}

static void start_one(uv_loop_t *loop, unsigned port, enum rogue_kind kind) {
  struct sockaddr_in address;
  rogue *r = calloc(1, sizeof *r);
  if (r == NULL) {
    abort();
  }
  uv_ip4_addr("127.0.0.1", (int)port, &address);
  r->kind = kind;
  uv_tcp_init(loop, &r->tcp);
  uv_timer_init(loop, &r->timer);
  r->handles = 2;
  r->tcp.data = r->timer.data = r->connecting.data = r;
  r->link = &all;
  r->next = all;
  if (all != NULL) {
    all->link = &r->next;
  }
  all = r;
  open_count++;
  if (uv_tcp_connect(&r->connecting, &r->tcp, (struct sockaddr *)&address,
                     on_connected) != 0) {
    end_rogue(r, 0);
  }
}

int rogue_start(uv_loop_t *loop, unsigned port, const char *kind,
                unsigned count) {
  for (int i = 0; i < KINDS; i++) {
    if (strcmp(kind, kind_names[i]) == 0) {
      for (unsigned n = 0; n < count; n++) {
        start_one(loop, port, (enum rogue_kind)i);
      }
      return 0;
    }
  }
  return -1;
}

void rogue_count(unsigned *open, unsigned *closed) {
  *open = open_count;
  *closed = closed_count;
}

void rogue_stop(void) {
  while (all != NULL) {
    end_rogue(all, 1);
  }
}
