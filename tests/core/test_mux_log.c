#include "aw_mux_log.h"
#include "failing_mem.h"
#include "mux_kit.h"
#include <stdio.h>

static int log_text(aw_mux_log *log, const char *text, bool urgent) {
  uint64_t number = 0;
  int rc = aw_mux_log_begin(log, &number);
  if (rc == AW_OK) {
    rc = aw_buf_append(&log->bytes, text, strlen(text));
    if (rc == AW_OK) {
      rc = aw_mux_log_finish(log, urgent);
    }
    if (rc != AW_OK) {
      aw_mux_log_cancel(log);
      return rc;
    }
    assert_int_equal(log->last, number);
  }
  return rc;
}

static const char *const texts[] = {"one", "two22222", "three3333",
                                    "",    "five",     "six"};

static aw_mux_log logged(void) {
  aw_mux_log log;
  aw_mux_log_init(&log, aw_mem_default());
  for (size_t i = 0; i < 6; i++) {
    assert_int_equal(log_text(&log, texts[i], i == 2), 0);
  }
  return log;
}

static void expect_text(const aw_mux_entry *entry, const char *text) {
  assert_non_null(entry);
  assert_int_equal(entry->len, strlen(text));
  assert_memory_equal(aw_mux_entry_text(entry), text, entry->len);
  assert_int_equal((uintptr_t)entry % 8, 0);
}

/* Writes everything that is left; the texts have to be those from `first`. */
static void expect_from(aw_mux_log *log, unsigned first) {
  const aw_mux_entry *entry = NULL;
  unsigned n = first;
  while ((entry = aw_mux_log_next(log)) != NULL) {
    expect_text(entry, texts[n++ - 1]);
    aw_mux_log_step(log, 1);
  }
  assert_int_equal(n, 7);
  assert_int_equal(log->unwritten, 0);
}

static void log_is_written_once_in_order(void **state) {
  aw_mux_log log = logged();

  (void)state;
  assert_int_equal(log.numbered, 27);
  assert_int_equal(log.unwritten, 27);
  assert_int_equal(log.urgent, 9);
  assert_int_equal(log.urgent_last, 3);
  expect_from(&log, 1);
  assert_null(aw_mux_log_next(&log));
  assert_int_equal(aw_mux_log_count(&log), 6);
  aw_mux_log_fini(&log);
}

static void log_that_is_cancelled_holds_nothing_of_it(void **state) {
  aw_mux_log log = logged();
  size_t before = log.size;
  uint64_t number = 0;

  (void)state;
  for (unsigned n = 0; n < 2; n++) {
    assert_int_equal(aw_mux_log_begin(&log, &number), 0);
    assert_int_equal(number, 7);
    assert_int_equal(aw_buf_append(&log.bytes, "half", 4), 0);
    assert_int_equal(aw_mux_log_drafted(&log), 4);
    if (n == 0) { /* the second one is forgotten */
      aw_mux_log_cancel(&log);
    }
  }
  assert_int_equal(log.size, before);
  assert_int_equal(aw_mux_log_count(&log), 6);
  assert_int_equal(log.numbered, 27);
  assert_int_equal(log_text(&log, "whole", false), 0);
  assert_int_equal(log.last, 7);
  assert_int_equal(log.numbered, 32);
  aw_mux_log_fini(&log);
}

static void log_trims_what_was_written_and_no_more(void **state) {
  aw_mux_log log = logged();

  (void)state;
  assert_int_equal(aw_mux_log_trim(&log, 6), 0);
  aw_mux_log_step(&log, 1);
  aw_mux_log_step(&log, 1);
  size_t before = log.size;
  size_t freed = aw_mux_log_trim(&log, 6);
  assert_int_equal(freed, 16 + 16);
  assert_int_equal(before - freed, log.size);
  assert_int_equal(log.first, 3);
  assert_int_equal(aw_mux_log_count(&log), 4);
  assert_int_equal(aw_mux_log_trim(&log, 1), 0);
  expect_from(&log, 3);
  assert_true(aw_mux_log_trim(&log, 99) > 0);
  assert_true(aw_mux_log_is_empty(&log));
  assert_int_equal(log.urgent, 0);
  assert_int_equal(log.size, 0);
  /* And it goes on. */
  assert_int_equal(log_text(&log, "seven", false), 0);
  expect_text(aw_mux_log_next(&log), "seven");
  assert_int_equal(log.next, 7);
  aw_mux_log_fini(&log);
}

static void log_rewinds_as_far_as_it_reaches_back(void **state) {
  aw_mux_log log = logged();

  (void)state;
  expect_from(&log, 1);
  aw_mux_log_trim(&log, 2);
  for (unsigned received = 2; received <= 6; received++) {
    assert_true(aw_mux_log_rewind(&log, received));
    assert_int_equal(log.next, received + 1);
    uint64_t left = 0;
    for (unsigned n = received; n < 6; n++) {
      left += strlen(texts[n]);
    }
    assert_int_equal(log.unwritten, left);
    expect_from(&log, received + 1);
  }
  assert_false(aw_mux_log_rewind(&log, 1));
  assert_false(aw_mux_log_rewind(&log, 0));
  assert_false(aw_mux_log_rewind(&log, 7));
  assert_int_equal(log.next, 7);
  aw_mux_log_fini(&log);
}

static void log_rewinds_before_anything_was_sent(void **state) {
  aw_mux_log log;

  (void)state;
  aw_mux_log_init(&log, aw_mem_default());
  assert_true(aw_mux_log_rewind(&log, 0));
  assert_false(aw_mux_log_rewind(&log, 1));
  assert_null(aw_mux_log_next(&log));
  assert_null(aw_mux_log_first(&log));
  aw_mux_log_fini(&log);
}

static void log_that_is_folded_is_its_newest_entry(void **state) {
  aw_mux_log log = logged();
  size_t before = log.size;

  (void)state;
  aw_mux_log_step(&log, 1);
  size_t freed = aw_mux_log_fold(&log);
  assert_int_equal(before - freed, log.size);
  assert_int_equal(log.folded, log.size);
  assert_int_equal(log.first, 6);
  assert_int_equal(log.unwritten, 3);
  assert_int_equal(log.numbered, 27);
  assert_int_equal(log.urgent, 0);
  assert_true(aw_mux_log_is_urgent(&log));
  assert_int_equal(log_text(&log, "seven", false), 0);
  expect_text(aw_mux_log_next(&log), "six");
  aw_mux_log_step(&log, 1);
  assert_false(aw_mux_log_is_urgent(&log));
  expect_text(aw_mux_log_next(&log), "seven");
  /* Folded again, and acknowledged: then it is a log like any other. */
  assert_int_equal(aw_mux_log_fold(&log), 16);
  assert_int_equal(log.first, 7);
  aw_mux_log_step(&log, 1);
  aw_mux_log_trim(&log, 7);
  assert_int_equal(log.folded, 0);
  aw_mux_log_fini(&log);
}

static void log_that_is_cleared_goes_on_with_the_next_number(void **state) {
  aw_mux_log log = logged();
  size_t size = log.size;

  (void)state;
  assert_int_equal(aw_mux_log_clear(&log), size);
  assert_true(aw_mux_log_is_empty(&log));
  assert_null(aw_mux_log_next(&log));
  assert_int_equal(log.bytes.size, 0);
  assert_int_equal(log.numbered, 27);
  assert_false(aw_mux_log_rewind(&log, 5));
  assert_int_equal(log_text(&log, "seven", false), 0);
  assert_int_equal(log.first, 7);
  assert_int_equal(log.unwritten, 5);
  aw_mux_log_fini(&log);
}

static void log_gives_no_number_above_what_readers_can_hold(void **state) {
  aw_mux_log log;
  uint64_t number = 0;

  (void)state;
  aw_mux_log_init(&log, aw_mem_default());
  log.last = AW_SEQ_MAX - 1;
  log.first = log.next = AW_SEQ_MAX;
  assert_int_equal(log_text(&log, "last", false), 0);
  assert_true(log.last == AW_SEQ_MAX);
  assert_int_equal(aw_mux_log_begin(&log, &number), AW_E_LIMIT);
  assert_true(log.last == AW_SEQ_MAX);
  aw_mux_log_fini(&log);
}

#define MANY 400

/* What a log should be: the lengths and urgency of all entries ever numbered,
 * and where it stands. */
typedef struct model {
  size_t lens[MANY + 1];
  bool urgent[MANY + 1];
  uint64_t first, next, last, urgent_last;
  bool folded;
} model;

static void check(const aw_mux_log *log, const model *m) {
  const aw_mux_entry *entry = aw_mux_log_first(log);
  size_t size = 0, unwritten = 0, urgent = 0, numbered = 0;
  for (uint64_t n = 1; n <= m->last; n++) {
    numbered += m->lens[n];
    if (n < m->first) {
      continue;
    }
    assert_non_null(entry);
    assert_int_equal(entry->len, m->lens[n]);
    if (n == m->next) {
      assert_ptr_equal(entry, aw_mux_log_next(log));
    }
    size += aw_mux_entry_size(entry);
    unwritten += n >= m->next ? entry->len : 0;
    urgent += m->urgent[n] ? entry->len : 0;
    entry = aw_mux_log_after(log, entry);
  }
  assert_null(entry);
  assert_true(m->next <= m->last || aw_mux_log_next(log) == NULL);
  assert_int_equal(log->first, m->first);
  assert_int_equal(log->next, m->next);
  assert_int_equal(log->last, m->last);
  assert_int_equal(log->size, size);
  assert_int_equal(log->unwritten, unwritten);
  assert_int_equal(log->urgent, urgent);
  assert_int_equal(log->urgent_last, m->urgent_last);
  assert_int_equal(log->numbered, numbered);
  assert_int_equal(log->folded > 0, m->folded);
}

static void append(aw_mux_log *log, model *m, unsigned len, bool urgent) {
  char text[64];
  memset(text, 'x', sizeof text);
  text[len] = '\0';
  assert_int_equal(log_text(log, text, urgent), 0);
  m->lens[++m->last] = len;
  m->urgent[m->last] = urgent;
  m->urgent_last = urgent ? m->last : m->urgent_last;
}

static void do_anything(aw_mux_log *log, model *m, aw_random *random) {
  unsigned dice = (unsigned)(aw_random_next(random) >> 40);
  uint64_t number = m->first - 1 + dice / 16 % (m->last + 3 - m->first);
  switch (dice % 16) {
  case 0:
    if (m->first <= m->last) {
      aw_mux_log_fold(log);
      m->first = m->next = m->urgent_last = m->last;
      m->urgent[m->last] = false;
      m->folded = true;
    }
    break;
  case 1:
    if (dice / 16 % 8 == 0) {
      aw_mux_log_clear(log);
      m->first = m->next = m->last + 1;
      m->folded = false;
    }
    break;
  case 2:
  case 3:
    if (aw_mux_log_trim(log, number) > 0) {
      m->folded = false;
    }
    m->first = m->first <= number ? number + 1 : m->first;
    m->first = m->first > m->next ? m->next : m->first;
    break;
  case 4:
    assert_int_equal(aw_mux_log_rewind(log, number), number <= m->last);
    m->next = number <= m->last ? number + 1 : m->next;
    break;
  case 5:
  case 6:
  case 7:
  case 8:
    if (aw_mux_log_next(log) != NULL) {
      aw_mux_log_step(log, dice);
      m->next++;
    }
    break;
  default:
    append(log, m, dice / 16 % 40, dice % 16 == 15);
  }
}

static void log_is_what_was_done_to_it(void **state) {
  (void)state;
  for (uint8_t seed = 1; seed < 100; seed++) {
    aw_random random;
    aw_mux_log log;
    model m = {.first = 1, .next = 1};
    aw_random_seed(&random, (uint8_t[32]){seed});
    aw_mux_log_init(&log, aw_mem_default());
    for (unsigned n = 0; n < MANY; n++) {
      do_anything(&log, &m, &random);
      check(&log, &m);
    }
    aw_mux_log_fini(&log);
  }
}

static int fill(const aw_mem *mem) {
  aw_mux_log log;
  int rc = AW_OK;
  aw_mux_log_init(&log, mem);
  for (unsigned n = 0; rc == AW_OK && n < 20; n++) {
    uint64_t numbered = log.numbered;
    size_t count = aw_mux_log_count(&log), size = log.size;

    rc = log_text(&log, "{\"a\":[1,2,3],\"b\":\"some more of it\"}", false);
    if (rc != AW_OK) {
      assert_int_equal(aw_mux_log_count(&log), count);
      assert_int_equal(log.size, size);
      assert_int_equal(log.numbered, numbered);
    }
  }
  aw_mux_log_fini(&log);
  return rc;
}

static void log_out_of_memory_changes_nothing(void **state) {
  (void)state;
  fail_each_allocation(fill);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(log_is_written_once_in_order),
      cmocka_unit_test(log_that_is_cancelled_holds_nothing_of_it),
      cmocka_unit_test(log_trims_what_was_written_and_no_more),
      cmocka_unit_test(log_rewinds_as_far_as_it_reaches_back),
      cmocka_unit_test(log_rewinds_before_anything_was_sent),
      cmocka_unit_test(log_that_is_folded_is_its_newest_entry),
      cmocka_unit_test(log_that_is_cleared_goes_on_with_the_next_number),
      cmocka_unit_test(log_gives_no_number_above_what_readers_can_hold),
      cmocka_unit_test(log_is_what_was_done_to_it),
      cmocka_unit_test(log_out_of_memory_changes_nothing),
  };

  return cmocka_run_group_tests_name("mux_log", tests, NULL, NULL);
}
