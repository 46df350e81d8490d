#include "aw_process.h"
#include "aw_stdio.h"
#include "transport_suite.h"
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define READY "printf '{\"type\":\"ready\",\"protocol_version\":\"1\"}\\n'; "

static const char *own_program;

/* The child of the suite's pairs: carries bytes between its stdio and the
 * socket on which the server end sits, until both directions have ended. A
 * thread for each, so that one that is blocked does not hold up the other. */
static void carry(int from, int to) {
  char bytes[65536];
  ssize_t n, at, put;

  while ((n = read(from, bytes, sizeof bytes)) > 0) {
    for (at = 0; at < n; at += put) {
      put = write(to, bytes + at, (size_t)(n - at));
      if (put < 0) {
        _exit(0);
      }
    }
  }
}

static void *carry_back(void *arg) {
  carry(*(int *)arg, STDOUT_FILENO);
  close(STDOUT_FILENO);
  return NULL;
}

static int run_bridge(int fd) {
  pthread_t back;

  if (pthread_create(&back, NULL, carry_back, &fd) != 0) {
    return 1;
  }
  carry(STDIN_FILENO, fd);
  shutdown(fd, SHUT_WR);
  pthread_join(back, NULL);
  return 0;
}

/* A child has no descriptor of ours but stderr, so that is the socket. */
static void make_bridged(suite_pair *pair) {
  aw_stdio_options server = {.is_server = true, .extended = true};
  const char *argv[] = {own_program, "--bridge", NULL};
  aw_process_options client = {.child = {.argv = argv, .kill_after_ms = 1500},
                               .extended = true};
  const char *why;
  aw_transport *t;
  int fds[2], own = dup(STDERR_FILENO);

  assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
  server.in_fd = server.out_fd = fds[1];
  assert_int_equal(aw_stdio_new(pair->loop, &server, &t), AW_OK);
  suite_attach(&pair->server, t);
  dup2(fds[0], STDERR_FILENO);
  close(fds[0]);
  int rc = aw_process_new(pair->loop, &client, &t, &why);
  dup2(own, STDERR_FILENO);
  close(own);
  assert_int_equal(rc, AW_OK);
  suite_attach(&pair->client, t);
}

static const suite_factory bridged = {
    .name = "process", .make = make_bridged, .free_looks_orderly = true};

static suite_pair pair;

static int setup(void **state) {
  (void)state;
  suite_start(&pair, &bridged);
  return 0;
}

static int assert_no_child(void) {
  assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
  assert_int_equal(errno, ECHILD);
  return 0;
}

static int teardown(void **state) {
  (void)state;
  suite_stop(&pair);
  return assert_no_child();
}

static void start_shell(const char *script) {
  const char *argv[] = {"sh", "-c", script, NULL};
  aw_process_options options = {.child = {.argv = argv, .kill_after_ms = 100},
                                .extended = true};
  const char *why;
  aw_transport *t;

  assert_int_equal(aw_process_new(pair.loop, &options, &t, &why), AW_OK);
  suite_attach(&pair.client, t);
}

static bool is_open(suite_pair *p) {
  return p->client.opens == 1;
}

static bool is_closed(suite_pair *p) {
  return p->client.closes == 1;
}

static bool has_echo(suite_pair *p) {
  return p->client.messages == 100;
}

static size_t size_any(size_t index) {
  return 1 + index * 37;
}

static void child_answers_over_its_stdio(void **state) {
  (void)state;
  start_shell(READY "exec cat");
  suite_until(&pair, is_open);
  assert_string_equal(pair.client.info.kind, "process");
  assert_string_equal(pair.client.info.peer, "sh");
  assert_false(pair.client.info.extended);
  pair.client.size_of = size_any;
  pair.client.send_total = 100;
  suite_until(&pair, has_echo);
  assert_int_equal(pair.client.wrong, 0);
  aw_transport_close(pair.client.t, 1000, "enough");
  suite_until(&pair, is_closed);
  assert_int_equal(pair.client.closed_error, AW_OK);
  assert_string_equal(pair.client.closed_reason, "enough");
  assert_no_child();
}

static void command_that_does_not_exist_is_an_error(void **state) {
  const char *argv[] = {"agentwire-no-such-command", NULL};
  const char *none[] = {NULL};
  aw_process_options options = {.child.argv = argv};
  const char *why = NULL;
  aw_transport *t;

  (void)state;
  assert_int_equal(aw_process_new(pair.loop, &options, &t, &why), AW_E_IO);
  assert_null(t);
  assert_string_equal(why, "no such file or directory");
  options.child.argv = none;
  assert_int_equal(aw_process_new(pair.loop, &options, &t, &why), AW_E_INVALID);
}

static void closed_says_how_the_child_ended(void **state) {
  static const struct {
    const char *script;
    unsigned opens;
    size_t messages;
    int error, code;
    const char *reason;
  } cases[] = {
      {READY "exit 3", 1, 0, AW_E_IO, 1006, "exited with status 3"},
      {READY "echo one; echo two", 1, 2, AW_OK, 1000, "exited with status 0"},
      {READY "echo one; exit 1", 1, 1, AW_E_IO, 1006, "exited with status 1"},
      {READY "kill -9 $$", 1, 0, AW_E_IO, 1006, "killed by signal 9"},
      {"exit 0", 0, 0, AW_E_IO, 1006, "exited with status 0"},
      {"exit 127", 0, 0, AW_E_IO, 1006, "exited with status 127"},
      {READY "exec >&-; exec sleep 1000", 1, 0, AW_E_IO, 1006,
       "had to be terminated"},
  };
  size_t i;

  (void)state;
  for (i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    suite_end *end = &pair.client;
    start_shell(cases[i].script);
    suite_until(&pair, is_closed);
    assert_int_equal(end->opens, cases[i].opens);
    assert_int_equal(end->messages, cases[i].messages);
    assert_string_equal(end->closed_reason, cases[i].reason);
    assert_int_equal(end->closed_error, cases[i].error);
    assert_int_equal(end->closed_code, cases[i].code);
    assert_no_child();
    suite_free(end);
    *end = (suite_end){.pair = &pair};
  }
}

static void child_that_ignores_the_end_of_stdin_is_terminated(void **state) {
  static const char *const scripts[] = {
      READY "exec sleep 1000",
      READY "trap '' TERM; exec sleep 1000",
  };
  size_t i;

  (void)state;
  for (i = 0; i < sizeof scripts / sizeof scripts[0]; i++) {
    start_shell(scripts[i]);
    suite_until(&pair, is_open);
    aw_transport_close(pair.client.t, 1000, NULL);
    suite_until(&pair, is_closed);
    assert_int_equal(pair.client.closed_error, AW_OK);
    assert_no_child();
    suite_free(&pair.client);
    pair.client = (suite_end){.pair = &pair};
  }
}

/* The grandchild holds the child's stdout open. */
static void child_that_leaves_a_grandchild_behind_ends(void **state) {
  (void)state;
  start_shell(READY "sleep 5 & exit 0");
  suite_until(&pair, is_closed);
  assert_int_equal(pair.client.closed_code, 1000);
}

static void free_reaps_a_stubborn_child_in_the_background(void **state) {
  (void)state;
  start_shell("trap '' TERM; " READY "exec sleep 1000");
  suite_until(&pair, is_open);
  suite_free(&pair.client);
}

static void freeing_the_loop_at_once_reaps_too(void **state) {
  (void)state;
  suite_start(&pair, &bridged);
  start_shell("trap '' TERM; " READY "exec sleep 1000");
  suite_until(&pair, is_open);
  suite_free(&pair.client);
  aw_loop_free(pair.loop);
  assert_no_child();
}

static void check_words(suite_end *end, char *bytes, size_t len) {
  static const char *const words[] = {"world", "/"};

  assert_in_range(end->messages, 1, 2);
  assert_int_equal(len, strlen(words[end->messages - 1]));
  assert_memory_equal(bytes, words[end->messages - 1], len);
}

static void environment_and_directory_are_the_callers(void **state) {
  static const char *const argv[] = {"/bin/sh", "-c",
                                     READY "echo \"$HELLO\"; pwd", NULL};
  static const char *const env[] = {"HELLO=world", NULL};
  aw_process_options options = {
      .child = {.argv = argv, .env = env, .cwd = "/"}};
  const char *why;
  aw_transport *t;

  (void)state;
  assert_int_equal(aw_process_new(pair.loop, &options, &t, &why), AW_OK);
  suite_attach(&pair.client, t);
  pair.client.on_message = check_words;
  suite_until(&pair, is_closed);
  assert_int_equal(pair.client.messages, 2);
}

#define WITH_LOOP(test)                                                        \
  { #test, test, setup, teardown, NULL }

int main(int argc, char **argv) {
  static const struct CMUnitTest tests[] = {
      WITH_LOOP(child_answers_over_its_stdio),
      WITH_LOOP(command_that_does_not_exist_is_an_error),
      WITH_LOOP(closed_says_how_the_child_ended),
      WITH_LOOP(child_that_ignores_the_end_of_stdin_is_terminated),
      WITH_LOOP(child_that_leaves_a_grandchild_behind_ends),
      WITH_LOOP(free_reaps_a_stubborn_child_in_the_background),
      {"freeing_the_loop_at_once_reaps_too", freeing_the_loop_at_once_reaps_too,
       NULL, NULL, NULL},
      WITH_LOOP(environment_and_directory_are_the_callers),
  };

  if (argc == 2 && strcmp(argv[1], "--bridge") == 0) {
    _exit(run_bridge(STDERR_FILENO)); /* no leak check: it takes its time */
  }
  own_program = argv[0];
  signal(SIGPIPE, SIG_DFL);
  return cmocka_run_group_tests_name("process", tests, NULL, NULL) +
         suite_run(&bridged);
}
