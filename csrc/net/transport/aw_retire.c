#include "aw_retire.h"
#include "aw_error.h"

/* The owner of a transport that has lost its own. */
typedef struct retired {
  aw_teardown teardown;
  aw_transport *transport;
  const aw_mem *mem;
} retired;

static void end_retired(retired *r) {
  aw_node_remove(&r->teardown.node);
  aw_transport_free(r->transport);
  aw_mem_free(r->mem, r);
}

static void on_closed(void *user, int error, int code, const char *reason) {
  (void)error;
  (void)code;
  (void)reason;
  end_retired(user);
}

static void run_teardown(aw_teardown *teardown) {
  end_retired(AW_CONTAINER(teardown, retired, teardown));
}

void aw_transport_retire(aw_transport *t, int code, const char *reason) {
  const aw_mem *mem = aw_loop_mem(t->loop);
  retired *r = aw_mem_zero(mem, 1, sizeof *r);
  if (r == NULL) {
    aw_transport_free(t); /* without a farewell, but without a leak */
    return;
  }
  r->transport = t;
  r->mem = mem;
  r->teardown.run = run_teardown;
  aw_loop_at_free(t->loop, &r->teardown);
  t->sink = (aw_transport_sink){.closed = on_closed};
  t->user = r;
  aw_transport_close(t, code, reason);
}
