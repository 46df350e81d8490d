/* A line pipe for a reader that takes lines when it likes, and a writer that is
 * told when there is room: bounded both ways, with a source that says what has
 * happened. */
#ifndef AW_LINE_INBOX_H
#define AW_LINE_INBOX_H

#include "aw_line_pipe.h"

#pragma GCC visibility push(hidden)

typedef struct aw_line_inbox aw_line_inbox;
typedef struct aw_line_inbox_options aw_line_inbox_options;
typedef struct aw_line_stats aw_line_stats;

/* Lines that wait to be taken. When there are so many nothing more is read,
 * until half of them have been; the bytes may be passed by one line. */
#define AW_LINE_INBOX_LINES 1024
#define AW_LINE_INBOX_BYTES (1u << 20)

/* Output that waits: with so much of it a send is refused, until half of it has
 * gone. May be passed by one line. */
#define AW_LINE_OUTBOX_BYTES (1u << 20)

/* 0: the default. */
struct aw_line_inbox_options {
  size_t inbox_lines, inbox_bytes, outbox_bytes;
  bool skips; /* a line that is too long is dropped, and is no end */
};

/* Events of its source. */
enum aw_line_event {
  AW_LINE_READABLE = 1, /* lines, or the end of them */
  AW_LINE_WRITABLE = 2, /* after a send was refused for lack of room */
  AW_LINE_SKIPPED = 4,
  AW_LINE_OVER = 8 /* both directions have ended: the last event */
};

struct aw_line_stats {
  uint64_t lines_in, lines_out, bytes_in, bytes_out; /* taken by the system */
  uint64_t skipped, skipped_bytes;
  uint64_t
      unsent_bytes; /* of lines that were accepted, and had to be dropped */
  size_t inbox_lines, inbox_bytes, outbox_bytes;
};

/* Owns the pipe, also on failure (AW_E_NOMEM). */
int aw_line_inbox_new(aw_line_inbox **out, aw_loop *loop, aw_line_pipe *lines,
                      const aw_line_inbox_options *options, void *user);

/* As aw_line_pipe_free. NULL is accepted. */
void aw_line_inbox_free(aw_line_inbox *inbox);

aw_source *aw_line_inbox_source(aw_line_inbox *inbox);

/* The next line, which lives until the next call. AW_E_AGAIN: none is there.
 * AW_E_CLOSED: none will come; aw_line_inbox_end says why. */
int aw_line_inbox_next(aw_line_inbox *inbox, const char **bytes, size_t *len);

/* AW_E_INVALID: there is a line feed or a NUL in it, at *at. AW_E_LIMIT: it is
 * longer than the pipe takes. AW_E_AGAIN: no room. AW_E_CLOSED, AW_E_NOMEM. */
int aw_line_inbox_send(aw_line_inbox *inbox, const char *bytes, size_t len,
                       size_t *at);

/* Nothing more is sent; lines still come. A child that closes its own output
 * does this to itself: it has nothing to answer any more. */
void aw_line_inbox_finish(aw_line_inbox *inbox);

/* Ends in order; lines that were not taken are dropped. */
void aw_line_inbox_close(aw_line_inbox *inbox);

/* Bytes that a line may have, both ways. */
size_t aw_line_inbox_line_max(const aw_line_inbox *inbox);

/* Why no lines come any more; NULL while some may. */
const aw_line_end *aw_line_inbox_end(const aw_line_inbox *inbox);

enum aw_line_state aw_line_inbox_state(const aw_line_inbox *inbox);
aw_child *aw_line_inbox_child(const aw_line_inbox *inbox); /* or NULL */
void aw_line_inbox_stats(const aw_line_inbox *inbox, aw_line_stats *out);

#pragma GCC visibility pop

#endif
