/* Requests that are no upgrade, as RFC 9110 and RFC 9112 have them: how many a
 * server sees in what a client sends, what body the first has, and how the
 * connection is refused. The same rows run against the parser and against
 * sockets. */
#ifndef EXCHANGE_CASES_H
#define EXCHANGE_CASES_H

#include <stddef.h>

/* What the server takes of one body. */
#define EXCHANGE_BODY_MAX 100

typedef struct exchange_case exchange_case;

struct exchange_case {
  const char *name, *text;
  size_t len;
  unsigned requests; /* that are whole, before anything is refused */
  int status;        /* of the refusal; 0: none */
  const char *body;  /* of the first */
};

extern const exchange_case exchange_cases[];
extern const size_t exchange_case_count;

#endif
