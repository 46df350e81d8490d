/* What libcurl's failures are here: a code of ours, and one sentence. */
#ifndef AW_FETCH_FAILURE_H
#define AW_FETCH_FAILURE_H

#ifdef AW_WITH_CURL

#include <curl/curl.h>
#include <stdbool.h>
#include <stddef.h>

#pragma GCC visibility push(hidden)

#define AW_FETCH_WHY_MAX 200

typedef struct aw_fetch_state {
  bool connected; /* the request could be written */
  bool has_head;
} aw_fetch_state;

/* Gives the code, writes the sentence with a NUL. `told` is what libcurl has
 * written of it (CURLOPT_ERRORBUFFER); what a peer has a hand in is made one
 * line of visible characters. */
int aw_fetch_failure(CURL *easy, CURLcode result, aw_fetch_state state,
                     const char *told, char why[AW_FETCH_WHY_MAX]);

#endif
#pragma GCC visibility pop

#endif
