/* The promise of agentwire.v1, tried by random walks: whatever happens to the
 * connections, what each application takes is what the other one sent, in
 * order, without a gap, once; or the scope is announced as lost, and only when
 * the server has lost its logs. Now and then, in some walks after each step, an
 * end is saved and goes on as it is loaded.
 * AW_WALKS=n walks more, AW_SEED=n one of them.
 */
#include "walk_world.h"
#include <stdio.h>
#include <stdlib.h>

#define WALKS 2000
#define STEPS 200

static void pass_time(world *w, unsigned ms) {
  w->now_ms += ms;
  for (int side = CLIENT; side <= SERVER; side++) {
    aw_mux_clock(w->mux[side], w->now_ms, 0);
    aw_mux_tick(w->mux[side]);
  }
}

static void act(world *w, enum side side) {
  switch (world_dice(w, 16)) {
  case 0:
  case 1:
    app_open(w, side);
    break;
  case 2:
    app_finish(w, side);
    break;
  case 3:
    if (world_dice(w, 2) == 0) {
      app_abort(w, side);
    } else {
      app_float(w, side);
    }
    break;
  case 4:
  case 5:
    app_release(w, side, world_dice(w, 4) == 0);
    break;
  case 6:
  case 7:
  case 8:
  case 9:
    app_take(w, side, 1 + world_dice(w, 40));
    break;
  default:
    app_send(w, side);
  }
}

static void disturb(world *w) {
  switch (world_dice(w, 12)) {
  case 0:
  case 1:
  case 2:
  case 3:
    link_cut(w);
    break;
  case 4:
  case 5:
  case 6:
    link_half_open(w);
    break;
  case 7:
    link_server_cut(w);
    link_half_open(w);
    break;
  case 8:
  case 9:
    link_notice(w);
    break;
  default:
    link_restart_server(w);
    for (unsigned n = 0; n < 4; n++) {
      app_open(w, SERVER); /* ids that a server makes anew */
      app_send(w, SERVER);
    }
  }
}

static void carry(world *w) {
  unsigned index = world_dice(w, 4) == 0 ? 1 + world_dice(w, 2) : 0;
  link_write(w, world_dice(w, 3) == 0 ? world_dice(w, 3000) : 100000);
  link_deliver(w, index, world_dice(w, 2) == 0, 1 + world_dice(w, 30));
}

static void reload(world *w) {
  for (int side = CLIENT; side <= SERVER; side++) {
    if (world_dice(w, w->reload_each) == 0) {
      world_reload(w, (enum side)side);
    }
  }
}

static void step(world *w) {
  unsigned dice = world_dice(w, 100);
  if (dice < 45) {
    act(w, world_dice(w, 2) == 0 ? CLIENT : SERVER);
  } else if (dice < 82) {
    carry(w);
  } else if (dice < 88) {
    link_connect(w);
  } else if (dice < 94) {
    pass_time(w, world_dice(w, 80));
  } else {
    disturb(w);
  }
  reload(w);
  app_listen(w, CLIENT);
  app_listen(w, SERVER);
  oracle_check(w);
}

static bool settle_once(world *w) {
  bool moved = !link_is_up(w);
  link_connect(w);
  link_write(w, 1000000);
  moved |= link_deliver(w, 0, true, UINT32_MAX);
  link_write(w, 1000000);
  moved |= link_deliver(w, 0, false, UINT32_MAX);
  reload(w);
  moved |= app_take_all(w);
  app_listen(w, CLIENT);
  app_listen(w, SERVER);
  oracle_check(w);
  return moved;
}

static void come_to_rest(world *w) {
  link_cut(w);
  link_notice(w);
  link_connect(w);
  unsigned rounds = 0;
  for (unsigned quiet = 0; quiet < 2; rounds++) {
    world_demand(w, rounds < 10000, "it never comes to rest");
    quiet = settle_once(w) ? 0 : quiet + 1;
    pass_time(w, AW_FLOW_DELAY_MS);
  }
  oracle_at_rest(w);
}

static void walk(uint64_t seed) {
  static world w;
  world_begin(&w, seed);
  for (unsigned n = 0; n < STEPS; n++) {
    step(&w);
  }
  come_to_rest(&w);
  world_end(&w);
}

static void every_walk_keeps_the_promise(void **state) {
  const char *walks = getenv("AW_WALKS"), *seed = getenv("AW_SEED");

  (void)state;
  if (seed != NULL) {
    walk(strtoull(seed, NULL, 10));
    return;
  }
  uint64_t count = walks != NULL ? strtoull(walks, NULL, 10) : WALKS;
  for (uint64_t n = 1; n <= count; n++) {
    walk(n);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_walk_keeps_the_promise),
  };

  return cmocka_run_group_tests_name("resume_walks", tests, NULL, NULL);
}
