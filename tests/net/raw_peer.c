#include "raw_peer.h"
#include "aw_http.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define DEADLINE_MS 10000

static struct sockaddr_in loopback(unsigned port) {
  return (struct sockaddr_in){.sin_family = AF_INET,
                              .sin_port = htons((uint16_t)port),
                              .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static void start(raw_peer *raw, aw_loop *loop, int fd) {
  int on = 1;

  assert_true(fd >= 0);
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
  *raw = (raw_peer){.loop = loop, .fd = fd, .size = 1u << 20};
  raw->in = malloc(raw->size + 1);
  assert_non_null(raw->in);
  raw->in[0] = '\0';
}

void raw_dial(raw_peer *raw, aw_loop *loop, unsigned port) {
  struct sockaddr_in address = loopback(port);
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

  assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
  start(raw, loop, fd);
}

int raw_listen(unsigned *port) {
  struct sockaddr_in address = loopback(0);
  socklen_t size = sizeof address;
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

  assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
  assert_int_equal(listen(fd, 16), 0);
  assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &size), 0);
  *port = ntohs(address.sin_port);
  return fd;
}

void raw_accept(raw_peer *raw, aw_loop *loop, int listener) {
  uint64_t deadline = uv_hrtime() / 1000000 + DEADLINE_MS;
  int fd;

  while ((fd = accept(listener, NULL, NULL)) < 0) {
    assert_int_equal(errno, EAGAIN);
    assert_true(uv_hrtime() / 1000000 < deadline);
    aw_loop_wait(loop, 1);
  }
  start(raw, loop, fd);
}

void raw_secure(raw_peer *raw, const char *certificate) {
  uint64_t deadline = uv_hrtime() / 1000000 + DEADLINE_MS;
  SSL_CTX *context = SSL_CTX_new(TLS_method());
  SSL *tls;
  int rc;

  assert_non_null(context);
  if (certificate != NULL) {
    assert_int_equal(SSL_CTX_use_certificate_chain_file(context, certificate),
                     1);
    assert_int_equal(
        SSL_CTX_use_PrivateKey_file(context, certificate, SSL_FILETYPE_PEM), 1);
  }
  SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE |
                                SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  tls = SSL_new(context);
  SSL_CTX_free(context);
  assert_int_equal(SSL_set_fd(tls, raw->fd), 1);
  raw->tls = tls;
  while ((rc = certificate != NULL ? SSL_accept(tls) : SSL_connect(tls)) != 1) {
    assert_int_equal(SSL_get_error(tls, rc), SSL_ERROR_WANT_READ);
    assert_true(uv_hrtime() / 1000000 < deadline);
    aw_loop_wait(raw->loop, 1);
  }
}

void raw_hang_up(raw_peer *raw) {
  if (raw->tls != NULL) {
    (void)SSL_shutdown(raw->tls);
  }
  (void)shutdown(raw->fd, SHUT_WR);
}

void raw_free(raw_peer *raw) {
  SSL_free(raw->tls);
  raw->tls = NULL;
  if (raw->fd >= 0) {
    close(raw->fd);
  }
  raw->fd = -1;
  free(raw->in);
  raw->in = NULL;
}

/* As recv and send, also over TLS. */
static ssize_t finish(raw_peer *raw, int n) {
  if (n > 0) {
    return n;
  }
  int error = SSL_get_error(raw->tls, n);
  if (error == SSL_ERROR_ZERO_RETURN) {
    return 0;
  }
  errno = error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE
              ? EAGAIN
              : ECONNRESET;
  return -1;
}

static ssize_t take(raw_peer *raw, char *bytes, size_t len) {
  if (raw->tls == NULL) {
    return recv(raw->fd, bytes, len, 0);
  }
  return finish(raw, SSL_read(raw->tls, bytes, (int)len));
}

static ssize_t give(raw_peer *raw, const char *bytes, size_t len) {
  if (raw->tls == NULL) {
    return send(raw->fd, bytes, len, MSG_NOSIGNAL);
  }
  return finish(raw, SSL_write(raw->tls, bytes, (int)len));
}

static void pull(raw_peer *raw) {
  while (!raw->ended && raw->len < raw->size) {
    ssize_t n = take(raw, raw->in + raw->len, raw->size - raw->len);

    if (n < 0 && errno == EAGAIN) {
      return;
    }
    if (n <= 0) {
      raw->ended = true;
      raw->error = n < 0 ? errno : 0;
      return;
    }
    raw->len += (size_t)n;
    raw->in[raw->len] = '\0';
  }
}

void raw_turn(raw_peer *raw) {
  aw_loop_wait(raw->loop, 1);
  pull(raw);
}

void raw_until(raw_peer *raw, bool (*done)(raw_peer *raw)) {
  uint64_t deadline = uv_hrtime() / 1000000 + DEADLINE_MS;

  while (!done(raw)) {
    assert_true(uv_hrtime() / 1000000 < deadline);
    raw_turn(raw);
  }
}

static bool is_ended(raw_peer *raw) {
  return raw->ended;
}

void raw_until_ended(raw_peer *raw) {
  raw_until(raw, is_ended);
}

void raw_put(raw_peer *raw, const void *bytes, size_t len) {
  const char *at = bytes;

  while (len > 0) {
    ssize_t n = give(raw, at, len);

    if (n < 0 && errno != EAGAIN) {
      return; /* the end under test has hung up, which the test will see */
    }
    if (n < 0) {
      raw_turn(raw);
      continue;
    }
    at += n;
    len -= (size_t)n;
  }
}

void raw_say(raw_peer *raw, const char *text) {
  raw_put(raw, text, strlen(text));
}

void raw_consume(raw_peer *raw, size_t len) {
  assert_true(len <= raw->len);
  raw->len -= len;
  memmove(raw->in, raw->in + len, raw->len + 1);
}

void raw_put_frame(raw_peer *raw, uint8_t first, bool masked, const char *bytes,
                   size_t len) {
  char frame[8 + 65535];
  size_t at = 2;

  assert_true(len <= 65535);
  frame[0] = (char)first;
  frame[1] = (char)(len < 126 ? len : 126);
  if (len >= 126) {
    frame[2] = (char)(len >> 8);
    frame[3] = (char)len;
    at = 4;
  }
  if (masked) {
    frame[1] = (char)(frame[1] | 0x80);
    memset(frame + at, 0, 4);
    at += 4;
  }
  if (len > 0) {
    memcpy(frame + at, bytes, len);
  }
  raw_put(raw, frame, at + len);
}

static bool has_head(raw_peer *raw) {
  return raw->ended || strstr(raw->in, "\r\n\r\n") != NULL;
}

size_t raw_head(raw_peer *raw) {
  raw_until(raw, has_head);
  char *end = strstr(raw->in, "\r\n\r\n");
  return end == NULL ? 0 : (size_t)(end - raw->in) + 4;
}

void raw_ask_upgrade(raw_peer *raw, const char *protocol) {
  raw_say(raw, "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
               "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
               "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
               "Sec-WebSocket-Protocol: ");
  raw_say(raw, protocol);
  raw_say(raw, "\r\n\r\n");
}

void raw_upgrade_to(raw_peer *raw, const char *protocol) {
  raw_ask_upgrade(raw, protocol);
  size_t len = raw_head(raw);
  assert_memory_equal(raw->in, "HTTP/1.1 101", 12);
  assert_non_null(strstr(raw->in, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
  raw_consume(raw, len);
}

void raw_upgrade(raw_peer *raw) {
  raw_upgrade_to(raw, "makai.v1");
}

void raw_answer_upgrade(raw_peer *raw, const char *protocol) {
  size_t len = raw_head(raw), used;
  aw_http_head head;
  aw_buf out;
  char accept[AW_HTTP_ACCEPT_TEXT];
  aw_http_span span = {protocol, protocol != NULL ? strlen(protocol) : 0};

  aw_buf_init(&out, aw_mem_default());
  assert_int_equal(aw_http_parse(&head, raw->in, raw->len, 0, true, &used), 0);
  assert_int_equal(aw_http_check_request(&head, NULL), 0);
  aw_http_make_accept(aw_http_find(&head, "Sec-WebSocket-Key").bytes, accept);
  assert_int_equal(aw_http_build_accept(&out, accept, span, NULL), 0);
  raw_consume(raw, len);
  raw_put(raw, aw_buf_bytes(&out), aw_buf_len(&out));
  aw_buf_fini(&out);
}

static void unmask(raw_frame *frame, const uint8_t *mask) {
  size_t len =
      frame->len < sizeof frame->bytes ? frame->len : sizeof frame->bytes;

  for (size_t i = 0; frame->masked && i < len; i++) {
    frame->bytes[i] = (char)(frame->bytes[i] ^ mask[i % 4]);
  }
  frame->code = 1005;
  if (frame->opcode == 8 && len >= 2) {
    frame->code =
        (uint16_t)((uint8_t)frame->bytes[0] << 8 | (uint8_t)frame->bytes[1]);
  }
}

static size_t big_endian(const uint8_t *at, size_t bytes) {
  size_t value = 0;

  for (size_t i = 0; i < bytes; i++) {
    value = value << 8 | at[i];
  }
  return value;
}

bool raw_poll_frame(raw_peer *raw, raw_frame *frame) {
  const uint8_t *in = (const uint8_t *)raw->in;

  if (raw->len < 2) {
    return false;
  }
  frame->opcode = in[0] & 15;
  frame->final = (in[0] & 0x80) != 0;
  frame->masked = (in[1] & 0x80) != 0;
  frame->len = in[1] & 0x7f;
  size_t extra = frame->len == 126 ? 2 : frame->len == 127 ? 8 : 0;
  size_t head = 2 + extra + (frame->masked ? 4 : 0);
  if (raw->len < head) {
    return false;
  }
  if (extra > 0) {
    frame->len = big_endian(in + 2, extra);
  }
  if (raw->len < head + frame->len) {
    return false;
  }
  size_t kept =
      frame->len < sizeof frame->bytes ? frame->len : sizeof frame->bytes;
  memcpy(frame->bytes, raw->in + head, kept);
  unmask(frame, in + head - 4);
  raw_consume(raw, head + frame->len);
  return true;
}

bool raw_take_frame(raw_peer *raw, raw_frame *frame) {
  uint64_t deadline = uv_hrtime() / 1000000 + DEADLINE_MS;

  while (!raw_poll_frame(raw, frame)) {
    if (raw->ended) {
      return false;
    }
    assert_true(uv_hrtime() / 1000000 < deadline);
    raw_turn(raw);
  }
  return true;
}
