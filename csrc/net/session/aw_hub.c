#include "aw_hub.h"
#include "aw_bytes.h"
#include "aw_error.h"
#include "aw_map.h"
#include "aw_retire.h"
#include "aw_share.h"
#include <openssl/crypto.h>
#include <openssl/sha.h>
#include <string.h>

/* An extended transport whose hello is not whole yet. */
typedef struct greeting {
  aw_node node;
  aw_hub *hub;
  aw_transport *transport;
  aw_hello hello;
  uint64_t deadline;
} greeting;

/* A session: a connection that can come back; or a base connection, which is a
 * guest: it has no id, is never detached, and is only watched for what it
 * holds. The connection belongs to whoever was told of it by `accepted`, and
 * may be freed at any time: then watch.conn is NULL, and the session goes at
 * the next look. */
typedef struct session {
  aw_node node; /* in hub->attached or hub->detached */
  aw_watch watch;
  aw_hub *hub;
  bool is_guest, is_detached;
  aw_share *share; /* NULL: a guest */
  aw_uuid id;
  uint8_t key_hash[SHA256_DIGEST_LENGTH];
  uint64_t deadline; /* while detached */
} session;

struct aw_hub {
  aw_loop *loop;
  const aw_mem *mem;
  aw_hub_options options;
  aw_map sessions;
  aw_map shares;      /* of the peers in the sessions */
  aw_queue greetings; /* oldest first: all have the same patience */
  aw_queue attached;
  aw_queue detached; /* oldest first */
  aw_queue changes;  /* watches of sessions whose connection has changed */
  aw_flush flush;    /* looks at them */
  uv_timer_t *timer;
  aw_pool *pool; /* what all of them hold */
  char epoch[AW_EPOCH_TEXT + 1];
  void (*accepted)(void *user, aw_conn *conn);
  void *user;
};

static void arm_timer(aw_hub *hub);

static void hash_key(const uint8_t key[AW_KEY_BYTES],
                     uint8_t out[SHA256_DIGEST_LENGTH]) {
  SHA256(key, AW_KEY_BYTES, out);
}

static void forget_session(session *s) {
  aw_node_remove(&s->node);
  if (!s->is_guest) {
    aw_map_remove(&s->hub->sessions, AW_KIND_LINK, &s->id);
    aw_share_leave(&s->hub->shares, s->share);
  }
  if (s->watch.conn != NULL) {
    aw_conn_set_watch(s->watch.conn, NULL);
    aw_mux_join(aw_conn_mux(s->watch.conn), NULL, NULL);
  }
  aw_node_remove(&s->watch.node);
  aw_mem_free(s->hub->mem, s);
}

static void end_session(session *s, int error, const char *reason) {
  aw_conn *conn = s->watch.conn;
  forget_session(s);
  if (conn != NULL) {
    aw_conn_abandon(conn, error, reason);
  }
}

static void attach_session(session *s) {
  aw_node_remove(&s->node);
  aw_queue_push(&s->hub->attached, &s->node);
  s->is_detached = false;
}

/* One in which nothing was ever opened has nothing to come back for: its client
 * gets a new one. */
static void detach_session(session *s) {
  aw_hub *hub = s->hub;
  if (aw_mux_is_blank(aw_conn_mux(s->watch.conn))) {
    aw_conn_end end = *aw_conn_last_end(s->watch.conn);
    end_session(s, end.error == AW_OK ? AW_E_CLOSED : end.error, end.reason);
    return;
  }
  unsigned window = hub->options.mux.window_ms;
  aw_node_remove(&s->node);
  aw_queue_push(&hub->detached, &s->node);
  s->is_detached = true;
  s->deadline = aw_loop_clock(hub->loop) + (window ? window : AW_MUX_WINDOW_MS);
}

/* Brings the sessions in line with their connections: those that are over are
 * forgotten, those that have lost their transport are detached. Only to be
 * called by who holds no session: nothing else but this and end_session frees
 * any. */
static void look_at_changes(aw_hub *hub) {
  aw_node *node = NULL;
  while ((node = aw_queue_pop(&hub->changes)) != NULL) {
    aw_watch *watch = AW_CONTAINER(node, aw_watch, node);
    session *s = AW_CONTAINER(watch, session, watch);
    if (watch->conn == NULL || aw_conn_is_closed(watch->conn)) {
      forget_session(s);
    } else if (aw_conn_state(watch->conn) == AW_CONN_IS_IDLE &&
               !s->is_detached && !s->is_guest) {
      detach_session(s);
    }
  }
}

/* The process caps: detached sessions give way, the longest detached first.
 * What those that are left may add is bounded by the mux. */
static void enforce_log_cap(aw_hub *hub) {
  aw_node *node = NULL;
  while (hub->pool->log_bytes > hub->pool->log_max &&
         (node = aw_queue_first(&hub->detached)) != NULL) {
    end_session(AW_CONTAINER(node, session, node), AW_E_LIMIT,
                "the server's log memory is full (process_bytes)");
  }
}

/* What came in goes when the application takes it; where that does not happen,
 * those who hold more than their share and are not even there. */
static void enforce_in_cap(aw_hub *hub) {
  const aw_pool *pool = hub->pool;
  aw_node *node = aw_queue_first(&hub->detached);
  while (pool->in_bytes > pool->in_max - pool->in_max / 8 && node != NULL) {
    session *s = AW_CONTAINER(node, session, node);
    node = aw_queue_next(&hub->detached, node);
    if (!aw_pool_has_room(pool->in_bytes, pool->in_max, pool->members,
                          aw_mux_in_bytes(aw_conn_mux(s->watch.conn)))) {
      end_session(s, AW_E_LIMIT,
                  "the server holds too much input (inbound_process_bytes)");
    }
  }
}

/* Senders that waited for the logs of others. */
static void wake_waiting(aw_hub *hub) {
  aw_conn *conn = NULL;
  while (aw_pool_is_due(hub->pool) &&
         (conn = aw_mux_wake_waiting(hub->pool)) != NULL) {
    aw_source_raise(aw_conn_source(conn), AW_CONN_NEWS);
  }
}

static void run_hub(aw_flush *flush) {
  aw_hub *hub = AW_CONTAINER(flush, aw_hub, flush);
  look_at_changes(hub);
  enforce_log_cap(hub);
  enforce_in_cap(hub);
  wake_waiting(hub);
  arm_timer(hub);
}

static session *new_session(aw_hub *hub, aw_conn *conn) {
  session *s = aw_mem_zero(hub->mem, 1, sizeof *s);
  if (s != NULL) {
    s->hub = hub;
    s->watch = (aw_watch){.conn = conn,
                          .changes = &hub->changes,
                          .flush = &hub->flush,
                          .pool = hub->pool};
  }
  return s;
}

static void enter(session *s) {
  attach_session(s);
  aw_conn_set_watch(s->watch.conn, &s->watch);
  aw_mux_join(aw_conn_mux(s->watch.conn), s->hub->pool, s->watch.conn);
}

static int make_guest(aw_hub *hub, aw_conn *conn) {
  session *s = new_session(hub, conn);
  if (s == NULL) {
    return AW_E_NOMEM;
  }
  s->is_guest = true;
  enter(s);
  return AW_OK;
}

static int make_session(aw_hub *hub, aw_conn *conn, const aw_hello *hello,
                        const aw_uuid *peer) {
  session *s = new_session(hub, conn);
  if (s == NULL) {
    return AW_E_NOMEM;
  }
  s->id = hello->connection_id;
  hash_key(hello->key, s->key_hash);
  s->share = aw_share_take(&hub->shares, peer);
  int rc = s->share == NULL
               ? AW_E_NOMEM
               : aw_map_put(&hub->sessions, AW_KIND_LINK, &s->id, s);
  if (rc != AW_OK) {
    aw_share_leave(&hub->shares, s->share);
    aw_mem_free(hub->mem, s);
    return rc;
  }
  enter(s);
  return AW_OK;
}

/* Has this session's peer as many as each would have of equal shares, or more?
 * Sessions of such peers go first, or one that connects all the time would end
 * those of everybody who is away for a moment. */
static bool is_of_many(const session *s) {
  return s->share->count * s->hub->shares.count >= s->hub->sessions.count;
}

static bool has_peer(const session *s, const aw_uuid *peer) {
  return aw_uuid_equal(&s->share->peer, peer);
}

/* Who is away longest gives way to who comes; with `peer`, only of that peer's
 * sessions. False when nobody is away. */
static bool make_room(aw_hub *hub, const aw_uuid *peer) {
  aw_node *node = aw_queue_first(&hub->detached);
  session *longest = NULL;
  for (; node != NULL; node = aw_queue_next(&hub->detached, node)) {
    session *s = AW_CONTAINER(node, session, node);
    if (peer != NULL ? has_peer(s, peer) : is_of_many(s)) {
      longest = s;
      break;
    }
    longest = peer == NULL && longest == NULL ? s : longest;
  }
  if (longest != NULL) {
    end_session(longest, AW_E_LIMIT,
                peer != NULL
                    ? "gave way to a newer session (sessions_per_peer_max)"
                    : "gave way to a newer session (sessions_max)");
  }
  return longest != NULL;
}

/* NULL, or why this peer cannot have another session. */
static const char *find_room(aw_hub *hub, const aw_uuid *peer) {
  unsigned of_peer = hub->options.sessions_per_peer_max;
  if (of_peer > 0 && aw_share_count(&hub->shares, peer) >= of_peer &&
      !make_room(hub, peer)) {
    return "too many sessions of one peer (sessions_per_peer_max)";
  }
  if (hub->sessions.count >= hub->options.sessions_max &&
      !make_room(hub, NULL)) {
    return "too many sessions (sessions_max)";
  }
  return NULL;
}

static void greeting_expired(greeting *g);

static void on_timer(uv_timer_t *timer) {
  aw_hub *hub = timer->data;
  uint64_t now = aw_loop_now(hub->loop);
  aw_node *node = NULL;
  look_at_changes(hub);
  while ((node = aw_queue_first(&hub->greetings)) != NULL) {
    greeting *g = AW_CONTAINER(node, greeting, node);
    if (g->deadline > now) {
      break;
    }
    greeting_expired(g);
  }
  while ((node = aw_queue_first(&hub->detached)) != NULL) {
    session *s = AW_CONTAINER(node, session, node);
    if (s->deadline > now) {
      break;
    }
    end_session(s, AW_E_TIMEOUT,
                "the peer did not come back within the window");
  }
  arm_timer(hub);
}

static void arm_timer(aw_hub *hub) {
  uint64_t next = UINT64_MAX;
  aw_node *node = aw_queue_first(&hub->greetings);
  if (node != NULL) {
    next = AW_CONTAINER(node, greeting, node)->deadline;
  }
  node = aw_queue_first(&hub->detached);
  if (node != NULL && AW_CONTAINER(node, session, node)->deadline < next) {
    next = AW_CONTAINER(node, session, node)->deadline;
  }
  if (next == UINT64_MAX) {
    uv_timer_stop(hub->timer);
    return;
  }
  uint64_t now = aw_loop_clock(hub->loop);
  aw_loop_arm(hub->loop, hub->timer, on_timer, next > now ? next - now : 0);
}

static void free_greeting(greeting *g) {
  aw_node_remove(&g->node);
  aw_hello_fini(&g->hello);
  aw_mem_free(g->hub->mem, g);
}

static void end_greeting(greeting *g, int code, const char *reason) {
  aw_transport *transport = g->transport;
  free_greeting(g);
  aw_transport_retire(transport, code, reason);
}

static int new_conn(aw_hub *hub, aw_conn **conn) {
  return aw_conn_new(conn, hub->loop, &hub->options.mux, NULL);
}

/* A base connection: no hello, no session. The caller hands on what came, then
 * tells the hub's owner, who may free it. NULL: the transport was retired. */
static aw_conn *make_base(aw_hub *hub, aw_transport *transport) {
  aw_conn *conn = NULL;
  int rc = new_conn(hub, &conn);
  if (rc == AW_OK) {
    rc = make_guest(hub, conn);
  }
  if (rc != AW_OK) {
    aw_conn_free(conn);
    aw_transport_retire(transport, 1011, "out of memory");
    return NULL;
  }
  transport->info.extended = false;
  aw_conn_attach(conn, transport);
  return conn;
}

static void accept_base(aw_hub *hub, aw_transport *transport, char *bytes,
                        size_t len) {
  aw_conn *conn = make_base(hub, transport);
  if (conn != NULL) {
    if (bytes != NULL) {
      aw_conn_feed(conn, bytes, len);
    }
    hub->accepted(hub->user, conn);
  }
}

static void accept_new(aw_hub *hub, greeting *g) {
  aw_conn *conn = NULL;
  aw_uuid peer;
  aw_share_peer(g->transport, &peer);
  const char *why = find_room(hub, &peer);
  if (why != NULL) {
    end_greeting(g, 1013, why);
    return;
  }
  int rc = new_conn(hub, &conn);
  if (rc == AW_OK) {
    rc = make_session(hub, conn, &g->hello, &peer);
  }
  if (rc != AW_OK) {
    aw_conn_free(conn);
    end_greeting(g, 1011, "cannot make a session");
    return;
  }
  aw_conn_accept(conn, g->transport, &g->hello, hub->epoch);
  free_greeting(g);
  hub->accepted(hub->user, conn);
}

static void finish_greeting(greeting *g) {
  aw_hub *hub = g->hub;
  look_at_changes(hub);
  session *s =
      aw_map_get(&hub->sessions, AW_KIND_LINK, &g->hello.connection_id);
  if (s == NULL) {
    accept_new(hub, g);
    return;
  }
  uint8_t hash[SHA256_DIGEST_LENGTH];
  hash_key(g->hello.key, hash);
  if (CRYPTO_memcmp(hash, s->key_hash, sizeof hash) != 0) {
    end_greeting(g, AW_CLOSE_FORBIDDEN, "not the key of this session");
    return;
  }
  if (!aw_identity_same(aw_conn_identity(s->watch.conn),
                        g->transport->identity)) {
    end_greeting(g, AW_CLOSE_FORBIDDEN, "this session is somebody else's");
    return;
  }
  if (aw_mux_is_stale(aw_conn_mux(s->watch.conn), &g->hello)) {
    end_greeting(g, AW_CLOSE_SUPERSEDED, "a newer connection was there first");
    return;
  }
  attach_session(s);
  aw_conn_accept(s->watch.conn, g->transport, &g->hello, hub->epoch);
  free_greeting(g);
  arm_timer(hub);
}

/* A peer that was only offered the extension may stay silent for long. */
static void greeting_expired(greeting *g) {
  aw_hub *hub = g->hub;
  aw_transport *transport = g->transport;
  if (transport->info.agreed) {
    end_greeting(g, AW_CLOSE_FORBIDDEN, "no hello came in time");
    return;
  }
  free_greeting(g);
  accept_base(hub, transport, NULL, 0);
}

static void on_message(void *user, char *bytes, size_t len) {
  greeting *g = user;
  aw_transport *transport = g->transport;
  if (!transport->info.agreed && !g->hello.begun && !aw_hello_is(bytes, len)) {
    aw_hub *hub = g->hub;
    free_greeting(g);
    accept_base(hub, transport, bytes, len);
    return;
  }
  const char *why = NULL;
  int rc = aw_hello_read(&g->hello, bytes, len, &why);
  if (rc == AW_OK) {
    finish_greeting(g);
  } else if (rc != AW_E_AGAIN) {
    end_greeting(g, AW_CLOSE_FORBIDDEN, why != NULL ? why : "invalid hello");
  }
}

/* The one peer of a stdio server is its whole life: its owner has to see that
 * it came and went, even without a word. */
static void on_closed(void *user, int error, int code, const char *reason) {
  greeting *g = user;
  aw_hub *hub = g->hub;
  aw_transport *transport = g->transport;
  free_greeting(g);
  if (transport->info.agreed) {
    aw_transport_free(transport);
    return;
  }
  aw_conn *conn = make_base(hub, transport);
  if (conn != NULL) {
    aw_conn_feed_end(conn, error, code, reason);
    hub->accepted(hub->user, conn);
  }
}

/* What is no message is no hello either. */
static void on_garbage(void *user, int error, const char *what) {
  greeting *g = user;
  aw_hub *hub = g->hub;
  aw_transport *transport = g->transport;
  (void)error;
  if (!transport->info.agreed && !g->hello.begun) {
    free_greeting(g);
    aw_conn *conn = make_base(hub, transport);
    if (conn != NULL) {
      aw_conn_feed_garbage(conn, what);
      hub->accepted(hub->user, conn);
    }
  }
}

void aw_hub_take(aw_hub *hub, aw_transport *transport) {
  aw_transport_join(transport, hub->pool);
  if (!transport->info.extended) {
    accept_base(hub, transport, NULL, 0);
    return;
  }
  greeting *g = aw_mem_zero(hub->mem, 1, sizeof *g);
  if (g == NULL) {
    aw_transport_retire(transport, 1011, "out of memory");
    return;
  }
  g->hub = hub;
  g->transport = transport;
  g->deadline = aw_loop_clock(hub->loop) + hub->options.greeting_ms;
  aw_hello_init(&g->hello, hub->mem,
                hub->options.mux.scopes_max ? hub->options.mux.scopes_max
                                            : AW_MUX_SCOPES_MAX);
  aw_queue_push(&hub->greetings, &g->node);
  transport->sink = (aw_transport_sink){
      .message = on_message, .garbage = on_garbage, .closed = on_closed};
  transport->user = g;
  arm_timer(hub);
}

static int make_epoch(aw_hub *hub) {
  uint8_t bytes[AW_EPOCH_TEXT / 2];
  int rc = aw_loop_entropy(bytes, sizeof bytes);
  for (size_t i = 0; rc == AW_OK && i < sizeof bytes; i++) {
    hub->epoch[2 * i] = aw_hex_digit(bytes[i] >> 4u);
    hub->epoch[2 * i + 1] = aw_hex_digit(bytes[i]);
  }
  return rc;
}

int aw_hub_new(aw_hub **out, aw_loop *loop, const aw_hub_options *options,
               void (*accepted)(void *user, aw_conn *conn), void *user) {
  const aw_mem *mem = aw_loop_mem(loop);
  aw_hub *hub = aw_mem_zero(mem, 1, sizeof *hub);
  if (hub == NULL) {
    return AW_E_NOMEM;
  }
  size_t log_max = options->log_bytes ? options->log_bytes : AW_HUB_LOG_BYTES;
  size_t in_max = options->in_bytes ? options->in_bytes : AW_HUB_IN_BYTES;
  uint64_t seed[4];
  hub->timer = aw_mem_zero(mem, 1, sizeof *hub->timer);
  hub->pool = aw_pool_new(mem, log_max, in_max);
  if (hub->timer == NULL || hub->pool == NULL || make_epoch(hub) != AW_OK ||
      aw_loop_entropy(seed, sizeof seed) != AW_OK) {
    aw_pool_drop(hub->pool);
    aw_mem_free(mem, hub->timer);
    aw_mem_free(mem, hub);
    return AW_E_NOMEM;
  }
  hub->loop = loop;
  hub->mem = mem;
  hub->options = *options;
  hub->options.greeting_ms =
      options->greeting_ms ? options->greeting_ms : AW_HUB_GREETING_MS;
  hub->options.sessions_max =
      options->sessions_max ? options->sessions_max : AW_HUB_SESSIONS_MAX;
  aw_map_init(&hub->sessions, mem, seed);
  aw_map_init(&hub->shares, mem, seed + 2);
  aw_queue_init(&hub->greetings);
  aw_queue_init(&hub->attached);
  aw_queue_init(&hub->detached);
  aw_queue_init(&hub->changes);
  hub->flush.run = run_hub;
  uv_timer_init(aw_loop_uv(loop), hub->timer);
  uv_unref((uv_handle_t *)hub->timer);
  hub->timer->data = hub;
  hub->accepted = accepted;
  hub->user = user;
  *out = hub;
  return AW_OK;
}

static void free_timer(uv_handle_t *handle) {
  const aw_mem *mem = handle->data;
  aw_mem_free(mem, handle);
}

void aw_hub_free(aw_hub *hub) {
  if (hub == NULL) {
    return;
  }
  aw_node *node = NULL;
  while ((node = aw_queue_first(&hub->greetings)) != NULL) {
    greeting *g = AW_CONTAINER(node, greeting, node);
    aw_transport_free(g->transport);
    free_greeting(g);
  }
  aw_queue *queues[] = {&hub->attached, &hub->detached};
  for (int i = 0; i < 2; i++) {
    while ((node = aw_queue_first(queues[i])) != NULL) {
      forget_session(AW_CONTAINER(node, session, node));
    }
  }
  aw_map_fini(&hub->sessions);
  aw_map_fini(&hub->shares);
  aw_pool_drop(hub->pool);
  aw_node_remove(&hub->flush.node);
  uv_timer_stop(hub->timer);
  hub->timer->data = (void *)hub->mem;
  uv_close((uv_handle_t *)hub->timer, free_timer);
  aw_mem_free(hub->mem, hub);
}

const char *aw_hub_epoch(const aw_hub *hub) {
  return hub->epoch;
}

unsigned aw_hub_sessions(aw_hub *hub) {
  look_at_changes(hub);
  return (unsigned)hub->sessions.count;
}

size_t aw_hub_log_bytes(const aw_hub *hub) {
  return hub->pool->log_bytes;
}

size_t aw_hub_in_bytes(const aw_hub *hub) {
  return hub->pool->in_bytes;
}
