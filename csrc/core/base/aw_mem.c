#include "aw_mem.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* C leaves realloc(block, 0) to the implementation; the contract does not. */
static void *libc_realloc(void *user, void *block, size_t size) {
  (void)user;
  if (size == 0) {
    free(block);
    return NULL;
  }
  return realloc(block, size);
}

const aw_mem *aw_mem_default(void) {
  static const aw_mem mem = {libc_realloc, NULL};
  return &mem;
}

void *aw_mem_alloc(const aw_mem *mem, size_t size) {
  return size == 0 ? NULL : mem->realloc(mem->user, NULL, size);
}

void *aw_mem_zero(const aw_mem *mem, size_t count, size_t size) {
  if (size != 0 && count > SIZE_MAX / size) {
    return NULL;
  }
  void *block = aw_mem_alloc(mem, count * size);
  if (block != NULL) {
    memset(block, 0, count * size);
  }
  return block;
}

void *aw_mem_realloc(const aw_mem *mem, void *block, size_t size) {
  return mem->realloc(mem->user, block, size);
}

void aw_mem_free(const aw_mem *mem, void *block) {
  if (block != NULL) {
    mem->realloc(mem->user, block, 0);
  }
}

bool aw_mem_text(const aw_mem *mem, char **out, const char *bytes, size_t len) {
  *out = aw_mem_alloc(mem, len + 1);
  if (*out == NULL) {
    return false;
  }
  if (len > 0) {
    memcpy(*out, bytes, len);
  }
  (*out)[len] = '\0';
  return true;
}
