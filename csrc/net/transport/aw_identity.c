#include "aw_identity.h"
#include "aw_error.h"
#include <string.h>

struct aw_identity {
  const aw_mem *mem;
  unsigned refs;
  const char *claims; /* behind the id */
  char id[];
};

int aw_identity_new(aw_identity **out, const aw_mem *mem, const char *id,
                    const char *claims) {
  size_t id_size = strlen(id) + 1;
  size_t claims_size = strlen(claims) + 1;
  aw_identity *made = aw_mem_alloc(mem, sizeof *made + id_size + claims_size);
  if (made == NULL) {
    return AW_E_NOMEM;
  }
  made->mem = mem;
  made->refs = 1;
  memcpy(made->id, id, id_size);
  memcpy(made->id + id_size, claims, claims_size);
  made->claims = made->id + id_size;
  *out = made;
  return AW_OK;
}

aw_identity *aw_identity_hold(aw_identity *identity) {
  if (identity != NULL) {
    identity->refs++;
  }
  return identity;
}

void aw_identity_drop(aw_identity *identity) {
  if (identity != NULL && --identity->refs == 0) {
    aw_mem_free(identity->mem, identity);
  }
}

bool aw_identity_same(const aw_identity *a, const aw_identity *b) {
  if (a == NULL || b == NULL) {
    return a == b;
  }
  return strcmp(a->id, b->id) == 0;
}

const char *aw_identity_id(const aw_identity *identity) {
  return identity == NULL ? NULL : identity->id;
}

const char *aw_identity_claims(const aw_identity *identity) {
  return identity == NULL ? NULL : identity->claims;
}
