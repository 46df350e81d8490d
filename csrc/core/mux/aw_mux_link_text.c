#include "aw_mux_link_text.h"
#include "aw_bytes.h"
#include "aw_error.h"
#include <string.h>

static const aw_json_token *
find_value(const mux_link_reader *in, const char *key, enum aw_json_kind kind) {
  uint32_t at =
      aw_json_member(in->tokens, in->object, in->text, key, strlen(key));
  return at != 0 && in->tokens[at].kind == kind ? &in->tokens[at] : NULL;
}

static bool token_number(const aw_json_token *token, const char *text,
                         uint64_t *out) {
  int64_t number = 0;
  if (token == NULL || token->kind != AW_JSON_INTEGER ||
      aw_json_int64(token, text, &number) != AW_OK || number < 0 ||
      number > (int64_t)AW_SEQ_MAX) {
    return false;
  }
  *out = (uint64_t)number;
  return true;
}

bool mux_link_number(const mux_link_reader *in, const char *key,
                     uint64_t *out) {
  return token_number(find_value(in, key, AW_JSON_INTEGER), in->text, out);
}

bool mux_link_has(const mux_link_reader *in, const char *key) {
  uint32_t at =
      aw_json_member(in->tokens, in->object, in->text, key, strlen(key));
  return at != 0 && in->tokens[at].kind != AW_JSON_NULL;
}

bool mux_link_may_number(const mux_link_reader *in, const char *key,
                         uint64_t *out) {
  return !mux_link_has(in, key) || mux_link_number(in, key, out);
}

bool mux_link_true(const mux_link_reader *in, const char *key) {
  return find_value(in, key, AW_JSON_TRUE) != NULL;
}

const char *mux_link_string(const mux_link_reader *in, const char *key,
                            size_t *len) {
  const aw_json_token *token = find_value(in, key, AW_JSON_STRING);
  if (token == NULL || token->escaped) {
    return NULL;
  }
  *len = token->len;
  return in->text + token->start;
}

bool mux_link_list_open(const mux_link_reader *in, const char *key,
                        mux_link_list *list) {
  const aw_json_token *token = find_value(in, key, AW_JSON_ARRAY);
  if (token == NULL) {
    return false;
  }
  uint32_t at = (uint32_t)(token - in->tokens);
  *list = (mux_link_list){.in = in, .next = at + 1, .end = token->next};
  return true;
}

bool mux_link_list_next(mux_link_list *list) {
  if (list->next >= list->end) {
    return false;
  }
  list->item = list->next;
  list->next = list->in->tokens[list->item].next;
  return true;
}

static const aw_json_token *item_value(const mux_link_list *list,
                                       unsigned index) {
  const aw_json_token *tokens = list->in->tokens;
  if (tokens[list->item].kind != AW_JSON_ARRAY) {
    return NULL;
  }
  uint32_t at = list->item + 1;
  while (index-- > 0 && at < tokens[list->item].next) {
    at = tokens[at].next;
  }
  return at < tokens[list->item].next ? &tokens[at] : NULL;
}

const char *mux_link_item_string(const mux_link_list *list, unsigned index,
                                 size_t *len) {
  const aw_json_token *token = item_value(list, index);
  if (token == NULL || token->kind != AW_JSON_STRING || token->escaped) {
    return NULL;
  }
  *len = token->len;
  return list->in->text + token->start;
}

bool mux_link_item_number(const mux_link_list *list, unsigned index,
                          uint64_t *out) {
  return token_number(item_value(list, index), list->in->text, out);
}

static bool read_scope(const char *name, size_t name_len, const char *text,
                       size_t len, enum aw_kind *kind, aw_uuid *id) {
  int found = name == NULL ? -1 : aw_kind_find(name, name_len);
  if (found < 0 || found >= AW_KIND_SCOPES) {
    return false;
  }
  *kind = (enum aw_kind)found;
  return text != NULL && aw_uuid_parse(id, text, len) == AW_OK;
}

bool mux_link_scope(const mux_link_reader *in, enum aw_kind *kind,
                    aw_uuid *id) {
  size_t name_len = 0, len = 0;
  const char *name = mux_link_string(in, "kind", &name_len);
  const char *text = mux_link_string(in, "id", &len);
  return read_scope(name, name_len, text, len, kind, id);
}

bool mux_link_item_scope(const mux_link_list *list, enum aw_kind *kind,
                         aw_uuid *id) {
  size_t name_len = 0, len = 0;
  const char *name = mux_link_item_string(list, 0, &name_len);
  const char *text = mux_link_item_string(list, 1, &len);
  return read_scope(name, name_len, text, len, kind, id);
}

void mux_link_put(aw_buf *out, const char *text, int *rc) {
  if (*rc == AW_OK) {
    *rc = aw_buf_append(out, text, strlen(text));
  }
}

void mux_link_put_number(aw_buf *out, uint64_t value, int *rc) {
  if (*rc == AW_OK) {
    *rc = aw_json_put_int64(out, (int64_t)value);
  }
}

void mux_link_put_uuid(aw_buf *out, const aw_uuid *id, int *rc) {
  char text[AW_UUID_TEXT + 3] = {'"'};
  aw_uuid_format(id, text + 1);
  text[AW_UUID_TEXT + 1] = '"';
  mux_link_put(out, text, rc);
}

void mux_link_put_scope(aw_buf *out, enum aw_kind kind, const aw_uuid *id,
                        int *rc) {
  mux_link_put(out, "[\"", rc);
  mux_link_put(out, aw_kind_name(kind), rc);
  mux_link_put(out, "\",", rc);
  mux_link_put_uuid(out, id, rc);
}

void mux_link_put_hex(aw_buf *out, const uint8_t *bytes, size_t len, int *rc) {
  for (size_t i = 0; i < len && *rc == AW_OK; i++) {
    char pair[2] = {aw_hex_digit(bytes[i] >> 4u), aw_hex_digit(bytes[i])};
    *rc = aw_buf_append(out, pair, 2);
  }
}
