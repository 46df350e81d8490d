#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "aw_error.h"
#include "failing_mem.h"
#include <stdlib.h>
#include <string.h>

/* Before each block; keeps it aligned for anything. */
union header {
  size_t size;
  max_align_t align;
};

static void *failing_realloc(void *user, void *block, size_t size) {
  failing_mem *failing = user;
  union header *old = block == NULL ? NULL : (union header *)block - 1;
  union header *made;

  if (size == 0) {
    failing->live -= old != NULL;
    free(old);
    return NULL;
  }
  failing->calls++;
  if (failing->calls == failing->fail_at) {
    return NULL;
  }
  made = malloc(sizeof *made + size);
  assert_non_null(made);
  made->size = size;
  if (old == NULL) {
    failing->live++;
  } else {
    memcpy(made + 1, old + 1, old->size < size ? old->size : size);
    free(old);
  }
  return made + 1;
}

void failing_mem_init(failing_mem *failing, size_t fail_at) {
  failing->mem.realloc = failing_realloc;
  failing->mem.user = failing;
  failing->fail_at = fail_at;
  failing->calls = failing->live = 0;
}

void fail_each_allocation(int (*scenario)(const aw_mem *mem)) {
  failing_mem failing;
  size_t n = 0;
  int rc;

  do {
    failing_mem_init(&failing, ++n);
    rc = scenario(&failing.mem);
    assert_int_equal(failing.live, 0);
    assert_int_equal(rc, failing.calls >= n ? AW_E_NOMEM : 0);
  } while (failing.calls >= n);
  assert_true(n > 1); /* a scenario that allocates nothing proves nothing */
}
