#include "limit_kit.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* More than the limit, so that a count that leaks by one each time is seen. */
#define MORE 10

static void refuse(const limit *of) {
  assert_false(of->begin(of->most));
  assert_int_equal(of->count(), of->most);
}

static void fill(const limit *of) {
  for (unsigned place = 0; place < of->most; place++) {
    assert_int_equal(of->count(), place);
    assert_true(of->begin(place));
  }
}

static void end_all(const limit *of) {
  for (unsigned place = 0; place < of->most; place++) {
    of->end(place);
    assert_int_equal(of->count(), of->most - place - 1);
  }
}

void limit_check(const limit *of) {
  fill(of);
  for (unsigned n = 0; n < of->most + MORE; n++) {
    refuse(of);
  }
  of->end(0);
  assert_true(of->begin(0)); /* one place, and no second one */
  refuse(of);
  end_all(of);
  for (unsigned n = 0; n < of->most + MORE; n++) {
    assert_true(of->begin(0));
    of->end(0);
  }
  fill(of);
  refuse(of);
  end_all(of);
}
