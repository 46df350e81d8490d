/* What a protocol tells the core about its message types. The core knows no
 * protocol: it only needs to know which types open a scope, end it, or stand
 * outside its numbering (docs/wire.md section 3). */
#ifndef AW_TYPES_H
#define AW_TYPES_H

#include "aw_mem.h"
#include <stdbool.h>

#pragma GCC visibility push(hidden)

#define AW_TYPE_NAME_MAX 64 /* bytes of a type's name */
#define AW_TYPES_MAX 128    /* types of one protocol */

enum aw_type_flag {
  AW_TYPE_OPENS = 1,  /* may open a scope when it carries sequence 1 */
  AW_TYPE_ENDS = 2,   /* ends the scope, in both directions */
  AW_TYPE_ZERO = 4,   /* may carry sequence 0: an error about no scope */
  AW_TYPE_FLOATS = 8, /* unsequenced whatever number it carries (ping) */
  AW_TYPE_STATE = 16, /* with a number it stands for all before it (sync) */
  AW_TYPE_URGENT = 32 /* sent outside the credit: aborts and cancellations */
};

typedef struct aw_types aw_types;
typedef struct aw_type aw_type;

struct aw_type {
  char name[AW_TYPE_NAME_MAX];
  unsigned char len;
  unsigned flags;
};

/* One protocol's types; embedded. An open-addressed table. */
struct aw_types {
  const aw_mem *mem;
  aw_type *slots;
  unsigned count;
  bool restart; /* an ended scope may be opened anew with sequence 1 */
};

void aw_types_init(aw_types *types, const aw_mem *mem);
void aw_types_fini(aw_types *types);

/* Adds flags to a type. AW_E_INVALID: name empty or too long; AW_E_LIMIT: too
 * many types. */
int aw_types_add(aw_types *types, const char *name, size_t len, unsigned flags);

/* 0 for a type that was never added. */
unsigned aw_types_flags(const aw_types *types, const char *name, size_t len);

#pragma GCC visibility pop

#endif
