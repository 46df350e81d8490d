/* An intrusive doubly linked queue. The owner of the nodes owns the memory. */
#ifndef AW_QUEUE_H
#define AW_QUEUE_H

#include <stdbool.h>
#include <stddef.h>

typedef struct aw_node aw_node;
typedef struct aw_queue aw_queue;

struct aw_node {
  aw_node *prev, *next; /* both NULL while in no queue */
};

struct aw_queue {
  aw_node head; /* sentinel */
};

/* The struct that holds `member`. */
#define AW_CONTAINER(node, type, member)                                       \
  ((type *)((char *)(node)-offsetof(type, member)))

static inline void aw_queue_init(aw_queue *q) {
  q->head.prev = q->head.next = &q->head;
}

static inline bool aw_queue_empty(const aw_queue *q) {
  return q->head.next == &q->head;
}

static inline bool aw_node_queued(const aw_node *node) {
  return node->next != NULL;
}

static inline void aw_queue_push(aw_queue *q, aw_node *node) {
  node->prev = q->head.prev;
  node->next = &q->head;
  q->head.prev->next = node;
  q->head.prev = node;
}

static inline void aw_queue_push_front(aw_queue *q, aw_node *node) {
  node->next = q->head.next;
  node->prev = &q->head;
  q->head.next->prev = node;
  q->head.next = node;
}

/* Takes a node out of whatever queue it is in; harmless when in none. */
static inline void aw_node_remove(aw_node *node) {
  if (node->next != NULL) {
    node->prev->next = node->next;
    node->next->prev = node->prev;
    node->prev = node->next = NULL;
  }
}

static inline aw_node *aw_queue_first(const aw_queue *q) {
  return aw_queue_empty(q) ? NULL : q->head.next;
}

/* The node after `node`, NULL at the end. */
static inline aw_node *aw_queue_next(const aw_queue *q, const aw_node *node) {
  return node->next == &q->head ? NULL : node->next;
}

static inline aw_node *aw_queue_pop(aw_queue *q) {
  aw_node *node = aw_queue_first(q);
  if (node != NULL) {
    aw_node_remove(node);
  }
  return node;
}

#endif
