#include "walk_world.h"
#include <stdlib.h>

static void fini_link(link *l) {
  wire_fini(&l->up);
  wire_fini(&l->down);
  if (l->used) {
    aw_hello_fini(&l->hello);
  }
  *l = (link){.used = false};
}

void link_drop_all(world *w) {
  for (unsigned i = 0; i < WORLD_LINKS; i++) {
    fini_link(&w->links[i]);
  }
}

bool link_is_up(const world *w) {
  const link *l = &w->links[0];
  return l->used && l->client_on;
}

static void client_leaves(world *w) {
  link *l = &w->links[0];
  if (link_is_up(w)) {
    aw_mux_detach(w->mux[CLIENT], l->client_generation, AW_E_IO);
    l->client_on = false;
    wire_drop(&l->down);
  }
}

static void server_leaves(world *w, link *l) {
  if (l->used && l->server_on) {
    aw_mux_detach(w->mux[SERVER], l->server_generation, AW_E_IO);
    l->server_on = false;
    wire_drop(&l->up);
  }
}

/* The newest link becomes an old one; what it still carries may come late. */
void link_connect(world *w) {
  if (link_is_up(w)) {
    return;
  }
  fini_link(&w->links[WORLD_LINKS - 1]);
  memmove(w->links + 1, w->links, (WORLD_LINKS - 1) * sizeof w->links[0]);
  link *l = &w->links[0];
  *l = (link){.used = true, .client_on = true};
  aw_hello_init(&l->hello, aw_mem_default(), AW_MUX_SCOPES_MAX);
  world_demand(w,
               aw_mux_attach(w->mux[CLIENT], true, &l->client_generation) == 0,
               "the client could not attach");
  world_note(w, "client connects: generation %u", l->client_generation);
}

void link_write(world *w, size_t room) {
  if (link_is_up(w)) {
    kit_write(w->mux[CLIENT], &w->links[0].up, room);
  }
  for (unsigned i = 0; i < WORLD_LINKS; i++) {
    link *l = &w->links[i];
    if (l->used && l->server_on) {
      kit_write(w->mux[SERVER], &l->down, room);
    }
  }
}

/* As a server's hub does. */
static void greet(world *w, link *l, char *text) {
  const char *why = NULL;
  int rc = aw_hello_read(&l->hello, text, strlen(text), &why);
  if (rc == AW_E_AGAIN) {
    return;
  }
  world_demand(w, rc == AW_OK, "a hello was refused");
  if (aw_mux_is_stale(w->mux[SERVER], &l->hello)) {
    world_demand(w,
                 aw_mux_accept(w->mux[SERVER], &l->hello, "walk",
                               &l->server_generation) == AW_E_CLOSED,
                 "a stale hello was accepted");
    wire_drop(&l->up);
    return;
  }
  rc = aw_mux_accept(w->mux[SERVER], &l->hello, "walk", &l->server_generation);
  world_demand(w, rc == AW_OK, "a hello was not accepted");
  for (unsigned i = 0; i < WORLD_LINKS; i++) {
    w->links[i].server_on = false; /* superseded; late messages still come */
  }
  l->greeted = l->server_on = true;
  world_note(w, "server accepts attempt %u: generation %u",
             (unsigned)l->hello.attempt, l->server_generation);
}

static void deliver_up(world *w, link *l, char *text) {
  if (!l->greeted) {
    greet(w, l, text);
    return;
  }
  int rc = kit_hear(w->mux[SERVER], l->server_generation, text);
  world_demand(w, rc == (l->server_on ? AW_OK : AW_E_CLOSED),
               l->server_on ? "the server refused the client's message"
                            : "a message of an older connection was heard");
}

static void deliver_down(world *w, link *l, const char *text) {
  int rc = kit_hear(w->mux[CLIENT], l->client_generation, text);
  world_demand(w, rc == (l->client_on ? AW_OK : AW_E_CLOSED),
               l->client_on ? "the client refused the server's message"
                            : "a message of an older connection was heard");
}

/* Something between the ends does not let this message through, and ends the
 * connection with its code, for both. */
static void poisoned(world *w, link *l) {
  w->unclear |= l->client_on != l->server_on ||
                (w->poisoned_in != 0 && w->poisoned_in != w->process);
  w->poisoned_in = w->process;
  if (l->client_on) {
    aw_mux_blame(w->mux[CLIENT], l->client_generation, w->poison);
    aw_mux_detach(w->mux[CLIENT], l->client_generation, AW_E_IO);
    l->client_on = false;
  }
  if (l->server_on) {
    aw_mux_blame(w->mux[SERVER], l->server_generation, w->poison);
  }
  server_leaves(w, l);
  wire_drop(&l->up);
  wire_drop(&l->down);
  world_note(w, "a message ends the connection with %d", w->poison);
}

bool link_deliver(world *w, unsigned index, bool up, unsigned most) {
  link *l = &w->links[index];
  unsigned count = 0;
  while (l->used && count < most) {
    char *text = wire_take(up ? &l->up : &l->down);
    if (text == NULL) {
      break;
    }
    if (strstr(text, "\"poison\"") != NULL) {
      free(text);
      poisoned(w, l);
      return true;
    }
    if (up) {
      deliver_up(w, l, text);
    } else {
      deliver_down(w, l, text);
    }
    free(text);
    app_listen(w, up ? SERVER : CLIENT);
    count++;
  }
  if (count > 0) {
    world_note(w, "link %u %s: %u delivered", index, up ? "up" : "down", count);
  }
  return count > 0;
}

void link_cut(world *w) {
  if (w->links[0].used) {
    client_leaves(w);
    server_leaves(w, &w->links[0]);
    wire_drop(&w->links[0].up);
    world_note(w, "cut");
  }
}

void link_half_open(world *w) {
  if (link_is_up(w)) {
    client_leaves(w);
    world_note(w, "the client loses the link, the server does not know");
  }
}

void link_server_cut(world *w) {
  if (w->links[0].used && w->links[0].server_on) {
    server_leaves(w, &w->links[0]);
    world_note(w, "the server loses the link, the client does not know");
  }
}

void link_notice(world *w) {
  for (unsigned i = 0; i < WORLD_LINKS; i++) {
    if (!w->links[i].client_on) {
      server_leaves(w, &w->links[i]);
    }
  }
}

/* Its links die with it; the client notices at once, or else its connection
 * attempt would hang for ever. */
void link_restart_server(world *w) {
  client_leaves(w);
  link_drop_all(w);
  aw_mux_free(w->mux[SERVER]);
  app_forget(w, SERVER);
  w->process++;
  w->options[SERVER].seed[1]++;
  size_t most = w->options[SERVER].message_max;
  w->options[SERVER].message_max = world_message_max(w);
  w->shrank |= w->options[SERVER].message_max != 0 &&
               (most == 0 || most > w->options[SERVER].message_max);
  w->mux[SERVER] = kit_mux(&w->kit, &w->options[SERVER]);
  aw_mux_clock(w->mux[SERVER], w->now_ms, 0);
  world_note(w, "the server restarts: process %u", w->process);
}
