/* The allocator that every allocating function of the core is given. */
#ifndef AW_MEM_H
#define AW_MEM_H

#include <stdbool.h>
#include <stddef.h>

#pragma GCC visibility push(hidden)

typedef struct aw_mem aw_mem;

/* realloc: as C's, with size 0 meaning free (returns NULL); NULL on failure,
 * the old block stays valid. The struct must outlive everything made with it.
 */
struct aw_mem {
  void *(*realloc)(void *user, void *block, size_t size);
  void *user;
};

/* The C library's allocator. */
const aw_mem *aw_mem_default(void);

/* NULL when out of memory or size is 0. aw_mem_zero clears the block and
 * checks count * size for overflow. aw_mem_free accepts NULL. */
void *aw_mem_alloc(const aw_mem *mem, size_t size);
void *aw_mem_zero(const aw_mem *mem, size_t count, size_t size);
void *aw_mem_realloc(const aw_mem *mem, void *block, size_t size);
void aw_mem_free(const aw_mem *mem, void *block);

/* A NUL-terminated copy; false when out of memory (*out is NULL). */
bool aw_mem_text(const aw_mem *mem, char **out, const char *bytes, size_t len);

#pragma GCC visibility pop

#endif
