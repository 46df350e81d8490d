/* A session in which each allocation fails once: the failure is told or made
 * good, and after a reconnect everything has arrived, in order and once. */
#include "failing_mem.h"
#include "mux_pair.h"
#include <stdlib.h>

#define SCOPES 3
#define ROUNDS 3
#define LOG 10

static pair p;
static aw_channel *mine[SCOPES], *theirs[SCOPES];
static uint64_t up[SCOPES], down[SCOPES];

static int make_muxes(const aw_mem *mem) {
  pair_prepare(&p, mem);
  p.server_options.log_messages = LOG;
  int rc = aw_mux_new(&p.client, mem, &p.client_options);
  return rc == 0 ? aw_mux_new(&p.server, mem, &p.server_options) : rc;
}

static int read_hello(aw_hello *hello) {
  const char *why = NULL;
  int rc = AW_E_AGAIN;
  while (rc == AW_E_AGAIN) {
    char *text = wire_take(&p.up);
    assert_non_null(text);
    rc = aw_hello_read(hello, text, strlen(text), &why);
    free(text);
  }
  return rc;
}

static int try_connect(const aw_mem *mem) {
  aw_hello hello;
  int rc = aw_mux_attach(p.client, true, &p.client_generation);
  if (rc != 0) {
    return rc;
  }
  kit_write(p.client, &p.up, SIZE_MAX);
  aw_hello_init(&hello, mem, 100);
  rc = read_hello(&hello);
  if (rc == 0) {
    rc = aw_mux_accept(p.server, &hello, "epoch", &p.server_generation);
  }
  aw_hello_fini(&hello);
  return rc;
}

/* Only one allocation fails, so what is tried again succeeds. */
static void connect_again(const aw_mem *mem) {
  pair_cut(&p);
  if (try_connect(mem) != 0) {
    pair_cut(&p);
    assert_int_equal(try_connect(mem), 0);
  }
}

static int carry(aw_mux *from, wire *w, aw_mux *to, uint32_t generation) {
  kit_write(from, w, SIZE_MAX);
  return kit_deliver(to, generation, w);
}

static int exchange(void) {
  int rc = 0;
  for (unsigned n = 0; rc == 0 && n < 4; n++) {
    rc = carry(p.client, &p.up, p.server, p.server_generation);
    rc = rc != 0 ? rc : carry(p.server, &p.down, p.client, p.client_generation);
    pair_wait(&p, AW_FLOW_DELAY_MS);
  }
  return rc;
}

/* A receiver that has no memory ends the connection. */
static void exchange_surely(const aw_mem *mem) {
  int rc = exchange();
  if (rc != 0) {
    assert_int_equal(rc, AW_E_NOMEM);
    connect_again(mem);
    assert_int_equal(exchange(), 0);
  }
}

static void send_surely(aw_channel *channel, const char *type) {
  int rc = kit_send(channel, type, "{\"some\":[\"text\",1,2,3]}");
  if (rc != 0) {
    assert_int_equal(rc, AW_E_NOMEM);
    assert_int_equal(kit_send(channel, type, "{}"), 0);
  }
}

static void open_all(void) {
  for (unsigned i = 0; i < SCOPES; i++) {
    int rc = aw_mux_open(p.client, AW_KIND_AGENT, NULL, &mine[i]);
    if (rc != 0) {
      assert_int_equal(rc, AW_E_NOMEM);
      assert_int_equal(aw_mux_open(p.client, AW_KIND_AGENT, NULL, &mine[i]), 0);
    }
    send_surely(mine[i], "open");
    up[i] = down[i] = 0;
  }
}

static void play_round(const aw_mem *mem, unsigned round) {
  for (unsigned i = 0; i < SCOPES; i++) {
    theirs[i] = pair_at_server(&p, mine[i]);
    assert_non_null(theirs[i]);
    for (unsigned n = 0; n < 6; n++) {
      send_surely(mine[i], "note");
      send_surely(theirs[i], "note");
    }
  }
  if (round % 2 == 0) {
    exchange_surely(mem);
  }
  connect_again(mem);
  exchange_surely(mem);
  for (unsigned i = 0; i < SCOPES; i++) {
    pair_consume(theirs[i], &up[i]);
    pair_consume(mine[i], &down[i]);
  }
  exchange_surely(mem);
}

static int fold(aw_channel *channel) {
  aw_draft draft;
  int rc = aw_mux_begin_fold(channel, "sync", 4, &draft);
  if (rc != 0) {
    return rc;
  }
  rc = aw_buf_append(draft.out, "{}", 2);
  if (rc != 0) {
    aw_draft_cancel(&draft);
    return rc;
  }
  return aw_draft_commit(&draft);
}

static void fold_surely(aw_channel *channel) {
  while (aw_mux_log_count(&channel->log) < LOG) {
    send_surely(channel, "note");
  }
  int rc = fold(channel);
  if (rc != 0) {
    assert_int_equal(rc, AW_E_NOMEM);
    assert_int_equal(aw_mux_log_count(&channel->log), LOG);
    assert_int_equal(fold(channel), 0);
  }
  send_surely(channel, "note");
}

static void fold_all(const aw_mem *mem) {
  pair_cut(&p);
  for (unsigned i = 0; i < SCOPES; i++) {
    fold_surely(theirs[i]);
  }
  connect_again(mem);
  exchange_surely(mem);
  for (unsigned i = 0; i < SCOPES; i++) {
    down[i] = theirs[i]->log.last;
    kit_consume_all(mine[i]);
    assert_int_equal(mine[i]->consumed, down[i]);
    assert_int_equal(mine[i]->in_bytes, theirs[i]->log.numbered);
  }
  exchange_surely(mem);
}

static void finish_all(const aw_mem *mem) {
  for (unsigned i = 0; i < SCOPES; i++) {
    send_surely(theirs[i], "end");
  }
  exchange_surely(mem);
  for (unsigned i = 0; i < SCOPES; i++) {
    pair_consume(mine[i], &down[i]);
    assert_int_equal(up[i], 1 + 6 * ROUNDS);
    assert_int_equal(down[i], 6 * ROUNDS + LOG + 3);
    assert_int_equal(mine[i]->error, 0);
    aw_mux_release(mine[i]);
    aw_mux_release(theirs[i]);
  }
  exchange_surely(mem);
  exchange_surely(mem);
  assert_int_equal(aw_mux_stats_get(p.client)->log_bytes, 0);
  assert_int_equal(aw_mux_stats_get(p.server)->log_bytes, 0);
  assert_int_equal(aw_mux_stats_get(p.client)->open_scopes, 0);
  assert_int_equal(aw_mux_stats_get(p.server)->open_scopes, 0);
}

static int live_a_session(const aw_mem *mem) {
  const failing_mem *failing = mem->user;
  if (make_muxes(mem) == 0) {
    pair_wait(&p, 0);
    open_all();
    connect_again(mem);
    exchange_surely(mem);
    for (unsigned round = 0; round < ROUNDS; round++) {
      play_round(mem, round);
    }
    fold_all(mem);
    finish_all(mem);
  }
  pair_fini(&p);
  /* A failure that was made good is one nevertheless. */
  return failing->calls >= failing->fail_at ? AW_E_NOMEM : AW_OK;
}

static void session_survives_each_allocation_that_fails(void **state) {
  (void)state;
  fail_each_allocation(live_a_session);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(session_survives_each_allocation_that_fails),
  };

  return cmocka_run_group_tests_name("resume_oom", tests, NULL, NULL);
}
