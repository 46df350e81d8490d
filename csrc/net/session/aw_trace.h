/* One short line an envelope: direction, scope, sequence, type, and only such
 * payload members as can hold no credential. */
#ifndef AW_TRACE_H
#define AW_TRACE_H

#include "aw_mux.h"

#pragma GCC visibility push(hidden)

#define AW_TRACE_LINE 200

/* Formats a line without a newline; returns its length (below size). */
size_t aw_trace_format(const aw_trace *trace, char *out, size_t size);

/* Formats and prints to stderr. */
void aw_trace_print(const aw_trace *trace);

#pragma GCC visibility pop

#endif
