#include "mux_check.h"
#include "walk_world.h"
#include <stdio.h>
#include <stdlib.h>

static enum side other(enum side side) {
  return side == CLIENT ? SERVER : CLIENT;
}

/* The first message tells which life it is. Nobody may begin to take one
 * twice; only a new process of the server knows nothing of what the one before
 * had. */
static void bind_life(world *w, enum side side, scope *s, int number) {
  world_demand(w, number >= 0 && (unsigned)number < w->life_count,
               "a message of no life");
  life *l = &w->lives[number];
  world_demand(w,
               l->opener != side && l->kind == s->channel->kind &&
                   aw_uuid_equal(&l->id, &s->channel->id),
               "a message of another scope");
  world_demand(w,
               l->taker[side] == 0 ||
                   (side == SERVER && l->taker[side] != w->process),
               "a life was delivered a second time");
  s->life = number;
}

static bool is_bad(const life *l, enum side from, uint64_t n) {
  return n < WORLD_BAD && (l->bad[from][n / 8] >> n % 8 & 1) != 0;
}

/* Nothing of it can be read but its header. */
static void bind_by_birth(world *w, enum side side, scope *s,
                          const aw_message *message) {
  for (unsigned i = 0; i < w->life_count && s->life < 0; i++) {
    if (aw_uuid_equal(&w->lives[i].birth, &message->message_id)) {
      bind_life(w, side, s, (int)i);
    }
  }
  world_demand(w, s->life >= 0, "a refused message of no life");
}

/* A message that could not be taken: in its place, and only if it is one. */
static void refused_taken(world *w, enum side side, scope *s,
                          const aw_message *message) {
  if (s->life < 0) {
    bind_by_birth(w, side, s, message);
  }
  life *l = &w->lives[s->life];
  size_t most = w->options[side].message_max;
  bool long_one = most != 0 && message->cost > most;
  if (s->taken == 0) {
    l->taker[side] = w->process;
  }
  world_demand(w,
               long_one || is_bad(l, other(side), message->sequence) ||
                   l->process != w->process || s->process != w->process,
               "a message was refused that can be taken");
  world_demand(w, message->sequence > s->taken, "a refused message came twice");
  s->taken = (unsigned)message->sequence;
  l->taken[side] = s->taken;
}

void oracle_taken(world *w, enum side side, scope *s,
                  const aw_message *message) {
  if (message->refused != AW_OK) {
    refused_taken(w, side, s, message);
    return;
  }
  char text[100] = {0};
  int number = -1;
  unsigned n = 0, process = 0, before = 0;
  size_t len = message->payload_len;
  memcpy(text, aw_message_payload(message),
         len < sizeof text - 1 ? len : sizeof text - 1);
  world_demand(w,
               sscanf(text,
                      "{\"life\":%d,\"n\":%u,\"process\":%u,\"before\":%u",
                      &number, &n, &process, &before) == 4,
               "a payload was changed");
  if (s->life < 0) {
    bind_life(w, side, s, number);
  }
  if (s->taken == 0) {
    w->lives[s->life].taker[side] = w->process;
  }
  if (s->process == 0) {
    s->process = process; /* a refused message does not tell */
  }
  world_demand(w, number == s->life, "a message of another life");
  bool state = message->type_len == 4 &&
               memcmp(aw_message_type(message), "sync", 4) == 0;
  world_demand(w, state ? n > s->taken : before == s->taken,
               "a message is missing or came twice");
  world_demand(w, message->sequence == n, "a message has a wrong number");
  world_demand(w, side == SERVER || process == s->process,
               "messages of two processes of the server were mixed");
  s->taken = n;
  life *l = &w->lives[s->life];
  l->taken[side] = n;
  world_demand(w, process != w->process || !is_bad(l, other(side), n),
               "a message was taken that cannot be");
  world_demand(w, process != w->process || n <= l->sent[other(side)],
               "more was delivered than sent");
}

/* Did the server give this scope up, whose life its client may not know yet? */
static bool was_given_up(const world *w, const scope *s) {
  for (unsigned i = 0; i < w->life_count; i++) {
    const life *l = &w->lives[i];
    if (l->given_up && (s->life < 0 ? l->kind == s->channel->kind &&
                                          aw_uuid_equal(&l->id, &s->channel->id)
                                    : (int)i == s->life)) {
      return true;
    }
  }
  return false;
}

static bool is_of(const scope *s, const life *l, int number) {
  return s->life < 0 ? l->kind == s->channel->kind &&
                           aw_uuid_equal(&l->id, &s->channel->id)
                     : number == s->life;
}

static bool was_undelivered(const world *w, const scope *s) {
  for (unsigned i = 0; i < w->life_count; i++) {
    if (w->lives[i].undelivered && is_of(s, &w->lives[i], (int)i)) {
      return true;
    }
  }
  return false;
}

static bool is_poisoned(const world *w, enum side by) {
  return w->poisoned && w->poisoner == by;
}

/* The culprit is in the log. Where the other side's message ended the
 * connections, one of this side's may have been under way each time; then it is
 * blamed as well. So is what was written before the culprit for nobody: an
 * opening message that was refused, a message of a scope that its peer has
 * ended or let go of. */
static bool may_be_blamed(const world *w, enum side side, const life *l) {
  bool own = is_poisoned(w, side);
  if (l != NULL && !l->refused && !l->ended[other(side)] &&
      !l->released[other(side)]) {
    own = l->poisoned[side];
  }
  return w->poison != 0 &&
         (own || w->unclear ||
          (side != w->poisoner && is_poisoned(w, w->poisoner)));
}

/* May the other side have given up what it sent in this scope? Who has released
 * it is not told so. */
static bool is_undeliverable_there(const world *w, enum side side,
                                   const scope *s) {
  const life *l = s->life >= 0 ? &w->lives[s->life] : NULL;
  return may_be_blamed(w, other(side), l) || w->shrank;
}

static void undelivered(world *w, enum side side, scope *s, int error) {
  life *l = s->life >= 0 ? &w->lives[s->life] : NULL;
  world_note(w, "%s cannot deliver life %d: %s",
             side == CLIENT ? "client" : "server", s->life,
             aw_error_code(error));
  if (error == AW_E_LIMIT) {
    world_demand(w, w->shrank, "a log was too long without a cause");
  } else {
    world_demand(w, may_be_blamed(w, side, l),
                 "a scope was blamed that is not to blame");
  }
  if (l != NULL) {
    l->undelivered = l->closed = true;
  }
}

/* Loss is legal only where the client comes from another process, or where the
 * server gave up. */
void oracle_ended(world *w, enum side side, scope *s) {
  int error = s->channel->error;
  s->over = true;
  s->blocked = false;
  if (error == AW_OK) {
    return;
  }
  if (error == AW_E_UNDELIVERABLE || error == AW_E_LIMIT) {
    undelivered(w, side, s, error);
    return;
  }
  if (error == AW_E_CLOSED) {
    world_note(w, "%s hears that life %d was released",
               side == CLIENT ? "client" : "server", s->life);
    world_demand(w,
                 s->life < 0 || w->lives[s->life].released[other(side)] ||
                     w->lives[s->life].refused ||
                     w->lives[s->life].undelivered ||
                     is_undeliverable_there(w, side, s),
                 "a scope was closed without a cause");
    if (is_undeliverable_there(w, side, s) && s->life >= 0) {
      w->lives[s->life].undelivered = true;
    }
    return;
  }
  world_demand(w, error == AW_E_LOST, "a scope ended with a strange error");
  world_note(w, "%s loses life %d", side == CLIENT ? "client" : "server",
             s->life);
  world_demand(w,
               was_given_up(w, s) || was_undelivered(w, s) ||
                   is_undeliverable_there(w, side, s) ||
                   (w->process > 1 && w->welcomed != w->process),
               "a scope was lost without a cause");
  if (s->life >= 0) {
    w->lives[s->life].lost = true;
  }
}

/* The owner answers it; here the lives that it concerns are told. */
void oracle_refused(world *w, enum side side, const aw_refusal *refusal) {
  if (refusal->code == AW_E_LIMIT || refusal->code == AW_E_JSON_SYNTAX ||
      refusal->code == AW_E_JSON_DEPTH) {
    world_demand(w, w->has_bad || w->options[side].message_max != 0,
                 "a message could not be taken without a cause");
    return;
  }
  world_demand(w, refusal->code == AW_E_EXISTS,
               "a message was refused without a cause");
  for (unsigned i = 0; i < w->life_count; i++) {
    life *l = &w->lives[i];
    if (l->opener != side && l->kind == refusal->kind &&
        aw_uuid_equal(&l->id, &refusal->id)) {
      l->refused = true;
    }
  }
  world_note(w, "refused: %02x%02x is not released", refusal->id.bytes[14],
             refusal->id.bytes[15]);
}

static uint64_t most(uint64_t a, uint64_t b) {
  return a > b ? a : b;
}

/* What is allowed is what the peer granted or what every scope begins with,
 * never more. */
static void check_credit(world *w, enum side side, const scope *s) {
  const aw_channel *out = s->channel;
  if (s->life < 0 || aw_channel_is_over(out)) {
    return;
  }
  for (unsigned i = 0; i < WORLD_SCOPES; i++) {
    const scope *peer = &w->scopes[other(side)][i];
    if (peer->channel == NULL || peer->life != s->life ||
        aw_channel_is_over(peer->channel)) {
      continue;
    }
    const aw_channel *in = peer->channel;
    uint64_t messages = most(in->granted.sequence, AW_CHANNEL_WINDOW_MESSAGES);
    world_demand(w, out->allowed.sequence <= messages,
                 "more messages are allowed than were granted");
    world_demand(w,
                 out->allowed.bytes <=
                     most(in->granted.bytes, AW_CHANNEL_WINDOW_BYTES),
                 "more bytes are allowed than were granted");
    world_demand(w, w->lives[s->life].urgent[side] || in->received <= messages,
                 "more messages came than were granted");
  }
}

static void check_memory(world *w, enum side side) {
  const aw_mux_stats *stats = aw_mux_stats_get(w->mux[side]);
  const aw_mux_options *mine = &w->options[side];
  const aw_mux_options *theirs = &w->options[other(side)];
  /* Aborts take along what is in a log, and small messages have a spare. The
   * first connection goes ahead with the default. */
  size_t bound = mine->inbound_bytes + theirs->session_bytes + (64u << 10);
  world_demand(w,
               stats->inbox_bytes <= w->inbox_before[side] ||
                   stats->inbox_bytes <= bound ||
                   (side == SERVER && w->welcomed != w->process),
               "the inboxes hold too much");
  w->inbox_before[side] = stats->inbox_bytes;
  world_demand(w, stats->log_bytes <= mine->session_bytes + (128u << 10),
               "the logs hold too much");
}

static void check_counters(world *w, enum side side) {
  const aw_mux_stats *stats = aw_mux_stats_get(w->mux[side]);
  size_t inbox = 0, log = 0;
  for (unsigned i = 0; i < WORLD_SCOPES; i++) {
    const aw_channel *channel = w->scopes[side][i].channel;
    if (channel != NULL) {
      inbox += channel->in_bytes - channel->consumed_bytes;
      log += channel->log.size;
      world_demand(w,
                   channel->log.size <= w->options[side].log_bytes +
                                            AW_CHANNEL_URGENT_BYTES + 8192,
                   "a log holds too much");
    }
  }
  world_demand(w, stats->inbox_bytes == inbox, "inbox_bytes is wrong");
  world_demand(w, stats->log_bytes >= log, "log_bytes is wrong");
}

void oracle_check(world *w) {
  for (int side = CLIENT; side <= SERVER; side++) {
    const char *flaw = mux_find_flaw(w->mux[side]);
    if (flaw != NULL) {
      world_fail(w, flaw);
    }
    for (unsigned i = 0; i < WORLD_SCOPES; i++) {
      if (w->scopes[side][i].channel != NULL) {
        check_credit(w, (enum side)side, &w->scopes[side][i]);
      }
    }
    check_counters(w, (enum side)side);
    check_memory(w, (enum side)side);
  }
}

static void check_delivered(world *w, unsigned number, enum side to) {
  const life *l = &w->lives[number];
  enum side from = other(to);
  /* A scope that somebody has closed cannot be lost any more; what happens
   * to its last messages when the server's process goes, RENEWED tells. */
  bool bygone = l->process != w->process && (l->opener == SERVER || l->closed);
  /* Whose sender has released or ended it goes without a word to anybody. */
  bool silent = (l->released[from] || l->ended[from]) &&
                (may_be_blamed(w, from, l) || w->shrank);
  bool excused = bygone || silent || l->lost || l->refused || l->undelivered ||
                 l->ended[to] || l->released[to];
  if (!excused && l->taken[to] != l->last[from]) {
    world_note(w, "life %u: %u sent, %u taken", number, l->sent[from],
               l->taken[to]);
    world_fail(w, "messages got lost silently");
  }
}

/* What is allowed in all is counted by both ends, also behind a jump. */
static void check_counts(world *w, enum side side, const scope *s) {
  for (unsigned i = 0; i < WORLD_SCOPES; i++) {
    const scope *peer = &w->scopes[other(side)][i];
    if (peer->channel != NULL && peer->life == s->life && s->life >= 0 &&
        !peer->over && !s->over && w->lives[s->life].process == w->process) {
      world_demand(w, s->channel->log.numbered == peer->channel->in_bytes,
                   "the ends count a scope's bytes differently");
    }
  }
}

static bool is_clean(const world *w) {
  for (unsigned i = 0; i < w->life_count; i++) {
    if (w->lives[i].undelivered) {
      return false;
    }
  }
  return true;
}

void oracle_at_rest(world *w) {
  for (unsigned i = 0; i < w->life_count; i++) {
    check_delivered(w, i, CLIENT);
    check_delivered(w, i, SERVER);
  }
  for (int side = CLIENT; side <= SERVER; side++) {
    const aw_mux_stats *stats = aw_mux_stats_get(w->mux[side]);
    for (unsigned i = 0; i < WORLD_SCOPES; i++) {
      const scope *s = &w->scopes[side][i];
      if (s->channel != NULL) {
        check_counts(w, (enum side)side, s);
      }
      world_demand(
          w,
          s->channel == NULL || s->over || s->life < 0 ||
              !(w->lives[s->life].given_up || w->lives[s->life].undelivered),
          "a scope that was given up stays open");
      if (s->blocked && is_clean(w)) {
        world_note(w, "life %d: sent %llu of %llu, log %zu, all logs %zu",
                   s->life, (unsigned long long)s->channel->log.last,
                   (unsigned long long)s->channel->allowed.sequence,
                   aw_mux_log_count(&s->channel->log), stats->log_bytes);
        world_fail(w, "a sender was never woken");
      }
    }
    world_demand(w, stats->inbox_bytes == 0, "an inbox is not empty");
    if (stats->log_bytes > 0 && is_clean(w)) {
      world_note(w, "%s: %zu bytes", side == CLIENT ? "client" : "server",
                 stats->log_bytes);
      world_fail(w, "a log was never acknowledged");
    }
  }
}
