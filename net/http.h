// SPDX-License-Identifier: Apache-2.0
// HTTP for worker and mover threads: one blocking call at a time per session, on libcurl's easy
// interface. (Watches run on the loop: net/stream.h.)
//
// A client is the immutable settings for one origin, shared by threads; a session belongs to one
// thread and keeps its connection alive between calls. HTTP/1.1 for bulk (measured: twice as fast
// as HTTP/2 here). Redirects are followed for GET and HEAD only, at most 5, within the same origin;
// one that leads elsewhere is given back as it came (status 3xx). Proxies of the environment are
// not used. TLS: verified against the system's or the given CA; or by fingerprint of the server
// certificate (then the chain is not asked); `insecure` turns it off. A status code is not an error
// of this layer: http_status_error() makes one where the caller wants it.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/secret.h"
#include "net/address.h"

struct http_tls {
  const char *ca_pem;             // NULL = the system's
  const char *fingerprint_sha256; // hex with or without colons; NULL = by chain
  bool insecure;
  const char *client_cert_pem; // NULL = none
  const struct secret *client_key_pem;
};

struct http_settings {
  struct http_tls tls;
  int64_t connect_timeout_ms; // 0 = 10 s
  int64_t idle_timeout_ms;    // nothing sent or received for so long; 0 = 60 s
  const char *user_agent;     // NULL = drover/VERSION
  const char *connect_to;     // "host:port" to connect to instead of the URL's own (whose
                              // host is then the name in the certificate); NULL = none
  const char *proxy;          // "http://host:port"; NULL = none
  const char *unix_socket;    // path to connect to, whatever host the URL names; NULL = none
  size_t buffer_bytes;        // curl's, one each way and session; 0 = 256 KiB, for bulk
  const struct address_filter *allowed; // NULL = all; must outlive the client
};

struct http_header {
  const char *name, *value;
};

struct http_response;

#define HTTP_LENGTH_OPEN UINT64_MAX

struct http_request {
  const char *method;                // "GET"
  const char *url;                   // absolute; never a secret in it
  const struct http_header *headers; // ends with a NULL name; may be NULL
  const struct secret *bearer;       // Authorization: Bearer; NULL = none
  const char *basic_user;            // with basic_password; NULL = none
  const struct secret *basic_password;
  // Body: either bytes, or a reader called for ranges in rising order (again from 0 after a retry).
  // HTTP_LENGTH_OPEN: nobody knows the length yet, it goes out in chunks (RFC 9112 section 7.1),
  // and read_some gives at most `size` bytes, 0 at the end.
  const void *body;
  uint64_t body_length;
  int (*read_some)(void *arg, uint64_t offset, void *into, size_t size, size_t *ret_length,
                   struct err *err);
  int (*read_body)(void *arg, uint64_t offset, void *into, size_t length, struct err *err);
  void *read_arg;
  // Answer: kept in response.body up to body_max, or given to a sink (only for 2xx; a non-zero
  // return of the sink stops the call with that error).
  // Of an answer that is not 2xx the first HTTP_ERROR_BODY_MAX bytes are kept in any case; more are
  // not waited for.
  // `head` (may be NULL) sees status and headers before the first byte goes to the sink: what must
  // be known of bytes that are kept although the connection breaks after them.
  size_t body_max; // 0 = LIMIT_HTTP_BODY_BYTES
  int (*head)(void *arg, const struct http_response *r, struct err *err);
  int (*sink)(void *arg, const void *data, size_t length, struct err *err);
  void *sink_arg;              // of both
  bool no_redirects;           // the first answer is given back, whatever it is
  bool send_at_once;           // the body follows its head without a 100 (Continue) between them: a
                               // round trip less, all sent in vain when the answer is an error
  int64_t total_timeout_ms;    // 0 = none
  int64_t idle_timeout_ms;     // 0 = the client's; longer for calls that a server thinks about
  const volatile bool *cancel; // looked at every 200 ms at least; may be NULL
};

#define HTTP_ERROR_BODY_MAX (64u << 10)

struct http_response {
  long status;
  struct buf body;
  struct buf headers;     // of the last answer; read with http_response_header()
  int64_t retry_after_ms; // from Retry-After, 0 when absent
};

struct http_client;
struct http_session;

struct http_client *http_client_new(const struct http_settings *s, struct err *err); // copies s
void http_client_free(struct http_client *c); // after its sessions
// The shortest time between a request without a body and the first byte of its answer, in all
// sessions so far: the round trip, and what the server needs to think. 0: none was made. Any
// thread.
int64_t http_client_round_trip_ms(const struct http_client *c);
struct http_session *http_session_new(struct http_client *c, struct err *err);
void http_session_free(struct http_session *s);
// From any thread: the call under way, and every later one, ends with ERR_CANCELLED.
void http_session_interrupt(struct http_session *s);

// 0 when an answer of any status came. Else ERR_UNREACHABLE, ERR_TIMEOUT, ERR_TLS, ERR_CANCELLED,
// ERR_DENIED (address filter), ERR_LIMIT (answer too long), ERR_PROTOCOL, ERR_AUTH (the server
// wants another client certificate), ERR_INVALID (request or URL), or the error of sink or
// read_body. *ret is overwritten; it is empty after an error.
int http_perform(struct http_session *s, const struct http_request *request,
                 struct http_response *ret, struct err *err);
void http_response_release(struct http_response *r);
// Value of the last header of that name (any case), owned by the response; NULL: none.
const char *http_response_header(const struct http_response *r, const char *name);
// Sets the error that a status stands for: 401 ERR_AUTH, 403 ERR_DENIED, 404 and 410 ERR_NOT_FOUND,
// 409 and 412 ERR_CONFLICT, 413 and 507 ERR_NO_SPACE, 429 and 503 ERR_THROTTLED (with
// retry_after_ms), other 5xx ERR_PROTOCOL, other 4xx and redirects to elsewhere ERR_INVALID.
// what: "PUT disk-0.qcow2". Always returns -1.
int http_status_error(const struct http_response *r, const char *what, struct err *err);

// The first client does this as well. Turns SIGPIPE off for the process: OpenSSL writes to sockets
// that the far side has closed.
void http_global_init(void);
