/* libcurl's multi handle on the one loop: its sockets are polled by libuv, its
 * timer is one of the loop's. There is one for each loop, made when the first
 * request is. Without libcurl this file is empty. */
#ifndef AW_FETCH_CLIENT_H
#define AW_FETCH_CLIENT_H

#ifdef AW_WITH_CURL

#include "aw_fetch.h"
#include <curl/curl.h>

#pragma GCC visibility push(hidden)

typedef struct aw_fetch_client aw_fetch_client;
typedef struct aw_fetch_transfer aw_fetch_transfer;

/* Embedded in what a handle is of, which has it as CURLOPT_PRIVATE. `done` is
 * called, outside of libcurl, when the handle has been taken out. */
struct aw_fetch_transfer {
  void (*done)(aw_fetch_transfer *transfer, CURLcode result);
};

/* AW_E_NOMEM, AW_E_UNSUPPORTED with *why (static). */
int aw_fetch_client_of(aw_fetch_client **out, aw_loop *loop, const char **why);

int aw_fetch_client_limit(aw_fetch_client *client,
                          const aw_fetch_limits *limits);

/* Begins; takes out, whose connection ends if it is under way. Neither may be
 * called inside of a callback of libcurl. */
int aw_fetch_client_add(aw_fetch_client *client, CURL *easy);
void aw_fetch_client_remove(aw_fetch_client *client, CURL *easy);

/* Goes on with a handle that was paused. */
void aw_fetch_client_resume(aw_fetch_client *client, CURL *easy);

#endif
#pragma GCC visibility pop

#endif
