/* A descriptor that is read by whoever wants to wait for it: nothing is read
 * unasked, and none of it outlives its reader. */
#include "aw_input.h"
#include "line_world.h"
#include <string.h>
#include <unistd.h>

static int ends[2]; /* read, written */
static aw_input *input;

static int set_up(void **state) {
  assert_int_equal(line_set_up(state), 0);
  assert_int_equal(pipe(ends), 0);
  assert_int_equal(aw_input_new(&input, line_loop, ends[0], NULL), AW_OK);
  return 0;
}

static int tear_down(void **state) {
  aw_input_free(input);
  close(ends[0]);
  close(ends[1]);
  return line_tear_down(state);
}

static void put(const char *text) {
  assert_int_equal(write(ends[1], text, strlen(text)), strlen(text));
}

static int get(char bytes[8]) {
  size_t got = 0;
  memset(bytes, 0, 8);
  int rc = aw_input_read(input, bytes, 4, &got);
  assert_int_equal(got, rc == AW_OK ? strlen(bytes) : 0);
  return rc;
}

static bool is_ready(void) {
  unsigned events = 0;
  line_turn(0);
  return aw_loop_ready(line_loop, &events) == aw_input_source(input) &&
         events == AW_INPUT_READY;
}

static void reader_is_told_once_when_there_is_more(void **state) {
  char bytes[8];
  (void)state;
  put("before");
  assert_false(is_ready()); /* nobody has asked */
  assert_int_equal(get(bytes), AW_OK);
  assert_string_equal(bytes, "befo");
  assert_int_equal(get(bytes), AW_OK);
  assert_string_equal(bytes, "re");
  assert_int_equal(get(bytes), AW_E_AGAIN);
  assert_false(is_ready());
  put("x");
  assert_true(is_ready());
  assert_false(is_ready());
  assert_int_equal(get(bytes), AW_OK);
  close(ends[1]);
  ends[1] = dup(ends[0]);
  assert_int_equal(get(bytes), AW_OK);
  assert_string_equal(bytes, ""); /* the end */
}

static void what_nobody_reads_is_left_to_others(void **state) {
  char bytes[8] = "";
  (void)state;
  put("rest");
  aw_input_free(input);
  input = NULL;
  line_turn(0);
  assert_int_equal(read(ends[0], bytes, 4), 4);
  assert_string_equal(bytes, "rest");
}

static void freed_reader_is_told_nothing_more(void **state) {
  unsigned events;
  char bytes[8];
  (void)state;
  assert_int_equal(get(bytes), AW_E_AGAIN);
  put("x");
  line_turn(0); /* told, and not heard yet */
  aw_input_free(input);
  input = NULL;
  assert_null(aw_loop_ready(line_loop, &events));
  line_turn(0);
}

static void what_is_not_open_is_refused(void **state) {
  aw_input *none = NULL;
  int closed = dup(ends[0]);
  (void)state;
  close(closed);
  assert_int_equal(aw_input_new(&none, line_loop, closed, NULL), AW_E_INVALID);
  assert_null(none);
  aw_input_free(NULL);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
  static const struct CMUnitTest tests[] = {
      TEST(reader_is_told_once_when_there_is_more),
      TEST(what_nobody_reads_is_left_to_others),
      TEST(freed_reader_is_told_nothing_more),
      TEST(what_is_not_open_is_refused),
  };

  return cmocka_run_group_tests_name("input", tests, NULL, NULL);
}
