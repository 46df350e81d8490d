/* What the net takes from the system, beside sockets that carry frames. */
#include "aw_error.h"
#include "aw_mem.h"
#include "aw_os_child.h"
#include "aw_os_clock.h"
#include "aw_os_file.h"
#include "aw_os_signal.h"
#include "aw_os_terminal.h"
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

static bool is_kept(int fd) {
  return (fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0;
}

static bool is_same_file(int a, int b) {
  struct stat of_a, of_b;
  assert_int_equal(fstat(a, &of_a), 0);
  assert_int_equal(fstat(b, &of_b), 0);
  return of_a.st_ino == of_b.st_ino && of_a.st_dev == of_b.st_dev;
}

static void both_clocks_tell_the_time_of_day(void **state) {
  int64_t now = (int64_t)time(NULL) * 1000;
  (void)state;
  assert_in_range(aw_os_wall_ms() - now + 1000, 0, 3000);
  assert_in_range(aw_os_wall_ms() - aw_os_wall_ms_cheap(), 0, 1000);
}

static void pair_is_close_on_exec_blocking_and_connected(void **state) {
  char byte = 0;
  int ends[2];
  (void)state;
  assert_true(aw_os_pair(ends));
  for (int i = 0; i < 2; i++) {
    assert_true(is_kept(ends[i]));
    assert_false((fcntl(ends[i], F_GETFL) & O_NONBLOCK) != 0);
    assert_int_equal(write(ends[i], "x", 1), 1);
    assert_int_equal(read(ends[1 - i], &byte, 1), 1);
  }
  aw_os_close(ends[0]);
  assert_int_equal(read(ends[1], &byte, 1), 0);
  aw_os_close(ends[1]);
}

static void copy_is_above_the_standard_files_and_close_on_exec(void **state) {
  int copy = aw_os_copy(STDERR_FILENO);
  (void)state;
  assert_true(copy > STDERR_FILENO);
  assert_true(is_kept(copy));
  assert_true(is_same_file(copy, STDERR_FILENO));
  aw_os_close(copy);
  assert_int_equal(aw_os_copy(copy), -1);
}

static void what_is_replaced_is_another_file_that_children_get(void **state) {
  int fd = aw_os_copy(STDERR_FILENO), null = aw_os_null(), ends[2];
  (void)state;
  assert_true(aw_os_pair(ends));
  aw_os_replace(fd, ends[0]);
  assert_true(is_same_file(fd, ends[0]));
  assert_false(is_kept(fd));
  aw_os_replace(fd, -1);
  assert_true(is_same_file(fd, null));
  aw_os_replace(fd, ends[0]);
  aw_os_close(ends[1]);
  aw_os_replace(fd, ends[1]); /* not open */
  assert_true(is_same_file(fd, null));
  aw_os_close(ends[0]);
  aw_os_close(null);
  aw_os_close(fd);
}

static void stamp_tells_files_and_changes_apart(void **state) {
  char name[] = "/tmp/aw-os-XXXXXX", link[64];
  aw_os_stamp first, second;
  int fd = mkstemp(name);
  (void)state;
  snprintf(link, sizeof link, "%s-link", name);
  assert_int_equal(symlink(name, link), 0);
  assert_true(aw_os_stamp_read(&first, name, true));
  assert_true(aw_os_stamp_read(&second, link, true));
  assert_memory_equal(&first, &second, sizeof first);
  assert_true(aw_os_stamp_read(&second, link, false));
  assert_true(first.inode != second.inode);
  assert_int_equal(write(fd, "x", 1), 1);
  assert_true(aw_os_stamp_read(&second, name, true));
  assert_int_equal(second.inode, first.inode);
  assert_int_equal(second.size, first.size + 1);
  aw_os_remove(link);
  aw_os_remove(name);
  assert_false(aw_os_stamp_read(&second, name, true));
  assert_int_equal(second.inode, 0);
  assert_false(aw_os_stamp_read(&second, NULL, true));
  close(fd);
}

static void children_get_nothing_while_files_are_kept(void **state) {
  aw_os_kept kept = {0};
  int given[40], own = aw_os_null();
  (void)state;
  for (int i = 0; i < 40; i++) {
    given[i] = dup(own);
    assert_false(is_kept(given[i]));
  }
  aw_os_keep_files(&kept, aw_mem_default());
  for (int i = 0; i < 40; i++) {
    assert_true(is_kept(given[i]));
  }
  assert_false(is_kept(STDERR_FILENO));
  aw_os_share_files(&kept, aw_mem_default());
  assert_true(is_kept(own));
  for (int i = 0; i < 40; i++) {
    assert_false(is_kept(given[i]));
    close(given[i]);
  }
  close(own);
}

static void child_is_killed_and_waited_for(void **state) {
  pid_t child = fork();
  (void)state;
  if (child == 0) {
    for (;;) {
      pause();
    }
  }
  aw_os_reap(child);
  assert_int_equal(waitpid(child, NULL, 0), -1);
  assert_int_equal(errno, ECHILD);
}

static volatile sig_atomic_t came;

static void note(int number) {
  came = number;
}

static void signal_is_taken_and_given_back(void **state) {
  (void)state;
  signal(SIGUSR1, SIG_IGN);
  aw_os_signals_lock();
  assert_int_equal(aw_os_signal_take(SIGUSR1, note), AW_OK);
  assert_true(aw_os_signal_was_ignored(SIGUSR1));
  raise(SIGUSR1);
  assert_int_equal(came, 0); /* blocked until then */
  aw_os_signals_unlock();
  assert_int_equal(came, SIGUSR1);
  came = 0;
  aw_os_signals_lock();
  aw_os_signal_give_back(SIGUSR1);
  aw_os_signals_unlock();
  raise(SIGUSR1);
  assert_int_equal(came, 0);
  signal(SIGUSR1, SIG_DFL);
}

static volatile sig_atomic_t nested;

static void raise_another(int number) {
  came = number;
  raise(SIGUSR2);
  nested = came != number;
}

static void handler_is_not_interrupted_by_another(void **state) {
  (void)state;
  aw_os_signals_lock();
  assert_int_equal(aw_os_signal_take(SIGUSR1, raise_another), AW_OK);
  assert_int_equal(aw_os_signal_take(SIGUSR2, note), AW_OK);
  aw_os_signals_unlock();
  raise(SIGUSR1);
  assert_false(nested);
  assert_int_equal(came, SIGUSR2); /* it came when the first was over */
  aw_os_signals_lock();
  aw_os_signal_give_back(SIGUSR1);
  aw_os_signal_give_back(SIGUSR2);
  aw_os_signals_unlock();
  came = 0;
}

static void what_is_no_signal_is_refused(void **state) {
  const int numbers[] = {-1, 0, SIGKILL, AW_OS_SIGNALS, 100000};
  (void)state;
  for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
    assert_int_equal(aw_os_signal_take(numbers[i], note), AW_E_INVALID);
  }
}

static tcflag_t local_modes(int fd) {
  struct termios modes;
  assert_int_equal(tcgetattr(fd, &modes), 0);
  return modes.c_lflag;
}

static void raw_terminal_is_put_back(void **state) {
  int master = posix_openpt(O_RDWR | O_NOCTTY);
  (void)state;
  assert_true(master >= 0 && grantpt(master) == 0 && unlockpt(master) == 0);
  int fd = open(ptsname(master), O_RDWR | O_NOCTTY);
  assert_true(aw_os_is_terminal(fd));
  tcflag_t as_found = local_modes(fd);
  assert_int_equal(aw_os_terminal_raw(fd), AW_OK);
  assert_int_equal(local_modes(fd) & (ICANON | ECHO), 0);
  assert_int_equal(local_modes(fd) & ISIG, ISIG);
  aw_os_terminal_restore();
  assert_int_equal(local_modes(fd), as_found);
  aw_os_terminal_restore(); /* again is nothing */
  close(fd);
  close(master);
}

static void what_is_no_terminal_does_not_get_raw(void **state) {
  int null = aw_os_null();
  (void)state;
  assert_false(aw_os_is_terminal(null));
  assert_int_equal(aw_os_terminal_raw(null), AW_E_IO);
  aw_os_terminal_restore();
  close(null);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(both_clocks_tell_the_time_of_day),
      cmocka_unit_test(pair_is_close_on_exec_blocking_and_connected),
      cmocka_unit_test(copy_is_above_the_standard_files_and_close_on_exec),
      cmocka_unit_test(what_is_replaced_is_another_file_that_children_get),
      cmocka_unit_test(stamp_tells_files_and_changes_apart),
      cmocka_unit_test(children_get_nothing_while_files_are_kept),
      cmocka_unit_test(child_is_killed_and_waited_for),
      cmocka_unit_test(signal_is_taken_and_given_back),
      cmocka_unit_test(handler_is_not_interrupted_by_another),
      cmocka_unit_test(what_is_no_signal_is_refused),
      cmocka_unit_test(raw_terminal_is_put_back),
      cmocka_unit_test(what_is_no_terminal_does_not_get_raw),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
