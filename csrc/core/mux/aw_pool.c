#include "aw_pool.h"

aw_pool *aw_pool_new(const aw_mem *mem, size_t log_max, size_t in_max) {
  aw_pool *pool = aw_mem_zero(mem, 1, sizeof *pool);
  if (pool == NULL) {
    return NULL;
  }
  pool->mem = mem;
  pool->refs = 1;
  pool->log_max = log_max;
  pool->in_max = in_max;
  aw_queue_init(&pool->waiting);
  aw_queue_init(&pool->unfinished);
  return pool;
}

void aw_pool_hold(aw_pool *pool) {
  pool->refs++;
}

void aw_pool_drop(aw_pool *pool) {
  if (pool != NULL && --pool->refs == 0) {
    aw_mem_free(pool->mem, pool);
  }
}
