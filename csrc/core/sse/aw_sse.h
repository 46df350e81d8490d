/* Server-sent events (WHATWG HTML section 9.2.6, "Interpreting an event
 * stream"), sans I/O: bytes in, cut wherever they are, events out. What is not
 * UTF-8 is handed on as it came; whoever reads the data judges it. */
#ifndef AW_SSE_H
#define AW_SSE_H

#include "aw_buf.h"
#include <stdbool.h>
#include <stdint.h>

#pragma GCC visibility push(hidden)

typedef struct aw_sse aw_sse;
typedef struct aw_sse_event aw_sse_event;
typedef struct aw_sse_options aw_sse_options;

/* A model's largest events are pictures in base64, whose line is the event. */
#define AW_SSE_LINE_MAX (1u << 20)  /* bytes of a line without its end */
#define AW_SSE_EVENT_MAX (1u << 20) /* of data, type and id together */

/* No server means to be away for longer than this many milliseconds. */
#define AW_SSE_RETRY_MAX INT32_MAX

/* 0: the default. Comments are not kept and may be of any length. */
struct aw_sse_options {
  size_t line_max, event_max;
};

/* Spans lie in the reader and live until the next call. */
struct aw_sse_event {
  const char *type, *data, *id; /* no NUL behind them */
  size_t type_len;              /* 0: none was given, which means "message" */
  size_t data_len;
  size_t id_len;    /* of the last id of the stream so far, not of the event */
  int64_t retry_ms; /* that the stream asked for last; -1: never */
};

/* Embedded; fields are private. */
struct aw_sse {
  aw_sse_options options;
  aw_buf line, data, type, id;
  int64_t retry_ms;
  int error;      /* what every call answers from now on */
  unsigned mark;  /* bytes of a byte order mark so far */
  bool started;   /* the mark is over, or was none */
  bool after_cr;  /* an LF that comes next is of the same line end */
  bool comment;   /* the line is one, and is not kept */
  bool has_given; /* data and type are of an event that was given */
};

void aw_sse_init(aw_sse *sse, const aw_mem *mem, const aw_sse_options *options);

/* An event that has no empty line behind it yet is dropped, as the standard
 * wants it at the end of a stream. */
void aw_sse_fini(aw_sse *sse);

/* Takes bytes and gives the next event. Call again with the rest
 * (bytes + *used, len - *used). AW_E_AGAIN: all used, no event is complete.
 * AW_E_LIMIT: a line or an event is too long; AW_E_NOMEM. After these two the
 * stream cannot be read any more, and every further call says the same. */
int aw_sse_next(aw_sse *sse, const char *bytes, size_t len, size_t *used,
                aw_sse_event *event);

#pragma GCC visibility pop

#endif
