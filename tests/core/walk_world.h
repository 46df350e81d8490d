/* The world of the random walks: a client, a server with sessions, links that
 * are cut, and applications at both ends that know what they sent. */
#ifndef WALK_WORLD_H
#define WALK_WORLD_H

#include "mux_kit.h"

#define WORLD_LIVES 4096
#define WORLD_SCOPES 128 /* that one application holds at a time */
#define WORLD_LINKS 3    /* at most two are old */
#define WORLD_TRACE 400
#define WORLD_BAD                                                              \
  2048 /* numbers up to here may be of messages nobody takes                   \
        */

enum side { CLIENT, SERVER };

/* One opening of one scope, as the applications know it. What a server's
 * process sent is gone with it, so `sent` and the like begin anew then. */
typedef struct life {
  enum side opener;
  enum aw_kind kind;
  aw_uuid id;
  unsigned process;   /* the server's, when the life was opened */
  unsigned sent[2];   /* messages by this side */
  unsigned last[2];   /* number of the last that is to be taken: none floats */
  unsigned taken[2];  /* messages that this side's application has had */
  unsigned taker[2];  /* process in which this side began to take, or 0 */
  bool ended[2];      /* this side sent its terminal message */
  bool released[2];   /* this side let go of it before its end */
  bool urgent[2];     /* this side went beyond its credit */
  bool closed;        /* ended or released by somebody, in any process */
  bool given_up;      /* by the server, whose log was full */
  bool lost, refused; /* announced as such */
  aw_uuid birth;      /* message id of the opening message */
  uint8_t bad[2][WORLD_BAD / 8]; /* numbers that the peer cannot take */
  bool poisoned[2];              /* this side sent what ends connections */
  bool undelivered;              /* ended, because its log cannot be sent */
} life;

/* What an application holds: a channel and what it thinks of it. */
typedef struct scope {
  aw_channel *channel; /* NULL: free */
  int life;            /* -1: the first message was not taken yet */
  unsigned process;    /* server's, whose messages the client takes; 0 none */
  unsigned taken;
  bool blocked; /* a send was refused; WRITABLE is owed */
  bool manual;  /* it confirms what it takes, now and then */
  bool over;
} scope;

typedef struct link {
  bool used;
  bool client_on, server_on; /* who still believes in it */
  bool greeted;              /* the hello is whole */
  wire up, down;
  uint32_t client_generation, server_generation;
  aw_hello hello;
} link;

typedef struct world {
  uint64_t seed;
  aw_random random;
  kit kit;
  aw_mux_options options[2];
  aw_mux *mux[2];
  link links[WORLD_LINKS]; /* [0]: the client's newest */
  uint64_t now_ms;
  unsigned process;  /* counts the server's processes, from 1 */
  unsigned welcomed; /* the process that welcomed the client last */
  life *lives;
  unsigned life_count;
  scope scopes[2][WORLD_SCOPES];
  size_t inbox_before[2];
  bool has_bad;         /* messages that cannot be taken are sent */
  int poison;           /* the close code with which something between the ends
                           answers certain messages; 0: nothing does */
  enum side poisoner;   /* who sends them */
  bool poisoned;        /* one was sent, by whatever process */
  unsigned poisoned_in; /* process in which one ended a connection last */
  bool unclear;         /* one ended a link that only one end believed in: what
                           was lost on it came from nowhere near; or they ended
                           some in two processes of the server, of which each
                           says that nothing has arrived */
  bool shrank;          /* a new process takes less than the one before */
  unsigned reload_each; /* an end is saved and loaded so seldom */
  unsigned reloads;
  unsigned fresh_ids;
  char trace[WORLD_TRACE][96];
  unsigned traced;
} world;

/* Prints the seed and the last steps, and fails the test. */
void world_fail(world *w, const char *what);
void world_note(world *w, const char *format, ...);
#define world_demand(w, holds, what)                                           \
  do {                                                                         \
    if (!(holds)) {                                                            \
      world_fail(w, what);                                                     \
    }                                                                          \
  } while (0)

unsigned world_dice(world *w, unsigned sides); /* 0 .. sides-1 */

/* The end is saved, freed and loaded, as if it went on in another process
 * (walk_reload.c). */
void world_reload(world *w, enum side side);

void world_begin(world *w, uint64_t seed);
void world_end(world *w);

/* Applications (walk_apps.c). */
void app_open(world *w, enum side side);
void app_send(world *w, enum side side);
void app_finish(world *w, enum side side);
void app_abort(world *w, enum side side);
void app_take(world *w, enum side side, unsigned most);
void app_float(world *w, enum side side);
void app_release(world *w, enum side side, bool early);
void app_listen(world *w, enum side side); /* polls all news */
bool app_take_all(world *w);               /* false: there was nothing */
void app_forget(world *w, enum side side); /* a new process knows nothing */

/* Links (walk_links.c). */
void link_connect(world *w);
void link_write(world *w, size_t room);
bool link_deliver(world *w, unsigned index, bool up, unsigned most);
void link_cut(world *w);        /* both notice */
void link_half_open(world *w);  /* only the client notices */
void link_notice(world *w);     /* the server notices old links' ends */
void link_server_cut(world *w); /* only the server notices */
void link_restart_server(world *w);
size_t world_message_max(world *w); /* small or the default */
void link_drop_all(world *w);
bool link_is_up(const world *w);

/* The oracle (walk_oracle.c). */
void oracle_taken(world *w, enum side side, scope *s,
                  const aw_message *message);
void oracle_ended(world *w, enum side side, scope *s);
void oracle_refused(world *w, enum side side, const aw_refusal *refusal);
void oracle_check(world *w);   /* after every step */
void oracle_at_rest(world *w); /* when nothing moves any more */

#endif
