#include "aw_error.h"
#include "aw_transport_impl.h"
#include <assert.h>

int aw_transport_send(aw_transport *t, const char *bytes, size_t len) {
  if (len == 0) {
    return AW_E_INVALID;
  }
  if (len > AW_TRANSPORT_MESSAGE_TOP) {
    return AW_E_LIMIT;
  }
  return t->ops->send(t, bytes, len);
}

bool aw_transport_is_open(const aw_transport *t) {
  return t->state == AW_TRANSPORT_OPEN;
}

size_t aw_transport_room(aw_transport *t) {
  size_t limit =
      t->choked ? AW_TRANSPORT_HIGH_WATER / 2 : AW_TRANSPORT_HIGH_WATER;
  if (t->pending >= limit) {
    t->choked = true;
    return 0;
  }
  return AW_TRANSPORT_HIGH_WATER - t->pending;
}

void aw_transport_pause(aw_transport *t, bool paused) {
  t->ops->pause(t, paused);
}

void aw_transport_close(aw_transport *t, int code, const char *reason) {
  t->ops->close(t, code, reason);
}

void aw_transport_free(aw_transport *t) {
  if (t != NULL) {
    t->ops->free(t);
  }
}

void aw_transport_init(aw_transport *t, const aw_transport_ops *ops,
                       aw_loop *loop, const char *kind,
                       void (*release)(aw_transport *t)) {
  t->ops = ops;
  t->loop = loop;
  t->info.kind = kind;
  t->state = AW_TRANSPORT_OPENING;
  t->refs = 1;
  t->release = release;
  t->last_in_ms = aw_loop_clock(loop);
}

void aw_transport_hold(aw_transport *t) {
  t->refs++;
}

void aw_transport_drop(aw_transport *t) {
  assert(t->refs > 0);
  if (--t->refs == 0) {
    aw_transport_keeps(t, 0);
    aw_pool_drop(t->pool);
    aw_identity_drop(t->identity);
    t->release(t);
  }
}

void aw_transport_mute(aw_transport *t) {
  t->state = AW_TRANSPORT_ENDED;
  aw_transport_keeps(t, 0);
  t->sink = (aw_transport_sink){.open = NULL};
}

void aw_transport_join(aw_transport *t, aw_pool *pool) {
  if (t->pool == NULL) {
    aw_pool_hold(pool);
    t->pool = pool;
  }
}

void aw_transport_toll(aw_transport *t) {
  t->tolls++;
}

bool aw_transport_is_flooded(aw_transport *t) {
  bool flooded = t->tolls > AW_TRANSPORT_TOLLS_MAX;
  t->tolls = 0;
  return flooded;
}

static void shed_parts(aw_pool *pool) {
  aw_node *node = NULL;
  while (pool->in_bytes > pool->in_max &&
         (node = aw_queue_pop(&pool->unfinished)) != NULL) {
    aw_transport *oldest = AW_CONTAINER(node, aw_transport, part_node);
    oldest->ops->shed(oldest);
  }
}

void aw_transport_keeps(aw_transport *t, size_t bytes) {
  aw_pool *pool = t->pool;
  size_t before = t->part_bytes;
  if (pool == NULL || bytes == before) {
    return;
  }
  t->part_bytes = bytes;
  pool->in_bytes += bytes - before;
  if (bytes <= AW_TRANSPORT_PART_FREE || t->ops->shed == NULL) {
    aw_node_remove(&t->part_node);
    return;
  }
  if (!aw_node_queued(&t->part_node)) {
    aw_queue_push(&pool->unfinished, &t->part_node);
  }
  if (bytes > before) {
    shed_parts(pool);
  }
}

/* A wait ends after an upcall, so that a caller without sources sees it. */
void aw_transport_give_open(aw_transport *t) {
  if (t->state != AW_TRANSPORT_OPENING) {
    return;
  }
  t->state = AW_TRANSPORT_OPEN;
  aw_loop_nudge(t->loop);
  if (t->sink.open != NULL) {
    t->sink.open(t->user, &t->info);
  }
}

void aw_transport_give_message(aw_transport *t, char *bytes, size_t len) {
  if (!aw_transport_alive(t)) {
    return;
  }
  aw_loop_nudge(t->loop);
  if (t->sink.message != NULL) {
    t->sink.message(t->user, bytes, len);
  }
}

void aw_transport_give_garbage(aw_transport *t, int error, const char *what) {
  if (!aw_transport_alive(t)) {
    return;
  }
  aw_loop_nudge(t->loop);
  if (t->sink.garbage != NULL) {
    t->sink.garbage(t->user, error, what);
  }
}

void aw_transport_give_skipped(aw_transport *t, char *head, size_t len,
                               uint64_t whole) {
  if (!aw_transport_alive(t)) {
    return;
  }
  if (t->sink.skipped == NULL) {
    aw_transport_give_garbage(t, AW_E_LIMIT, "the message is too long");
    return;
  }
  aw_loop_nudge(t->loop);
  t->sink.skipped(t->user, head, len, whole);
}

void aw_transport_give_closed(aw_transport *t, int error, int code,
                              const char *reason) {
  if (!aw_transport_alive(t)) {
    return;
  }
  t->state = AW_TRANSPORT_ENDED;
  aw_transport_keeps(t, 0);
  aw_loop_nudge(t->loop);
  if (t->sink.closed != NULL) {
    t->sink.closed(t->user, error, code, reason != NULL ? reason : "");
  }
}

void aw_transport_received(aw_transport *t, size_t len) {
  t->bytes_in += len;
  t->last_in_ms = aw_loop_now(t->loop);
}

void aw_transport_sent(aw_transport *t, size_t len) {
  assert(len <= t->pending);
  t->pending -= len;
  t->bytes_out += len;
  if (t->choked && t->pending < AW_TRANSPORT_HIGH_WATER / 2 &&
      t->state == AW_TRANSPORT_OPEN) {
    t->choked = false;
    aw_loop_nudge(t->loop);
    if (t->sink.writable != NULL) {
      t->sink.writable(t->user);
    }
  }
}
