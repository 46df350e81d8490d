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

/* A flood beyond the bound comes again with the next resume. */
static void let_go(aw_mux *mux, enum aw_kind kind, const aw_uuid *id,
                   const aw_uuid *opening_id) {
  refused_opening record = {kind, *id, *opening_id};
  size_t most = AW_MUX_REFUSALS_MAX * sizeof record;
  if (mux_resumable(mux) && aw_buf_len(&mux->refused_openings) < most &&
      aw_buf_append(&mux->refused_openings, &record, sizeof record) == AW_OK) {
    mux_flow_soon(mux);
  }
}

static aw_refusal make_refusal(const aw_envelope *envelope,
                               const aw_envelope_error *error, bool known) {
  aw_refusal refusal = {.code = error->code,
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
  return refusal;
}

/* A flood is counted, not queued: the answers would only help whoever sends it.
 */
static void queue(aw_mux *mux, const aw_refusal *refusal) {
  mux->stats.refused[classify(refusal->code)]++;
  mux->stats.uncredited++;
  if (mux->refusal_count < AW_MUX_REFUSALS_MAX &&
      aw_buf_append(&mux->refusals, refusal, sizeof *refusal) == AW_OK) {
    mux->refusal_count++;
    return;
  }
  mux->stats.unanswered++;
  if (refusal->opens) {
    let_go(mux, refusal->kind, &refusal->id, &refusal->message_id);
  }
}

void mux_refuse(aw_mux *mux, const aw_envelope *envelope,
                const aw_envelope_error *error, bool known) {
  aw_refusal refusal = make_refusal(envelope, error, known);
  queue(mux, &refusal);
}

static aw_envelope_error error_of(int code) {
  aw_envelope_error error = {.code = code, .what = aw_error_text(code)};
  if (classify(code) == AW_REFUSED_SEQUENCE) {
    error.field = "sequence";
  }
  return error;
}

void mux_refuse_code(aw_mux *mux, const aw_envelope *envelope, int code,
                     bool known) {
  aw_envelope_error error = error_of(code);
  mux_refuse(mux, envelope, &error, known);
}

void mux_refuse_opening(aw_mux *mux, const aw_envelope *envelope, int code,
                        bool known) {
  aw_envelope_error error = error_of(code);
  aw_refusal refusal = make_refusal(envelope, &error, known);
  refusal.opens = true;
  queue(mux, &refusal);
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
  if (out->opens) {
    let_go(mux, out->kind, &out->id, &out->message_id);
  }
  return true;
}
