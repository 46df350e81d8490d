#include "aw_mux_refuse.h"

const char *aw_refusal_class_name(enum aw_refusal_class which) {
  static const char *const names[] = {"json",     "version", "invalid",
                                      "sequence", "unknown", "exists",
                                      "limit",    "other"};
  return names[which];
}

static enum aw_refusal_class classify(int code) {
  switch (code) {
  case AW_E_VERSION_MISMATCH:
    return AW_REFUSED_VERSION;
  case AW_E_INVALID_REQUEST:
    return AW_REFUSED_INVALID;
  case AW_E_INVALID_SEQUENCE:
  case AW_E_DUPLICATE_SEQUENCE:
  case AW_E_SEQUENCE_GAP:
    return AW_REFUSED_SEQUENCE;
  case AW_E_UNKNOWN_SCOPE:
    return AW_REFUSED_UNKNOWN;
  case AW_E_EXISTS:
    return AW_REFUSED_EXISTS;
  case AW_E_LIMIT:
    return AW_REFUSED_LIMIT;
  default:
    return code <= AW_E_JSON_SYNTAX && code >= AW_E_JSON_DUPLICATE
               ? AW_REFUSED_JSON
               : AW_REFUSED_OTHER;
  }
}

/* Queues a refusal for the owner to answer. A flood is counted, not queued:
 * the answers would only help whoever sends it. */
void mux_refuse(aw_mux *mux, const aw_envelope *envelope,
                const aw_envelope_error *error, bool known) {
  mux->stats.refused[classify(error->code)]++;
  mux->stats.uncredited++;
  if (mux->refusal_count == AW_MUX_REFUSALS_MAX) {
    mux->stats.unanswered++;
    return;
  }
  aw_refusal refusal = (aw_refusal){.code = error->code,
                                    .kind = envelope->kind,
                                    .id = envelope->id,
                                    .message_id = envelope->message_id,
                                    .has_scope = envelope->has_scope,
                                    .has_message_id = envelope->has_message_id,
                                    .known = known,
                                    .consumed = envelope->refused != NULL,
                                    .sequence = envelope->sequence,
                                    .offset = error->offset,
                                    .field = error->field,
                                    .what = error->what};
  if (envelope->type != NULL) {
    refusal.type_len = (unsigned)envelope->type_len;
    memcpy(refusal.type, envelope->type, envelope->type_len);
  }
  if (aw_buf_append(&mux->refusals, &refusal, sizeof refusal) != AW_OK) {
    mux->stats.unanswered++;
    return;
  }
  mux->refusal_count++;
}

void mux_refuse_code(aw_mux *mux, const aw_envelope *envelope, int code,
                     bool known) {
  aw_envelope_error error = {.code = code, .what = aw_error_text(code)};
  if (classify(code) == AW_REFUSED_SEQUENCE) {
    error.field = "sequence";
  }
  mux_refuse(mux, envelope, &error, known);
}

bool mux_is_json_error(int code) {
  return classify(code) == AW_REFUSED_JSON;
}

bool aw_mux_refusal(aw_mux *mux, aw_refusal *out) {
  if (mux->refusal_count == 0) {
    return false;
  }
  memcpy(out, aw_buf_bytes(&mux->refusals), sizeof *out);
  aw_buf_consume(&mux->refusals, sizeof *out);
  mux->refusal_count--;
  if (mux->refusal_count == 0) {
    aw_buf_reset(&mux->refusals, 0);
  }
  return true;
}
