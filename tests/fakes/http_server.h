// SPDX-License-Identifier: Apache-2.0
// A small HTTP server inside a test: a function answers each request, and may answer wrongly, late,
// half or not at all. Threads: one per connection, so the function must lock what it shares.
// Listens on a free port of 127.0.0.1, with TLS when asked (a certificate made on the spot).
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct fake_http;
struct fake_http_connection;

struct fake_http_request {
  const char *method, *target; // target: path and query as sent
  const char *headers;         // all header lines
  const char *body;            // NUL-terminated beside its length
  size_t body_length;
  bool chunked; // the body came in chunks, without its length before
};

typedef void (*fake_http_fn)(void *arg, struct fake_http_connection *c,
                             const struct fake_http_request *request);

struct fake_http_options {
  bool tls;
  bool want_client_certificate; // any that the server's own CA (= its certificate) signed
};

struct fake_http *fake_http_new(fake_http_fn fn, void *arg, const struct fake_http_options *o);
void fake_http_free(struct fake_http *s);
const char *fake_http_url(const struct fake_http *s); // "http://127.0.0.1:PORT"
const char *fake_http_cert_pem(const struct fake_http *s);
const char *fake_http_key_pem(const struct fake_http *s);
const char *fake_http_fingerprint(const struct fake_http *s); // with colons

// Sockets order what the function and the test do to shared variables, but thread sanitizers do not
// know: a test calls this before and after each exchange.
void fake_http_sync(struct fake_http *s);

// For the function: raw bytes of the answer.
void fake_http_write(struct fake_http_connection *c, const void *data, size_t length);
// "HTTP/1.1 STATUS\r\n" + headers (each ends with \r\n) + Content-Length + body.
void fake_http_answer(struct fake_http_connection *c, const char *status, const char *headers,
                      const char *body);
void fake_http_close(struct fake_http_connection *c);     // ends the connection after this request
void fake_http_wait_gone(struct fake_http_connection *c); // until the client or the test hangs up
// Value of a header of the request into b (empty when absent).
const char *fake_http_header(const struct fake_http_request *r, const char *name, char *b,
                             size_t size);
