/* Who a peer is: what a server's admission found out, counted and never
 * changed, so that an upgrade, a transport and a connection may share it.
 * NULL is nobody in particular, here and for all of them. */
#ifndef AW_IDENTITY_H
#define AW_IDENTITY_H

#include "aw_mem.h"
#include <stdbool.h>

#pragma GCC visibility push(hidden)

typedef struct aw_identity aw_identity;

/* Copies both; one reference for the caller. `id` is who it is, for
 * aw_identity_same; `claims` is what else its maker wants to find again. */
int aw_identity_new(aw_identity **out, const aw_mem *mem, const char *id,
                    const char *claims);

/* One more reference; returns its argument. */
aw_identity *aw_identity_hold(aw_identity *identity);
void aw_identity_drop(aw_identity *identity);

/* Both nobody, or the same id. */
bool aw_identity_same(const aw_identity *a, const aw_identity *b);

const char *aw_identity_id(const aw_identity *identity);     /* NULL: NULL */
const char *aw_identity_claims(const aw_identity *identity); /* NULL: NULL */

#pragma GCC visibility pop

#endif
