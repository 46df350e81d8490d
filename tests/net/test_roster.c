/* Who counts as one at a listener: an address of IPv4 however it is written, a
 * subscriber of IPv6. */
#include "aw_roster.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static struct sockaddr_storage place(const char *text) {
  struct sockaddr_storage made = {0};
  struct sockaddr_in6 six;
  struct sockaddr_in four;
  if (uv_ip4_addr(text, 80, &four) == 0) {
    *(struct sockaddr_in *)&made = four;
  } else {
    assert_int_equal(uv_ip6_addr(text, 80, &six), 0);
    *(struct sockaddr_in6 *)&made = six;
  }
  return made;
}

static unsigned count_from(const aw_roster *roster, const char *text) {
  struct sockaddr_storage at = place(text);
  return aw_roster_count_from(roster, (struct sockaddr *)&at);
}

static void those_of_one_address_are_counted_together(void **state) {
  static const struct {
    const char *seated, *same, *other;
  } rows[] = {
      {"192.0.2.1", "192.0.2.1", "192.0.2.2"},
      {"192.0.2.1", "::ffff:192.0.2.1", "::ffff:192.0.2.2"},
      {"::ffff:192.0.2.1", "192.0.2.1", "192.0.2.2"},
      {"2001:db8:0:7::1", "2001:db8:0:7:ffff::2", "2001:db8:0:8::1"},
      {"2001:db8:0:7::1", "2001:db8:0:7::1", "192.0.2.1"},
  };
  (void)state;
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
    aw_roster *roster = aw_roster_new(aw_mem_default());
    struct sockaddr_storage at = place(rows[i].seated);
    aw_seat seat = {0}, next = {0};
    aw_seat_take(&seat, roster, (struct sockaddr *)&at);
    assert_int_equal(count_from(roster, rows[i].same), 1);
    assert_int_equal(count_from(roster, rows[i].other), 0);
    aw_seat_pass(&seat, &next);
    assert_int_equal(aw_roster_count(roster), 1);
    at = place(rows[i].other);
    aw_seat_move(&next, (struct sockaddr *)&at);
    assert_int_equal(count_from(roster, rows[i].same), 0);
    assert_int_equal(count_from(roster, rows[i].other), 1);
    aw_seat_leave(&next);
    aw_seat_leave(&next);
    aw_seat_leave(&seat);
    assert_int_equal(aw_roster_count(roster), 0);
    aw_roster_drop(roster);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(those_of_one_address_are_counted_together),
  };

  return cmocka_run_group_tests_name("roster", tests, NULL, NULL);
}
