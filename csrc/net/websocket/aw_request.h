/* What a client has asked for: a copy of its request's head, which may outlive
 * the connection that it came by. */
#ifndef AW_REQUEST_H
#define AW_REQUEST_H

#include "aw_http.h"
#include "aw_tcp.h"
#include "aw_tls.h"

#pragma GCC visibility push(hidden)

typedef struct aw_request aw_request;

struct aw_request {
  char *text; /* the head; spans point into it */
  aw_http_head head;
  char *target;  /* in the form of aw_http_normal_path, with the query */
  char *subject; /* of the client's certificate; NULL: none */
  char address[AW_TCP_ADDRESS_TEXT];
};

/* Of a head that was parsed and checked. `tls` NULL: plain. AW_E_NOMEM leaves
 * nothing to be freed. */
int aw_request_init(aw_request *request, const aw_mem *mem, const char *head,
                    size_t len, aw_tls *tls, const char *address);
void aw_request_fini(aw_request *request, const aw_mem *mem);

/* As aw_upgrade_headers. */
bool aw_request_field(const aw_request *request, unsigned index,
                      aw_upgrade_field *field);

#pragma GCC visibility pop

#endif
