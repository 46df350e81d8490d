#include "aw_conn.h"
#include "aw_error.h"
#include "aw_os_clock.h"
#include "aw_retire.h"
#include "aw_trace.h"
#include <assert.h>
#include <stdio.h>
#include <string.h>

struct aw_conn {
  aw_source source;
  aw_flush flush;
  aw_loop *loop;
  aw_mux *mux;
  aw_transport *transport;
  uint32_t generation; /* of the transport's attach; 0: not attached yet */
  uv_timer_t *timer;   /* the mux's deadline */
  enum aw_conn_state state;
  bool is_client;
  bool paused; /* the transport reads nothing */
  aw_conn_end end;
  aw_identity *identity; /* of the last transport's peer */
  aw_buf trace;          /* kept lines */
  aw_watch *watch;
};

static bool is_up(const aw_conn *conn) {
  return conn->state == AW_CONN_IS_UP;
}

static void raise_events(aw_conn *conn, unsigned events) {
  aw_source_raise(&conn->source, events);
}

void aw_conn_clock(aw_conn *conn) {
  aw_mux_clock(conn->mux, aw_loop_now(conn->loop), aw_os_wall_ms_cheap());
}

static int sink_message(void *user, const char *text, size_t len) {
  aw_conn *conn = user;
  return aw_transport_send(conn->transport, text, len);
}

static void on_deadline(uv_timer_t *timer) {
  aw_conn *conn = timer->data;
  aw_conn_clock(conn);
  aw_mux_tick(conn->mux);
  aw_loop_mark(conn->loop, &conn->flush);
}

/* Armed only when there is a deadline and no timer runs: the mux's deadlines
 * are short and it costs less to find one gone than to move it each time. */
static void arm_timer(aw_conn *conn) {
  uint64_t deadline = aw_mux_deadline(conn->mux);
  if (deadline == UINT64_MAX || conn->timer == NULL ||
      uv_is_active((uv_handle_t *)conn->timer)) {
    return;
  }
  uint64_t now = aw_loop_now(conn->loop);
  aw_loop_arm(conn->loop, conn->timer, on_deadline,
              deadline > now ? deadline - now : 0);
}

static void set_paused(aw_conn *conn, bool paused) {
  if (conn->paused != paused && conn->transport != NULL) {
    conn->paused = paused;
    aw_transport_pause(conn->transport, paused);
  }
}

/* Once a loop turn: everything that waits goes to the transport, as far as it
 * has room. */
static void run_flush(aw_flush *flush) {
  aw_conn *conn = AW_CONTAINER(flush, aw_conn, flush);
  if (!is_up(conn)) {
    return;
  }
  aw_conn_clock(conn);
  aw_mux_sink sink = {sink_message, conn};
  size_t room = 0;
  while (aw_mux_writable(conn->mux) &&
         (room = aw_transport_room(conn->transport)) > 0) {
    uint64_t before = aw_mux_stats_get(conn->mux)->bytes_out;
    if (aw_mux_write(conn->mux, &sink, room) != AW_OK ||
        aw_mux_stats_get(conn->mux)->bytes_out == before) {
      break;
    }
  }
  set_paused(conn, aw_mux_choked(conn->mux));
  if (aw_mux_has_news(conn->mux)) {
    raise_events(conn, AW_CONN_NEWS);
  }
  arm_timer(conn);
}

static void tell_pool(aw_conn *conn) {
  if (conn->watch != NULL && aw_pool_is_due(conn->watch->pool)) {
    aw_loop_mark(conn->loop, conn->watch->flush);
  }
}

void aw_conn_touch(aw_conn *conn) {
  tell_pool(conn);
  if (is_up(conn)) {
    aw_loop_mark(conn->loop, &conn->flush);
  }
}

int aw_conn_inject(aw_conn *conn, const char *bytes, size_t len) {
  return is_up(conn) ? aw_transport_send(conn->transport, bytes, len)
                     : AW_E_CLOSED;
}

static void note_end(aw_conn *conn, int error, int code, const char *reason) {
  conn->end = (aw_conn_end){.error = error, .code = code};
  snprintf(conn->end.reason, sizeof conn->end.reason, "%s",
           reason == NULL ? "" : reason);
}

/* Nobody is called here: whoever watches looks at a moment of its own. */
static void tell_watch(aw_conn *conn) {
  aw_watch *watch = conn->watch;
  if (watch != NULL) {
    if (!aw_node_queued(&watch->node)) {
      aw_queue_push(watch->changes, &watch->node);
    }
    aw_loop_mark(conn->loop, watch->flush);
  }
}

static void finish(aw_conn *conn, int error) {
  conn->state = AW_CONN_IS_OVER;
  aw_mux_abandon(conn->mux, error == AW_OK ? AW_E_CLOSED : error);
  raise_events(conn, AW_CONN_CLOSED | AW_CONN_NEWS);
  tell_watch(conn);
}

/* The transport is no longer ours: the mux keeps what the next one needs. */
static void lose_transport(aw_conn *conn, int error) {
  bool over = conn->state == AW_CONN_IS_CLOSING;
  conn->state = AW_CONN_IS_IDLE;
  conn->paused = false;
  if (conn->generation != 0) {
    aw_mux_detach(conn->mux, conn->generation,
                  error == AW_OK ? AW_E_CLOSED : error);
  }
  conn->generation = 0;
  raise_events(conn, AW_CONN_DOWN | AW_CONN_NEWS);
  if (over) {
    finish(conn, error);
  } else {
    tell_watch(conn);
  }
}

static void drop_transport(aw_conn *conn) {
  if (conn->transport != NULL) {
    aw_transport_free(conn->transport);
    conn->transport = NULL;
  }
}

static const char *fatal_reason(int error, int *code) {
  switch (error) {
  case AW_E_LIMIT:
    *code = 1009;
    return "message is too big";
  case AW_E_SEQUENCE_GAP:
    *code = AW_CLOSE_SEQUENCE;
    return "sequence gap";
  case AW_E_OVERLOAD:
    *code = 1013;
    return "the server holds too much input (inbound_process_bytes)";
  case AW_E_NOMEM:
    *code = 1011;
    return "out of memory";
  default:
    *code = AW_CLOSE_FORBIDDEN;
    return "link message or credit violated the protocol";
  }
}

/* The connection cannot go on, but the session may: the peer is told why and
 * can come back. */
static void fail_transport(aw_conn *conn, int error) {
  int code = 0;
  const char *reason = fatal_reason(error, &code);
  note_end(conn, error, code, reason);
  aw_mux_detach(conn->mux, conn->generation, error);
  conn->generation = 0;
  conn->state = AW_CONN_IS_FAILING;
  aw_transport_close(conn->transport, code, reason);
}

static void give_error_frame(aw_conn *conn, const char *what) {
  (void)aw_mux_send_error(conn->mux, "unknown_envelope", what, strlen(what));
  aw_loop_mark(conn->loop, &conn->flush);
}

/* Where closing does not say why, an error frame has to, and what is only too
 * long need not end more. AW_E_CLOSED is about an older transport's message:
 * this one goes on. */
static void take_failure(aw_conn *conn, int rc) {
  assert(aw_error_reach(rc) == AW_REACH_CONNECTION);
  if (rc == AW_E_LIMIT && !conn->transport->info.has_codes) {
    give_error_frame(conn, "the message is too long");
  } else if (rc != AW_E_CLOSED) {
    fail_transport(conn, rc);
  }
}

static void take_result(aw_conn *conn, int rc) {
  if (rc != AW_OK) {
    take_failure(conn, rc);
    return;
  }
  tell_pool(conn);
  if (aw_mux_has_news(conn->mux)) {
    raise_events(conn, AW_CONN_NEWS);
  }
  if (aw_mux_writable(conn->mux) || aw_mux_choked(conn->mux) ||
      aw_mux_deadline(conn->mux) != UINT64_MAX) {
    aw_loop_mark(conn->loop, &conn->flush);
  }
}

void aw_conn_feed(aw_conn *conn, char *bytes, size_t len) {
  if (!is_up(conn)) {
    return;
  }
  const aw_mux_stats *stats = aw_mux_stats_get(conn->mux);
  uint64_t uncredited = stats->uncredited;
  int rc = aw_mux_receive(conn->mux, conn->generation, bytes, len);
  if (stats->uncredited != uncredited) {
    aw_transport_toll(conn->transport);
  }
  take_result(conn, rc);
}

static void on_message(void *user, char *bytes, size_t len) {
  aw_conn_feed(user, bytes, len);
}

static void on_skipped(void *user, char *head, size_t len, uint64_t whole) {
  aw_conn *conn = user;
  if (is_up(conn)) {
    take_result(conn, aw_mux_receive_skipped(conn->mux, conn->generation, head,
                                             len, whole));
  }
}

static void on_open(void *user, const aw_transport_info *info) {
  aw_conn *conn = user;
  if (conn->state != AW_CONN_IS_OPENING) {
    return;
  }
  aw_conn_clock(conn);
  if (aw_mux_attach(conn->mux, info->extended, &conn->generation) != AW_OK) {
    aw_transport_close(conn->transport, 1011, "out of memory");
    return;
  }
  conn->state = AW_CONN_IS_UP;
  raise_events(conn, AW_CONN_UP);
  aw_loop_mark(conn->loop, &conn->flush);
}

void aw_conn_feed_garbage(aw_conn *conn, const char *what) {
  if (is_up(conn)) {
    give_error_frame(conn, what);
  }
}

static void on_garbage(void *user, int error, const char *what) {
  (void)error;
  aw_conn_feed_garbage(user, what);
}

static void on_writable(void *user) {
  aw_conn *conn = user;
  aw_loop_mark(conn->loop, &conn->flush);
}

/* 1000 is a farewell, everything else an accident that a session survives; a
 * server's base connection has nothing left to come back for. */
void aw_conn_feed_end(aw_conn *conn, int error, int code, const char *reason) {
  if (conn->state != AW_CONN_IS_FAILING) {
    note_end(conn, error, code, reason);
    aw_mux_blame(conn->mux, conn->generation, code);
  }
  drop_transport(conn);
  bool extended = aw_mux_is_extended(conn->mux);
  if ((extended && error == AW_OK && code == 1000) ||
      (!extended && !conn->is_client)) {
    conn->state = AW_CONN_IS_CLOSING;
  }
  lose_transport(conn, conn->end.error);
}

static void on_closed(void *user, int error, int code, const char *reason) {
  aw_conn_feed_end(user, error, code, reason);
}

static const aw_transport_sink sink = {on_open,     on_message, on_garbage,
                                       on_writable, on_closed,  on_skipped};

static int make_timer(aw_conn *conn) {
  conn->timer = aw_mem_alloc(aw_loop_mem(conn->loop), sizeof *conn->timer);
  if (conn->timer == NULL) {
    return AW_E_NOMEM;
  }
  uv_timer_init(aw_loop_uv(conn->loop), conn->timer);
  uv_unref((uv_handle_t *)conn->timer);
  conn->timer->data = conn;
  return AW_OK;
}

int aw_conn_new(aw_conn **out, aw_loop *loop, const aw_mux_options *options,
                void *user) {
  const aw_mem *mem = aw_loop_mem(loop);
  aw_mux_options copy = *options;
  int rc = aw_loop_entropy(copy.seed, sizeof copy.seed);
  if (rc == AW_OK) {
    rc = aw_loop_entropy(copy.map_seed, sizeof copy.map_seed);
  }
  if (rc == AW_OK) {
    rc = aw_loop_entropy(copy.key, sizeof copy.key);
  }
  if (rc != AW_OK) {
    return rc;
  }
  aw_conn *conn = aw_mem_zero(mem, 1, sizeof *conn);
  if (conn == NULL) {
    return AW_E_NOMEM;
  }
  conn->loop = loop;
  conn->is_client = options->is_client;
  conn->flush.run = run_flush;
  aw_source_init(&conn->source, loop, user);
  aw_buf_init(&conn->trace, mem);
  rc = aw_mux_new(&conn->mux, mem, &copy);
  if (rc == AW_OK) {
    rc = make_timer(conn);
  }
  if (rc != AW_OK) {
    aw_conn_free(conn);
    return rc;
  }
  aw_conn_clock(conn);
  *out = conn;
  return AW_OK;
}

static void free_timer(uv_handle_t *handle) {
  const aw_mem *mem = handle->data;
  aw_mem_free(mem, handle);
}

void aw_conn_free(aw_conn *conn) {
  if (conn == NULL) {
    return;
  }
  const aw_mem *mem = aw_loop_mem(conn->loop);
  conn->state = AW_CONN_IS_OVER;
  tell_watch(conn);
  if (conn->watch != NULL) {
    conn->watch->conn = NULL;
  }
  drop_transport(conn);
  aw_node_remove(&conn->flush.node);
  aw_source_fini(&conn->source);
  if (conn->timer != NULL) {
    uv_timer_stop(conn->timer);
    conn->timer->data = (void *)mem;
    uv_close((uv_handle_t *)conn->timer, free_timer);
  }
  aw_mux_free(conn->mux);
  aw_identity_drop(conn->identity);
  aw_buf_fini(&conn->trace);
  aw_mem_free(mem, conn);
}

aw_mux *aw_conn_mux(aw_conn *conn) {
  return conn->mux;
}

aw_source *aw_conn_source(aw_conn *conn) {
  return &conn->source;
}

static int take_transport(aw_conn *conn, aw_transport *transport) {
  if (conn->state >= AW_CONN_IS_CLOSING) {
    aw_transport_free(transport);
    return AW_E_CLOSED;
  }
  if (conn->transport != NULL) {
    /* A newer connection of the same session: the older twin is told. */
    aw_transport *old = conn->transport;
    conn->transport = NULL;
    lose_transport(conn, AW_E_CLOSED);
    aw_transport_retire(old, AW_CLOSE_SUPERSEDED, "superseded");
  }
  conn->end = (aw_conn_end){0};
  conn->state = AW_CONN_IS_OPENING;
  conn->transport = transport;
  aw_identity *before = conn->identity;
  conn->identity = aw_identity_hold(transport->identity);
  aw_identity_drop(before);
  transport->sink = sink;
  transport->user = conn;
  return AW_OK;
}

int aw_conn_attach(aw_conn *conn, aw_transport *transport) {
  int rc = take_transport(conn, transport);
  if (rc == AW_OK && aw_transport_is_open(transport)) {
    on_open(conn, &transport->info);
  }
  return rc;
}

int aw_conn_accept(aw_conn *conn, aw_transport *transport,
                   const aw_hello *hello, const char *epoch) {
  int rc = take_transport(conn, transport);
  if (rc != AW_OK) {
    return rc;
  }
  aw_conn_clock(conn);
  rc = aw_mux_accept(conn->mux, hello, epoch, &conn->generation);
  if (rc != AW_OK) {
    conn->generation = 0;
    conn->state = AW_CONN_IS_FAILING;
    note_end(conn, rc, 1011, "cannot resume");
    aw_transport_close(transport, 1011, "cannot resume");
    return rc;
  }
  conn->state = AW_CONN_IS_UP;
  raise_events(conn, AW_CONN_UP | AW_CONN_NEWS);
  aw_loop_mark(conn->loop, &conn->flush);
  return AW_OK;
}

void aw_conn_close(aw_conn *conn, int code, const char *reason) {
  if (conn->state >= AW_CONN_IS_CLOSING) {
    return;
  }
  if (conn->transport == NULL) {
    note_end(conn, AW_OK, code, reason);
    finish(conn, AW_OK);
    return;
  }
  run_flush(&conn->flush);
  conn->state = AW_CONN_IS_CLOSING;
  aw_transport_close(conn->transport, code, reason);
}

void aw_conn_cut(aw_conn *conn, const char *reason) {
  if (conn->transport != NULL) {
    note_end(conn, AW_E_IO, 1006, reason);
    drop_transport(conn);
    lose_transport(conn, AW_E_IO);
  }
}

void aw_conn_lose_scopes(aw_conn *conn) {
  if (!is_up(conn) && conn->state != AW_CONN_IS_OVER) {
    aw_mux_lose_scopes(conn->mux);
    raise_events(conn, AW_CONN_NEWS);
  }
}

void aw_conn_abandon(aw_conn *conn, int error, const char *reason) {
  if (conn->state == AW_CONN_IS_OVER) {
    return;
  }
  note_end(conn, error, 1006, reason);
  drop_transport(conn);
  finish(conn, error);
}

enum aw_conn_state aw_conn_state(const aw_conn *conn) {
  return conn->state;
}

bool aw_conn_is_up(const aw_conn *conn) {
  return is_up(conn);
}

bool aw_conn_is_closed(const aw_conn *conn) {
  return conn->state == AW_CONN_IS_OVER;
}

const aw_conn_end *aw_conn_last_end(const aw_conn *conn) {
  return &conn->end;
}

const aw_identity *aw_conn_identity(const aw_conn *conn) {
  return conn->identity;
}

const aw_transport *aw_conn_transport(const aw_conn *conn) {
  return conn->transport;
}

void aw_conn_set_watch(aw_conn *conn, aw_watch *watch) {
  if (conn->watch != NULL) {
    aw_node_remove(&conn->watch->node);
  }
  conn->watch = watch;
}

static void print_trace(void *user, const aw_trace *trace) {
  (void)user;
  aw_trace_print(trace);
}

static void keep_trace(void *user, const aw_trace *trace) {
  aw_conn *conn = user;
  if (aw_buf_len(&conn->trace) >= AW_CONN_TRACE_BYTES) {
    return;
  }
  char line[AW_TRACE_LINE];
  size_t len = aw_trace_format(trace, line, sizeof line - 1);
  line[len] = '\n';
  (void)aw_buf_append(&conn->trace, line, len + 1); /* a lost line is no harm */
  raise_events(conn, AW_CONN_NEWS);
}

void aw_conn_trace(aw_conn *conn, enum aw_conn_trace mode) {
  static void (*const traces[])(void *, const aw_trace *) = {NULL, print_trace,
                                                             keep_trace};
  aw_mux_set_trace(conn->mux, traces[mode], conn);
}

aw_buf *aw_conn_trace_lines(aw_conn *conn) {
  return &conn->trace;
}
