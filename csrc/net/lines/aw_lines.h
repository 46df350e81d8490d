/* Cuts a byte stream into lines. */
#ifndef AW_LINES_H
#define AW_LINES_H

#include "aw_buf.h"
#include <stdbool.h>
#include <stdint.h>

#pragma GCC visibility push(hidden)

typedef struct aw_lines aw_lines;
typedef struct aw_line aw_line;

/* What is kept of a line that is too long: enough to say whose it was. */
#define AW_LINE_HEAD_MAX 512

/* Embedded; fields are private. Holds at most max + 1 bytes. */
struct aw_lines {
  aw_buf partial;
  size_t max;
  bool given;    /* partial is a line that was given: drop it */
  bool skipping; /* the rest of a line that is too long */
  bool told;     /* ... and that was told already */
  size_t head_len;
  uint64_t skipped;            /* bytes of that line */
  char head[AW_LINE_HEAD_MAX]; /* its start */
};

struct aw_line {
  char *bytes;
  size_t len;     /* without LF and the CR before it */
  uint64_t whole; /* of a line that is too long, of which `len` are its start */
};

/* max: bytes of one line without its end. */
void aw_lines_init(aw_lines *lines, const aw_mem *mem, size_t max);
void aw_lines_fini(aw_lines *lines);

/* Takes bytes and gives the next line; empty lines are skipped. Call again
 * with the rest (bytes + *used, len - *used). The line lies in `bytes` or in
 * the splitter and lives until the next call; it may be changed.
 * AW_E_AGAIN: all used, no line is complete.
 * AW_E_LIMIT: a line was longer than max; said at its end, with its start in
 * `line` (at most AW_LINE_HEAD_MAX bytes); the rest is dropped.
 * AW_E_NOMEM: a line could not be stored; said once, the line is dropped. */
int aw_lines_next(aw_lines *lines, char *bytes, size_t len, size_t *used,
                  aw_line *line);

/* The input has ended: gives a last line that lacks its LF, or AW_E_AGAIN. */
int aw_lines_last(aw_lines *lines, aw_line *line);

#pragma GCC visibility pop

#endif
