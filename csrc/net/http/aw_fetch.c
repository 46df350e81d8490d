#if defined(AW_WITH_CURL) && defined(__has_include) && !defined(__cppcheck__)
#if !__has_include(<curl/curl.h>)
#error "agentwire needs the headers of libcurl"
#endif
#endif

#include "aw_fetch.h"

#ifdef AW_WITH_CURL

#include "aw_buf.h"
#include "aw_error.h"
#include "aw_fetch_client.h"
#include "aw_fetch_failure.h"
#include "aw_os_file.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What an idle body keeps of a burst. */
#define KEEP_BYTES (16u << 10)
#define STATUS_OK_FROM 200

/* What is waited for, and so which time runs. */
enum phase { CONNECTING, ASKING, ANSWERING, OVER };

struct aw_fetch {
  aw_fetch_transfer transfer;
  aw_source source;
  aw_loop *loop;
  aw_fetch_client *client;
  CURL *easy;
  struct curl_slist *headers;
  uv_timer_t timer;
  aw_buf sent; /* body of the request, kept until the end: it may have to be
                  sent again */
  size_t sent_at;
  aw_buf head, body;
  char *redirect;
  enum phase phase;
  uint64_t began, since; /* the request, the phase or its last byte */
  uint64_t connect_ms, first_byte_ms, idle_ms, whole_ms;
  uint64_t body_max, received;
  size_t buffer, head_max;
  int status;
  bool has_head, paused;
  bool added; /* to the client */
  int error;  /* of a phase that is OVER; AW_OK: all came */
  char why[AW_FETCH_WHY_MAX];
  char told[CURL_ERROR_SIZE];
};

static void on_due(uv_timer_t *timer);

/* When the phase has taken too long; UINT64_MAX: it may take for ever. */
static uint64_t phase_deadline(const aw_fetch *fetch) {
  uint64_t ms = fetch->phase == CONNECTING ? fetch->connect_ms
                : fetch->phase == ASKING   ? fetch->first_byte_ms
                : fetch->paused            ? 0
                                           : fetch->idle_ms;
  return ms > 0 ? fetch->since + ms : UINT64_MAX;
}

static uint64_t whole_deadline(const aw_fetch *fetch) {
  return fetch->whole_ms > 0 ? fetch->began + fetch->whole_ms : UINT64_MAX;
}

static void arm(aw_fetch *fetch) {
  uint64_t due = phase_deadline(fetch), whole = whole_deadline(fetch);
  due = whole < due ? whole : due;
  if (fetch->phase == OVER || due == UINT64_MAX) {
    uv_timer_stop(&fetch->timer);
    return;
  }
  uint64_t now = aw_loop_clock(fetch->loop);
  aw_loop_arm(fetch->loop, &fetch->timer, on_due, due > now ? due - now : 0);
}

static void enter(aw_fetch *fetch, enum phase phase) {
  fetch->phase = phase;
  fetch->since = aw_loop_clock(fetch->loop);
  arm(fetch);
}

/* The timer runs on: it looks when it is due, not at each byte. */
static void note_byte(aw_fetch *fetch) {
  fetch->since = aw_loop_now(fetch->loop);
}

static void take_out(aw_fetch *fetch) {
  if (fetch->added) {
    fetch->added = false;
    aw_fetch_client_remove(fetch->client, fetch->easy);
  }
}

static void end(aw_fetch *fetch, int error) {
  fetch->error = error;
  enter(fetch, OVER);
  aw_source_raise(&fetch->source,
                  AW_FETCH_HEAD | AW_FETCH_BODY | AW_FETCH_DONE);
}

static void set_why(aw_fetch *fetch, const char *what, uint64_t number,
                    const char *unit) {
  snprintf(fetch->why, sizeof fetch->why, "%s %llu %s", what,
           (unsigned long long)number, unit);
}

/* libcurl's own timer for connections is of the same length as ours. */
static void say_unconnected(aw_fetch *fetch) {
  set_why(fetch, "no connection within", fetch->connect_ms, "ms");
}

static void run_late(aw_fetch *fetch, bool whole) {
  static const int errors[] = {AW_E_TIMEOUT_CONNECT, AW_E_TIMEOUT_FIRST_BYTE,
                               AW_E_TIMEOUT_IDLE};
  if (whole) {
    set_why(fetch, "not over within", fetch->whole_ms, "ms");
  } else if (fetch->phase == CONNECTING) {
    say_unconnected(fetch);
  } else if (fetch->phase == ASKING) {
    set_why(fetch, "no answer within", fetch->first_byte_ms, "ms");
  } else {
    set_why(fetch, "nothing came for", fetch->idle_ms, "ms");
  }
  int error = whole ? AW_E_TIMEOUT : errors[fetch->phase];
  take_out(fetch);
  end(fetch, error);
}

static void on_due(uv_timer_t *timer) {
  aw_fetch *fetch = timer->data;
  uint64_t now = aw_loop_clock(fetch->loop);
  if (whole_deadline(fetch) <= now) {
    run_late(fetch, true);
  } else if (phase_deadline(fetch) <= now) {
    run_late(fetch, false);
  } else {
    arm(fetch);
  }
}

/* Ends it from inside of libcurl, which is told by a count that is wrong. */
static size_t refuse(aw_fetch *fetch, int error) {
  fetch->error = error;
  return 0;
}

static size_t exceed(aw_fetch *fetch, const char *what, uint64_t most) {
  set_why(fetch, what, most, "bytes");
  return refuse(fetch, AW_E_LIMIT);
}

static void on_done(aw_fetch_transfer *transfer, CURLcode result) {
  aw_fetch *fetch = AW_CONTAINER(transfer, aw_fetch, transfer);
  fetch->added = false;
  if (result != CURLE_OK && fetch->error == AW_OK) {
    aw_fetch_state state = {.connected = fetch->phase > CONNECTING,
                            .has_head = fetch->has_head};
    fetch->error =
        aw_fetch_failure(fetch->easy, result, state, fetch->told, fetch->why);
    if (fetch->error == AW_E_TIMEOUT_CONNECT) {
      say_unconnected(fetch);
    }
  } else if (!fetch->has_head && fetch->error == AW_OK) {
    fetch->error = AW_E_HTTP_PROTOCOL;
  }
  end(fetch, fetch->error);
}

static int on_connected(void *user, char *peer, char *own, int peer_port,
                        int own_port) {
  (void)peer, (void)own, (void)peer_port, (void)own_port;
  enter(user, ASKING);
  return CURL_PREREQFUNC_OK;
}

static size_t on_read(char *out, size_t size, size_t count, void *user) {
  aw_fetch *fetch = user;
  size_t left = aw_buf_len(&fetch->sent) - fetch->sent_at;
  size_t len = size * count < left ? size * count : left;
  if (len > 0) {
    memcpy(out, aw_buf_bytes(&fetch->sent) + fetch->sent_at, len);
    fetch->sent_at += len;
  }
  note_byte(fetch);
  return len;
}

/* libcurl only goes back to the start, for a connection that was used before
 * and turned out to be dead. */
static int on_seek(void *user, curl_off_t offset, int origin) {
  aw_fetch *fetch = user;
  if (origin != SEEK_SET || offset < 0 ||
      (uint64_t)offset > aw_buf_len(&fetch->sent)) {
    return CURL_SEEKFUNC_FAIL;
  }
  fetch->sent_at = (size_t)offset;
  return CURL_SEEKFUNC_OK;
}

static bool is_blank(const char *line, size_t len) {
  return len <= 2 && (len == 0 || line[len - 1] == '\n');
}

/* A head begins; what an interim one had is forgotten. */
static void begin_head(aw_fetch *fetch, const char *line, size_t len) {
  char text[16] = "";
  const char *blank = memchr(line, ' ', len);
  size_t rest = blank != NULL ? len - (size_t)(blank - line) : 0;
  memcpy(text, blank != NULL ? blank : "", rest < 15 ? rest : 15);
  fetch->status = atoi(text);
  aw_buf_reset(&fetch->head, fetch->head_max);
}

static void end_head(aw_fetch *fetch) {
  if (fetch->status >= STATUS_OK_FROM) {
    fetch->has_head = true;
    enter(fetch, ANSWERING);
    aw_source_raise(&fetch->source, AW_FETCH_HEAD);
  }
}

/* Also called for what stands behind a body, which nobody asked for. Interim
 * answers give no more time: there may be any number of them. */
static size_t on_header(char *line, size_t size, size_t count, void *user) {
  aw_fetch *fetch = user;
  size_t len = size * count;
  if (fetch->has_head) {
    note_byte(fetch);
    return len;
  } else if (len > 5 && memcmp(line, "HTTP/", 5) == 0) {
    begin_head(fetch, line, len);
  } else if (is_blank(line, len)) {
    end_head(fetch);
  } else if (aw_buf_len(&fetch->head) + len > fetch->head_max) {
    return exceed(fetch, "the answer's header is longer than", fetch->head_max);
  } else if (aw_buf_append(&fetch->head, line, len) != AW_OK) {
    return refuse(fetch, AW_E_NOMEM);
  }
  return len;
}

static size_t on_body(char *bytes, size_t size, size_t count, void *user) {
  aw_fetch *fetch = user;
  size_t len = size * count;
  note_byte(fetch);
  if (fetch->body_max > 0 && len > fetch->body_max - fetch->received) {
    return exceed(fetch, "the answer's body is longer than", fetch->body_max);
  }
  if (aw_buf_len(&fetch->body) >= fetch->buffer) {
    fetch->paused = true;
    return CURL_WRITEFUNC_PAUSE;
  }
  if (aw_buf_append(&fetch->body, bytes, len) != AW_OK) {
    return refuse(fetch, AW_E_NOMEM);
  }
  fetch->received += len;
  aw_source_raise(&fetch->source, AW_FETCH_BODY);
  return len;
}

static bool add_header(aw_fetch *fetch, const char *line) {
  struct curl_slist *longer = curl_slist_append(fetch->headers, line);
  fetch->headers = longer != NULL ? longer : fetch->headers;
  return longer != NULL;
}

/* libcurl takes a name with a colon and nothing behind it for one that is to be
 * left out; an empty value is written with a semicolon. */
static bool add_line(aw_fetch *fetch, aw_buf *scratch, const char *line,
                     size_t len) {
  const char *colon = memchr(line, ':', len);
  size_t name = colon != NULL ? (size_t)(colon - line) : len;
  bool empty = strspn(line + name, ": \t") + name >= len;
  aw_buf_reset(scratch, KEEP_BYTES);
  return aw_buf_append(scratch, line, empty ? name : len) == AW_OK &&
         (!empty || aw_buf_put(scratch, ';') == AW_OK) &&
         aw_buf_put(scratch, '\0') == AW_OK &&
         add_header(fetch, aw_buf_bytes(scratch));
}

/* What libcurl would add by itself is left out: "Expect" delays, and a body is
 * no form. */
static bool add_headers(aw_fetch *fetch, const char *lines) {
  static const char type[] = "Content-Type:";
  aw_buf scratch;
  bool fine = add_header(fetch, "Expect:");
  aw_buf_init(&scratch, aw_loop_mem(fetch->loop));
  bool has_type = false;
  while (fine && *lines != '\0') {
    size_t len = strcspn(lines, "\r\n");
    has_type = has_type || curl_strnequal(lines, type, sizeof type - 1) != 0;
    fine = add_line(fetch, &scratch, lines, len);
    lines += len + strspn(lines + len, "\r\n");
  }
  aw_buf_fini(&scratch);
  return fine && (has_type || add_header(fetch, type));
}

static void set_method(aw_fetch *fetch, const aw_fetch_options *o) {
  CURL *easy = fetch->easy;
  bool has_body = o->body != NULL || strcmp(o->method, "POST") == 0 ||
                  strcmp(o->method, "PUT") == 0 ||
                  strcmp(o->method, "PATCH") == 0;
  if (strcmp(o->method, "HEAD") == 0) {
    curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
    return;
  }
  if (has_body) {
    curl_easy_setopt(easy, CURLOPT_POST, 1L);
    curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE,
                     (curl_off_t)o->body_len);
    curl_easy_setopt(easy, CURLOPT_READFUNCTION, on_read);
    curl_easy_setopt(easy, CURLOPT_READDATA, fetch);
    curl_easy_setopt(easy, CURLOPT_SEEKFUNCTION, on_seek);
    curl_easy_setopt(easy, CURLOPT_SEEKDATA, fetch);
  }
  curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, o->method);
}

static const char *or_environment(const char *given, const char *name) {
  return given != NULL ? given : getenv(name);
}

/* As OpenSSL and so the rest of this library does: an own file stands alone,
 * the environment may name others than libcurl was built with. */
static void set_tls(aw_fetch *fetch, const aw_fetch_options *o) {
  CURL *easy = fetch->easy;
  const char *file = or_environment(o->ca_file, "SSL_CERT_FILE");
  const char *folder = o->ca_file == NULL ? getenv("SSL_CERT_DIR") : NULL;
  if (file != NULL) {
    curl_easy_setopt(easy, CURLOPT_CAINFO, file);
    curl_easy_setopt(easy, CURLOPT_PROXY_CAINFO, file);
  }
  if (file != NULL || folder != NULL) {
    curl_easy_setopt(easy, CURLOPT_CAPATH, folder);
    curl_easy_setopt(easy, CURLOPT_PROXY_CAPATH, folder);
  }
  if (o->cert_file != NULL) {
    curl_easy_setopt(easy, CURLOPT_SSLCERT, o->cert_file);
    curl_easy_setopt(easy, CURLOPT_SSLKEY,
                     o->key_file != NULL ? o->key_file : o->cert_file);
  }
  curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, o->insecure ? 0L : 1L);
  curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, o->insecure ? 0L : 2L);
}

/* For https the first connection tells whether all can share it; over plain
 * text that would be known only when the first answer comes. */
static void set_connection(aw_fetch *fetch, const aw_fetch_options *o) {
  CURL *easy = fetch->easy;
  bool is_tls = o->url[4] != ':';
  curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(easy, CURLOPT_HTTP_VERSION,
                   o->http1 ? (long)CURL_HTTP_VERSION_1_1
                            : (long)CURL_HTTP_VERSION_2TLS);
  curl_easy_setopt(easy, CURLOPT_PIPEWAIT, is_tls && !o->http1 ? 1L : 0L);
  curl_easy_setopt(easy, CURLOPT_PROXY, o->proxy != NULL ? o->proxy : "");
  curl_easy_setopt(easy, CURLOPT_NOPROXY, "");
  curl_easy_setopt(easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
  curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
  /* A request that ends does not wait for a name that is being looked up. */
  curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);
  if (o->connect_ms > 0) {
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)o->connect_ms);
  }
}

/* A child that had it as well would keep a connection open that we close. */
static int on_socket(void *user, curl_socket_t fd, curlsocktype purpose) {
  (void)user, (void)purpose;
  aw_os_keep_own((int)fd);
  return CURL_SOCKOPT_OK;
}

static void set_callbacks(aw_fetch *fetch) {
  CURL *easy = fetch->easy;
  curl_easy_setopt(easy, CURLOPT_PRIVATE, &fetch->transfer);
  curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, fetch->told);
  curl_easy_setopt(easy, CURLOPT_SOCKOPTFUNCTION, on_socket);
  curl_easy_setopt(easy, CURLOPT_PREREQFUNCTION, on_connected);
  curl_easy_setopt(easy, CURLOPT_PREREQDATA, fetch);
  curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
  curl_easy_setopt(easy, CURLOPT_HEADERDATA, fetch);
  curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
  curl_easy_setopt(easy, CURLOPT_WRITEDATA, fetch);
}

static int set_all(aw_fetch *fetch, const aw_fetch_options *o) {
  set_callbacks(fetch);
  if (curl_easy_setopt(fetch->easy, CURLOPT_URL, o->url) != CURLE_OK ||
      !add_headers(fetch, o->headers) ||
      (o->body != NULL &&
       aw_buf_append(&fetch->sent, o->body, o->body_len) != AW_OK)) {
    return AW_E_NOMEM;
  }
  set_method(fetch, o);
  set_tls(fetch, o);
  set_connection(fetch, o);
  if (o->compressed) {
    curl_easy_setopt(fetch->easy, CURLOPT_ACCEPT_ENCODING, "gzip, deflate");
  }
  curl_easy_setopt(fetch->easy, CURLOPT_HTTPHEADER, fetch->headers);
  return AW_OK;
}

static const char *check(const aw_fetch_options *o) {
  if (strncmp(o->url, "http://", 7) != 0 &&
      strncmp(o->url, "https://", 8) != 0) {
    return "the URL has to start with http:// or https://";
  }
  for (const char *at = o->url; *at != '\0'; at++) {
    if ((unsigned char)*at <= ' ' || *at == 0x7F) {
      return "the URL holds a blank or a control character";
    }
  }
  size_t len = strspn(o->method, "ABCDEFGHIJKLMNOPQRSTUVWXYZ-");
  return len == 0 || o->method[len] != '\0' || strcmp(o->method, "CONNECT") == 0
             ? "the method has to be a word in capitals, and not CONNECT"
             : NULL;
}

static void read_numbers(aw_fetch *fetch, const aw_fetch_options *o) {
  fetch->connect_ms = o->connect_ms;
  fetch->first_byte_ms = o->first_byte_ms;
  fetch->idle_ms = o->idle_ms;
  fetch->whole_ms = o->whole_ms;
  fetch->body_max = o->body_max;
  fetch->buffer = o->buffer > 0 ? o->buffer : AW_FETCH_BUFFER;
  fetch->head_max = o->head_max > 0 ? o->head_max : AW_FETCH_HEAD_MAX;
}

static aw_fetch *make(aw_loop *loop, void *user) {
  const aw_mem *mem = aw_loop_mem(loop);
  aw_fetch *fetch = aw_mem_zero(mem, 1, sizeof *fetch);
  if (fetch == NULL) {
    return NULL;
  }
  fetch->easy = curl_easy_init();
  if (fetch->easy == NULL) {
    aw_mem_free(mem, fetch);
    return NULL;
  }
  fetch->loop = loop;
  fetch->transfer.done = on_done;
  aw_source_init(&fetch->source, loop, user);
  uv_timer_init(aw_loop_uv(loop), &fetch->timer);
  fetch->timer.data = fetch;
  aw_buf_init(&fetch->sent, mem);
  aw_buf_init(&fetch->head, mem);
  aw_buf_init(&fetch->body, mem);
  return fetch;
}

int aw_fetch_new(aw_fetch **out, aw_loop *loop, const aw_fetch_options *options,
                 void *user, const char **why) {
  aw_fetch_client *client;
  *out = NULL;
  *why = check(options);
  if (*why != NULL) {
    return AW_E_INVALID;
  }
  int rc = aw_fetch_client_of(&client, loop, why);
  if (rc != AW_OK) {
    return rc;
  }
  aw_fetch *fetch = make(loop, user);
  if (fetch == NULL) {
    return AW_E_NOMEM;
  }
  fetch->client = client;
  read_numbers(fetch, options);
  fetch->began = aw_loop_clock(loop);
  rc = set_all(fetch, options);
  if (rc == AW_OK) {
    enter(fetch, CONNECTING);
    rc = aw_fetch_client_add(client, fetch->easy);
  }
  if (rc != AW_OK) {
    aw_fetch_free(fetch);
    return rc;
  }
  fetch->added = true;
  *out = fetch;
  return AW_OK;
}

static void on_closed(uv_handle_t *handle) {
  aw_fetch *fetch = handle->data;
  aw_mem_free(aw_loop_mem(fetch->loop), fetch);
}

void aw_fetch_free(aw_fetch *fetch) {
  if (fetch == NULL) {
    return;
  }
  take_out(fetch);
  aw_source_fini(&fetch->source);
  curl_easy_cleanup(fetch->easy);
  curl_slist_free_all(fetch->headers);
  aw_buf_fini(&fetch->sent);
  aw_buf_fini(&fetch->head);
  aw_buf_fini(&fetch->body);
  uv_close((uv_handle_t *)&fetch->timer, on_closed);
}

aw_source *aw_fetch_source(aw_fetch *fetch) {
  return &fetch->source;
}

static int end_of(const aw_fetch *fetch) {
  return fetch->phase != OVER    ? AW_E_AGAIN
         : fetch->error != AW_OK ? fetch->error
                                 : AW_E_CLOSED;
}

int aw_fetch_head_of(const aw_fetch *fetch, aw_fetch_head *out) {
  if (!fetch->has_head) {
    return end_of(fetch);
  }
  char *redirect = NULL;
  curl_easy_getinfo(fetch->easy, CURLINFO_REDIRECT_URL, &redirect);
  size_t len = aw_buf_len(&fetch->head);
  *out = (aw_fetch_head){.status = fetch->status,
                         .lines = len > 0 ? aw_buf_bytes(&fetch->head) : "",
                         .len = len,
                         .redirect = redirect};
  return AW_OK;
}

int aw_fetch_peek(const aw_fetch *fetch, const char **bytes, size_t *len) {
  if (aw_buf_len(&fetch->body) == 0) {
    return end_of(fetch);
  }
  *bytes = aw_buf_bytes(&fetch->body);
  *len = aw_buf_len(&fetch->body);
  return AW_OK;
}

void aw_fetch_consume(aw_fetch *fetch, size_t len) {
  aw_buf_consume(&fetch->body, len);
  if (aw_buf_len(&fetch->body) == 0) {
    aw_buf_reset(&fetch->body, KEEP_BYTES);
  }
  if (fetch->paused && aw_buf_len(&fetch->body) <= fetch->buffer / 2) {
    fetch->paused = false;
    enter(fetch, fetch->phase);
    aw_fetch_client_resume(fetch->client, fetch->easy);
  }
}

const char *aw_fetch_why(const aw_fetch *fetch) {
  return fetch->why;
}

int aw_fetch_limit(aw_loop *loop, const aw_fetch_limits *limits,
                   const char **why) {
  aw_fetch_client *client;
  int rc = aw_fetch_client_of(&client, loop, why);
  return rc == AW_OK ? aw_fetch_client_limit(client, limits) : rc;
}

int aw_fetch_about_of(aw_fetch_about *out, const char **why) {
  const curl_version_info_data *info = curl_version_info(CURLVERSION_NOW);
  *why = NULL;
  *out = (aw_fetch_about){
      .version = info->version,
      .resolver = info->ares != NULL                               ? "c-ares"
                  : (info->features & CURL_VERSION_ASYNCHDNS) != 0 ? "threads"
                                                                   : "blocking",
      .tls = info->ssl_version,
      .http2 = (info->features & CURL_VERSION_HTTP2) != 0,
      .gzip = (info->features & CURL_VERSION_LIBZ) != 0};
  return AW_OK;
}

#endif
