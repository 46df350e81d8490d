#include "aw_fetch_failure.h"

#ifdef AW_WITH_CURL

#include "aw_error.h"
#include "aw_http.h"
#include <openssl/x509_vfy.h>
#include <stdio.h>
#include <string.h>

/* Of a certificate that was not believed. libcurl looks at its name by itself,
 * and leaves no result of that behind. */
static int of_certificate(CURL *easy, const char *told) {
  long result = 0;
  if (strstr(told, "target host name") != NULL) {
    return AW_E_TLS_NAME;
  }
  curl_easy_getinfo(easy, CURLINFO_SSL_VERIFYRESULT, &result);
  switch (result) {
  case X509_V_ERR_HOSTNAME_MISMATCH:
  case X509_V_ERR_IP_ADDRESS_MISMATCH:
    return AW_E_TLS_NAME;
  case X509_V_ERR_CERT_HAS_EXPIRED:
  case X509_V_ERR_CERT_NOT_YET_VALID:
    return AW_E_TLS_EXPIRED;
  case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
  case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
  case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
  case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
  case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    return AW_E_TLS_ISSUER;
  default:
    return AW_E_TLS;
  }
}

static int of_handshake(const char *told) {
  return strstr(told, "wrong version number") != NULL ||
                 strstr(told, "packet length too long") != NULL
             ? AW_E_TLS_NONE
         : strstr(told, "alert") != NULL ? AW_E_TLS_REFUSED
                                         : AW_E_TLS;
}

static int of_stream(aw_fetch_state state) {
  return !state.connected ? AW_E_CONNECT
         : state.has_head ? AW_E_INCOMPLETE
                          : AW_E_HTTP_PROTOCOL;
}

static int code_of(CURL *easy, CURLcode result, aw_fetch_state state,
                   const char *told) {
  switch ((int)result) {
  case CURLE_COULDNT_RESOLVE_HOST:
  case CURLE_COULDNT_RESOLVE_PROXY:
    return AW_E_RESOLVE;
  case CURLE_COULDNT_CONNECT:
  case CURLE_PROXY:
    return AW_E_CONNECT;
  case CURLE_PEER_FAILED_VERIFICATION:
    return of_certificate(easy, told);
  case CURLE_SSL_CONNECT_ERROR:
    return of_handshake(told);
  case CURLE_SSL_CACERT_BADFILE:
  case CURLE_SSL_CERTPROBLEM:
  case CURLE_URL_MALFORMAT:
    return AW_E_INVALID;
  case CURLE_OPERATION_TIMEDOUT:
    return AW_E_TIMEOUT_CONNECT;
  case CURLE_PARTIAL_FILE:
  case CURLE_GOT_NOTHING:
    return AW_E_INCOMPLETE;
  case CURLE_RECV_ERROR:
  case CURLE_SEND_ERROR:
    return !state.connected                           ? AW_E_CONNECT
           : strstr(told, "chunked-encoding") != NULL ? AW_E_HTTP_PROTOCOL
                                                      : AW_E_INCOMPLETE;
  case CURLE_HTTP2:
  case CURLE_HTTP2_STREAM:
    return of_stream(state);
  case CURLE_WEIRD_SERVER_REPLY:
  case CURLE_UNSUPPORTED_PROTOCOL:
  case CURLE_BAD_CONTENT_ENCODING:
    return AW_E_HTTP_PROTOCOL;
  case CURLE_OUT_OF_MEMORY:
    return AW_E_NOMEM;
  default:
    return AW_E_IO;
  }
}

int aw_fetch_failure(CURL *easy, CURLcode result, aw_fetch_state state,
                     const char *told, char why[AW_FETCH_WHY_MAX]) {
  int error = code_of(easy, result, state, told);
  if (told[0] == '\0') {
    told = curl_easy_strerror(result);
  }
  size_t len = aw_http_excerpt(told, strlen(told), why, AW_FETCH_WHY_MAX - 1);
  why[len] = '\0';
  return error;
}

#endif
