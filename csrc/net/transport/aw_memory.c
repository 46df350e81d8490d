#include "aw_memory.h"
#include "aw_buf.h"
#include "aw_error.h"
#include "aw_transport_impl.h"

/* What an idle end keeps of a burst. */
#define KEEP_BYTES (64u << 10)
#define REASON_MAX 128

typedef struct memory memory;

/* Messages lie in the receiver's buffers, each behind its length. Two of them,
 * because the message that is being delivered must not move when its upcall
 * makes the other end send. */
struct memory {
  aw_transport base;
  memory *peer; /* NULL: freed */
  aw_flush flush;
  aw_buf now, next;
  uv_timer_t linger;
  bool has_timer, paused;
  bool peer_closed; /* orderly, so that its end is no loss */
  bool gave_up;     /* lingered in vain */
  int code;
  char reason[REASON_MAX];
  char peer_reason[REASON_MAX];
};

static void wake(memory *m) {
  aw_loop_mark(m->base.loop, &m->flush);
}

static void copy_reason(char out[REASON_MAX], const char *reason) {
  size_t len = reason != NULL ? strlen(reason) : 0;
  len = len < REASON_MAX ? len : REASON_MAX - 1;
  if (len > 0) {
    memcpy(out, reason, len);
  }
  out[len] = '\0';
}

static int memory_send(aw_transport *t, const char *bytes, size_t len) {
  memory *m = (memory *)t;
  memory *peer = m->peer;
  if (t->state != AW_TRANSPORT_OPEN) {
    return AW_E_CLOSED;
  }
  if (peer == NULL || peer->base.state > AW_TRANSPORT_OPEN) {
    return AW_OK; /* lost, as on a wire; `closed` is on its way */
  }
  if (aw_buf_reserve(&peer->next, sizeof len + len) != AW_OK) {
    return AW_E_NOMEM;
  }
  aw_buf_append(&peer->next, &len, sizeof len);
  aw_buf_append(&peer->next, bytes, len);
  t->pending += len;
  wake(peer);
  return AW_OK;
}

static void memory_pause(aw_transport *t, bool paused) {
  memory *m = (memory *)t;
  m->paused = paused;
  if (!paused && aw_transport_alive(t)) {
    wake(m);
  }
}

static void on_timer_closed(uv_handle_t *handle) {
  memory *m = handle->data;
  aw_transport_drop(&m->base);
}

static void stop_linger(memory *m) {
  if (m->has_timer) {
    m->has_timer = false;
    uv_close((uv_handle_t *)&m->linger, on_timer_closed);
  }
}

static void on_linger(uv_timer_t *timer) {
  memory *m = timer->data;
  m->gave_up = true;
  wake(m);
}

static void start_linger(memory *m) {
  uv_timer_init(aw_loop_uv(m->base.loop), &m->linger);
  m->linger.data = m;
  m->has_timer = true;
  aw_transport_hold(&m->base);
  aw_loop_arm(m->base.loop, &m->linger, on_linger, AW_TRANSPORT_LINGER_MS);
}

static void memory_close(aw_transport *t, int code, const char *reason) {
  memory *m = (memory *)t;
  if (t->state >= AW_TRANSPORT_CLOSING) {
    return;
  }
  t->state = AW_TRANSPORT_CLOSING;
  m->code = code;
  copy_reason(m->reason, reason);
  start_linger(m);
  if (m->peer != NULL) {
    m->peer->peer_closed = true;
    copy_reason(m->peer->peer_reason, reason);
    wake(m->peer);
  }
  wake(m);
}

static void memory_free(aw_transport *t) {
  memory *m = (memory *)t;
  aw_transport_mute(t);
  aw_node_remove(&m->flush.node);
  stop_linger(m);
  if (m->peer != NULL) {
    m->peer->peer = NULL;
    wake(m->peer);
    m->peer = NULL;
  }
  aw_transport_drop(t);
}

static void memory_release(aw_transport *t) {
  memory *m = (memory *)t;
  aw_buf_fini(&m->now);
  aw_buf_fini(&m->next);
  aw_mem_free(aw_loop_mem(t->loop), m);
}

static const aw_transport_ops memory_ops = {memory_send, memory_pause,
                                            memory_close, memory_free, NULL};

/* After close nobody wants what still comes; the sender's room does. */
static void deliver_one(memory *m) {
  aw_transport *t = &m->base;
  size_t len;
  memcpy(&len, aw_buf_bytes(&m->now), sizeof len);
  aw_buf_consume(&m->now, sizeof len);
  if (t->state == AW_TRANSPORT_OPEN) {
    aw_transport_received(t, len);
    aw_transport_give_message(t, aw_buf_bytes(&m->now), len);
  }
  aw_buf_consume(&m->now, len);
  if (m->peer != NULL) {
    aw_transport_sent(&m->peer->base, len);
  }
}

static bool may_deliver(const memory *m) {
  return aw_transport_alive(&m->base) &&
         (!m->paused || m->base.state == AW_TRANSPORT_CLOSING);
}

static void deliver_now(memory *m) {
  while (may_deliver(m) && aw_buf_len(&m->now) > 0) {
    deliver_one(m);
  }
}

/* One batch: what is sent meanwhile is for the next turn. */
static void deliver(memory *m) {
  deliver_now(m);
  if (!may_deliver(m) || aw_buf_len(&m->next) == 0) {
    return;
  }
  aw_buf rest = m->now;
  m->now = m->next;
  m->next = rest;
  if (m->peer != NULL) {
    m->peer->base.writes++;
  }
  deliver_now(m);
  if (aw_buf_len(&m->now) == 0) {
    aw_buf_reset(&m->now, KEEP_BYTES);
  }
}

static bool is_drained(const memory *m) {
  return aw_buf_len(&m->now) == 0 && aw_buf_len(&m->next) == 0;
}

/* The end that closed waits for the other to have taken everything; the other
 * ends as soon as it has. */
static void end_if_due(memory *m) {
  aw_transport *t = &m->base;
  memory *peer = m->peer;
  if (t->state == AW_TRANSPORT_CLOSING) {
    if (peer == NULL || peer->base.state >= AW_TRANSPORT_CLOSING) {
      aw_transport_give_closed(t, AW_OK, m->code, m->reason);
    } else if (m->gave_up) {
      aw_transport_give_closed(t, AW_E_TIMEOUT, 1006,
                               "the other end does not read");
    }
  } else if (is_drained(m) && m->peer_closed) {
    aw_transport_give_closed(t, AW_OK, 1000, m->peer_reason);
  } else if (is_drained(m) && peer == NULL) {
    aw_transport_give_closed(t, AW_E_IO, 1006, "the other end is gone");
  }
}

static void run_memory(aw_flush *flush) {
  memory *m = AW_CONTAINER(flush, memory, flush);
  if (!aw_transport_alive(&m->base)) {
    return;
  }
  aw_transport_hold(&m->base);
  aw_transport_give_open(&m->base);
  deliver(m);
  end_if_due(m);
  if (!aw_transport_alive(&m->base)) {
    stop_linger(m);
    if (m->peer != NULL) {
      wake(m->peer);
    }
  }
  aw_transport_drop(&m->base);
}

static memory *new_end(aw_loop *loop, bool is_server, bool extended) {
  const aw_mem *mem = aw_loop_mem(loop);
  memory *m = aw_mem_zero(mem, 1, sizeof *m);
  if (m == NULL) {
    return NULL;
  }
  aw_transport_init(&m->base, &memory_ops, loop, "memory", memory_release);
  m->base.info.is_server = is_server;
  m->base.info.extended = extended;
  m->flush.run = run_memory;
  aw_buf_init(&m->now, mem);
  aw_buf_init(&m->next, mem);
  wake(m);
  return m;
}

int aw_memory_pair(aw_loop *loop, bool extended, aw_transport **client,
                   aw_transport **server) {
  memory *near = new_end(loop, false, extended);
  memory *far = new_end(loop, true, extended);
  *client = *server = NULL;
  if (near == NULL || far == NULL) {
    aw_transport_free(near != NULL ? &near->base : NULL);
    aw_transport_free(far != NULL ? &far->base : NULL);
    return AW_E_NOMEM;
  }
  near->peer = far;
  far->peer = near;
  *client = &near->base;
  *server = &far->base;
  return AW_OK;
}
