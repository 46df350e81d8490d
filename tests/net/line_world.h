/* Line pipes on one loop, and what they report: for the tests of lines. */
#ifndef LINE_WORLD_H
#define LINE_WORLD_H

#include "aw_error.h"
#include "aw_line_pipe.h"
#include "failing_mem.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

typedef struct line_end line_end;

enum line_upcall {
  LINE_NONE,
  LINE_LINE,
  LINE_DROPPED,
  LINE_RECEIVED,
  LINE_CUT,
  LINE_SENT,
  LINE_EOF,
  LINE_FAILING,
  LINE_ENDED,
  LINE_UPCALLS
};

/* One pipe and what came of it. A test may set what is below the line. */
struct line_end {
  aw_line_pipe *pipe; /* NULL once freed */
  unsigned upcalls[LINE_UPCALLS];
  size_t bytes;   /* of lines */
  size_t strange; /* lines that were not the next number */
  int dropped_error;
  uint64_t dropped_whole;
  enum aw_line_state state;
  aw_line_end end;
  /* --- */
  enum line_upcall free_in;
  unsigned pause_each; /* pauses after so many lines; 0: never */
  bool counts;         /* the lines are numbers from 0 on */
};

extern aw_loop *line_loop;

/* cmocka fixtures: a loop; then nothing may be left: no block, no libuv handle,
 * no descriptor, no child. */
int line_set_up(void **state);
int line_tear_down(void **state);
#define WITH_LINES(test)                                                       \
  cmocka_unit_test_setup_teardown(test, line_set_up, line_tear_down)

void line_start(line_end *end, aw_line_pipe *pipe);
void line_free(line_end *end);

/* Two that are each other's peer. */
void line_pair(line_end *near, line_end *far, size_t line_max);

/* A shell that runs this; `options` may be NULL. */
void line_shell(line_end *end, const char *script,
                const aw_child_options *options);

void line_turn(int timeout_ms);

/* Turns until it holds; fails the test after 20 s. */
void line_until(bool (*done)(const line_end *end), const line_end *end);
bool line_has_ended(const line_end *end);
bool line_has_eof(const line_end *end);

/* Makes the timer that runs due now; there has to be one. */
void line_hurry(void);

unsigned line_descriptors(void);

#endif
