/* Reading and writing the members and lists of link messages. */
#ifndef AW_MUX_LINK_TEXT_H
#define AW_MUX_LINK_TEXT_H

#include "aw_envelope.h"

#pragma GCC visibility push(hidden)

/* A payload object on a tape. */
typedef struct mux_link_reader {
  const aw_json_token *tokens;
  uint32_t object;
  const char *text;
} mux_link_reader;

/* Members; false or NULL when absent or of another kind. Strings that hold
 * escapes read as absent: nothing in a link message needs one. */
bool mux_link_number(const mux_link_reader *in, const char *key, uint64_t *out);
bool mux_link_has(const mux_link_reader *in, const char *key);
/* True also when it is absent: *out is left as it was. */
bool mux_link_may_number(const mux_link_reader *in, const char *key,
                         uint64_t *out);
bool mux_link_true(const mux_link_reader *in, const char *key);
bool mux_link_scope(const mux_link_reader *in, enum aw_kind *kind, aw_uuid *id);
const char *mux_link_string(const mux_link_reader *in, const char *key,
                            size_t *len);

/* A list of lists: scopes: [[kind, id, ...], ...]. */
typedef struct mux_link_list {
  const mux_link_reader *in;
  uint32_t next, end; /* token indices */
  uint32_t item;
} mux_link_list;

bool mux_link_list_open(const mux_link_reader *in, const char *key,
                        mux_link_list *list);
bool mux_link_list_next(mux_link_list *list); /* false at the end */
bool mux_link_item_scope(const mux_link_list *list, enum aw_kind *kind,
                         aw_uuid *id);
bool mux_link_item_number(const mux_link_list *list, unsigned index,
                          uint64_t *out);
const char *mux_link_item_string(const mux_link_list *list, unsigned index,
                                 size_t *len);

/* Writers; errors stick in *rc (checked once at the end). */
void mux_link_put(aw_buf *out, const char *text, int *rc);
void mux_link_put_number(aw_buf *out, uint64_t value, int *rc);
void mux_link_put_uuid(aw_buf *out, const aw_uuid *id, int *rc); /* quoted */
void mux_link_put_scope(aw_buf *out, enum aw_kind kind, const aw_uuid *id,
                        int *rc);
void mux_link_put_hex(aw_buf *out, const uint8_t *bytes, size_t len, int *rc);

#pragma GCC visibility pop

#endif
