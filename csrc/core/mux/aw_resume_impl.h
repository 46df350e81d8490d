/* Reading and writing the lists of link messages; private to aw_hello.c,
 * aw_resume.c, aw_fold.c, aw_limits.c and aw_link_text.c. */
#ifndef AW_RESUME_IMPL_H
#define AW_RESUME_IMPL_H

#include "aw_mux.h"

/* A payload object on a tape. */
typedef struct link_reader {
  const aw_json_token *tokens;
  uint32_t object;
  const char *text;
} link_reader;

/* Members; false or NULL when absent or of another kind. Strings that hold
 * escapes read as absent: nothing in a link message needs one. */
bool link_number(const link_reader *in, const char *key, uint64_t *out);
bool link_has(const link_reader *in, const char *key);
/* True also when it is absent: *out is left as it was. */
bool link_may_number(const link_reader *in, const char *key, uint64_t *out);
bool link_true(const link_reader *in, const char *key);
bool link_scope(const link_reader *in, enum aw_kind *kind, aw_uuid *id);
const char *link_string(const link_reader *in, const char *key, size_t *len);

/* message_max and the like of a hello or welcome (aw_limits.c). */
bool limits_read(const link_reader *in, aw_limits *out);

/* A list of lists: scopes: [[kind, id, ...], ...]. */
typedef struct link_list {
  const link_reader *in;
  uint32_t next, end; /* token indices */
  uint32_t item;
} link_list;

bool link_list_open(const link_reader *in, const char *key, link_list *list);
bool link_list_next(link_list *list); /* false at the end */
bool link_item_scope(const link_list *list, enum aw_kind *kind, aw_uuid *id);
bool link_item_number(const link_list *list, unsigned index, uint64_t *out);
const char *link_item_string(const link_list *list, unsigned index,
                             size_t *len);

/* Writers; errors stick in *rc (checked once at the end). */
void link_put(aw_buf *out, const char *text, int *rc);
void link_put_number(aw_buf *out, uint64_t value, int *rc);
void link_put_uuid(aw_buf *out, const aw_uuid *id, int *rc); /* quoted */
void link_put_scope(aw_buf *out, enum aw_kind kind, const aw_uuid *id, int *rc);
void link_put_hex(aw_buf *out, const uint8_t *bytes, size_t len, int *rc);

#endif
