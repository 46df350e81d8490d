/* An allocator for tests: fails the Nth allocation, counts live blocks, and
 * moves a block whenever it is resized, so that ASan sees stale pointers. */
#ifndef FAILING_MEM_H
#define FAILING_MEM_H

#include "aw_mem.h"

typedef struct failing_mem failing_mem;

struct failing_mem {
  aw_mem mem;
  size_t fail_at; /* 1 is the first allocation; 0 fails none */
  size_t calls, live;
};

/* The struct must not move while &failing->mem is in use. */
void failing_mem_init(failing_mem *failing, size_t fail_at);

/* Runs the scenario with the first allocation failing, then the second, and
 * so on until none was left to fail. A run with a failure must return
 * AW_E_NOMEM, the last one 0; after each of them no block may be live. */
void fail_each_allocation(int (*scenario)(const aw_mem *mem));

#endif
