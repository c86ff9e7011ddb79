// SPDX-License-Identifier: Apache-2.0
#include <string.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "net/http_internal.h"

struct curl_row {
  CURLcode code;
  const char *text; // when curl's own words hold this; NULL: always. First fit counts
  enum err_kind kind;
  const char *sentence;
};

#define WANTS_CERTIFICATE "the server does not accept our client certificate, or wants one"

static const struct curl_row rows[] = {
    {CURLE_URL_MALFORMAT, NULL, ERR_INVALID, "the URL is malformed"},
    {CURLE_UNSUPPORTED_PROTOCOL, "HTTP/0.9", ERR_PROTOCOL, "the server does not speak HTTP"},
    {CURLE_UNSUPPORTED_PROTOCOL, NULL, ERR_INVALID, "the URL must begin with http:// or https://"},
    {CURLE_LOGIN_DENIED, NULL, ERR_INVALID, "the URL must not hold a user name or password"},
    {CURLE_COULDNT_RESOLVE_HOST, NULL, ERR_UNREACHABLE, "the host name cannot be resolved"},
    {CURLE_COULDNT_CONNECT, NULL, ERR_UNREACHABLE, "no connection"},
    {CURLE_RECV_ERROR, " alert certificate required", ERR_AUTH, WANTS_CERTIFICATE},
    {CURLE_RECV_ERROR, " alert unknown ca", ERR_AUTH, WANTS_CERTIFICATE},
    {CURLE_RECV_ERROR, " alert bad certificate", ERR_AUTH, WANTS_CERTIFICATE},
    {CURLE_SEND_ERROR, " alert ", ERR_AUTH, WANTS_CERTIFICATE},
    {CURLE_SEND_ERROR, NULL, ERR_UNREACHABLE, "the connection broke while sending"},
    {CURLE_SEND_FAIL_REWIND, NULL, ERR_UNREACHABLE, "the connection broke while sending"},
    {CURLE_RECV_ERROR, NULL, ERR_UNREACHABLE, "the connection broke while receiving"},
    {CURLE_GOT_NOTHING, NULL, ERR_UNREACHABLE,
     "the server closed the connection without an answer"},
    {CURLE_PARTIAL_FILE, NULL, ERR_UNREACHABLE, "the server closed the connection in the middle"},
    {CURLE_OPERATION_TIMEDOUT, NULL, ERR_TIMEOUT, "no answer in time"},
    {CURLE_PEER_FAILED_VERIFICATION, NULL, ERR_TLS,
     "the certificate of the server is not trusted: give the CA that signed it, or its "
     "fingerprint"},
    {CURLE_SSL_CACERT_BADFILE, NULL, ERR_TLS, "the CA bundle cannot be read"},
    {CURLE_SSL_CERTPROBLEM, NULL, ERR_INVALID, "the client certificate or its key cannot be used"},
    {CURLE_SSL_CONNECT_ERROR, "SSL_connect:", ERR_UNREACHABLE,
     "the connection broke in the TLS handshake"},
    {CURLE_SSL_CONNECT_ERROR, " failure:", ERR_UNREACHABLE,
     "the connection broke in the TLS handshake"},
    {CURLE_SSL_CONNECT_ERROR, NULL, ERR_TLS,
     "no TLS connection (does the server speak HTTPS there?)"},
    {CURLE_SSL_CIPHER, NULL, ERR_TLS, "no TLS cipher in common"},
    {CURLE_OUT_OF_MEMORY, NULL, ERR_NO_MEMORY, "no memory"},
};

static const struct curl_row *row_of(CURLcode code, const char *text)
{
  static const struct curl_row other = {CURLE_OK, NULL, ERR_PROTOCOL, "the answer makes no sense"};
  for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
    if (rows[i].code == code && (!rows[i].text || strstr(text, rows[i].text)))
      return &rows[i];
  return &other;
}

// A time-out before anything could be sent: there was no connection.
static bool never_connected(CURL *easy, CURLcode code)
{
  curl_off_t ready_us = 0;
  return code == CURLE_OPERATION_TIMEDOUT &&
         curl_easy_getinfo(easy, CURLINFO_PRETRANSFER_TIME_T, &ready_us) == CURLE_OK &&
         ready_us == 0;
}

int http_curl_error(CURL *easy, const struct http_transfer *t, CURLcode code, const char *url,
                    struct err *err)
{
  char origin[300];
  http_origin_text(url, origin);
  if (t->refused_address[0] && t->sockets_opened == 0)
    return err_set(err, ERR_DENIED,
                   "%s: address %s is not among the allowed endpoints (--allowed-endpoints)",
                   origin, t->refused_address);
  const char *text = t->curl_message[0] ? t->curl_message : curl_easy_strerror(code);
  const struct curl_row *row = row_of(code, text);
  if (code == CURLE_PEER_FAILED_VERIFICATION && http_tls_refused_fingerprint()[0])
    return err_set(err, ERR_TLS,
                   "%s: the server shows a certificate with the SHA-256 fingerprint %s, which is "
                   "not the one that is pinned",
                   origin, http_tls_refused_fingerprint());
  enum err_kind kind = never_connected(easy, code) ? ERR_UNREACHABLE : row->kind;
  return err_set(err, kind, "%s: %s (%s)", origin, row->sentence, text);
}

// ---- URLs ----

static void url_cleanup(CURLU **u)
{
  curl_url_cleanup(*u);
}

static CURLU *parse(const char *url)
{
  CURLU *u = curl_url();
  if (u && curl_url_set(u, CURLUPART_URL, url, 0) == CURLUE_OK)
    return u;
  curl_url_cleanup(u);
  return NULL;
}

// NULL, or a string that is yours (curl_free).
static char *part(CURLU *u, CURLUPart which, unsigned flags)
{
  char *text = NULL;
  return curl_url_get(u, which, &text, flags) == CURLUE_OK ? text : NULL;
}

char *http_origin_text(const char *url, char b[300])
{
  CURLU *u CLEANUP(url_cleanup) = parse(url);
  char *scheme = u ? part(u, CURLUPART_SCHEME, 0) : NULL;
  char *host = u ? part(u, CURLUPART_HOST, 0) : NULL;
  char *port = u ? part(u, CURLUPART_PORT, 0) : NULL;
  if (scheme && host)
    snprintf(b, 300, "%s://%s%s%s", scheme, host, port ? ":" : "", port ? port : "");
  else
    snprintf(b, 300, "(malformed URL)");
  curl_free(scheme), curl_free(host), curl_free(port);
  return b;
}

char *http_url_without_user(const char *url)
{
  CURLU *u CLEANUP(url_cleanup) = parse(url);
  if (!u || curl_url_set(u, CURLUPART_USER, NULL, 0) != CURLUE_OK ||
      curl_url_set(u, CURLUPART_PASSWORD, NULL, 0) != CURLUE_OK)
    return NULL;
  char *text = part(u, CURLUPART_URL, 0);
  char *copy = str_dup(text);
  curl_free(text);
  return copy;
}

static bool same_part(CURLU *a, CURLU *b, CURLUPart which, unsigned flags)
{
  char *left = part(a, which, flags), *right = part(b, which, flags);
  bool same = left && right && curl_strequal(left, right);
  curl_free(left), curl_free(right);
  return same;
}

bool http_same_origin(const char *url, const char *other)
{
  CURLU *a CLEANUP(url_cleanup) = parse(url);
  CURLU *b CLEANUP(url_cleanup) = parse(other);
  return a && b && same_part(a, b, CURLUPART_SCHEME, 0) && same_part(a, b, CURLUPART_HOST, 0) &&
         same_part(a, b, CURLUPART_PORT, CURLU_DEFAULT_PORT);
}
