/* The limits of a mux, each in one place. From this list come the fields of
 * aw_mux_options, what 0 stands for and what is cut off, what the binding reads
 * of a table of options and tells in core.limits, and so what the options of
 * Lua take (lua/agentwire/_limits.lua). */
#ifndef AW_MUX_LIMIT_LIST_H
#define AW_MUX_LIMIT_LIST_H

#include "aw_channel.h"
#include "aw_json.h"

#define AW_MUX_SCOPES_MAX 10000
#define AW_MUX_TOMBS_MAX 1024            /* ended scopes that are remembered */
#define AW_MUX_CONTROL_BYTES (64u << 10) /* unsequenced messages, each way */
#define AW_MUX_INBOUND_BYTES (4u << 20)  /* queued or in flight to us */
#define AW_MUX_SESSION_BYTES (8u << 20)  /* logs of all scopes together */
#define AW_MUX_WINDOW_MS 120000          /* how long a detached session lives */
/* What message_max may be at most: the records of the core count in 32 bits,
 * a message with its tokens among them. */
#define AW_MUX_MESSAGE_TOP (256u << 20)
/* Of a number of things, or of milliseconds. */
#define AW_MUX_COUNT_TOP INT32_MAX
/* Of a size: what is granted stays below 2^53 for as long as it matters. */
#define AW_MUX_SIZE_TOP ((uint64_t)1 << 40)

/* LIMIT(type, name, default, most): above `most` it is that. */
#define AW_MUX_LIMIT_LIST(LIMIT)                                               \
  LIMIT(size_t, message_max, AW_CHANNEL_MESSAGE_BYTES, AW_MUX_MESSAGE_TOP)     \
  LIMIT(unsigned, depth_max, AW_JSON_DEPTH, AW_JSON_DEPTH_MAX)                 \
  LIMIT(unsigned, values_max, AW_JSON_VALUES, AW_JSON_VALUES_MAX)              \
  LIMIT(size_t, scopes_max, AW_MUX_SCOPES_MAX, AW_MUX_SIZE_TOP)                \
  LIMIT(size_t, tombs_max, AW_MUX_TOMBS_MAX, AW_MUX_SIZE_TOP)                  \
  LIMIT(unsigned, window_messages, AW_CHANNEL_WINDOW_MESSAGES,                 \
        AW_MUX_COUNT_TOP)                                                      \
  LIMIT(size_t, window_bytes, AW_CHANNEL_WINDOW_BYTES, AW_MUX_SIZE_TOP)        \
  LIMIT(size_t, inbound_bytes, AW_MUX_INBOUND_BYTES, AW_MUX_SIZE_TOP)          \
  LIMIT(unsigned, log_messages, AW_CHANNEL_LOG_MESSAGES, AW_MUX_COUNT_TOP)     \
  LIMIT(size_t, log_bytes, AW_CHANNEL_LOG_BYTES, AW_MUX_SIZE_TOP)              \
  LIMIT(size_t, session_bytes, AW_MUX_SESSION_BYTES, AW_MUX_SIZE_TOP)          \
  LIMIT(size_t, control_bytes, AW_MUX_CONTROL_BYTES, AW_MUX_SIZE_TOP)          \
  LIMIT(unsigned, window_ms, AW_MUX_WINDOW_MS, AW_MUX_COUNT_TOP)

#endif
