#include "aw_error.h"
#include "aw_exchange_impl.h"
#include "aw_os_clock.h"

#define REASON_MAX 128

enum answer {
  UNANSWERED,
  ANSWERING, /* the head is in the output */
  ANSWERED   /* all of it is */
};

struct aw_exchange {
  aw_loop *loop;
  aw_source source;
  aw_flush flush;
  uv_timer_t timer; /* while we wait for the client */
  uint64_t moved_ms;
  aw_exchange_settings settings;
  aw_exchange_keeper keeper;
  aw_stream *stream; /* NULL: not lent, or over */
  aw_request request;
  aw_http_body framing;
  uint64_t length;        /* of the body, or AW_EXCHANGE_UNKNOWN */
  aw_buf body;            /* its content that waits to be read */
  aw_buf next;            /* what came behind it */
  uint64_t came, drained; /* content, and what was thrown away of it */
  enum answer answer;
  uint64_t owed; /* of the response's body, or AW_EXCHANGE_UNKNOWN */
  bool in_chunks, bodiless;
  bool expects;  /* the client waits to be asked for the body */
  bool choked;   /* a write was refused; WRITABLE is owed */
  bool ends;     /* the connection ends behind the response */
  bool discards; /* whatever comes is thrown away */
  bool released; /* the owner has let go */
  aw_exchange_end end;
  char reason[REASON_MAX];
};

static void on_timer(uv_timer_t *timer);

static const aw_mem *mem_of(const aw_exchange *x) {
  return aw_loop_mem(x->loop);
}

/* Who has let go has nothing left to be told with. */
static void tell(aw_exchange *x, unsigned events) {
  if (!x->released) {
    aw_source_raise(&x->source, events);
  }
}

/* The end */

static void on_timer_closed(uv_handle_t *handle) {
  aw_exchange *x = handle->data;
  const aw_mem *mem = mem_of(x);
  aw_request_fini(&x->request, mem);
  aw_buf_fini(&x->body);
  aw_buf_fini(&x->next);
  aw_mem_free(mem, x);
}

/* The memory lives until libuv has let go of the timer, so that whoever works
 * on it may come back. */
static void dispose(aw_exchange *x) {
  uv_close((uv_handle_t *)&x->timer, on_timer_closed);
}

static void leave(aw_exchange *x, int error, const char *why) {
  size_t len = strlen(why);
  len = len < REASON_MAX ? len : REASON_MAX - 1;
  memcpy(x->reason, why, len);
  x->end = (aw_exchange_end){error, x->reason};
  x->stream = NULL;
  aw_node_remove(&x->flush.node);
  uv_timer_stop(&x->timer);
  tell(x, AW_EXCHANGE_READABLE | AW_EXCHANGE_OVER);
  if (x->released) {
    dispose(x);
  }
}

static void give_back(aw_exchange *x, int error, int status, const char *why) {
  aw_stream *stream = x->stream;
  aw_exchange_keeper keeper = x->keeper;
  aw_buf rest = x->next;
  aw_buf_init(&x->next, rest.mem);
  aw_stream_read_at_most(stream, 0);
  aw_stream_mind(stream, false);
  leave(x, error, why);
  keeper.back(keeper.user, stream, &rest, status, why);
}

static void cut(aw_exchange *x, int error, const char *why) {
  aw_stream *stream = x->stream;
  aw_exchange_keeper keeper = x->keeper;
  leave(x, error, why);
  aw_stream_free(stream);
  keeper.back(keeper.user, NULL, NULL, AW_EXCHANGE_LAST, why);
}

void aw_exchange_cut(aw_exchange *x) {
  cut(x, AW_E_CLOSED, "cut off");
}

/* Once the response has begun nothing else can be said. */
static void fail(aw_exchange *x, int error, int status, const char *why) {
  if (x->answer == UNANSWERED) {
    give_back(x, error, status, why);
  } else if (x->answer == ANSWERING) {
    cut(x, error, why);
  } else {
    x->ends = x->discards = true;
    aw_loop_mark(x->loop, &x->flush);
  }
}

/* What comes in */

static bool is_whole(const aw_exchange *x) {
  return aw_http_is_body_whole(&x->framing);
}

static bool waits_to_be_asked(const aw_exchange *x) {
  return x->expects && x->came == 0 && !is_whole(x);
}

static bool has_too_much_left(const aw_exchange *x) {
  return x->framing.framing == AW_HTTP_COUNTED &&
         x->framing.left > AW_EXCHANGE_DRAIN_BYTES;
}

static bool wants_input(const aw_exchange *x) {
  if (!x->discards && is_whole(x)) {
    return aw_buf_len(&x->next) < AW_EXCHANGE_IN_BYTES;
  }
  return x->answer == ANSWERED || aw_buf_len(&x->body) < AW_EXCHANGE_IN_BYTES;
}

/* For the client, to send or to read. */
static bool is_waiting(const aw_exchange *x) {
  return aw_stream_pending(x->stream) > 0 ||
         (!is_whole(x) && !x->discards && wants_input(x) &&
          !waits_to_be_asked(x));
}

static void update(aw_exchange *x) {
  if (x->stream == NULL) {
    return;
  }
  aw_stream_read(x->stream, wants_input(x));
  if (!is_waiting(x)) {
    uv_timer_stop(&x->timer);
  } else if (!uv_is_active((uv_handle_t *)&x->timer)) {
    x->moved_ms = aw_loop_clock(x->loop);
    aw_loop_arm(x->loop, &x->timer, on_timer, x->settings.stall_ms);
  }
}

/* What is read of a body when nobody reads it any more. */
static void drain(aw_exchange *x, size_t len) {
  x->drained += len;
  if (x->drained > AW_EXCHANGE_DRAIN_BYTES) {
    x->ends = x->discards = true;
  }
}

/* False: the exchange has failed. */
static bool keep_content(aw_exchange *x, aw_http_span content) {
  x->came += content.len;
  if (x->came > x->settings.body_max) {
    fail(x, AW_E_LIMIT, 413, "the body is longer than body_max");
    return false;
  }
  if (aw_buf_append(&x->body, content.bytes, content.len) != AW_OK) {
    fail(x, AW_E_NOMEM, 503, "out of memory");
    return false;
  }
  return true;
}

/* The next part of the body; false: the exchange has failed. */
static bool take_body(aw_exchange *x, const char *bytes, size_t len,
                      size_t *used) {
  aw_http_span content;
  int rc = aw_http_take_body(&x->framing, bytes, len, used, &content);
  if (rc != AW_OK) {
    fail(x, rc, rc == AW_E_LIMIT ? 413 : 400, x->framing.why);
    return false;
  }
  if (x->answer == ANSWERED) {
    drain(x, *used);
    return true;
  }
  return content.len == 0 || keep_content(x, content);
}

static void take(aw_exchange *x, const char *bytes, size_t len) {
  bool was_whole = is_whole(x);
  size_t had = aw_buf_len(&x->body), used;
  while (len > 0 && !is_whole(x) && !x->discards) {
    if (!take_body(x, bytes, len, &used)) {
      return;
    }
    bytes += used;
    len -= used;
  }
  if (!x->discards && len > 0 && aw_buf_append(&x->next, bytes, len) != AW_OK) {
    fail(x, AW_E_NOMEM, 503, "out of memory");
    return;
  }
  if (aw_buf_len(&x->body) > had || was_whole != is_whole(x)) {
    tell(x, AW_EXCHANGE_READABLE);
  }
  if (x->answer == ANSWERED) {
    aw_loop_mark(x->loop, &x->flush); /* that may have been the last of it */
  }
}

/* Who has something to read does not gain time by speaking. */
static void on_input(void *user, char *bytes, size_t len) {
  aw_exchange *x = user;
  if (aw_stream_pending(x->stream) == 0) {
    x->moved_ms = aw_loop_now(x->loop);
  }
  if (!x->discards) {
    take(x, bytes, len);
  }
  update(x);
}

static void on_arrived(void *user, size_t len) {
  (void)user;
  (void)len;
}

static void on_sent(void *user, size_t len) {
  aw_exchange *x = user;
  (void)len;
  x->moved_ms = aw_loop_now(x->loop);
  if (x->choked && aw_stream_pending(x->stream) <= AW_EXCHANGE_OUT_BYTES / 2) {
    x->choked = false;
    tell(x, AW_EXCHANGE_WRITABLE);
  }
  aw_loop_mark(x->loop, &x->flush);
}

/* However it has gone. */
static void on_ended(void *user, int error, const char *why) {
  bool closed = error == AW_E_CLOSED;
  cut(user, error == AW_E_IO ? AW_E_CLOSED : error,
      closed ? "the client has gone" : why);
}

static const aw_stream_sink stream_sink = {.input = on_input,
                                           .arrived = on_arrived,
                                           .sent = on_sent,
                                           .ended = on_ended};

/* Is the connection free for what comes next? */
static bool is_out(const aw_exchange *x) {
  return x->answer == ANSWERED && aw_stream_pending(x->stream) == 0 &&
         (x->ends || is_whole(x));
}

static void run_flush(aw_flush *flush) {
  aw_exchange *x = AW_CONTAINER(flush, aw_exchange, flush);
  aw_stream_flush(x->stream);
  if (x->stream != NULL && is_out(x)) {
    give_back(x, AW_OK, x->ends ? AW_EXCHANGE_LAST : AW_EXCHANGE_NEXT,
              "the response has gone out");
  }
  update(x);
}

/* A host that was stopped for a while finds its timers due before it has read
 * what came meanwhile: look before giving up. */
static bool has_stalled(aw_exchange *x) {
  if (aw_loop_now(x->loop) - x->moved_ms < x->settings.stall_ms) {
    return false;
  }
  aw_stream_poke(x->stream);
  return x->stream != NULL &&
         aw_loop_now(x->loop) - x->moved_ms >= x->settings.stall_ms;
}

static void on_timer(uv_timer_t *timer) {
  aw_exchange *x = timer->data;
  bool stalled = has_stalled(x);
  if (x->stream == NULL || !is_waiting(x)) {
    return;
  }
  if (!stalled) {
    uint64_t due = x->moved_ms + x->settings.stall_ms;
    uint64_t now = aw_loop_now(x->loop);
    aw_loop_arm(x->loop, timer, on_timer, due > now ? due - now : 0);
  } else if (aw_stream_pending(x->stream) > 0) {
    cut(x, AW_E_TIMEOUT, "the client does not read the response");
  } else {
    fail(x, AW_E_TIMEOUT, 408, "the body did not come in time");
  }
}

/* Beginning */

int aw_exchange_new(aw_exchange **out, aw_loop *loop,
                    const aw_exchange_settings *settings, aw_request *request,
                    const aw_http_body *framing) {
  const aw_mem *mem = aw_loop_mem(loop);
  aw_exchange *x = aw_mem_zero(mem, 1, sizeof *x);
  if (x == NULL) {
    aw_request_fini(request, mem);
    return AW_E_NOMEM;
  }
  const aw_http_head *head = &request->head;
  x->loop = loop;
  x->settings = *settings;
  x->request = *request;
  x->framing = *framing;
  x->length =
      framing->framing == AW_HTTP_CHUNKED ? AW_EXCHANGE_UNKNOWN : framing->left;
  x->expects = aw_http_expects_continue(head);
  x->ends = head->minor == 0 || aw_http_has_token(head, "Connection", "close");
  x->flush.run = run_flush;
  aw_buf_init(&x->body, mem);
  aw_buf_init(&x->next, mem);
  aw_source_init(&x->source, loop, NULL);
  uv_timer_init(aw_loop_uv(loop), &x->timer);
  x->timer.data = x;
  *out = x;
  return AW_OK;
}

void aw_exchange_begin(aw_exchange *x, aw_stream *stream, aw_buf *in,
                       const aw_exchange_keeper *keeper) {
  aw_buf early = *in;
  aw_buf_init(in, early.mem);
  x->stream = stream;
  x->keeper = *keeper;
  aw_stream_hand_over(stream, &stream_sink, x);
  aw_stream_read_at_most(stream, AW_EXCHANGE_IN_BYTES);
  aw_stream_mind(stream, true);
  if (aw_buf_len(&early) > 0) {
    take(x, aw_buf_bytes(&early), aw_buf_len(&early));
  }
  aw_buf_fini(&early);
  update(x);
}

void aw_exchange_let_end(aw_exchange *x) {
  x->ends = true;
}

void aw_exchange_free(aw_exchange *x) {
  if (x == NULL) {
    return;
  }
  aw_source_fini(&x->source);
  if (x->stream == NULL) {
    dispose(x);
    return;
  }
  x->released = true;
  if (x->answer == UNANSWERED) {
    give_back(x, AW_E_CLOSED, 503, "nobody has answered");
  } else if (x->answer == ANSWERING) {
    aw_exchange_cut(x);
  }
}

/* For the owner */

aw_source *aw_exchange_source(aw_exchange *x) {
  return &x->source;
}

const char *aw_exchange_method(const aw_exchange *x, size_t *len) {
  *len = x->request.head.method.len;
  return x->request.head.method.bytes;
}

const char *aw_exchange_target(const aw_exchange *x) {
  return x->request.target;
}

int aw_exchange_minor(const aw_exchange *x) {
  return x->request.head.minor;
}

const char *aw_exchange_peer(const aw_exchange *x) {
  return x->request.address;
}

const char *aw_exchange_tls_subject(const aw_exchange *x) {
  return x->request.subject;
}

const char *aw_exchange_header(const aw_exchange *x, const char *name,
                               size_t *len) {
  aw_http_span value = aw_http_find(&x->request.head, name);
  *len = value.len;
  return value.bytes;
}

bool aw_exchange_headers(const aw_exchange *x, unsigned index,
                         aw_upgrade_field *field) {
  return aw_request_field(&x->request, index, field);
}

uint64_t aw_exchange_length(const aw_exchange *x) {
  return x->length;
}

const aw_exchange_end *aw_exchange_end_of(const aw_exchange *x) {
  return x->end.reason != NULL ? &x->end : NULL;
}

static int ask_for_body(aw_exchange *x) {
  static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
  if (!waits_to_be_asked(x)) {
    return AW_E_AGAIN;
  }
  int rc = aw_buf_append(&x->stream->out, go_on, sizeof go_on - 1);
  if (rc != AW_OK) {
    return rc;
  }
  x->expects = false;
  aw_loop_mark(x->loop, &x->flush);
  return AW_E_AGAIN;
}

int aw_exchange_peek(aw_exchange *x, const char **bytes, size_t *len) {
  *len = aw_buf_len(&x->body);
  *bytes = *len > 0 ? aw_buf_bytes(&x->body) : "";
  if (*len > 0 || (is_whole(x) && x->drained == 0)) {
    return AW_OK;
  }
  if (x->end.error != AW_OK) {
    return x->end.error;
  }
  if (x->answer == ANSWERED ||
      (x->answer == ANSWERING && waits_to_be_asked(x))) {
    return AW_E_CLOSED;
  }
  return ask_for_body(x);
}

void aw_exchange_consume(aw_exchange *x, size_t len) {
  aw_buf_consume(&x->body, len);
  if (aw_buf_len(&x->body) == 0 && is_whole(x)) {
    aw_buf_reset(&x->body, 0);
  }
  update(x);
}

static void frame(aw_exchange *x, aw_http_response *response) {
  size_t len;
  const char *method = aw_exchange_method(x, &len);
  int status = response->status;
  bool silent = status == 204 || status == 304;
  bool known = response->length != AW_EXCHANGE_UNKNOWN;
  x->bodiless = silent || (len == 4 && memcmp(method, "HEAD", 4) == 0);
  x->in_chunks = !x->bodiless && !known && aw_exchange_minor(x) > 0;
  response->framing = !silent && known ? AW_HTTP_COUNTED
                      : x->in_chunks   ? AW_HTTP_CHUNKED
                      : x->bodiless    ? AW_HTTP_EMPTY
                                       : AW_HTTP_UNTIL_CLOSED;
}

int aw_exchange_respond(aw_exchange *x, int status, const char *headers,
                        uint64_t length) {
  bool ends = x->ends || waits_to_be_asked(x) ||
              (status >= 400 && has_too_much_left(x));
  aw_http_response response = {.status = status,
                               .headers = headers,
                               .length = length,
                               .close = ends,
                               .seconds = aw_os_wall_ms() / 1000};
  if (x->answer != UNANSWERED) {
    return AW_E_INVALID;
  }
  if (x->stream == NULL) {
    return AW_E_CLOSED;
  }
  frame(x, &response);
  int rc = aw_http_build_response(&x->stream->out, &response);
  if (rc != AW_OK) {
    return rc;
  }
  x->ends = ends;
  x->owed = length;
  x->answer = ANSWERING;
  aw_loop_mark(x->loop, &x->flush);
  return AW_OK;
}

/* Can more be said? */
static int check_answering(const aw_exchange *x) {
  return x->answer != ANSWERING ? AW_E_INVALID
         : x->stream == NULL    ? AW_E_CLOSED
                                : AW_OK;
}

int aw_exchange_write(aw_exchange *x, const char *bytes, size_t len) {
  int rc = check_answering(x);
  bool known = x->owed != AW_EXCHANGE_UNKNOWN;
  if (rc == AW_OK && known && len > x->owed) {
    rc = AW_E_INVALID;
  }
  if (rc == AW_OK && aw_exchange_room(x) == 0) {
    x->choked = true;
    rc = AW_E_AGAIN;
  }
  if (rc == AW_OK && len > 0 && !x->bodiless) {
    rc = x->in_chunks ? aw_http_build_chunk(&x->stream->out, bytes, len)
                      : aw_buf_append(&x->stream->out, bytes, len);
  }
  if (rc == AW_OK) {
    x->owed -= known ? len : 0;
    aw_loop_mark(x->loop, &x->flush);
  }
  return rc;
}

size_t aw_exchange_room(const aw_exchange *x) {
  size_t pending = x->stream != NULL ? aw_stream_pending(x->stream) : 0;
  return pending < AW_EXCHANGE_OUT_BYTES ? AW_EXCHANGE_OUT_BYTES - pending : 0;
}

int aw_exchange_finish(aw_exchange *x) {
  int rc = check_answering(x);
  if (rc == AW_OK && !x->bodiless && x->owed != AW_EXCHANGE_UNKNOWN &&
      x->owed > 0) {
    rc = AW_E_INVALID;
  }
  if (rc == AW_OK && x->in_chunks) {
    rc = aw_http_build_last_chunk(&x->stream->out);
  }
  if (rc != AW_OK) {
    return rc;
  }
  x->answer = ANSWERED;
  x->ends = x->ends || has_too_much_left(x);
  aw_loop_mark(x->loop, &x->flush);
  update(x);
  return AW_OK;
}
