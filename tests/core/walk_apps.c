#include "walk_world.h"
#include <stdio.h>

static const char *const names[] = {"client", "server"};

static scope *free_scope(world *w, enum side side) {
  for (unsigned i = 0; i < WORLD_SCOPES; i++) {
    if (w->scopes[side][i].channel == NULL) {
      return &w->scopes[side][i];
    }
  }
  world_fail(w, "the applications hold too many scopes");
  return NULL;
}

/* Any scope of this side, or NULL. */
static scope *pick(world *w, enum side side) {
  unsigned start = world_dice(w, WORLD_SCOPES);
  for (unsigned i = 0; i < WORLD_SCOPES; i++) {
    scope *s = &w->scopes[side][(start + i) % WORLD_SCOPES];
    if (s->channel != NULL) {
      return s;
    }
  }
  return NULL;
}

/* A scope that can send; often the same one, so that windows fill up. */
static scope *pick_sender(world *w, enum side side) {
  for (unsigned i = 0; i < 4; i++) {
    scope *s = pick(w, side);
    if (s != NULL && !s->over && s->life >= 0) {
      return s;
    }
  }
  return NULL;
}

enum flavour { GOOD, DEEP, BROKEN, POISON };

/* Most messages are as they should be. */
static enum flavour choose_flavour(world *w, enum side side, const life *l) {
  bool counts = l->sent[side] + 1 < WORLD_BAD;
  if (w->has_bad && counts && world_dice(w, 12) == 0) {
    return world_dice(w, 2) == 0 ? DEEP : BROKEN;
  }
  bool poisons = w->poison != 0 && w->poisoner == side;
  return poisons && world_dice(w, 60) == 0 ? POISON : GOOD;
}

static void put_payload(world *w, enum side side, scope *s, aw_buf *out,
                        enum flavour flavour) {
  static const char *const tails[] = {
      "}", ",\"deep\":[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]}", ",oops}",
      ",\"poison\":1}"};
  char payload[2400];
  life *l = &w->lives[s->life];
  unsigned padding = world_dice(w, 20) == 0 ? world_dice(w, 2000) : 0;
  int len = snprintf(payload, sizeof payload,
                     "{\"life\":%d,\"n\":%u,\"process\":%u,\"before\":%u,"
                     "\"pad\":\"%0*d\"%s",
                     s->life, l->sent[side] + 1, w->process, l->last[side],
                     (int)padding, 0, tails[flavour]);
  world_demand(w, len > 0 && (size_t)len < sizeof payload, "payload");
  world_demand(w, aw_buf_append(out, payload, (size_t)len) == 0,
               "out of memory");
}

/* A message that stands for all that was sent before it in this life. */
static bool fold(world *w, enum side side, scope *s) {
  aw_draft draft;
  life *l = &w->lives[s->life];
  world_demand(w, aw_mux_begin_fold(s->channel, "sync", 4, &draft) == 0,
               "a log could not be folded");
  put_payload(w, side, s, draft.out, GOOD);
  int rc = aw_draft_commit(&draft);
  if (rc == AW_E_LIMIT && draft.over == AW_LIMIT_MESSAGE) {
    return false; /* longer than its reader takes: the log stays */
  }
  world_demand(w, rc == 0, "a state could not be kept");
  l->last[side] = ++l->sent[side];
  l->urgent[side] = true;
  s->blocked = false;
  world_note(w, "%s folds life %d at %u", names[side], s->life, l->sent[side]);
  return true;
}

/* What a full log's owner does while its reader is away. */
static bool overflow(world *w, enum side side, scope *s) {
  unsigned dice = world_dice(w, 16);
  if (!aw_mux_may_fold(s->channel) || dice < 4) {
    return false;
  }
  if (dice > 4) {
    return fold(w, side, s);
  }
  w->lives[s->life].given_up = w->lives[s->life].closed = true;
  aw_mux_give_up(s->channel);
  world_note(w, "%s gives life %d up", names[side], s->life);
  return false;
}

/* May the peer's limits refuse a message, or those of the process before? */
static bool may_refuse(const world *w, enum side side) {
  return w->options[side == CLIENT].message_max != 0 || w->process > 1;
}

/* What the peer's limits refuse was never numbered. */
static bool is_refused_here(world *w, enum side side, int rc,
                            const aw_draft *draft) {
  if (rc != AW_E_LIMIT || draft->over != AW_LIMIT_MESSAGE) {
    return false;
  }
  world_demand(w, may_refuse(w, side),
               "a message was refused that its reader takes");
  return true;
}

static void note_flavour(world *w, enum side side, life *l, const scope *s,
                         enum flavour flavour) {
  unsigned n = l->sent[side];
  if (n == 1 && l->opener == side) {
    l->birth = s->channel->last_sent_id;
  }
  if (flavour == DEEP || flavour == BROKEN) {
    l->bad[side][n / 8] |= (uint8_t)(1u << n % 8);
    world_note(w, "... of which %u cannot be taken", n);
  } else if (flavour == POISON) {
    l->poisoned[side] = w->poisoned = true;
    world_note(w, "... of which %u ends connections", n);
  }
}

static bool send_one(world *w, enum side side, scope *s, const char *type) {
  life *l = &w->lives[s->life];
  aw_draft draft = {.over = AW_LIMIT_NONE};
  bool floats = strcmp(type, "ping") == 0;
  enum flavour flavour = floats ? GOOD : choose_flavour(w, side, l);
  int rc = aw_mux_begin(s->channel, type, strlen(type), NULL, &draft);
  if (rc == AW_OK) {
    put_payload(w, side, s, draft.out, flavour);
    rc = aw_draft_commit(&draft);
  }
  if (is_refused_here(w, side, rc, &draft)) {
    return false;
  }
  if (rc == AW_E_AGAIN) {
    s->blocked = true;
    return strcmp(type, "note") == 0 && overflow(w, side, s);
  }
  world_demand(w, rc == AW_OK, "a send to an open scope failed");
  l->last[side] = ++l->sent[side];
  l->urgent[side] |= strcmp(type, "stop") == 0;
  note_flavour(w, side, l, s, flavour);
  return true;
}

/* The client's and the server's ids are apart: who opens an id the other has
 * open as well has no right to expect two scopes. Both use theirs again. */
static aw_uuid choose_id(world *w, enum side side, enum aw_kind kind) {
  if (kind == AW_KIND_PROVIDER) {
    return kit_id(1000 + w->fresh_ids++);
  }
  return kit_id(100 * (unsigned)side + world_dice(w, 5));
}

void app_open(world *w, enum side side) {
  enum aw_kind kind = (enum aw_kind)world_dice(w, AW_KIND_SCOPES);
  aw_uuid id = choose_id(w, side, kind);
  aw_channel *channel = NULL;
  int rc = aw_mux_open(w->mux[side], kind, &id, &channel);
  if (rc == AW_E_EXISTS) {
    return;
  }
  world_demand(w, rc == AW_OK, "a scope could not be opened");
  world_demand(w, w->life_count < WORLD_LIVES, "too many lives");
  w->lives[w->life_count] =
      (life){.opener = side, .kind = kind, .id = id, .process = w->process};
  scope *s = free_scope(w, side);
  *s = (scope){.channel = channel, .life = (int)w->life_count++};
  channel->user = s;
  world_note(w, "%s opens %s %02x%02x: life %d", names[side],
             aw_kind_name(kind), id.bytes[14], id.bytes[15], s->life);
  if (!send_one(w, side, s, "open")) {
    s->blocked = false; /* not even opened: the life does not count */
  }
}

void app_send(world *w, enum side side) {
  scope *s = pick_sender(w, side);
  if (s == NULL) {
    return;
  }
  unsigned count = 1 + world_dice(w, world_dice(w, 4) == 0 ? 60 : 6), sent = 0;
  bool opened =
      w->lives[s->life].opener != side || w->lives[s->life].sent[side] > 0;
  while (sent < count && send_one(w, side, s, opened ? "note" : "open")) {
    sent++;
    opened = true;
  }
  world_note(w, "%s sends %u of %u in life %d", names[side], sent, count,
             s->life);
}

void app_finish(world *w, enum side side) {
  scope *s = pick_sender(w, side);
  if (s == NULL ||
      (w->lives[s->life].opener == side && w->lives[s->life].sent[side] == 0)) {
    return;
  }
  if (send_one(w, side, s, "end")) {
    w->lives[s->life].ended[side] = w->lives[s->life].closed = true;
    s->over = true;
    world_note(w, "%s ends life %d", names[side], s->life);
  }
}

void app_abort(world *w, enum side side) {
  scope *s = pick_sender(w, side);
  if (s == NULL ||
      (w->lives[s->life].opener == side && w->lives[s->life].sent[side] == 0)) {
    return;
  }
  bool aborted = send_one(w, side, s, "stop");
  world_demand(w, aborted || may_refuse(w, side),
               "a scope could not be aborted");
  world_note(w, "%s aborts in life %d", names[side], s->life);
}

/* A base peer numbers what floats; here it counts, and nobody takes it. */
void app_float(world *w, enum side side) {
  scope *s = pick_sender(w, side);
  if (s == NULL ||
      (w->lives[s->life].opener == side && w->lives[s->life].sent[side] == 0)) {
    return;
  }
  unsigned last = w->lives[s->life].last[side];
  if (send_one(w, side, s, "ping")) {
    w->lives[s->life].last[side] = last;
    world_note(w, "%s floats in life %d", names[side], s->life);
  }
}

static bool take_one(world *w, enum side side, scope *s) {
  const aw_message *message = aw_channel_peek(s->channel);
  if (message == NULL) {
    return false;
  }
  oracle_taken(w, side, s, message);
  aw_mux_consume(s->channel);
  return true;
}

void app_take(world *w, enum side side, unsigned most) {
  scope *s = pick(w, side);
  unsigned taken = 0;
  while (s != NULL && taken < most && take_one(w, side, s)) {
    taken++;
  }
  if (taken > 0) {
    world_note(w, "%s takes %u of life %d", names[side], taken, s->life);
  }
  if (s != NULL && s->manual && world_dice(w, 3) == 0) {
    aw_mux_confirm(s->channel);
  }
}

static void let_go(world *w, enum side side, scope *s) {
  if (s->life < 0) {
    take_one(w, side, s); /* tells which life it is */
  }
  world_note(w, "%s releases life %d", names[side], s->life);
  if (s->life >= 0) {
    w->lives[s->life].released[side] = w->lives[s->life].closed = true;
  }
  aw_mux_release(s->channel);
  *s = (scope){.channel = NULL};
}

/* Most let go of what has ended and was read; some do not wait for that. */
void app_release(world *w, enum side side, bool early) {
  scope *s = pick(w, side);
  if (s != NULL &&
      (early || (s->over && aw_channel_peek(s->channel) == NULL))) {
    let_go(w, side, s);
  }
}

bool app_take_all(world *w) {
  bool any = false;
  for (int side = CLIENT; side <= SERVER; side++) {
    for (unsigned i = 0; i < WORLD_SCOPES; i++) {
      scope *s = &w->scopes[side][i];
      while (s->channel != NULL && take_one(w, (enum side)side, s)) {
        any = true;
      }
      if (s->channel != NULL) {
        aw_mux_confirm(s->channel);
      }
    }
  }
  return any;
}

static scope *meet(world *w, enum side side, aw_channel *channel) {
  scope *s = free_scope(w, side);
  *s = (scope){.channel = channel, .life = -1};
  channel->user = s;
  s->manual = world_dice(w, 4) == 0;
  if (s->manual) {
    aw_mux_confirm_manually(channel);
  }
  return s;
}

void app_listen(world *w, enum side side) {
  aw_mux *mux = w->mux[side];
  aw_channel *channel = NULL;
  unsigned events = 0;
  while ((channel = aw_mux_poll(mux, &events)) != NULL) {
    scope *s = channel->user;
    if ((events & AW_CHANNEL_OPENED) != 0) {
      world_demand(w, s == NULL, "a scope was opened twice");
      s = meet(w, side, channel);
    }
    world_demand(w, s != NULL && s->channel == channel,
                 "news of a scope that nobody knows");
    if ((events & AW_CHANNEL_WRITABLE) != 0) {
      s->blocked = false;
    }
    if ((events & AW_CHANNEL_ENDED) != 0) {
      oracle_ended(w, side, s);
    }
  }
  aw_refusal refusal;
  while (aw_mux_refusal(mux, &refusal)) {
    oracle_refused(w, side, &refusal);
  }
  while (aw_mux_notice(mux) != AW_MUX_NOTICE_NONE) {
    if (side == CLIENT) {
      w->welcomed = w->process;
    }
  }
}

void app_forget(world *w, enum side side) {
  for (unsigned i = 0; i < WORLD_SCOPES; i++) {
    w->scopes[side][i] = (scope){.channel = NULL};
  }
  for (unsigned i = 0; i < w->life_count; i++) {
    life *l = &w->lives[i];
    l->sent[side] = l->taken[side] = l->last[side] = 0;
    l->ended[side] = l->released[side] = l->urgent[side] = false;
    l->poisoned[side] = false;
    memset(l->bad[side], 0, sizeof l->bad[side]);
    l->given_up = false;
  }
}
