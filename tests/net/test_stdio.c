#include "aw_stdio.h"
#include "transport_suite.h"
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static void start_end(suite_end *end, int in_fd, int out_fd) {
  aw_stdio_options options = {.in_fd = in_fd, .out_fd = out_fd};
  aw_transport *t;

  options.is_server = end == &end->pair->server;
  options.extended = true;
  assert_int_equal(aw_stdio_new(end->pair->loop, &options, &t), AW_OK);
  suite_attach(end, t);
}

static void make_over_pipes(suite_pair *pair) {
  int up[2], down[2];

  assert_int_equal(pipe(up), 0);
  assert_int_equal(pipe(down), 0);
  start_end(&pair->client, down[0], up[1]);
  start_end(&pair->server, up[0], down[1]);
}

static void make_over_socketpair(suite_pair *pair) {
  int fds[2];

  assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
  start_end(&pair->client, fds[0], fds[0]);
  start_end(&pair->server, fds[1], fds[1]);
}

static const suite_factory over_pipes = {
    .name = "stdio", .make = make_over_pipes, .free_looks_orderly = true};
static const suite_factory over_socketpair = {
    .name = "stdio", .make = make_over_socketpair, .free_looks_orderly = true};

#define READY "{\"type\":\"ready\",\"protocol_version\":\"1\"}\n"
#define READY_EXTENDED                                                         \
  "{\"type\":\"ready\",\"protocol_version\":\"1\","                            \
  "\"extensions\":[\"agentwire.v1\"]}\n"

/* One transport, and the other end in the test's hand. */
static suite_pair pair;
static int to_end, from_end;

static int setup(void **state) {
  (void)state;
  suite_start(&pair, &over_pipes);
  to_end = from_end = -1;
  return 0;
}

static void hang_up(int *fd) {
  if (*fd >= 0) {
    close(*fd);
    *fd = -1;
  }
}

static int teardown(void **state) {
  (void)state;
  suite_stop(&pair);
  hang_up(&to_end);
  hang_up(&from_end);
  return 0;
}

static suite_end *start(bool is_server, bool extended, size_t line_max) {
  aw_stdio_options options = {
      .is_server = is_server, .extended = extended, .line_max = line_max};
  suite_end *end = is_server ? &pair.server : &pair.client;
  aw_transport *t;
  int in[2], out[2];

  assert_int_equal(pipe(in), 0);
  assert_int_equal(pipe(out), 0);
  options.in_fd = in[0];
  to_end = in[1];
  from_end = out[0];
  options.out_fd = out[1];
  assert_int_equal(aw_stdio_new(pair.loop, &options, &t), AW_OK);
  suite_attach(end, t);
  return end;
}

static void put(const char *text) {
  assert_int_equal(write(to_end, text, strlen(text)), strlen(text));
}

static bool anyone_closed(suite_pair *p) {
  return p->client.closes + p->server.closes == 1;
}

static bool anyone_open_or_closed(suite_pair *p) {
  return p->client.opens + p->server.opens > 0 || anyone_closed(p);
}

static bool open_or_closed_and_read(suite_pair *p) {
  int waiting = 0;

  return anyone_open_or_closed(p) && ioctl(to_end, FIONREAD, &waiting) == 0 &&
         waiting == 0;
}

static void server_writes_the_ready_line_first(void **state) {
  static const char *const lines[] = {READY "hello\n",
                                      READY_EXTENDED "hello\n"};
  char text[256];
  ssize_t n;
  int i;

  (void)state;
  for (i = 0; i < 2; i++) {
    suite_end *end = start(true, i == 1, 0);
    suite_until(&pair, anyone_open_or_closed);
    assert_int_equal(end->info.extended, i == 1);
    assert_int_equal(aw_transport_send(end->t, "hello", 5), AW_OK);
    suite_turn(&pair, 0);
    n = read(from_end, text, sizeof text);
    assert_int_equal(n, strlen(lines[i]));
    assert_memory_equal(text, lines[i], (size_t)n);
    suite_free(end);
    hang_up(&to_end);
    hang_up(&from_end);
    *end = (suite_end){.pair = &pair};
  }
}

static void client_waits_for_the_ready_line(void **state) {
  static const struct {
    const char *input;
    bool wanted, opens, extended;
    unsigned garbage;
    size_t messages;
    int error, code; /* when it does not open */
  } cases[] = {
      {READY, true, true, false, 0, 0, 0, 0},
      {READY_EXTENDED, true, true, true, 0, 0, 0, 0},
      {READY_EXTENDED, false, true, false, 0, 0, 0, 0},
      {READY "m1\nm2\n", true, true, false, 0, 2, 0, 0},
      {"motd: hi\n\n{}\n" READY "m1\n", true, true, false, 2, 1, 0, 0},
      {"{\"type\":\"ready\",\"protocol_version\":\"2\"}\n", true, false, false,
       0, 0, AW_E_VERSION_MISMATCH, 1002},
  };
  size_t i;

  (void)state;
  for (i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    suite_end *end = start(false, cases[i].wanted, 0);
    suite_turn(&pair, 0);
    assert_int_equal(end->opens, 0);
    put(cases[i].input);
    if (!cases[i].opens) {
      hang_up(&to_end);
      suite_until(&pair, anyone_closed);
      assert_int_equal(end->closed_error, cases[i].error);
      assert_int_equal(end->closed_code, cases[i].code);
    } else {
      suite_until(&pair, open_or_closed_and_read);
    }
    assert_int_equal(end->opens, cases[i].opens);
    assert_int_equal(end->info.extended, cases[i].extended);
    assert_int_equal(end->garbage, cases[i].garbage);
    assert_int_equal(end->messages, cases[i].messages);
    suite_free(end);
    hang_up(&to_end);
    hang_up(&from_end);
    *end = (suite_end){.pair = &pair};
  }
}

static void version_mismatch_says_so(void **state) {
  suite_end *end = start(false, true, 0);

  (void)state;
  put("{\"type\":\"ready\",\"protocol_version\":\"7\"}\n");
  hang_up(&to_end);
  suite_until(&pair, anyone_closed);
  assert_non_null(strstr(end->closed_reason, "protocol_version"));
}

static void client_gives_up_after_64_strange_lines(void **state) {
  suite_end *end = start(false, true, 0);
  int i;

  (void)state;
  for (i = 0; i < 70; i++) {
    put("log: not ready\n");
  }
  put(READY);
  hang_up(&to_end);
  suite_until(&pair, anyone_closed);
  assert_int_equal(end->opens, 0);
  assert_int_equal(end->garbage, 64);
  assert_int_equal(end->closed_error, AW_E_LIMIT);
}

/* The handshake's is the only timer that runs: make it due now. */
static void hurry(uv_handle_t *handle, void *arg) {
  uv_timer_t *timer = (uv_timer_t *)handle;

  if (handle->type == UV_TIMER && uv_is_active(handle)) {
    assert_in_range(uv_timer_get_due_in(timer), 9000, 10000);
    uv_timer_start(timer, timer->timer_cb, 0, 0);
    ++*(int *)arg;
  }
}

static void client_gives_up_after_10_seconds(void **state) {
  suite_end *end = start(false, true, 0);
  int timers = 0;

  (void)state;
  suite_turn(&pair, 0);
  uv_walk(aw_loop_uv(pair.loop), hurry, &timers);
  assert_int_equal(timers, 1);
  hang_up(&to_end);
  aw_transport_pause(end->t, true); /* so that the end is not seen first */
  suite_until(&pair, anyone_closed);
  assert_int_equal(end->closed_error, AW_E_TIMEOUT);
}

static void end_of_input_before_ready_is_an_error(void **state) {
  suite_end *end = start(false, true, 0);

  (void)state;
  put("command not found");
  hang_up(&to_end);
  suite_until(&pair, anyone_closed);
  assert_int_equal(end->closed_error, AW_E_IO);
  assert_int_equal(end->closed_code, 1006);
  assert_int_equal(end->garbage, 1);
}

static void lines_may_come_byte_by_byte(void **state) {
  suite_end *end = start(false, true, 0);
  const char *text = READY "\r\n\nfirst\r\nsecond\n";

  (void)state;
  for (; *text != '\0'; text++) {
    assert_int_equal(write(to_end, text, 1), 1);
    suite_turn(&pair, 100);
  }
  assert_int_equal(end->opens, 1);
  assert_int_equal(end->messages, 2);
  assert_int_equal(end->bytes, 11);
  assert_int_equal(end->garbage, 0);
}

static void line_that_is_too_long_is_garbage_once(void **state) {
  suite_end *end = start(true, true, 100);
  char line[4096];
  int i;

  (void)state;
  memset(line, 'x', sizeof line);
  for (i = 0; i < 4; i++) {
    assert_int_equal(write(to_end, line, sizeof line), sizeof line);
    suite_turn(&pair, 100);
  }
  put("\nshort\n");
  hang_up(&to_end);
  suite_until(&pair, anyone_closed);
  assert_int_equal(end->garbage, 1);
  assert_int_equal(end->garbage_error, AW_E_LIMIT);
  assert_int_equal(end->messages, 1);
  assert_int_equal(end->bytes, 5);
  assert_int_equal(end->closed_error, AW_OK);
}

static void toll(suite_end *end, char *bytes, size_t len) {
  (void)bytes;
  (void)len;
  aw_transport_toll(end->t);
}

#define FLOOD 20000

/* Who floods is read in sips, a turn each, until nothing is left. */
static void flood_has_its_share_of_the_loop(void **state) {
  static char text[2 * FLOOD];
  suite_end *end = start(true, true, 0);

  (void)state;
  for (size_t i = 0; i < sizeof text; i += 2) {
    text[i] = 'x';
    text[i + 1] = '\n';
  }
  suite_until(&pair, anyone_open_or_closed);
  end->on_message = toll;
  assert_int_equal(write(to_end, text, 100), 100);
  suite_turn(&pair, 100);
  assert_int_equal(end->messages, 50);
  assert_int_equal(write(to_end, text, sizeof text), sizeof text);
  suite_turn(&pair, 100);
  assert_int_equal(end->messages, 50 + AW_TRANSPORT_SIP / 2);
  while (end->messages < 50 + FLOOD) {
    suite_turn(&pair, 100);
  }
  assert_int_equal(end->closes, 0);
}

static suite_end *start_server_on(int in_fd, int out_fd) {
  start_end(&pair.server, in_fd, out_fd);
  return &pair.server;
}

static size_t size_line(size_t index) {
  return index == 4999 ? 7 : 1 + index % 300;
}

static void regular_file_is_read_to_its_end(void **state) {
  char name[] = "/tmp/agentwire-test-XXXXXX";
  int fd = mkstemp(name);
  FILE *file = fdopen(fd, "w+");
  suite_end *end;
  size_t i;

  (void)state;
  unlink(name);
  for (i = 0; i < 5000; i++) {
    fwrite(suite_message(i, size_line(i)), 1, size_line(i), file);
    fputs(i == 4999 ? "" : "\n", file); /* the last lacks its LF */
  }
  rewind(file);
  end = start_server_on(dup(fd), open("/dev/null", O_WRONLY));
  fclose(file);
  end->size_of = size_line;
  suite_until(&pair, anyone_closed);
  assert_int_equal(end->messages, 5000);
  assert_int_equal(end->wrong, 0);
  assert_int_equal(end->closed_error, AW_OK);
  assert_int_equal(end->closed_code, 1000);
}

static void pausing_stops_the_reading_of_a_file(void **state) {
  char name[] = "/tmp/agentwire-test-XXXXXX";
  int fd = mkstemp(name);
  suite_end *end;

  (void)state;
  unlink(name);
  assert_int_equal(write(fd, "a\nb\n", 4), 4);
  lseek(fd, 0, SEEK_SET);
  end = start_server_on(fd, open("/dev/null", O_WRONLY));
  aw_transport_pause(end->t, true);
  suite_turn(&pair, 0);
  suite_turn(&pair, 0);
  assert_int_equal(end->messages, 0);
  assert_int_equal(aw_loop_timeout_ms(pair.loop), -1);
  aw_transport_pause(end->t, false);
  suite_until(&pair, anyone_closed);
  assert_int_equal(end->messages, 2);
}

static void output_may_be_a_regular_file(void **state) {
  char name[] = "/tmp/agentwire-test-XXXXXX";
  int fd = mkstemp(name), fds[2];
  char text[128] = "";
  suite_end *end;

  (void)state;
  unlink(name);
  assert_int_equal(pipe(fds), 0);
  end = start_server_on(fds[0], dup(fd));
  suite_until(&pair, anyone_open_or_closed);
  assert_int_equal(aw_transport_send(end->t, "one", 3), AW_OK);
  assert_int_equal(aw_transport_send(end->t, "two", 3), AW_OK);
  close(fds[1]);
  suite_until(&pair, anyone_closed);
  assert_true(pread(fd, text, sizeof text - 1, 0) > 0);
  assert_string_equal(text, READY_EXTENDED "one\ntwo\n");
  close(fd);
}

static void answer(suite_end *end, char *bytes, size_t len) {
  assert_int_equal(aw_transport_send(end->t, bytes, len), AW_OK);
}

static void answers_to_the_last_messages_are_written(void **state) {
  suite_end *end = start(true, true, 0);
  char text[256] = "";

  (void)state;
  end->on_message = answer;
  put("one\ntwo\n");
  hang_up(&to_end);
  suite_until(&pair, anyone_closed);
  assert_true(read(from_end, text, sizeof text - 1) > 0);
  assert_string_equal(text, READY_EXTENDED "one\ntwo\n");
}

static bool sigpipe_is(int (*query)(sigset_t *set)) {
  sigset_t set;

  assert_int_equal(query(&set), 0);
  return sigismember(&set, SIGPIPE) == 1;
}

static int blocked_signals(sigset_t *set) {
  return pthread_sigmask(SIG_BLOCK, NULL, set);
}

/* What came before is delivered, too, although writing failed first. */
static void reader_that_went_away_kills_nobody(void **state) {
  suite_end *end = start(true, true, 0);

  (void)state;
  put("one\ntwo\n");
  hang_up(&from_end);
  hang_up(&to_end);
  suite_until(&pair, anyone_closed);
  assert_int_equal(end->messages, 2);
  assert_int_equal(end->closed_error, AW_OK);
  assert_false(sigpipe_is(sigpending));
  assert_false(sigpipe_is(blocked_signals));
}

static void reader_that_went_away_alone_ends_the_link(void **state) {
  suite_end *end = start(true, true, 0);

  (void)state;
  hang_up(&from_end);
  suite_until(&pair, anyone_closed);
  assert_int_equal(end->closed_error, AW_E_IO);
  assert_int_equal(end->closed_code, 1006);
}

static void hosts_pending_sigpipe_stays_pending(void **state) {
  sigset_t set, before;

  (void)state;
  sigemptyset(&set);
  sigaddset(&set, SIGPIPE);
  pthread_sigmask(SIG_BLOCK, &set, &before);
  raise(SIGPIPE);
  start(true, true, 0);
  hang_up(&from_end);
  hang_up(&to_end);
  suite_until(&pair, anyone_closed);
  assert_true(sigpipe_is(sigpending));
  assert_true(sigpipe_is(blocked_signals));
  signal(SIGPIPE, SIG_IGN); /* discards it */
  signal(SIGPIPE, SIG_DFL);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static bool is_nonblocking(int fd) {
  return (fcntl(fd, F_GETFL) & O_NONBLOCK) != 0;
}

/* Others share a pipe or a terminal: it stays blocking throughout. A socket
 * can only be put back in the end. */
static void shared_descriptors_keep_their_flags(void **state) {
  int in[2], out[2], both[2], shared;

  (void)state;
  assert_int_equal(pipe(in), 0);
  assert_int_equal(pipe(out), 0);
  shared = dup(out[1]);
  start_server_on(in[0], out[1]);
  suite_turn(&pair, 0);
  assert_false(is_nonblocking(shared));
  suite_free(&pair.server);
  close(shared);
  close(in[1]);
  close(out[0]);

  pair.server = (suite_end){.pair = &pair};
  assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, both), 0);
  shared = dup(both[0]);
  start_server_on(both[0], both[0]);
  suite_turn(&pair, 0);
  suite_free(&pair.server);
  assert_false(is_nonblocking(shared));
  close(shared);
  close(both[1]);
}

static void standard_descriptor_is_replaced_not_freed(void **state) {
  int saved = dup(STDIN_FILENO), fds[2];
  struct stat info;

  (void)state;
  assert_int_equal(pipe(fds), 0);
  dup2(fds[0], STDIN_FILENO);
  close(fds[0]);
  start_server_on(STDIN_FILENO, open("/dev/null", O_WRONLY));
  suite_turn(&pair, 0);
  suite_free(&pair.server);
  assert_int_equal(fstat(STDIN_FILENO, &info), 0);
  assert_true(S_ISCHR(info.st_mode));
  dup2(saved, STDIN_FILENO);
  close(saved);
  close(fds[1]);
}

static void descriptor_that_is_not_open_is_refused(void **state) {
  aw_stdio_options options = {.in_fd = -1, .is_server = true};
  aw_transport *t;

  (void)state;
  options.out_fd = open("/dev/null", O_WRONLY);
  assert_int_equal(aw_stdio_new(pair.loop, &options, &t), AW_E_INVALID);
  assert_null(t);
  assert_int_equal(fcntl(options.out_fd, F_GETFL), -1);
}

static void dev_null_as_input_ends_at_once(void **state) {
  suite_end *end =
      start_server_on(open("/dev/null", O_RDONLY), open("/dev/null", O_WRONLY));

  (void)state;
  suite_until(&pair, anyone_closed);
  assert_int_equal(end->opens, 1);
  assert_int_equal(end->closed_code, 1000);
}

#define CASE(test)                                                             \
  { #test, test, setup, teardown, NULL }

int main(void) {
  static const struct CMUnitTest tests[] = {
      CASE(server_writes_the_ready_line_first),
      CASE(client_waits_for_the_ready_line),
      CASE(version_mismatch_says_so),
      CASE(client_gives_up_after_64_strange_lines),
      CASE(client_gives_up_after_10_seconds),
      CASE(end_of_input_before_ready_is_an_error),
      CASE(lines_may_come_byte_by_byte),
      CASE(line_that_is_too_long_is_garbage_once),
      CASE(flood_has_its_share_of_the_loop),
      CASE(regular_file_is_read_to_its_end),
      CASE(pausing_stops_the_reading_of_a_file),
      CASE(output_may_be_a_regular_file),
      CASE(answers_to_the_last_messages_are_written),
      CASE(reader_that_went_away_kills_nobody),
      CASE(reader_that_went_away_alone_ends_the_link),
      CASE(hosts_pending_sigpipe_stays_pending),
      CASE(shared_descriptors_keep_their_flags),
      CASE(standard_descriptor_is_replaced_not_freed),
      CASE(descriptor_that_is_not_open_is_refused),
      CASE(dev_null_as_input_ends_at_once),
  };
  int failed;

  /* Inherited dispositions differ; these tests want the deadly one. */
  signal(SIGPIPE, SIG_DFL);
  failed = cmocka_run_group_tests_name("stdio", tests, NULL, NULL);
  failed += suite_run(&over_pipes);
  failed += suite_run(&over_socketpair);
  return failed;
}
