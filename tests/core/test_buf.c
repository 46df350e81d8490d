#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "aw_buf.h"
#include "aw_error.h"
#include "failing_mem.h"

static void assert_holds(const aw_buf *buf, const char *text) {
  assert_int_equal(aw_buf_len(buf), strlen(text));
  assert_memory_equal(aw_buf_bytes(buf), text, strlen(text));
}

static void buf_keeps_appended_bytes_in_order(void **state) {
  failing_mem failing;
  aw_buf buf;

  (void)state;
  failing_mem_init(&failing, 0);
  aw_buf_init(&buf, &failing.mem);
  assert_int_equal(aw_buf_append(&buf, "", 0), 0);
  assert_int_equal(aw_buf_append(&buf, NULL, 0), 0);
  assert_int_equal(aw_buf_len(&buf), 0);
  assert_int_equal(aw_buf_append(&buf, "abc", 3), 0);
  assert_int_equal(aw_buf_append(&buf, "de", 2), 0);
  assert_holds(&buf, "abcde");
  aw_buf_consume(&buf, 2);
  assert_holds(&buf, "cde");
  aw_buf_fini(&buf);
  assert_int_equal(failing.live, 0);
  assert_int_equal(aw_buf_append(&buf, "again", 5), 0);
  assert_holds(&buf, "again");
  aw_buf_fini(&buf);
  assert_int_equal(failing.live, 0);
}

static void buf_rewinds_when_all_is_consumed(void **state) {
  aw_buf buf;

  (void)state;
  aw_buf_init(&buf, aw_mem_default());
  aw_buf_consume(&buf, 5);
  assert_int_equal(aw_buf_len(&buf), 0);
  assert_int_equal(aw_buf_append(&buf, "abc", 3), 0);
  aw_buf_consume(&buf, 3);
  assert_int_equal(buf.head, 0);
  assert_int_equal(buf.tail, 0);
  assert_int_equal(aw_buf_append(&buf, "abc", 3), 0);
  aw_buf_consume(&buf, 100);
  assert_int_equal(aw_buf_len(&buf), 0);
  aw_buf_fini(&buf);
}

static void buf_moves_to_the_front_before_it_grows(void **state) {
  failing_mem failing;
  aw_buf buf;
  size_t size;
  char bytes[4096] = {0};

  (void)state;
  failing_mem_init(&failing, 0);
  aw_buf_init(&buf, &failing.mem);
  assert_int_equal(aw_buf_append(&buf, bytes, sizeof bytes), 0);
  size = buf.size;
  buf.data[buf.tail - 1] = 'z';
  aw_buf_consume(&buf, size / 2);
  assert_int_equal(aw_buf_reserve(&buf, size - aw_buf_len(&buf)), 0);
  assert_int_equal(buf.size, size);
  assert_int_equal(buf.head, 0);
  assert_int_equal(buf.data[buf.tail - 1], 'z');
  assert_int_equal(failing.calls, 1);
  aw_buf_fini(&buf);
}

/* One byte out, one byte in, always nearly full: neither may memory grow with
 * the number of turns nor may each turn move all bytes. */
static void buf_used_as_a_queue_stays_bounded(void **state) {
  failing_mem failing;
  aw_buf buf;
  unsigned char next_in = 0, next_out = 0;
  size_t i, moves = 0;

  (void)state;
  failing_mem_init(&failing, 0);
  aw_buf_init(&buf, &failing.mem);
  for (i = 0; i < 100000; i++) {
    size_t head = buf.head;

    assert_int_equal(aw_buf_append(&buf, &next_in, 1), 0);
    moves += buf.head < head;
    next_in++;
    if (i >= 1000) {
      assert_int_equal((unsigned char)*aw_buf_bytes(&buf), next_out);
      aw_buf_consume(&buf, 1);
      next_out++;
    }
  }
  assert_int_equal(aw_buf_len(&buf), 1000);
  assert_true(buf.size <= 4096);
  assert_true(moves < 1000);
  aw_buf_fini(&buf);
}

static void buf_growth_is_amortized(void **state) {
  failing_mem failing;
  aw_buf buf;
  size_t i;

  (void)state;
  failing_mem_init(&failing, 0);
  aw_buf_init(&buf, &failing.mem);
  for (i = 0; i < 1000000; i++) {
    assert_int_equal(aw_buf_append(&buf, "x", 1), 0);
  }
  assert_true(failing.calls < 20);
  aw_buf_fini(&buf);
}

static void buf_reset_keeps_only_small_blocks(void **state) {
  failing_mem failing;
  aw_buf buf;

  (void)state;
  failing_mem_init(&failing, 0);
  aw_buf_init(&buf, &failing.mem);
  assert_int_equal(aw_buf_reserve(&buf, 5000), 0);
  buf.tail += 10;
  aw_buf_reset(&buf, buf.size);
  assert_int_equal(aw_buf_len(&buf), 0);
  assert_int_equal(failing.live, 1);
  aw_buf_reset(&buf, buf.size - 1);
  assert_int_equal(failing.live, 0);
  assert_int_equal(buf.size, 0);
}

static void buf_refuses_a_size_that_overflows(void **state) {
  aw_buf buf;

  (void)state;
  aw_buf_init(&buf, aw_mem_default());
  assert_int_equal(aw_buf_append(&buf, "abc", 3), 0);
  assert_int_equal(aw_buf_reserve(&buf, SIZE_MAX), AW_E_NOMEM);
  assert_int_equal(aw_buf_reserve(&buf, SIZE_MAX - 2), AW_E_NOMEM);
  assert_holds(&buf, "abc");
  aw_buf_fini(&buf);
}

static void buf_out_of_memory_leaves_it_as_it_was(void **state) {
  failing_mem failing;
  aw_buf buf;

  (void)state;
  failing_mem_init(&failing, 2);
  aw_buf_init(&buf, &failing.mem);
  assert_int_equal(aw_buf_append(&buf, "hello", 5), 0);
  aw_buf_consume(&buf, 1);
  assert_int_equal(aw_buf_reserve(&buf, 100000), AW_E_NOMEM);
  assert_holds(&buf, "ello");
  assert_int_equal(aw_buf_reserve(&buf, 100000), 0);
  assert_holds(&buf, "ello");
  aw_buf_fini(&buf);
  assert_int_equal(failing.live, 0);
}

static int append_and_consume(const aw_mem *mem) {
  char bytes[300] = {0};
  aw_buf buf;
  int rc = 0, i;

  aw_buf_init(&buf, mem);
  for (i = 0; rc == 0 && i < 10; i++) {
    rc = aw_buf_append(&buf, bytes, sizeof bytes);
    aw_buf_consume(&buf, 3);
  }
  aw_buf_fini(&buf);
  return rc;
}

static void buf_leaks_nothing_when_memory_ends(void **state) {
  (void)state;
  fail_each_allocation(append_and_consume);
}

static void mem_zero_checks_the_product(void **state) {
  const aw_mem *mem = aw_mem_default();
  int *block;

  (void)state;
  assert_null(aw_mem_zero(mem, SIZE_MAX / 2, 4));
  assert_null(aw_mem_zero(mem, 0, 4));
  assert_null(aw_mem_zero(mem, 4, 0));
  assert_null(aw_mem_alloc(mem, 0));
  block = aw_mem_zero(mem, 4, sizeof *block);
  assert_non_null(block);
  assert_int_equal(block[0] | block[1] | block[2] | block[3], 0);
  block = aw_mem_realloc(mem, block, 100);
  assert_non_null(block);
  aw_mem_free(mem, block);
  aw_mem_free(mem, NULL);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(buf_keeps_appended_bytes_in_order),
      cmocka_unit_test(buf_rewinds_when_all_is_consumed),
      cmocka_unit_test(buf_moves_to_the_front_before_it_grows),
      cmocka_unit_test(buf_used_as_a_queue_stays_bounded),
      cmocka_unit_test(buf_growth_is_amortized),
      cmocka_unit_test(buf_reset_keeps_only_small_blocks),
      cmocka_unit_test(buf_refuses_a_size_that_overflows),
      cmocka_unit_test(buf_out_of_memory_leaves_it_as_it_was),
      cmocka_unit_test(buf_leaks_nothing_when_memory_ends),
      cmocka_unit_test(mem_zero_checks_the_product),
  };

  return cmocka_run_group_tests_name("buf", tests, NULL, NULL);
}
