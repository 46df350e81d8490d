/* A descriptor that is watched from another thread, for a loop that cannot. */
#include "aw_bridge.h"
#include "aw_error.h"
#include "aw_loop.h"
#include "aw_os_file.h"
#include "failing_mem.h"
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define PATIENCE_MS 2000
#define SILENCE_MS 50

static char folder[64], file[80];
static int ends[2]; /* [0] is watched */
static const char *why;

static int set_up(void **state) {
  (void)state;
  (void)snprintf(folder, sizeof folder, "/tmp/aw_bridge_XXXXXX");
  if (mkdtemp(folder) == NULL || !aw_os_pair(ends)) {
    return -1;
  }
  (void)snprintf(file, sizeof file, "%s/bridge", folder);
  return 0;
}

static int tear_down(void **state) {
  (void)state;
  aw_os_close(ends[0]);
  aw_os_close(ends[1]);
  return rmdir(folder); /* nothing is left in it */
}

static int dial(void) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  int fd = socket(AF_UNIX, SOCK_STREAM, 0);
  (void)snprintf(address.sun_path, sizeof address.sun_path, "%s", file);
  assert_int_equal(connect(fd, (void *)&address, sizeof address), 0);
  return fd;
}

static aw_bridge *begin(int *ours) {
  aw_bridge *b = NULL;
  assert_int_equal(aw_bridge_new(&b, aw_mem_default(), ends[0], file, &why),
                   AW_OK);
  *ours = dial();
  assert_int_equal(aw_bridge_begin(b, &why), 0);
  return b;
}

static bool is_told(int ours, int ms) {
  struct pollfd polled = {.fd = ours, .events = POLLIN};
  return poll(&polled, 1, ms) == 1;
}

static void take(int ours) {
  char byte;
  assert_true(is_told(ours, PATIENCE_MS));
  assert_int_equal(read(ours, &byte, 1), 1);
}

static void one_byte_comes_for_each_arming(void **state) {
  int ours;
  aw_bridge *b = begin(&ours);
  (void)state;
  assert_int_equal(write(ends[1], "x", 1), 1);
  assert_false(is_told(ours, SILENCE_MS));
  for (int i = 0; i < 100; i++) {
    aw_bridge_arm(b);
    take(ours);
  }
  assert_false(is_told(ours, SILENCE_MS));
  aw_bridge_free(b);
  close(ours);
}

static void what_is_armed_is_told_when_it_gets_ready(void **state) {
  int ours;
  aw_bridge *b = begin(&ours);
  (void)state;
  aw_bridge_arm(b);
  aw_bridge_arm(b); /* is asked for already */
  assert_false(is_told(ours, SILENCE_MS));
  assert_int_equal(write(ends[1], "x", 1), 1);
  take(ours);
  assert_false(is_told(ours, SILENCE_MS));
  aw_bridge_free(b);
  assert_true(is_told(ours, PATIENCE_MS)); /* the end */
  close(ours);
}

static void a_poke_needs_nothing_ready_and_never_blocks(void **state) {
  int ours;
  aw_bridge *b = begin(&ours);
  (void)state;
  aw_bridge_poke(b);
  take(ours);
  for (int i = 0; i < 100000; i++) {
    aw_bridge_poke(b);
  }
  aw_bridge_free(b);
  close(ours);
}

static void a_bridge_that_nobody_reads_any_more_is_freed(void **state) {
  int ours;
  aw_bridge *b = begin(&ours);
  (void)state;
  close(ours);
  assert_int_equal(write(ends[1], "x", 1), 1);
  aw_bridge_arm(b);
  aw_bridge_poke(b);
  aw_bridge_free(b);
}

static void a_file_belongs_to_one_bridge_and_to_this_user(void **state) {
  aw_bridge *b, *second;
  struct stat info;
  (void)state;
  assert_int_equal(aw_bridge_new(&b, aw_mem_default(), ends[0], file, &why), 0);
  assert_int_equal(stat(file, &info), 0);
  assert_int_equal(info.st_mode & 0777, 0600);
  assert_int_equal(
      aw_bridge_new(&second, aw_mem_default(), ends[0], file, &why), AW_E_IO);
  assert_string_equal(why, uv_strerror(UV_EADDRINUSE));
  assert_null(second);
  aw_bridge_free(b);
  assert_int_equal(aw_bridge_new(&b, aw_mem_default(), ends[0], file, &why), 0);
  aw_bridge_free(b);
}

static void before_its_beginning_nothing_is_told(void **state) {
  aw_bridge *b;
  (void)state;
  assert_int_equal(aw_bridge_new(&b, aw_mem_default(), ends[0], file, &why), 0);
  assert_int_equal(aw_bridge_begin(b, &why), AW_E_IO);
  assert_string_equal(why, uv_strerror(UV_EAGAIN));
  aw_bridge_arm(b);
  aw_bridge_poke(b);
  int ours = dial();
  assert_int_equal(aw_bridge_begin(b, &why), 0);
  assert_int_equal(aw_bridge_begin(b, &why), AW_E_IO);
  assert_string_equal(why, uv_strerror(UV_EALREADY));
  assert_false(is_told(ours, SILENCE_MS));
  aw_bridge_free(b);
  close(ours);
}

static void a_name_that_is_too_long_is_refused(void **state) {
  char name[200];
  aw_bridge *b;
  (void)state;
  memset(name, 'x', sizeof name);
  name[sizeof name - 1] = '\0';
  assert_int_equal(aw_bridge_new(&b, aw_mem_default(), ends[0], name, &why),
                   AW_E_IO);
  assert_string_equal(why, uv_strerror(UV_ENAMETOOLONG));
}

static void memory_may_be_short(void **state) {
  failing_mem memory;
  aw_bridge *b;
  (void)state;
  failing_mem_init(&memory, 1);
  assert_int_equal(aw_bridge_new(&b, &memory.mem, ends[0], file, &why),
                   AW_E_NOMEM);
}

/* The child has neither the thread nor the file. */
static void a_forked_child_may_free_it(void **state) {
  int ours, status = -1;
  aw_bridge *b = begin(&ours);
  (void)state;
  pid_t child = fork();
  if (child == 0) {
    alarm(5);
    aw_bridge_free(b);
    _exit(access(file, F_OK) == 0 ? 0 : 1);
  }
  assert_int_equal(waitpid(child, &status, 0), child);
  assert_int_equal(status, 0);
  assert_int_equal(write(ends[1], "x", 1), 1);
  aw_bridge_arm(b);
  take(ours);
  aw_bridge_free(b);
  close(ours);
}

static void signals_are_not_for_its_thread(void **state) {
  int ours;
  sigset_t usr1, before, after, pending;
  (void)state;
  pthread_sigmask(SIG_SETMASK, NULL, &before);
  aw_bridge *b = begin(&ours);
  pthread_sigmask(SIG_SETMASK, NULL, &after);
  for (int number = 1; number < SIGRTMIN; number++) {
    assert_int_equal(sigismember(&before, number), sigismember(&after, number));
  }
  sigemptyset(&usr1);
  sigaddset(&usr1, SIGUSR1);
  pthread_sigmask(SIG_BLOCK, &usr1, &before);
  kill(getpid(), SIGUSR1); /* would end the process in any other thread */
  aw_bridge_poke(b);
  take(ours);
  sigpending(&pending);
  assert_true(sigismember(&pending, SIGUSR1));
  signal(SIGUSR1, SIG_IGN);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  signal(SIGUSR1, SIG_DFL);
  aw_bridge_free(b);
  close(ours);
}

static void a_loop_is_told_of_its_bell(void **state) {
  aw_loop *loop;
  aw_bridge *b;
  (void)state;
  assert_int_equal(aw_loop_new(&loop, aw_mem_default()), AW_OK);
  aw_loop_step(loop);
  assert_int_equal(
      aw_bridge_new(&b, aw_mem_default(), aw_loop_fd(loop), file, &why), 0);
  int ours = dial();
  assert_int_equal(aw_bridge_begin(b, &why), 0);
  for (int i = 0; i < 100; i++) {
    aw_bridge_arm(b);
    aw_loop_ring(loop);
    take(ours);
    aw_loop_step(loop);
  }
  aw_bridge_arm(b);
  assert_false(is_told(ours, SILENCE_MS));
  aw_bridge_free(b);
  aw_loop_free(loop);
  close(ours);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(one_byte_comes_for_each_arming),
      TEST(what_is_armed_is_told_when_it_gets_ready),
      TEST(a_poke_needs_nothing_ready_and_never_blocks),
      TEST(a_bridge_that_nobody_reads_any_more_is_freed),
      TEST(a_file_belongs_to_one_bridge_and_to_this_user),
      TEST(before_its_beginning_nothing_is_told),
      TEST(a_name_that_is_too_long_is_refused),
      TEST(memory_may_be_short),
      TEST(a_forked_child_may_free_it),
      TEST(signals_are_not_for_its_thread),
      TEST(a_loop_is_told_of_its_bell),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
