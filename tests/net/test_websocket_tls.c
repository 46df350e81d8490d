/* TLS of the engine of csrc/net/websocket: whom it trusts, what it says, and
 * new certificates while connections are open. */
#include "aw_socket.h"
#include "aw_tls_cache.h"
#include "stage.h"
#include "tls_files.h"
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static tls_files files;

/* TLS */

static void check_tls(test_stage *stage, const aw_tls_options *server,
                      const aw_tls_options *client, const char *host, int error,
                      const char *reason) {
  stage_listen_with(stage, (aw_listener_options){.tls = server}, false);
  stage_connect_to(stage, "wss", host, (aw_websocket_options){.tls = client});
  stage_until(stage, &stage->client, end_is_settled);
  if (reason == NULL) {
    assert_int_equal(stage->client.opens, 1);
  } else {
    assert_end(&stage->client, error, 1006, reason);
    assert_non_null(strstr(stage->client.reason, host));
    assert_int_equal(stage->client.opens, 0);
  }
}

static void certificate_of_a_known_authority_is_accepted(void **state) {
  aw_tls_options server = {.cert_file = files.server};
  aw_tls_options client = {.ca_file = files.ca};

  check_tls(*state, &server, &client, "localhost", 0, NULL);
}

static void unknown_authority_is_refused_by_default(void **state) {
  aw_tls_options server = {.cert_file = files.server};

  check_tls(*state, &server, NULL, "localhost", AW_E_TLS_ISSUER,
            "unable to get local issuer certificate");
}

static void expired_certificate_is_refused(void **state) {
  aw_tls_options server = {.cert_file = files.expired};
  aw_tls_options client = {.ca_file = files.ca};

  check_tls(*state, &server, &client, "localhost", AW_E_TLS_EXPIRED,
            "certificate has expired");
}

static void certificate_for_another_name_is_refused(void **state) {
  aw_tls_options server = {.cert_file = files.elsewhere};
  aw_tls_options client = {.ca_file = files.ca};

  check_tls(*state, &server, &client, "localhost", AW_E_TLS_NAME,
            "hostname mismatch");
}

static void certificate_for_another_address_is_refused(void **state) {
  aw_tls_options server = {.cert_file = files.elsewhere};
  aw_tls_options client = {.ca_file = files.ca};

  check_tls(*state, &server, &client, "127.0.0.1", AW_E_TLS_NAME,
            "IP address mismatch");
}

static void name_option_overrides_the_host(void **state) {
  aw_tls_options server = {.cert_file = files.elsewhere};
  aw_tls_options client = {.ca_file = files.ca, .name = "example.com"};

  check_tls(*state, &server, &client, "127.0.0.1", 0, NULL);
}

static void insecure_client_accepts_anything(void **state) {
  aw_tls_options server = {.cert_file = files.expired};
  aw_tls_options client = {.insecure = true};

  check_tls(*state, &server, &client, "localhost", 0, NULL);
}

static void plain_server_fails_a_tls_client(void **state) {
  test_stage *stage = *state;

  stage_listen(stage);
  stage_connect_to(stage, "wss", "localhost", (aw_websocket_options){0});
  stage_until(stage, &stage->client, end_is_closed);
  assert_end(&stage->client, AW_E_TLS_NONE, 1006,
             "the peer does not speak TLS");
  assert_non_null(strstr(stage->client.reason, "TLS with localhost:"));
}

static void client_certificate_names_its_owner(void **state) {
  test_stage *stage = *state;
  aw_tls_options server = {
      .cert_file = files.server, .verify_peer = true, .ca_file = files.ca};
  aw_tls_options client = {.ca_file = files.ca, .cert_file = files.client};

  stage_listen_with(stage, (aw_listener_options){.tls = &server}, true);
  stage_connect_to(stage, "wss", "localhost",
                   (aw_websocket_options){.tls = &client});
  stage_until_requested(stage);
  assert_string_equal(aw_upgrade_tls_subject(stage->upgrade), "CN=robot");
}

static void missing_client_certificate_is_refused(void **state) {
  test_stage *stage = *state;
  aw_tls_options server = {
      .cert_file = files.server, .verify_peer = true, .ca_file = files.ca};
  aw_tls_options client = {.ca_file = files.ca};

  stage_listen_with(stage, (aw_listener_options){.tls = &server}, true);
  stage_connect_to(stage, "wss", "localhost",
                   (aw_websocket_options){.tls = &client});
  stage_until(stage, &stage->client, end_is_closed);
  assert_end(&stage->client, AW_E_TLS_REFUSED, 1006, "certificate required");
  assert_null(stage->upgrade);
}

static void client_certificate_of_a_stranger_is_refused(void **state) {
  test_stage *stage = *state;
  aw_tls_options server = {.cert_file = files.server,
                           .verify_peer = true,
                           .ca_file = files.stranger_ca};
  aw_tls_options client = {.ca_file = files.ca, .cert_file = files.client};

  stage_listen_with(stage, (aw_listener_options){.tls = &server}, true);
  stage_connect_to(stage, "wss", "localhost",
                   (aw_websocket_options){.tls = &client});
  stage_until(stage, &stage->client, end_is_closed);
  assert_null(stage->upgrade);
}

static void wrong_tls_files_are_explained(void **state) {
  test_stage *stage = *state;
  const char *why = NULL;
  aw_transport *t;
  aw_tls_options tls = {.ca_file = "/nowhere/ca.pem"};
  aw_websocket_options options = {.url = "wss://127.0.0.1:1", .tls = &tls};
  aw_tls_options no_ca = {.cert_file = files.server, .verify_peer = true};
  aw_listener_options listen = {.url = "wss://127.0.0.1:0", .tls = &no_ca};
  aw_listener_sink sink = {.accepted = stage_accepted};

  assert_int_equal(aw_websocket_connect(stage->loop, &options, &t, &why),
                   AW_E_INVALID);
  assert_true(strlen(why) > 0);
  assert_int_equal(aw_listener_new(stage->loop, &listen, &sink, stage,
                                   &stage->listener, &why),
                   AW_E_INVALID);
  assert_string_equal(why, "verify_peer needs a ca_file");
}

static const char *subject_seen(stage_end *end) {
  aw_stream *stream = ((aw_socket *)end->t)->stream;

  return aw_tls_subject(stream->tls);
}

static void reload_serves_new_connections_and_keeps_old_ones(void **state) {
  test_stage *stage = *state;
  aw_tls_options server = {.cert_file = files.server};
  aw_tls_options renewed = {.cert_file = files.server_two};
  aw_tls_options broken = {.cert_file = "/nowhere.pem"};
  aw_tls_options client = {.ca_file = files.ca};
  aw_websocket_options options = {.tls = &client};
  const char *why = NULL;

  stage_listen_with(stage, (aw_listener_options){.tls = &server}, false);
  stage_connect_to(stage, "wss", "localhost", options);
  stage_until(stage, &stage->client, end_is_settled);
  stage_until_accepted(stage, 1);
  assert_string_equal(subject_seen(&stage->client), "CN=server");
  stage_end old = stage->client;
  assert_int_equal(aw_listener_reload_tls(stage->listener, &broken, &why),
                   AW_E_INVALID);
  assert_int_equal(aw_listener_reload_tls(stage->listener, &renewed, &why), 0);
  stage_connect_to(stage, "wss", "localhost", options);
  stage_until(stage, &stage->client, end_is_settled);
  assert_string_equal(subject_seen(&stage->client), "CN=server-two");
  assert_int_equal(aw_transport_send(old.t, "still here", 10), 0);
  stage_until(stage, &stage->servers[0], end_has_message);
  assert_string_equal(stage->servers[0].last, "still here");
  aw_transport_free(old.t);
}

static void plain_listener_has_no_tls_to_reload(void **state) {
  test_stage *stage = *state;
  aw_tls_options tls = {.cert_file = files.server};
  const char *why = NULL;

  stage_listen(stage);
  assert_int_equal(aw_listener_reload_tls(stage->listener, &tls, &why),
                   AW_E_UNSUPPORTED);
}

/* Contexts */

static SSL_CTX *shared(test_stage *stage, const aw_tls_options *options) {
  const char *why;
  SSL_CTX *context = NULL;

  assert_int_equal(aw_tls_shared_context(&context, stage->loop, options, &why),
                   0);
  SSL_CTX_free(context); /* the loop keeps it */
  return context;
}

static void contexts_are_shared_by_configuration(void **state) {
  test_stage *stage = *state;
  aw_tls_options one = {.ca_file = files.ca};
  aw_tls_options same = {.ca_file = files.ca, .name = "other.example"};
  aw_tls_options other = {.ca_file = files.stranger_ca};
  aw_tls_options with_key = {.ca_file = files.ca, .cert_file = files.client};
  aw_tls_options lax = {.insecure = true};
  aw_tls_options lax_one = {.ca_file = files.ca, .insecure = true};
  SSL_CTX *context = shared(stage, &one);

  assert_ptr_equal(shared(stage, &same), context);
  assert_ptr_not_equal(shared(stage, &other), context);
  assert_ptr_not_equal(shared(stage, &with_key), context);
  assert_ptr_not_equal(shared(stage, &lax), context);
  assert_ptr_not_equal(shared(stage, &lax_one), context);
  assert_ptr_not_equal(shared(stage, NULL), shared(stage, &lax));
  assert_ptr_equal(shared(stage, NULL), shared(stage, NULL));
  assert_ptr_equal(shared(stage, &one), context);
}

static void a_changed_file_is_read_again(void **state) {
  test_stage *stage = *state;
  aw_tls_options options = {.ca_file = files.ca};
  struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = 1000}};
  SSL_CTX *before = shared(stage, &options), *after;

  SSL_CTX_up_ref(before); /* or the new one could have its place */
  assert_int_equal(utimensat(AT_FDCWD, files.ca, times, 0), 0);
  after = shared(stage, &options);
  assert_ptr_not_equal(after, before);
  assert_ptr_equal(shared(stage, &options), after);
  SSL_CTX_free(before);
}

static void few_contexts_are_kept(void **state) {
  test_stage *stage = *state;
  char names[3 * AW_TLS_CACHE_MAX][128];
  SSL_CTX *first = NULL;

  for (int i = 0; i < 3 * AW_TLS_CACHE_MAX; i++) {
    aw_tls_options options = {.ca_file = names[i]};
    snprintf(names[i], sizeof names[i], "%.*s/%.*s%s",
             (int)strlen(files.folder), files.folder, 2 * i,
             "././././././././././././././././././././././."
             "/././././././././././././",
             strrchr(files.ca, '/') + 1);
    SSL_CTX *context = shared(stage, &options);
    if (i == 0) {
      SSL_CTX_up_ref(context);
      first = context;
    }
  }
  aw_tls_options options = {.ca_file = names[0]};
  assert_ptr_not_equal(shared(stage, &options), first);
  SSL_CTX_free(first);
}

static void a_file_that_cannot_be_used_is_not_kept(void **state) {
  test_stage *stage = *state;
  aw_tls_options options = {.ca_file = "/nowhere/ca.pem"};
  const char *why;
  SSL_CTX *context = NULL;

  for (int i = 0; i < 2; i++) {
    assert_int_equal(
        aw_tls_shared_context(&context, stage->loop, &options, &why),
        AW_E_INVALID);
    assert_null(context);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      STAGED(certificate_of_a_known_authority_is_accepted),
      STAGED(unknown_authority_is_refused_by_default),
      STAGED(expired_certificate_is_refused),
      STAGED(certificate_for_another_name_is_refused),
      STAGED(certificate_for_another_address_is_refused),
      STAGED(name_option_overrides_the_host),
      STAGED(insecure_client_accepts_anything),
      STAGED(plain_server_fails_a_tls_client),
      STAGED(client_certificate_names_its_owner),
      STAGED(missing_client_certificate_is_refused),
      STAGED(client_certificate_of_a_stranger_is_refused),
      STAGED(wrong_tls_files_are_explained),
      STAGED(reload_serves_new_connections_and_keeps_old_ones),
      STAGED(plain_listener_has_no_tls_to_reload),
      STAGED(contexts_are_shared_by_configuration),
      STAGED(a_changed_file_is_read_again),
      STAGED(few_contexts_are_kept),
      STAGED(a_file_that_cannot_be_used_is_not_kept),
  };

  tls_files_make(&files);
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  tls_files_remove(&files);
  return failed;
}
