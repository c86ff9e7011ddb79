// SPDX-License-Identifier: Apache-2.0
// What net/http*.c and net/stream.c share: putting settings and requests on a curl easy handle, and
// turning what curl says into our errors. Not for other folders.
//
//   http.c           client and session: life
//   http_options.c   settings and requests onto a handle
//   http_tls.c       certificates: CA, fingerprint, client certificate
//   http_perform.c   the blocking call: body, sink, time-outs, cancel, redirects
//   http_response.c  headers, Retry-After, status codes
//   http_error.c     curl's codes as our kinds
//
// A transfer is what the callbacks of one handle know; it must live as long as the handle has the
// options. The order for one call: http_options_client(), http_options_request(), run, and then
// http_transfer_clear() (wipes what held a secret).
#pragma once

#include <curl/curl.h>
#include <stdatomic.h>

#include "net/http.h"

#define HTTP_REDIRECTS_MAX       5
#define HTTP_RETRY_AFTER_MAX_MS  3600000
#define HTTP_CONNECT_TIMEOUT_MS  10000
#define HTTP_IDLE_TIMEOUT_MS     60000
#define HTTP_LOOK_EVERY_MS       200 // how often cancel and time-outs are looked at
#define HTTP_FINGERPRINT_BYTES   32
#define HTTP_TRANSFER_CHUNK      (256l << 10) // curl's buffers
#define HTTP_REQUEST_HEADERS_MAX 64

struct http_client {
  char *ca_pem;
  char *client_cert_pem;
  struct secret client_key_pem;
  char *user_agent;
  char *proxy;
  char *unix_socket;
  struct curl_slist *connect_to;
  bool insecure;
  bool pinned;
  unsigned char fingerprint[HTTP_FINGERPRINT_BYTES];
  int64_t connect_timeout_ms, idle_timeout_ms;
  size_t buffer_bytes;
  const struct address_filter *allowed;
  _Atomic int64_t round_trip_us; // 0 = not known
};

struct http_transfer {
  const struct http_client *client;
  struct curl_slist *headers;
  char curl_message[CURL_ERROR_SIZE];
  char refused_address[64]; // last one that the address filter refused
  unsigned sockets_opened;
};

struct http_session {
  struct http_client *client;
  CURL *easy;
  CURLM *multi;
  struct http_transfer transfer;
  atomic_bool interrupted;
};

// Resets the handle, then sets all that does not depend on the request: TLS, time-out of connect,
// address filter, no proxy, no redirects, HTTP/1.1.
int http_options_client(CURL *easy, const struct http_client *c, struct http_transfer *t,
                        struct err *err);
// Method, URL, headers, credentials. No body: see http_perform.c.
int http_options_request(CURL *easy, struct http_transfer *t, const struct http_request *request,
                         struct err *err);
void http_transfer_clear(struct http_transfer *t);

// http_tls.c
int http_tls_read(const struct http_tls *tls, struct http_client *c, struct err *err);
int http_tls_options(CURL *easy, const struct http_client *c);
// "aa:bb:..." of the certificate that the last handshake on this thread refused, "" when none did.
const char *http_tls_refused_fingerprint(void);
void http_tls_forget_refused(void);

// http_response.c: for CURLOPT_HEADERFUNCTION; a status line begins the headers anew. False: full.
bool http_headers_add(struct buf *headers, const char *line, size_t length);
// Both forms of RFC 9110 section 10.2.3, capped; 0 when absent (NULL) or malformed.
int64_t http_retry_after_ms(const char *value, int64_t now_wall_ms);

// Sets the error for a failed transfer; url is shown by its origin only. Returns -1.
int http_curl_error(CURL *easy, const struct http_transfer *t, CURLcode code, const char *url,
                    struct err *err);
// "https://host:port" of a URL for messages; returns b.
char *http_origin_text(const char *url, char b[300]);
// The URL without user name and password; yours. NULL: malformed, or no memory.
char *http_url_without_user(const char *url);
bool http_same_origin(const char *url, const char *other);
