#include "aw_signal.h"
#include "aw_error.h"
#include "aw_os_signal.h"
#include <signal.h>

struct aw_signal {
  aw_source source;
  aw_loop *loop;
  uv_async_t *async; /* outlives this by its close callback */
  int number;
  enum aw_signal_mode mode;
  volatile sig_atomic_t count; /* that came; written by the handler */
};

/* What the handler sees. Slots are changed with all signals blocked and the
 * lock held, so that it never meets half of one on this thread; on another one
 * a slot is a pointer, whole or NULL. */
static aw_signal *volatile slots[AW_SIGNALS_MAX];
static int taken[AW_OS_SIGNALS]; /* watches of each */
static void (*volatile restore)(void);

static void end_process(int number) {
  if (restore != NULL) {
    restore();
  }
  aw_os_signal_die(number);
}

/* Only what is async-signal-safe: stores, uv_async_send, aw_os_signal_die. */
static void on_signal(int number) {
  bool waited = false;
  for (int i = 0; i < AW_SIGNALS_MAX; i++) {
    const aw_signal *each = slots[i];
    waited = waited || (each != NULL && each->number == number &&
                        each->mode == AW_SIGNAL_WAIT);
  }
  for (int i = 0; i < AW_SIGNALS_MAX; i++) {
    aw_signal *each = slots[i];
    if (each == NULL || each->number != number ||
        (waited && each->mode == AW_SIGNAL_LAST_RESORT)) {
      continue;
    }
    each->count = each->count + 1;
    if (each->mode == AW_SIGNAL_LAST_RESORT && each->count > 1) {
      end_process(number);
      return;
    }
    uv_async_send(each->async);
  }
}

static void on_async(uv_async_t *async) {
  aw_signal *signal = async->data;
  if (signal != NULL) {
    aw_source_raise(&signal->source, AW_SIGNAL_CAME);
  }
}

static int take_handler(const aw_signal *signal) {
  int number = signal->number;
  if (taken[number] == 0) {
    int rc = aw_os_signal_take(number, on_signal);
    if (rc != AW_OK) {
      return rc;
    }
  }
  if (signal->mode == AW_SIGNAL_LAST_RESORT &&
      aw_os_signal_was_ignored(number)) {
    if (taken[number] == 0) {
      aw_os_signal_give_back(number);
    }
    return AW_E_REFUSED;
  }
  taken[number]++;
  return AW_OK;
}

static int add_slot(aw_signal *signal) {
  for (int i = 0; i < AW_SIGNALS_MAX; i++) {
    if (slots[i] == NULL) {
      int rc = take_handler(signal);
      if (rc == AW_OK) {
        slots[i] = signal;
      }
      return rc;
    }
  }
  return AW_E_LIMIT;
}

static void remove_slot(const aw_signal *signal) {
  for (int i = 0; i < AW_SIGNALS_MAX; i++) {
    if (slots[i] == signal) {
      slots[i] = NULL;
      if (--taken[signal->number] == 0) {
        aw_os_signal_give_back(signal->number);
      }
    }
  }
}

static void free_async(uv_handle_t *handle) {
  aw_mem_free(aw_mem_default(), handle);
}

int aw_signal_new(aw_signal **out, aw_loop *loop, int number,
                  enum aw_signal_mode mode, void *user) {
  const aw_mem *mem = aw_loop_mem(loop);
  if (number <= 0 || number >= AW_OS_SIGNALS) {
    return AW_E_INVALID;
  }
  aw_signal *signal = aw_mem_zero(mem, 1, sizeof *signal);
  uv_async_t *async = aw_mem_zero(aw_mem_default(), 1, sizeof *async);
  int rc = signal != NULL && async != NULL ? AW_OK : AW_E_NOMEM;
  if (rc == AW_OK && uv_async_init(aw_loop_uv(loop), async, on_async) != 0) {
    rc = AW_E_IO;
  }
  if (rc != AW_OK) {
    aw_mem_free(aw_mem_default(), async);
    aw_mem_free(mem, signal);
    return rc;
  }
  signal->loop = loop;
  signal->number = number;
  signal->mode = mode;
  signal->async = async;
  async->data = signal;
  aw_source_init(&signal->source, loop, user);
  if (mode == AW_SIGNAL_LAST_RESORT) {
    uv_unref((uv_handle_t *)async);
  }
  aw_os_signals_lock();
  rc = add_slot(signal);
  aw_os_signals_unlock();
  if (rc != AW_OK) {
    aw_signal_free(signal);
    return rc;
  }
  *out = signal;
  return AW_OK;
}

void aw_signal_free(aw_signal *signal) {
  if (signal == NULL) {
    return;
  }
  aw_os_signals_lock();
  remove_slot(signal);
  aw_os_signals_unlock();
  aw_source_fini(&signal->source);
  signal->async->data = NULL;
  uv_close((uv_handle_t *)signal->async, free_async);
  aw_mem_free(aw_loop_mem(signal->loop), signal);
}

aw_source *aw_signal_source(aw_signal *signal) {
  return &signal->source;
}

void aw_signal_at_last(void (*fn)(void)) {
  restore = fn;
}
