#include "aw_request.h"
#include "aw_error.h"

/* In the one form that a rule about paths can be compared with, whatever form
 * it came in. OPTIONS' "*" is no path, and stays as it is. */
static char *copy_target(const aw_mem *mem, aw_http_head *head) {
  char *target = NULL;
  if (head->target.len == 1 && head->target.bytes[0] == '*') {
    return aw_mem_text(mem, &target, "*", 1) ? target : NULL;
  }
  if (aw_http_read_target(head) != NULL) {
    return NULL;
  }
  aw_http_span query = head->query;
  target = aw_mem_alloc(mem, head->path.len + query.len + 2);
  if (target == NULL) {
    return NULL;
  }
  size_t len = aw_http_normal_path(head->path, target);
  if (query.bytes != NULL) {
    target[len++] = '?';
    memcpy(target + len, query.bytes, query.len);
    len += query.len;
  }
  target[len] = '\0';
  return target;
}

static bool copy(aw_request *r, const aw_mem *mem, const char *head, size_t len,
                 const char *subject) {
  size_t ignored;
  r->text = aw_mem_alloc(mem, len);
  if (r->text == NULL) {
    return false;
  }
  memcpy(r->text, head, len);
  if (aw_http_parse(&r->head, r->text, len, len, true, &ignored) != AW_OK) {
    return false;
  }
  r->target = copy_target(mem, &r->head);
  return r->target != NULL &&
         (subject == NULL ||
          aw_mem_text(mem, &r->subject, subject, strlen(subject)));
}

int aw_request_init(aw_request *r, const aw_mem *mem, const char *head,
                    size_t len, aw_tls *tls, const char *address) {
  r->text = r->target = r->subject = NULL;
  memcpy(r->address, address, strlen(address) + 1);
  if (!copy(r, mem, head, len, tls != NULL ? aw_tls_subject(tls) : NULL)) {
    aw_request_fini(r, mem);
    return AW_E_NOMEM;
  }
  return AW_OK;
}

void aw_request_fini(aw_request *r, const aw_mem *mem) {
  aw_mem_free(mem, r->text);
  aw_mem_free(mem, r->target);
  aw_mem_free(mem, r->subject);
}

bool aw_request_field(const aw_request *r, unsigned index,
                      aw_upgrade_field *field) {
  if (index >= r->head.count) {
    return false;
  }
  const aw_http_header *header = &r->head.headers[index];
  *field = (aw_upgrade_field){header->name.bytes, header->value.bytes,
                              header->name.len, header->value.len};
  return true;
}
