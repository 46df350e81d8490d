#include "walk_world.h"

/* What is counted is what is there. */
static void check_same(world *w, const aw_mux *old, const aw_mux *mux) {
  const aw_mux_stats *a = aw_mux_stats_get(old), *b = aw_mux_stats_get(mux);
  world_demand(
      w,
      a->open_scopes == b->open_scopes && a->ended_scopes == b->ended_scopes &&
          a->inbox_bytes == b->inbox_bytes && a->log_bytes == b->log_bytes &&
          aw_mux_in_bytes(old) == aw_mux_in_bytes(mux),
      "a loaded mux holds something else");
}

static scope *find_held(world *w, enum side side, const aw_channel *channel) {
  for (unsigned i = 0; i < WORLD_SCOPES; i++) {
    scope *s = &w->scopes[side][i];
    if (s->channel != NULL && s->channel->mux != channel->mux &&
        s->channel->kind == channel->kind &&
        aw_uuid_equal(&s->channel->id, &channel->id)) {
      return s;
    }
  }
  return NULL;
}

/* A scope that its application has not met yet comes with its news. */
static void rebind(world *w, enum side side, const aw_mux *mux) {
  size_t cursor = 0;
  aw_channel *channel = NULL;
  unsigned held = 0, found = 0;
  for (unsigned i = 0; i < WORLD_SCOPES; i++) {
    held += w->scopes[side][i].channel != NULL;
  }
  while ((channel = aw_mux_next(mux, &cursor)) != NULL) {
    scope *s = find_held(w, side, channel);
    if (s != NULL) {
      s->channel = channel;
      channel->user = s;
      found++;
    }
  }
  world_demand(w, found == held, "a loaded mux has lost a scope");
}

void world_reload(world *w, enum side side) {
  aw_mux *old = w->mux[side], *mux = NULL;
  uint32_t generation = 0;
  const char *why = NULL;
  aw_buf bytes;
  aw_buf_init(&bytes, aw_mem_default());
  world_demand(w, aw_mux_save(old, &bytes) == AW_OK, "a mux was not saved");
  w->reloads++;
  memcpy(w->options[side].seed + 8, &w->reloads, sizeof w->reloads);
  int rc =
      aw_mux_load(&mux, aw_mem_default(), &w->options[side],
                  aw_buf_bytes(&bytes), aw_buf_len(&bytes), &generation, &why);
  if (rc != AW_OK) {
    world_note(w, "%s: %s", aw_error_code(rc), why);
    world_fail(w, "a saved mux was not loaded");
  }
  aw_mux_clock(mux, w->now_ms, 0);
  check_same(w, old, mux);
  rebind(w, side, mux);
  w->mux[side] = mux;
  aw_mux_free(old);
  aw_buf_fini(&bytes);
}
