/* A roster says who is connected to a listener: how many in all, how many from
 * one address. A seat is one connection's place in it, which the connection
 * takes along from the arrival to the WebSocket. The roster outlives the
 * listener as long as a seat is taken. */
#ifndef AW_ROSTER_H
#define AW_ROSTER_H

#include "aw_mem.h"
#include "aw_queue.h"
#include <stdint.h>
#include <uv.h>

#pragma GCC visibility push(hidden)

typedef struct aw_roster aw_roster;
typedef struct aw_seat aw_seat;

/* Embedded in each connection. */
struct aw_seat {
  aw_node node;
  aw_roster *roster; /* NULL: none taken */
  uint64_t address;
};

/* One reference; NULL when out of memory. */
aw_roster *aw_roster_new(const aw_mem *mem);
void aw_roster_drop(aw_roster *roster);

/* Seats that are taken: in all, and from the address of `peer`. An IPv6 peer
 * counts by its /64, which is what one subscriber has. */
unsigned aw_roster_count(const aw_roster *roster);
unsigned aw_roster_count_from(const aw_roster *roster,
                              const struct sockaddr *peer);

void aw_seat_take(aw_seat *seat, aw_roster *roster,
                  const struct sockaddr *peer);
void aw_seat_move(aw_seat *seat, const struct sockaddr *peer);
void aw_seat_pass(aw_seat *seat, aw_seat *to); /* to one that is not taken */
void aw_seat_leave(aw_seat *seat);             /* idempotent */

#pragma GCC visibility pop

#endif
