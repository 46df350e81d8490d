#include "walk_world.h"
#include <stdio.h>
#include <stdlib.h>

void world_note(world *w, const char *format, ...) {
  va_list args;
  va_start(args, format);
  char *line = w->trace[w->traced++ % WORLD_TRACE];
  vsnprintf(line, sizeof w->trace[0], format, args);
  va_end(args);
}

void world_fail(world *w, const char *what) {
  unsigned first = w->traced > WORLD_TRACE ? w->traced - WORLD_TRACE : 0;
  for (unsigned i = first; i < w->traced; i++) {
    print_error("  %u %s\n", i, w->trace[i % WORLD_TRACE]);
  }
  print_error("AW_SEED=%llu: %s\n", (unsigned long long)w->seed, what);
  fail();
}

unsigned world_dice(world *w, unsigned sides) {
  return (unsigned)(aw_random_next(&w->random) >> 33) % sides;
}

size_t world_message_max(world *w) {
  return world_dice(w, 2) == 0 ? 0 : 600 + world_dice(w, 2500);
}

/* Windows and logs so small that the walks run against them. */
static void choose_options(world *w) {
  for (int side = CLIENT; side <= SERVER; side++) {
    aw_mux_options *o = &w->options[side];
    *o = kit_options(&w->kit, side == CLIENT);
    o->inbound_bytes = 2000 + world_dice(w, 60000);
    o->window_messages = 16 + world_dice(w, 100);
    o->log_messages = 8 + world_dice(w, 120);
    o->log_bytes = 4000 + world_dice(w, 30000);
    o->session_bytes = 10000 + world_dice(w, 100000);
    o->message_max = world_message_max(w);
    o->depth_max = 8 + world_dice(w, 8);
  }
  static const int codes[] = {1009, 1009, 1008, 4002, 1006};
  w->has_bad = world_dice(w, 2) == 0;
  w->poison = world_dice(w, 3) == 0 ? codes[world_dice(w, 5)] : 0;
  w->poisoner = world_dice(w, 2) == 0 ? CLIENT : SERVER;
  w->reload_each = world_dice(w, 8) == 0 ? 1 : 40;
}

void world_begin(world *w, uint64_t seed) {
  uint8_t bytes[32] = {0};
  memset(w, 0, sizeof *w);
  w->seed = seed;
  memcpy(bytes, &seed, sizeof seed);
  aw_random_seed(&w->random, bytes);
  w->lives = calloc(WORLD_LIVES, sizeof *w->lives);
  assert_non_null(w->lives);
  kit_init(&w->kit, aw_mem_default());
  choose_options(w);
  for (int side = CLIENT; side <= SERVER; side++) {
    w->mux[side] = kit_mux(&w->kit, &w->options[side]);
  }
  w->now_ms = 1000;
  w->process = 1;
}

void world_end(world *w) {
  link_drop_all(w);
  aw_mux_free(w->mux[CLIENT]);
  aw_mux_free(w->mux[SERVER]);
  kit_fini(&w->kit);
  free(w->lives);
}
