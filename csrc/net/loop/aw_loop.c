#include "aw_loop.h"
#include "aw_error.h"
#include <assert.h>

#if UV_VERSION_HEX < 0x012a00
#error "agentwire needs libuv 1.42 or later"
#endif

struct aw_loop {
  const aw_mem *mem;
  uv_loop_t uv;
  uv_prepare_t prepare;
  uv_timer_t alarm; /* ends a wait; runs only during one */
  uv_async_t bell;  /* makes the descriptor readable */
  aw_queue ready, marked, teardowns;
  aw_queue locals;  /* the youngest is the first */
  unsigned turning; /* turns that have begun and not ended */
  bool nudged, rung;
  char *read_buffer;
};

/* What is marked by a flush waits for the next round: two ends that answer
 * each other must not keep the loop from its sockets. */
static void flush_marked(aw_loop *loop) {
  aw_node end = {NULL, NULL};
  aw_node *node;
  if (aw_queue_empty(&loop->marked)) {
    return;
  }
  aw_queue_push(&loop->marked, &end);
  while ((node = aw_queue_pop(&loop->marked)) != &end) {
    aw_flush *flush = AW_CONTAINER(node, aw_flush, node);
    flush->run(flush);
  }
}

static bool has_work(const aw_loop *loop) {
  return loop->nudged || !aw_queue_empty(&loop->ready) ||
         !aw_queue_empty(&loop->marked);
}

/* libuv runs due timers before this and computes how long to block after it,
 * so that this is the last chance to flush what the timers produced, and not
 * to block when they made a source ready. A stop flag set here makes the poll
 * non-blocking and is cleared when uv_run returns. */
static void on_prepare(uv_prepare_t *prepare) {
  aw_loop *loop = prepare->data;
  flush_marked(loop);
  if (has_work(loop)) {
    uv_stop(&loop->uv);
  }
}

/* Ends the poll by being due. One that was due before the poll began (a flush
 * took its time) has to say so, or the poll would wait for something else. */
static void on_alarm(uv_timer_t *alarm) {
  uv_stop(alarm->loop);
}

static void on_bell(uv_async_t *bell) {
  aw_loop *loop = bell->data;
  loop->rung = false;
}

void aw_loop_ring(aw_loop *loop) {
  if (loop->turning == 0 && !loop->rung) {
    loop->rung = true;
    uv_async_send(&loop->bell);
  }
}

void aw_loop_enter(aw_loop *loop) {
  loop->turning++;
}

void aw_loop_leave(aw_loop *loop) {
  if (loop->turning > 0) {
    loop->turning--;
  }
  if (has_work(loop)) {
    aw_loop_ring(loop);
  }
}

/* A loop without anything else alive does not poll, and a bell that nobody
 * hears leaves the descriptor readable for ever: one that was rung counts. What
 * does not block always looks, for signals keep nothing alive either. */
static void run_once(aw_loop *loop, bool block) {
  if (loop->rung || !block) {
    uv_ref((uv_handle_t *)&loop->bell);
  }
  uv_run(&loop->uv, block ? UV_RUN_ONCE : UV_RUN_NOWAIT);
  uv_unref((uv_handle_t *)&loop->bell);
}

/* None keeps the loop alive, only what others open counts: the alarm is active
 * during a wait alone. It has to count then, because libuv does not block for a
 * timer that does not, and a wait for nothing else would spin. */
static int start_handles(aw_loop *loop) {
  uv_prepare_init(&loop->uv, &loop->prepare);
  loop->prepare.data = loop;
  uv_prepare_start(&loop->prepare, on_prepare);
  uv_unref((uv_handle_t *)&loop->prepare);
  uv_timer_init(&loop->uv, &loop->alarm);
  if (uv_async_init(&loop->uv, &loop->bell, on_bell) != 0) {
    return AW_E_IO;
  }
  loop->bell.data = loop;
  /* libuv gives its descriptors to the kernel when it first polls, and a bell
   * that is not there yet would not be heard. */
  aw_loop_ring(loop);
  run_once(loop, false);
  return AW_OK;
}

int aw_loop_new(aw_loop **out, const aw_mem *mem) {
  aw_loop *loop = aw_mem_zero(mem, 1, sizeof *loop);
  int rc;
  *out = NULL;
  if (loop == NULL) {
    return AW_E_NOMEM;
  }
  loop->mem = mem;
  aw_queue_init(&loop->ready);
  aw_queue_init(&loop->marked);
  aw_queue_init(&loop->teardowns);
  aw_queue_init(&loop->locals);
  rc = AW_E_NOMEM;
  loop->read_buffer = aw_mem_alloc(mem, AW_LOOP_READ_BUFFER);
  if (loop->read_buffer == NULL) {
    goto no_buffer;
  }
  rc = AW_E_IO;
  if (uv_loop_init(&loop->uv) != 0) {
    goto no_loop;
  }
  loop->uv.data = loop;
  rc = start_handles(loop);
  if (rc != AW_OK) {
    aw_loop_free(loop);
    return rc;
  }
  *out = loop;
  return AW_OK;
no_loop:
  aw_mem_free(mem, loop->read_buffer);
no_buffer:
  aw_mem_free(mem, loop);
  return rc;
}

static void close_handle(uv_handle_t *handle, void *arg) {
  (void)arg;
  if (!uv_is_closing(handle)) {
    uv_close(handle, NULL);
  }
}

void aw_loop_free(aw_loop *loop) {
  aw_node *node;
  if (loop == NULL) {
    return;
  }
  aw_loop_enter(loop); /* nobody listens to the bell any more */
  while ((node = aw_queue_pop(&loop->teardowns)) != NULL) {
    aw_teardown *teardown = AW_CONTAINER(node, aw_teardown, node);
    teardown->run(teardown);
  }
  while ((node = aw_queue_pop(&loop->locals)) != NULL) {
    aw_local *local = AW_CONTAINER(node, aw_local, node);
    local->drop(local);
  }
  uv_walk(&loop->uv, close_handle, NULL);
  while (uv_run(&loop->uv, UV_RUN_DEFAULT) != 0) {
  }
  int rc = uv_loop_close(&loop->uv);
  assert(rc == 0);
  (void)rc;
  aw_mem_free(loop->mem, loop->read_buffer);
  aw_mem_free(loop->mem, loop);
}

const aw_mem *aw_loop_mem(const aw_loop *loop) {
  return loop->mem;
}

uv_loop_t *aw_loop_uv(aw_loop *loop) {
  return &loop->uv;
}

uint64_t aw_loop_now(const aw_loop *loop) {
  return uv_now(&loop->uv);
}

uint64_t aw_loop_clock(aw_loop *loop) {
  uv_update_time(&loop->uv);
  return uv_now(&loop->uv);
}

void aw_loop_arm(aw_loop *loop, uv_timer_t *timer, uv_timer_cb run,
                 uint64_t delay_ms) {
  uv_update_time(&loop->uv);
  uv_timer_start(timer, run, delay_ms, 0);
  aw_loop_ring(loop); /* whoever drives it knows of later ones */
}

int aw_loop_fd(const aw_loop *loop) {
  return uv_backend_fd(&loop->uv);
}

int aw_loop_timeout_ms(const aw_loop *loop) {
  uint64_t now, then = uv_now(&loop->uv);
  if (has_work(loop)) {
    return 0;
  }
  /* libuv says 0 here, which would make an embedder spin. */
  if (!uv_loop_alive(&loop->uv)) {
    return -1;
  }
  int timeout = uv_backend_timeout(&loop->uv);
  if (timeout <= 0) {
    return timeout;
  }
  /* libuv counts from the start of the last turn; the host has run since. */
  now = uv_hrtime() / 1000000;
  if (now > then) {
    uint64_t gone = now - then;
    timeout = gone < (uint64_t)timeout ? timeout - (int)gone : 0;
  }
  return timeout;
}

void aw_loop_step(aw_loop *loop) {
  aw_loop_wait(loop, 0);
}

bool aw_loop_wait(aw_loop *loop, int timeout_ms) {
  loop->turning++;
  uv_update_time(&loop->uv);
  flush_marked(loop);
  bool block = timeout_ms != 0 && !has_work(loop);
  if (block && timeout_ms > 0) {
    uv_timer_start(&loop->alarm, on_alarm, (uint64_t)timeout_ms, 0);
  }
  run_once(loop, block);
  uv_timer_stop(&loop->alarm);
  flush_marked(loop);
  loop->nudged = false;
  loop->turning--;
  return has_work(loop) || uv_loop_alive(&loop->uv) != 0;
}

aw_source *aw_loop_ready(aw_loop *loop, unsigned *events) {
  aw_node *node = aw_queue_pop(&loop->ready);
  if (node == NULL) {
    return NULL;
  }
  aw_source *source = AW_CONTAINER(node, aw_source, node);
  *events = source->events;
  source->events = 0;
  return source;
}

void aw_source_init(aw_source *source, aw_loop *loop, void *user) {
  *source = (aw_source){.loop = loop, .user = user};
}

void aw_source_raise(aw_source *source, unsigned events) {
  source->events |= events;
  if (!aw_node_queued(&source->node)) {
    aw_queue_push(&source->loop->ready, &source->node);
    aw_loop_ring(source->loop);
  }
}

void aw_source_fini(aw_source *source) {
  aw_node_remove(&source->node);
  source->events = 0;
}

void aw_loop_mark(aw_loop *loop, aw_flush *flush) {
  if (!aw_node_queued(&flush->node)) {
    aw_queue_push(&loop->marked, &flush->node);
    aw_loop_ring(loop);
  }
}

void aw_loop_nudge(aw_loop *loop) {
  loop->nudged = true;
  aw_loop_ring(loop);
}

void aw_loop_at_free(aw_loop *loop, aw_teardown *teardown) {
  if (!aw_node_queued(&teardown->node)) {
    aw_queue_push(&loop->teardowns, &teardown->node);
  }
}

void aw_loop_keep(aw_loop *loop, aw_local *local) {
  assert(aw_loop_find(loop, local->key) == NULL);
  aw_queue_push_front(&loop->locals, &local->node);
}

aw_local *aw_loop_find(const aw_loop *loop, const void *key) {
  for (aw_node *node = aw_queue_first(&loop->locals); node != NULL;
       node = aw_queue_next(&loop->locals, node)) {
    aw_local *local = AW_CONTAINER(node, aw_local, node);
    if (local->key == key) {
      return local;
    }
  }
  return NULL;
}

char *aw_loop_read_buffer(aw_loop *loop) {
  return loop->read_buffer;
}

int aw_loop_entropy(void *out, size_t len) {
  return uv_random(NULL, NULL, out, len, 0, NULL) == 0 ? AW_OK : AW_E_IO;
}
