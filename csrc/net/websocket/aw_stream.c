#include "aw_stream.h"
#include "aw_error.h"
#include "aw_os_file.h"
#include "aw_tcp.h"
#include "aw_transport.h"

/* Encrypted and written in one go: fits the second-level cache. */
#define BATCH_MAX (256u << 10)

/* Reads after a failed write, so that a close frame that came before is not
 * lost; a socket buffer cannot hold more. */
#define LAST_READS_MAX 64

/* Records that wait: those of a batch, and what the peer made us say beyond it
 * (answers to key updates). Who makes us say more without reading it is not
 * read from. */
#define RECORDS_MAX (BATCH_MAX + (64u << 10))

/* Wire bytes of one read that carried next to nothing: a flood of records. */
#define EMPTY_MAX 4096

enum { CONNECTING, PLAIN, SECURING, SECURED, ENDED };

static void on_poll(uv_poll_t *poll, int status, int events);

static bool wants_input(const aw_stream *s) {
  return s->reading &&
         (s->tls == NULL || aw_buf_len(aw_tls_records(s->tls)) <= RECORDS_MAX);
}

static void watch(aw_stream *s) {
  int wanted = 0;
  if (s->state == CONNECTING) {
    wanted = UV_WRITABLE;
  } else if (s->state != ENDED) {
    wanted = (wants_input(s) ? UV_READABLE
              : s->minding   ? UV_DISCONNECT
                             : 0) |
             (s->blocked ? UV_WRITABLE : 0);
  }
  if (wanted == s->watched) {
    return;
  }
  s->watched = wanted;
  if (wanted == 0) {
    uv_poll_stop(&s->poll);
  } else {
    uv_poll_start(&s->poll, wanted, on_poll);
  }
}

/* A failed write is the cause of whatever the reading side meets after it. */
static void end(aw_stream *s, int error, const char *why) {
  if (s->state == ENDED) {
    return;
  }
  if (s->broken != 0) {
    error = s->broken == UV_ETIMEDOUT ? AW_E_TIMEOUT : AW_E_IO;
    why = uv_strerror(s->broken);
  }
  s->state = ENDED;
  watch(s);
  s->sink->ended(s->user, error, why);
}

static void end_by_system(aw_stream *s, int rc) {
  end(s, rc == UV_ETIMEDOUT ? AW_E_TIMEOUT : AW_E_IO, uv_strerror(rc));
}

static void end_by_tls(aw_stream *s, int error) {
  end(s, error, aw_tls_why(s->tls));
}

static aw_buf *wire_of(aw_stream *s) {
  return s->tls != NULL ? aw_tls_records(s->tls) : &s->out;
}

/* The plain bytes grow into the part of the buffer that was read already, see
 * AW_TLS_HEADROOM. */
static int decrypt(aw_stream *s, char *base, const char *limit, size_t *len) {
  size_t got = 0;
  int rc;
  *len = 0;
  do {
    size_t room = (size_t)(limit - aw_tls_unread(s->tls) - base) - *len;
    if (room == 0) {
      return AW_OK;
    }
    rc = aw_tls_read(s->tls, base + *len, room, &got);
    *len += got;
  } while (rc == AW_OK);
  return rc;
}

static size_t take_plain(aw_stream *s, char *base, const char *limit) {
  size_t len, all = 0;
  int rc;
  do {
    rc = decrypt(s, base, limit, &len);
    all += len;
    if (len > 0) {
      s->sink->input(s->user, base, len);
    }
    if (s->state == ENDED) {
      return all;
    }
  } while (rc == AW_OK);
  if (rc == AW_E_CLOSED) {
    end(s, AW_E_CLOSED, "closed by the peer");
  } else if (rc != AW_E_AGAIN) {
    end_by_tls(s, rc);
  }
  return all;
}

/* Alerts are sent even when the handshake has failed. */
static bool shake_hands(aw_stream *s) {
  int rc = aw_tls_handshake(s->tls);
  aw_stream_flush(s);
  if (s->state == ENDED || rc == AW_E_AGAIN) {
    return false;
  }
  if (rc != AW_OK) {
    end_by_tls(s, rc);
    return false;
  }
  s->state = SECURED;
  s->sink->secured(s->user);
  return s->state != ENDED;
}

static void take_records(aw_stream *s, char *base, char *bytes, size_t len) {
  aw_tls_feed(s->tls, bytes, len);
  if (s->state == SECURING && !shake_hands(s)) {
    return;
  }
  if (take_plain(s, base, bytes + len) == 0 && len > EMPTY_MAX) {
    aw_stream_sip(s);
  }
  if (s->state == SECURED && aw_buf_len(wire_of(s)) > 0) {
    aw_stream_flush(s);
  }
}

/* False when there is nothing to read, or nothing more ever. */
static bool receive(aw_stream *s) {
  size_t skip = s->tls != NULL ? AW_TLS_HEADROOM : 0;
  char *base = aw_loop_read_buffer(s->loop);
  size_t len;
  size_t most = s->read_max != 0 ? s->read_max : AW_LOOP_READ_BUFFER - skip;
  size_t room = s->sipping ? AW_TRANSPORT_SIP : most;
  int rc = aw_tcp_receive(s->fd, base + skip, room, &len);
  if (rc == UV_EAGAIN) {
    return false;
  }
  if (rc != 0) {
    end_by_system(s, rc);
  } else if (len == 0) {
    end(s, AW_E_CLOSED, "closed by the peer");
  } else {
    s->sipping = s->sipping && len == room;
    s->sink->arrived(s->user, len);
    if (s->tls != NULL) {
      take_records(s, base, base + skip, len);
    } else {
      s->sink->input(s->user, base, len);
    }
  }
  return s->state != ENDED;
}

/* What the peer said before it went away still counts: after a reset the
 * kernel gives what it has received, then the end. */
static void fail_write(aw_stream *s, int rc) {
  if (s->broken != 0) {
    return;
  }
  s->broken = rc;
  s->blocked = false;
  for (int i = 0; i < LAST_READS_MAX && s->reading && receive(s); i++) {
  }
  end_by_system(s, rc);
}

static int encrypt_batch(aw_stream *s) {
  size_t len = aw_buf_len(&s->out);
  len = len < BATCH_MAX ? len : BATCH_MAX;
  if (len == 0 || s->state != SECURED) {
    return AW_OK;
  }
  int rc = aw_tls_write(s->tls, aw_buf_bytes(&s->out), len);
  aw_buf_consume(&s->out, len);
  return rc;
}

/* One write; false when the system took less than all. */
static bool write_batch(aw_stream *s) {
  aw_buf *wire = wire_of(s);
  size_t sent, len = aw_buf_len(wire);
  int rc = aw_tcp_send(s->fd, aw_buf_bytes(wire), len, &sent);
  if (rc != 0 && rc != UV_EAGAIN) {
    fail_write(s, rc);
    return false;
  }
  aw_buf_consume(wire, sent);
  s->blocked = sent < len;
  if (sent > 0) {
    s->sink->sent(s->user, sent);
  }
  return sent == len && s->state != ENDED;
}

static bool next_batch(aw_stream *s) {
  if (s->tls != NULL && aw_buf_len(wire_of(s)) == 0) {
    int rc = encrypt_batch(s);
    if (rc != AW_OK) {
      end_by_tls(s, rc);
      return false;
    }
  }
  return aw_buf_len(wire_of(s)) > 0 && write_batch(s);
}

static void end_output(aw_stream *s) {
  s->shut = true;
  if (s->state == SECURED) {
    aw_tls_close(s->tls);
    (void)write_batch(s); /* a lost close_notify harms nobody here */
    if (s->state == ENDED) {
      return;
    }
  }
  aw_tcp_end_output(s->fd);
}

void aw_stream_flush(aw_stream *s) {
  if (s->state == CONNECTING || s->state == ENDED || s->broken != 0 ||
      s->blocked) {
    return;
  }
  /* An owner that refills its output whenever it is told of room must not keep
   * the loop here. */
  size_t batches = 2 + aw_buf_len(&s->out) / BATCH_MAX;
  bool more = true;
  while (more && batches-- > 0) {
    more = next_batch(s);
  }
  if (s->state == ENDED) {
    return;
  }
  if (s->shut_wanted && !s->shut && aw_stream_pending(s) == 0) {
    end_output(s);
  }
  watch(s);
}

static void finish_dial(aw_stream *s) {
  int rc = aw_tcp_error(s->fd);
  s->state = rc == 0 ? PLAIN : ENDED;
  s->reading = rc == 0;
  watch(s);
  s->sink->connected(s->user, rc);
}

/* A status means that the socket has an error and libuv has stopped watching;
 * reading or writing tells which error, after the input that came before. */
static void on_poll(uv_poll_t *poll, int status, int events) {
  aw_stream *s = poll->data;
  if (status != 0) {
    s->watched = 0;
    events = UV_READABLE | UV_WRITABLE;
  }
  if (s->state == CONNECTING) {
    finish_dial(s);
    return;
  }
  if (s->minding && !wants_input(s) &&
      (status != 0 || (events & UV_DISCONNECT) != 0)) {
    end(s, AW_E_CLOSED, "closed by the peer");
    return;
  }
  if ((events & UV_READABLE) != 0 && wants_input(s)) {
    (void)receive(s);
  }
  if ((events & UV_WRITABLE) != 0 && s->state != ENDED) {
    s->blocked = false;
    aw_stream_flush(s);
  }
  watch(s);
}

static int make(aw_stream **out, aw_loop *loop, int fd,
                const aw_stream_sink *sink, void *user) {
  const aw_mem *mem = aw_loop_mem(loop);
  aw_stream *s = aw_mem_zero(mem, 1, sizeof *s);
  if (s == NULL) {
    return UV_ENOMEM;
  }
  int rc = uv_poll_init_socket(aw_loop_uv(loop), &s->poll, fd);
  if (rc != 0) {
    aw_mem_free(mem, s);
    return rc;
  }
  s->poll.data = s;
  s->loop = loop;
  s->sink = sink;
  s->user = user;
  s->fd = fd;
  aw_buf_init(&s->out, mem);
  *out = s;
  return 0;
}

int aw_stream_dial(aw_stream **out, aw_loop *loop,
                   const struct sockaddr *address, const aw_stream_sink *sink,
                   void *user) {
  int fd;
  int rc = aw_tcp_connect(address, &fd);
  if (rc != 0) {
    return rc;
  }
  rc = make(out, loop, fd, sink, user);
  if (rc != 0) {
    aw_os_close(fd);
    return rc;
  }
  (*out)->state = CONNECTING;
  watch(*out);
  return 0;
}

int aw_stream_adopt(aw_stream **out, aw_loop *loop, int fd,
                    const aw_stream_sink *sink, void *user) {
  int rc = make(out, loop, fd, sink, user);
  if (rc != 0) {
    return rc;
  }
  (*out)->state = PLAIN;
  aw_stream_read(*out, true);
  return 0;
}

static void on_closed(uv_handle_t *handle) {
  aw_stream *s = handle->data;
  aw_tls_free(s->tls);
  aw_buf_fini(&s->out);
  aw_mem_free(aw_loop_mem(s->loop), s);
}

void aw_stream_free(aw_stream *s) {
  if (s == NULL) {
    return;
  }
  s->state = ENDED;
  s->watched = 0;
  uv_close((uv_handle_t *)&s->poll, on_closed);
  aw_os_close(s->fd);
}

void aw_stream_hand_over(aw_stream *s, const aw_stream_sink *sink, void *user) {
  s->sink = sink;
  s->user = user;
}

/* A client speaks first; a server's first call only finds nothing to read. */
void aw_stream_secure(aw_stream *s, aw_tls *tls) {
  s->tls = tls;
  s->state = SECURING;
  (void)shake_hands(s);
}

void aw_stream_read(aw_stream *s, bool on) {
  s->reading = on;
  watch(s);
}

void aw_stream_sip(aw_stream *s) {
  s->sipping = true;
}

void aw_stream_read_at_most(aw_stream *s, size_t len) {
  size_t buffer = AW_LOOP_READ_BUFFER - AW_TLS_HEADROOM;
  s->read_max = len < buffer ? len : buffer;
}

void aw_stream_mind(aw_stream *s, bool on) {
  s->minding = on;
  watch(s);
}

void aw_stream_poke(aw_stream *s) {
  if (s->state != ENDED && s->state != CONNECTING && s->reading) {
    (void)receive(s);
  }
}

void aw_stream_shutdown(aw_stream *s) {
  s->shut_wanted = true;
  aw_stream_flush(s);
}

size_t aw_stream_pending(const aw_stream *s) {
  size_t records = s->tls != NULL ? aw_buf_len(aw_tls_records(s->tls)) : 0;
  return aw_buf_len(&s->out) + records;
}
