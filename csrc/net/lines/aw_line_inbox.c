#include "aw_line_inbox.h"
#include "aw_error.h"
#include <stdio.h>
#include <string.h>

/* What an idle inbox keeps of a burst. */
#define KEEP_BYTES (64u << 10)

struct aw_line_inbox {
  aw_source source;
  aw_loop *loop;
  aw_line_pipe *pipe;
  aw_line_inbox_options options;
  aw_buf lines; /* each behind its length */
  aw_line_stats stats;
  uint64_t accepted_bytes; /* to be sent */
  bool paused;             /* the inbox is full */
  bool choked;             /* a send was refused; WRITABLE is owed */
  bool had_eof;
};

static bool is_full(const aw_line_inbox *inbox) {
  return inbox->stats.inbox_lines >= inbox->options.inbox_lines ||
         inbox->stats.inbox_bytes >= inbox->options.inbox_bytes;
}

static bool is_half_empty(const aw_line_inbox *inbox) {
  return inbox->stats.inbox_lines <= inbox->options.inbox_lines / 2 &&
         inbox->stats.inbox_bytes <= inbox->options.inbox_bytes / 2;
}

static void set_paused(aw_line_inbox *inbox, bool paused) {
  if (inbox->paused != paused) {
    inbox->paused = paused;
    aw_line_pipe_pause(inbox->pipe, paused);
  }
}

/* Whoever waits for a line or for room is told that neither comes. */
static void end_with(aw_line_inbox *inbox, enum aw_line_cause cause, int error,
                     const char *reason) {
  aw_line_pipe_close(inbox->pipe, cause, error, reason);
  aw_source_raise(&inbox->source, AW_LINE_READABLE | AW_LINE_WRITABLE);
}

static void run_out_of_memory(aw_line_inbox *inbox) {
  end_with(inbox, AW_LINE_LOST, AW_E_NOMEM, aw_error_text(AW_E_NOMEM));
}

static void on_line(void *user, char *bytes, size_t len) {
  aw_line_inbox *inbox = user;
  if (aw_buf_reserve(&inbox->lines, sizeof len + len) != AW_OK) {
    run_out_of_memory(inbox);
    return;
  }
  aw_buf_append(&inbox->lines, &len, sizeof len);
  aw_buf_append(&inbox->lines, bytes, len);
  inbox->stats.lines_in++;
  inbox->stats.inbox_lines++;
  inbox->stats.inbox_bytes += len;
  if (is_full(inbox)) {
    set_paused(inbox, true);
  }
  aw_source_raise(&inbox->source, AW_LINE_READABLE);
}

static void end_too_long(aw_line_inbox *inbox, uint64_t whole) {
  char reason[AW_LINE_REASON_MAX];
  snprintf(reason, sizeof reason,
           "a line of %llu bytes came, and %llu is the limit",
           (unsigned long long)whole,
           (unsigned long long)aw_line_pipe_line_max(inbox->pipe));
  end_with(inbox, AW_LINE_TOO_LONG, AW_E_LIMIT, reason);
}

static void on_dropped(void *user, int error, const aw_line *line) {
  aw_line_inbox *inbox = user;
  if (error != AW_E_LIMIT) {
    run_out_of_memory(inbox);
    return;
  }
  inbox->stats.skipped++;
  inbox->stats.skipped_bytes += line->whole;
  if (inbox->options.skips) {
    aw_source_raise(&inbox->source, AW_LINE_SKIPPED);
  } else {
    end_too_long(inbox, line->whole);
  }
}

static void on_received(void *user, size_t len) {
  aw_line_inbox *inbox = user;
  inbox->stats.bytes_in += len;
}

static void on_sent(void *user, size_t len) {
  aw_line_inbox *inbox = user;
  inbox->stats.bytes_out += len;
  if (inbox->choked &&
      aw_line_pipe_pending(inbox->pipe) <= inbox->options.outbox_bytes / 2) {
    inbox->choked = false;
    aw_source_raise(&inbox->source, AW_LINE_WRITABLE);
  }
}

static void on_eof(void *user) {
  aw_line_inbox *inbox = user;
  inbox->had_eof = true;
  if (aw_line_pipe_child(inbox->pipe) != NULL) {
    aw_line_pipe_finish(inbox->pipe);
  }
  aw_source_raise(&inbox->source, AW_LINE_READABLE);
}

static void on_failing(void *user) {
  aw_line_inbox *inbox = user;
  aw_source_raise(&inbox->source, AW_LINE_WRITABLE);
}

static void on_ended(void *user, const aw_line_end *end) {
  aw_line_inbox *inbox = user;
  (void)end; /* the pipe keeps it */
  inbox->stats.unsent_bytes = inbox->accepted_bytes - inbox->stats.bytes_out;
  aw_source_raise(&inbox->source, AW_LINE_OVER);
}

static const aw_line_sink sink = {.line = on_line,
                                  .dropped = on_dropped,
                                  .received = on_received,
                                  .sent = on_sent,
                                  .eof = on_eof,
                                  .failing = on_failing,
                                  .ended = on_ended};

static size_t or_default(size_t given, size_t otherwise) {
  return given > 0 ? given : otherwise;
}

int aw_line_inbox_new(aw_line_inbox **out, aw_loop *loop, aw_line_pipe *lines,
                      const aw_line_inbox_options *options, void *user) {
  aw_line_inbox *inbox = aw_mem_zero(aw_loop_mem(loop), 1, sizeof *inbox);
  *out = NULL;
  if (inbox == NULL) {
    aw_line_pipe_free(lines);
    return AW_E_NOMEM;
  }
  inbox->loop = loop;
  inbox->pipe = lines;
  inbox->options = (aw_line_inbox_options){
      .inbox_lines = or_default(options->inbox_lines, AW_LINE_INBOX_LINES),
      .inbox_bytes = or_default(options->inbox_bytes, AW_LINE_INBOX_BYTES),
      .outbox_bytes = or_default(options->outbox_bytes, AW_LINE_OUTBOX_BYTES),
      .skips = options->skips};
  aw_buf_init(&inbox->lines, aw_loop_mem(loop));
  aw_source_init(&inbox->source, loop, user);
  aw_line_pipe_start(lines, &sink, inbox);
  *out = inbox;
  return AW_OK;
}

void aw_line_inbox_free(aw_line_inbox *inbox) {
  if (inbox == NULL) {
    return;
  }
  const aw_mem *mem = aw_loop_mem(inbox->loop);
  aw_source_fini(&inbox->source);
  aw_line_pipe_free(inbox->pipe);
  aw_buf_fini(&inbox->lines);
  aw_mem_free(mem, inbox);
}

aw_source *aw_line_inbox_source(aw_line_inbox *inbox) {
  return &inbox->source;
}

int aw_line_inbox_next(aw_line_inbox *inbox, const char **bytes, size_t *len) {
  if (aw_buf_len(&inbox->lines) == 0) {
    aw_buf_reset(&inbox->lines, KEEP_BYTES);
    return aw_line_inbox_end(inbox) != NULL ? AW_E_CLOSED : AW_E_AGAIN;
  }
  const char *at = aw_buf_bytes(&inbox->lines);
  memcpy(len, at, sizeof *len);
  *bytes = at + sizeof *len;
  aw_buf_consume(&inbox->lines, sizeof *len + *len);
  inbox->stats.inbox_lines--;
  inbox->stats.inbox_bytes -= *len;
  if (is_half_empty(inbox)) {
    set_paused(inbox, false);
  }
  return AW_OK;
}

static int check_line(const char *bytes, size_t len, size_t *at) {
  const char *feed = len > 0 ? memchr(bytes, '\n', len) : NULL;
  const char *null = len > 0 ? memchr(bytes, '\0', len) : NULL;
  const char *first =
      feed == NULL || (null != NULL && null < feed) ? null : feed;
  if (first == NULL) {
    return AW_OK;
  }
  *at = (size_t)(first - bytes);
  return AW_E_INVALID;
}

int aw_line_inbox_send(aw_line_inbox *inbox, const char *bytes, size_t len,
                       size_t *at) {
  size_t pending = aw_line_pipe_pending(inbox->pipe);
  size_t room = inbox->options.outbox_bytes;
  int rc = check_line(bytes, len, at);
  if (rc != AW_OK) {
    return rc;
  }
  if (len > aw_line_pipe_line_max(inbox->pipe)) {
    return AW_E_LIMIT;
  }
  if (aw_line_pipe_state(inbox->pipe) != AW_LINE_OPEN) {
    return AW_E_CLOSED;
  }
  if (inbox->choked || pending >= room) {
    inbox->choked = true;
    return AW_E_AGAIN;
  }
  rc = aw_line_pipe_send(inbox->pipe, bytes, len);
  if (rc == AW_OK) {
    inbox->stats.lines_out++;
    inbox->accepted_bytes += len + 1;
  }
  return rc;
}

void aw_line_inbox_finish(aw_line_inbox *inbox) {
  aw_line_pipe_finish(inbox->pipe);
}

void aw_line_inbox_close(aw_line_inbox *inbox) {
  aw_line_pipe_close(inbox->pipe, AW_LINE_CLOSED, AW_OK, "closed");
  aw_buf_reset(&inbox->lines, 0);
  inbox->stats.inbox_lines = inbox->stats.inbox_bytes = 0;
}

/* A child's end of output is not yet its own: how that comes says more. */
const aw_line_end *aw_line_inbox_end(const aw_line_inbox *inbox) {
  bool is_over = aw_line_pipe_state(inbox->pipe) >= AW_LINE_CLOSING ||
                 (inbox->had_eof && aw_line_pipe_child(inbox->pipe) == NULL);
  return is_over ? aw_line_pipe_end(inbox->pipe) : NULL;
}

size_t aw_line_inbox_line_max(const aw_line_inbox *inbox) {
  return aw_line_pipe_line_max(inbox->pipe);
}

enum aw_line_state aw_line_inbox_state(const aw_line_inbox *inbox) {
  return aw_line_pipe_state(inbox->pipe);
}

aw_child *aw_line_inbox_child(const aw_line_inbox *inbox) {
  return aw_line_pipe_child(inbox->pipe);
}

void aw_line_inbox_stats(const aw_line_inbox *inbox, aw_line_stats *out) {
  *out = inbox->stats;
  out->outbox_bytes = aw_line_pipe_pending(inbox->pipe);
}
