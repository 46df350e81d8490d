/* Who is behind the proxies that a request came through. */
#include "aw_error.h"
#include "aw_http_text.h"

/* "1.2.3.4", "1.2.3.4:5", "::1", "[::1]", "[::1]:5": all are written. */
static bool read_address(aw_http_span item, aw_address *out) {
  if (aw_address_parse(out, item.bytes, item.len) == AW_OK) {
    return true;
  }
  if (!aw_http_is_authority(item)) {
    return false;
  }
  if (item.bytes[0] == '[') {
    const char *end = memchr(item.bytes, ']', item.len);
    return aw_address_parse(out, item.bytes + 1,
                            (size_t)(end - item.bytes) - 1) == AW_OK;
  }
  const char *colon = memchr(item.bytes, ':', item.len);
  return colon != NULL &&
         aw_address_parse(out, item.bytes, (size_t)(colon - item.bytes)) ==
             AW_OK;
}

bool aw_http_is_trusted(const aw_http_proxies *proxies,
                        const aw_address *address) {
  for (size_t i = 0; i < proxies->count; i++) {
    if (aw_network_holds(&proxies->networks[i], address)) {
      return true;
    }
  }
  return false;
}

/* Takes the last item off a list; false when there is none. */
static bool last_item(aw_http_span *list, aw_http_span *item) {
  size_t start = list->len;
  if (list->bytes == NULL) {
    return false;
  }
  while (start > 0 && list->bytes[start - 1] != ',') {
    start--;
  }
  *item = aw_http_trim((aw_http_span){list->bytes + start, list->len - start});
  if (start == 0) {
    list->bytes = NULL;
  } else {
    list->len = start - 1;
  }
  return true;
}

bool aw_http_client_of(const aw_http_head *head, const aw_http_proxies *proxies,
                       const aw_address *peer, aw_address *client) {
  bool trusted = peer == NULL || aw_http_is_trusted(proxies, peer);
  for (unsigned at = head->count; at-- > 0 && trusted;) {
    aw_http_span list = head->headers[at].value, item;
    if (!aw_http_same(head->headers[at].name, "X-Forwarded-For")) {
      continue;
    }
    while (trusted && last_item(&list, &item)) {
      if (!read_address(item, client)) {
        return false;
      }
      trusted = aw_http_is_trusted(proxies, client);
    }
  }
  return true;
}
