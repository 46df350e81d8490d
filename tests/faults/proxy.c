/* A TCP proxy on loopback that is told on stdin how the network fails. Prints
 * "port N" first, then one line for each command:
 *   target PORT        where connections go from now on
 *   cut                resets every connection
 *   cut-after N        does so when N more bytes have come from the server
 *   stall up|down|both forwards nothing: to the server, to the client, both
 *   resume             forwards again, and what waited
 *   delay MS           every byte arrives that much later
 *   half-open          connections of now are neither read, written nor closed
 *   refuse, accept     new connections are reset; or let in
 *   count              "count CONNECTIONS ACCEPTED CUTS BYTES"
 *   rogue KIND COUNT   starts bad clients of the target (rogue.h)
 *   rogues             "rogues OPEN CLOSED"
 *   dismiss            ends the bad clients
 * It ends with its stdin. */
#include "rogue.h"
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What waits in one direction before its sender is no longer read. */
#define QUEUE_MAX (256u << 10)

enum direction { UP, DOWN, DIRECTIONS };

typedef struct chunk {
  struct chunk *next;
  uint64_t due;
  size_t len;
  uv_write_t write;
  struct side *to;
  char bytes[];
} chunk;

/* One socket of a pair, and what was read from it for the other. */
typedef struct side {
  struct pair *pair;
  struct side *other;
  enum direction direction; /* of what is read here */
  uv_tcp_t tcp;
  uv_timer_t timer;
  chunk *first, **last;
  size_t queued; /* not yet taken by the other's socket */
  bool ended, shut;
} side;

typedef struct pair {
  struct pair *next, **link;
  side sides[DIRECTIONS];
  uv_connect_t connecting;
  bool connected, hole, closing;
  unsigned handles;
} pair;

static uv_loop_t *loop;
static uv_tcp_t listener;
static pair *pairs;
static unsigned target_port;
static bool stalled[DIRECTIONS], refusing;
static uint64_t delay_ms, cut_after, bytes_forwarded;
static unsigned open_count, accepted_count, cut_count;

static void forward(side *from);

static void *allocate(size_t size) {
  void *made = calloc(1, size);
  if (made == NULL) {
    abort();
  }
  return made;
}

static void free_chunks(side *s) {
  while (s->first != NULL) {
    chunk *c = s->first;
    s->first = c->next;
    free(c);
  }
}

static void on_handle_closed(uv_handle_t *handle) {
  side *s = handle->data;
  pair *p = s->pair;
  if (--p->handles == 0) {
    free_chunks(&p->sides[UP]);
    free_chunks(&p->sides[DOWN]);
    free(p);
  }
}

static void close_side(side *s, bool reset) {
  uv_close((uv_handle_t *)&s->timer, on_handle_closed);
  /* Not possible after a shutdown; a plain close is near enough then. */
  if (!reset ||
      uv_tcp_close_reset(&s->tcp, (uv_close_cb)on_handle_closed) != 0) {
    uv_close((uv_handle_t *)&s->tcp, on_handle_closed);
  }
}

static void end_pair(pair *p, bool reset) {
  if (p->closing) {
    return;
  }
  p->closing = true;
  open_count--;
  *p->link = p->next;
  if (p->next != NULL) {
    p->next->link = p->link;
  }
  close_side(&p->sides[UP], reset);
  close_side(&p->sides[DOWN], reset);
}

static void cut_all(void) {
  cut_after = 0;
  cut_count++;
  while (pairs != NULL) {
    end_pair(pairs, true);
  }
}

static void on_shut(uv_shutdown_t *shutdown, int status) {
  (void)status;
  free(shutdown);
}

/* Passes the end of a stream on, once all before it has gone. */
static void pass_end(side *from) {
  if (!from->ended || from->queued > 0 || from->shut) {
    return;
  }
  from->shut = true;
  if (from->other->shut) {
    end_pair(from->pair, false);
    return;
  }
  uv_shutdown_t *shutdown = allocate(sizeof *shutdown);
  if (uv_shutdown(shutdown, (uv_stream_t *)&from->other->tcp, on_shut) != 0) {
    free(shutdown);
  }
}

static void on_alloc(uv_handle_t *handle, size_t wanted, uv_buf_t *buf) {
  static char bytes[64 << 10];
  (void)handle;
  (void)wanted;
  *buf = uv_buf_init(bytes, sizeof bytes);
}

static void on_written(uv_write_t *write, int status) {
  chunk *c = write->data;
  side *from = c->to->other;
  from->queued -= c->len;
  free(c);
  if (status != 0) {
    end_pair(from->pair, true);
  } else {
    forward(from);
  }
}

static void on_due(uv_timer_t *timer) {
  forward(timer->data);
}

static void enqueue(side *from, const char *bytes, size_t len) {
  chunk *c = allocate(sizeof *c + len);
  c->due = uv_now(loop) + delay_ms;
  c->len = len;
  c->to = from->other;
  memcpy(c->bytes, bytes, len);
  *from->last = c;
  from->last = &c->next;
  from->queued += len;
}

static void on_read(uv_stream_t *stream, ssize_t len, const uv_buf_t *buf) {
  side *from = stream->data;
  if (len == UV_EOF) {
    from->ended = true;
    uv_read_stop(stream);
  } else if (len < 0) {
    end_pair(from->pair, true);
    return;
  } else if (from->direction == DOWN && cut_after != 0 &&
             (uint64_t)len >= cut_after) {
    enqueue(from, buf->base, (size_t)cut_after);
    forward(from);
    cut_all();
    return;
  } else if (len > 0) {
    if (from->direction == DOWN && cut_after != 0) {
      cut_after -= (uint64_t)len;
    }
    enqueue(from, buf->base, (size_t)len);
  }
  forward(from);
}

/* Writes what is due, then decides whether more is to be read. */
static void forward(side *from) {
  pair *p = from->pair;
  if (p->closing || p->hole || !p->connected) {
    return;
  }
  while (!stalled[from->direction] && from->first != NULL &&
         from->first->due <= uv_now(loop)) {
    chunk *c = from->first;
    from->first = c->next;
    if (from->first == NULL) {
      from->last = &from->first;
    }
    c->write.data = c;
    bytes_forwarded += c->len;
    uv_buf_t buf = uv_buf_init(c->bytes, (unsigned)c->len);
    if (uv_write(&c->write, (uv_stream_t *)&c->to->tcp, &buf, 1, on_written)) {
      from->queued -= c->len;
      free(c);
    }
  }
  if (from->first != NULL && !stalled[from->direction]) {
    uv_timer_start(&from->timer, on_due, from->first->due - uv_now(loop), 0);
  }
  if (!from->ended && from->queued < QUEUE_MAX) {
    uv_read_start((uv_stream_t *)&from->tcp, on_alloc, on_read);
  } else {
    uv_read_stop((uv_stream_t *)&from->tcp);
  }
  pass_end(from);
}

static void forward_all(void) {
  pair *next = NULL;
  for (pair *p = pairs; p != NULL; p = next) {
    next = p->next;
    forward(&p->sides[UP]);
    if (!p->closing) {
      forward(&p->sides[DOWN]);
    }
  }
}

static void on_connected(uv_connect_t *connecting, int status) {
  pair *p = connecting->data;
  if (p->closing) {
    return;
  }
  if (status != 0) {
    end_pair(p, true);
    return;
  }
  p->connected = true;
  forward(&p->sides[UP]);
  if (!p->closing) {
    forward(&p->sides[DOWN]);
  }
}

static void init_side(pair *p, enum direction direction) {
  side *s = &p->sides[direction];
  s->pair = p;
  s->other = &p->sides[direction == UP ? DOWN : UP];
  s->direction = direction;
  s->last = &s->first;
  uv_tcp_init(loop, &s->tcp);
  uv_timer_init(loop, &s->timer);
  s->tcp.data = s->timer.data = s;
  p->handles += 2;
}

static pair *new_pair(void) {
  pair *p = allocate(sizeof *p);
  init_side(p, UP);
  init_side(p, DOWN);
  p->connecting.data = p;
  p->link = &pairs;
  p->next = pairs;
  if (pairs != NULL) {
    pairs->link = &p->next;
  }
  pairs = p;
  open_count++;
  return p;
}

static void on_connection(uv_stream_t *server, int status) {
  struct sockaddr_in address;
  if (status != 0) {
    return;
  }
  pair *p = new_pair();
  if (uv_accept(server, (uv_stream_t *)&p->sides[UP].tcp) != 0) {
    end_pair(p, false);
    return;
  }
  accepted_count++;
  uv_ip4_addr("127.0.0.1", (int)target_port, &address);
  if (refusing ||
      uv_tcp_connect(&p->connecting, &p->sides[DOWN].tcp,
                     (struct sockaddr *)&address, on_connected) != 0) {
    end_pair(p, true);
    return;
  }
  uv_tcp_nodelay(&p->sides[UP].tcp, 1);
  uv_tcp_nodelay(&p->sides[DOWN].tcp, 1);
}

static bool do_stall(const char *which) {
  bool both = strcmp(which, "both") == 0;
  bool up = both || strcmp(which, "up") == 0;
  bool down = both || strcmp(which, "down") == 0;
  stalled[UP] |= up;
  stalled[DOWN] |= down;
  return up || down;
}

static bool do_resume(const char *ignored) {
  (void)ignored;
  stalled[UP] = stalled[DOWN] = false;
  forward_all();
  return true;
}

static bool do_half_open(const char *ignored) {
  (void)ignored;
  for (pair *p = pairs; p != NULL; p = p->next) {
    p->hole = true;
    uv_read_stop((uv_stream_t *)&p->sides[UP].tcp);
    uv_read_stop((uv_stream_t *)&p->sides[DOWN].tcp);
  }
  return true;
}

static bool do_cut(const char *ignored) {
  (void)ignored;
  cut_all();
  return true;
}

static bool do_cut_after(const char *count) {
  cut_after = strtoull(count, NULL, 10);
  return cut_after > 0;
}

static bool do_delay(const char *ms) {
  delay_ms = strtoull(ms, NULL, 10);
  return true;
}

static bool do_target(const char *port) {
  target_port = (unsigned)strtoul(port, NULL, 10);
  return target_port != 0;
}

static bool do_refuse(const char *ignored) {
  (void)ignored;
  refusing = true;
  return true;
}

static bool do_accept(const char *ignored) {
  (void)ignored;
  refusing = false;
  return true;
}

static bool do_rogue(const char *what) {
  char kind[16];
  unsigned count;
  return sscanf(what, "%15s %u", kind, &count) == 2 &&
         rogue_start(loop, target_port, kind, count) == 0;
}

static bool do_dismiss(const char *ignored) {
  (void)ignored;
  rogue_stop();
  return true;
}

static const struct {
  const char *name;
  bool (*run)(const char *argument);
} commands[] = {
    {"target", do_target},       {"cut", do_cut},
    {"cut-after", do_cut_after}, {"stall", do_stall},
    {"resume", do_resume},       {"delay", do_delay},
    {"half-open", do_half_open}, {"refuse", do_refuse},
    {"accept", do_accept},       {"rogue", do_rogue},
    {"dismiss", do_dismiss},
};

static bool is_question(const char *line) {
  unsigned open, closed;
  if (strcmp(line, "count") == 0) {
    printf("count %u %u %u %llu\n", open_count, accepted_count, cut_count,
           (unsigned long long)bytes_forwarded);
  } else if (strcmp(line, "rogues") == 0) {
    rogue_count(&open, &closed);
    printf("rogues %u %u\n", open, closed);
  } else {
    return false;
  }
  return true;
}

static void obey(char *line) {
  if (is_question(line)) {
    return;
  }
  char *argument = strchr(line, ' ');
  if (argument != NULL) {
    *argument++ = '\0';
  }
  for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
    if (strcmp(line, commands[i].name) == 0) {
      bool ok = commands[i].run(argument != NULL ? argument : "");
      puts(ok ? "ok" : "bad argument");
      return;
    }
  }
  puts("unknown command");
}

static void on_command(uv_stream_t *stream, ssize_t len, const uv_buf_t *buf) {
  static char line[256];
  static size_t used;
  if (len < 0) {
    uv_stop(loop);
    uv_close((uv_handle_t *)stream, NULL);
    return;
  }
  for (ssize_t i = 0; i < len; i++) {
    if (buf->base[i] == '\n') {
      line[used] = '\0';
      used = 0;
      obey(line);
    } else if (used < sizeof line - 1) {
      line[used++] = buf->base[i];
    }
  }
  fflush(stdout);
}

int main(void) {
  struct sockaddr_in address;
  int size = sizeof address;
  uv_pipe_t input;
  signal(SIGPIPE, SIG_IGN);
  loop = uv_default_loop();
  uv_ip4_addr("127.0.0.1", 0, &address);
  if (uv_tcp_init(loop, &listener) != 0 ||
      uv_tcp_bind(&listener, (struct sockaddr *)&address, 0) != 0 ||
      uv_listen((uv_stream_t *)&listener, 4096, on_connection) != 0 ||
      uv_tcp_getsockname(&listener, (struct sockaddr *)&address, &size) != 0 ||
      uv_pipe_init(loop, &input, 0) != 0 || uv_pipe_open(&input, 0) != 0 ||
      uv_read_start((uv_stream_t *)&input, on_alloc, on_command) != 0) {
    fputs("aw_fault_proxy: cannot start\n", stderr);
    return 1;
  }
  printf("port %u\n", (unsigned)ntohs(address.sin_port));
  fflush(stdout);
  uv_run(loop, UV_RUN_DEFAULT);
  return 0;
}
