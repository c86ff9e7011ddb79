// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/str.h"
#include "net/http.h"
#include "net/http_internal.h"
#include "tests/fakes/http_server.h"

// One server, client and session. What the server saw last stays in `seen`.
#define THINKS_MS 300

struct bench {
  struct fake_http *server, *other;
  struct http_client *client;
  struct http_session *session;
  struct http_response response;
  struct err err;
  char method[32], authorization[256], agent[64];
  size_t body_length;
  bool chunked;
  char expect[32];
  unsigned char body_sum;
  int requests;
};

static void answer_redirect(struct bench *b, struct fake_http_connection *c, const char *target)
{
  char header[256];
  if (str_eq(target, "/away"))
    snprintf(header, sizeof(header), "Location: %s/ok\r\n", fake_http_url(b->other));
  else
    snprintf(header, sizeof(header), "Location: %s\r\n",
             str_eq(target, "/loop") ? "/loop" : "/ok?moved");
  fake_http_answer(c, "302 Found", header, "");
}

static void answer_odd(struct fake_http_connection *c, const char *target)
{
  static const char half[] = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf";
  if (str_eq(target, "/half"))
    fake_http_write(c, half, sizeof(half) - 1), fake_http_close(c);
  else if (str_eq(target, "/nothing"))
    fake_http_close(c);
  else if (str_eq(target, "/garbage"))
    fake_http_write(c, "SSH-2.0-OpenSSH_9\r\n", 19), fake_http_close(c);
  else if (str_eq(target, "/stall"))
    fake_http_write(c, half, sizeof(half) - 1), fake_http_wait_gone(c);
  else
    fake_http_wait_gone(c); // "/hang"
}

static void answer_long_headers(struct fake_http_connection *c)
{
  char line[1024];
  memset(line, 'x', sizeof(line));
  memcpy(line, "X-Long: ", 8);
  memcpy(line + sizeof(line) - 2, "\r\n", 2);
  fake_http_write(c, "HTTP/1.1 200 OK\r\n", 17);
  for (int i = 0; i < 80; i++)
    fake_http_write(c, line, sizeof(line));
  fake_http_write(c, "Content-Length: 0\r\n\r\n", 21);
}

static void answer(void *arg, struct fake_http_connection *c, const struct fake_http_request *r)
{
  struct bench *b = arg;
  b->requests++;
  snprintf(b->method, sizeof(b->method), "%s", r->method);
  fake_http_header(r, "Authorization", b->authorization, sizeof(b->authorization));
  fake_http_header(r, "User-Agent", b->agent, sizeof(b->agent));
  b->body_length = r->body_length;
  b->chunked = r->chunked;
  fake_http_header(r, "Expect", b->expect, sizeof(b->expect));
  b->body_sum = 0;
  for (size_t i = 0; i < r->body_length; i++)
    b->body_sum = (unsigned char)(b->body_sum * 31 + (unsigned char)r->body[i]);
  if (str_eq(r->target, "/thinks"))
    usleep(THINKS_MS * 1000); // the thing itself: an answer that takes its time
  if (str_starts(r->target, "/ok") || str_eq(r->target, "/thinks"))
    fake_http_answer(c, "200 OK", "X-Target: no\r\nx-target:  yes \r\n",
                     str_eq(r->method, "HEAD") ? NULL : r->target);
  else if (str_eq(r->target, "/slow-down"))
    fake_http_answer(c, "503 Slow Down", "Retry-After: 7\r\n", "busy");
  else if (str_eq(r->target, "/long-headers"))
    answer_long_headers(c);
  else if (str_eq(r->target, "/away") || str_eq(r->target, "/loop") || str_eq(r->target, "/moved"))
    answer_redirect(b, c, r->target);
  else
    answer_odd(c, r->target);
}

static void open_client(struct bench *b, const struct http_settings *s)
{
  http_session_free(b->session);
  http_client_free(b->client);
  b->session = NULL;
  b->client = http_client_new(s, &b->err);
  if (b->client)
    b->session = http_session_new(b->client, &b->err);
}

static int set_up(void **state)
{
  struct bench *b = calloc(1, sizeof(*b));
  b->server = fake_http_new(answer, b, NULL);
  b->other = fake_http_new(answer, b, NULL);
  open_client(b, &(struct http_settings){0});
  *state = b;
  return b->session ? 0 : -1;
}

static int set_up_tls(void **state)
{
  struct bench *b = calloc(1, sizeof(*b));
  b->server = fake_http_new(answer, b, &(struct fake_http_options){.tls = true});
  b->other = fake_http_new(
      answer, b, &(struct fake_http_options){.tls = true, .want_client_certificate = true});
  *state = b;
  return 0;
}

static int tear_down(void **state)
{
  struct bench *b = *state;
  http_response_release(&b->response);
  http_session_free(b->session);
  http_client_free(b->client);
  fake_http_free(b->server);
  fake_http_free(b->other);
  free(b);
  return 0;
}

static int perform(struct bench *b, const char *path, struct http_request r)
{
  char *url cleanup_free = str_printf("%s%s", fake_http_url(b->server), path);
  r.url = url;
  r.method = r.method ? r.method : "GET";
  b->err = (struct err)ERR_INIT;
  http_response_release(&b->response);
  fake_http_sync(b->server);
  fake_http_sync(b->other);
  int result = http_perform(b->session, &r, &b->response, &b->err);
  fake_http_sync(b->server);
  fake_http_sync(b->other);
  return result;
}

#define PERFORM(b, path, ...) perform(b, path, (struct http_request){__VA_ARGS__})

static void expect_error(struct bench *b, int result, enum err_kind kind, const char *text)
{
  assert_int_equal(result, -1);
  if (b->err.kind != kind || !strstr(b->err.message, text))
    fail_msg("got %s '%s', expected %s '%s'", err_reason(b->err.kind), b->err.message,
             err_reason(kind), text);
}

// ---- plain calls ----

static void test_get(void **state)
{
  struct bench *b = *state;
  assert_int_equal(PERFORM(b, "/ok?a=b"), 0);
  assert_int_equal(b->response.status, 200);
  assert_string_equal(buf_str(&b->response.body), "/ok?a=b");
  assert_string_equal(http_response_header(&b->response, "X-TARGET"), "yes");
  assert_null(http_response_header(&b->response, "X-Targe"));
  assert_string_equal(b->agent, "drover/" DROVER_VERSION);
  assert_int_equal(PERFORM(b, "/ok", .method = "HEAD"), 0);
  assert_string_equal(b->method, "HEAD");
  assert_int_equal(b->response.body.length, 0);
  assert_int_equal(PERFORM(b, "/ok", .method = "PUT"), 0);
  assert_string_equal(b->method, "PUT");
}

static int read_pattern(void *arg, uint64_t offset, void *into, size_t length, struct err *err)
{
  uint64_t *fail_at = arg;
  if (fail_at && offset + length > *fail_at)
    return err_set(err, ERR_CORRUPT, "the disk is bad at %llu", (unsigned long long)*fail_at);
  for (size_t i = 0; i < length; i++)
    ((unsigned char *)into)[i] = (unsigned char)((offset + i) * 7 >> 3);
  return 0;
}

static void test_body_from_reader(void **state)
{
  struct bench *b = *state;
  size_t length = 3u << 20;
  unsigned char sum = 0;
  for (size_t i = 0; i < length; i++)
    sum = (unsigned char)(sum * 31 + (unsigned char)(i * 7 >> 3));
  assert_int_equal(
      PERFORM(b, "/ok", .method = "PUT", .read_body = read_pattern, .body_length = length), 0);
  assert_int_equal(b->body_length, length);
  assert_int_equal(b->body_sum, sum);
  uint64_t bad = 1u << 20;
  expect_error(b,
               PERFORM(b, "/ok", .method = "PUT", .read_body = read_pattern, .read_arg = &bad,
                       .body_length = length),
               ERR_CORRUPT, "bad at 1048576");
}

struct steps {
  size_t length, step; // so much at a time
  uint64_t calls;
};

static int read_steps(void *arg, uint64_t offset, void *into, size_t size, size_t *ret_length,
                      struct err *err)
{
  struct steps *s = arg;
  size_t left = s->length - (size_t)offset;
  *ret_length = left < s->step ? left : s->step;
  assert_true(*ret_length <= size);
  s->calls++;
  return read_pattern(NULL, offset, into, *ret_length, err);
}

static void test_body_of_unknown_length(void **state)
{
  struct bench *b = *state;
  struct steps s = {.length = 3000001, .step = 10007};
  unsigned char sum = 0;
  for (size_t i = 0; i < s.length; i++)
    sum = (unsigned char)(sum * 31 + (unsigned char)(i * 7 >> 3));
  assert_int_equal(PERFORM(b, "/ok", .method = "PUT", .body_length = HTTP_LENGTH_OPEN,
                           .read_some = read_steps, .read_arg = &s),
                   0);
  assert_int_equal(b->body_length, s.length);
  assert_int_equal(b->body_sum, sum);
  assert_true(b->chunked);
  s.length = 0;
  assert_int_equal(PERFORM(b, "/ok", .method = "PUT", .body_length = HTTP_LENGTH_OPEN,
                           .read_some = read_steps, .read_arg = &s),
                   0);
  assert_int_equal(b->body_length, 0);
  assert_int_equal(PERFORM(b, "/ok", .method = "PUT", .body = "x", .body_length = 1), 0);
  assert_false(b->chunked);
}

static void test_bodies_that_do_not_ask(void **state)
{
  struct bench *b = *state;
  size_t length = 2u << 20;
  for (int i = 0; i < 2; i++) {
    assert_int_equal(PERFORM(b, "/ok", .method = "PUT", .read_body = read_pattern,
                             .body_length = length, .send_at_once = i),
                     0);
    assert_int_equal(b->body_length, length);
    assert_string_equal(b->expect, i ? "" : "100-continue");
  }
}

static void test_round_trip(void **state)
{
  struct bench *b = *state;
  assert_int_equal(http_client_round_trip_ms(b->client), 0);
  assert_int_equal(PERFORM(b, "/thinks", .method = "PUT", .body = "x", .body_length = 1), 0);
  assert_int_equal(http_client_round_trip_ms(b->client), 0); // a body takes time of its own
  assert_int_equal(PERFORM(b, "/thinks"), 0);
  assert_true(http_client_round_trip_ms(b->client) >= THINKS_MS);
  assert_int_equal(PERFORM(b, "/ok"), 0);
  assert_true(http_client_round_trip_ms(b->client) < THINKS_MS); // the shortest counts
}

struct sunk {
  char text[64];
  size_t length;
  bool refuse;
};

static int sink(void *arg, const void *data, size_t length, struct err *err)
{
  struct sunk *s = arg;
  if (s->refuse)
    return err_set(err, ERR_NO_SPACE, "the sink is full");
  memcpy(s->text + s->length, data, length);
  s->length += length;
  return 0;
}

static void test_sink(void **state)
{
  struct bench *b = *state;
  struct sunk s = {0};
  assert_int_equal(PERFORM(b, "/ok-into-sink", .sink = sink, .sink_arg = &s), 0);
  assert_string_equal(s.text, "/ok-into-sink");
  assert_int_equal(b->response.body.length, 0);
  // what is not 2xx stays out of the sink
  assert_int_equal(PERFORM(b, "/slow-down", .sink = sink, .sink_arg = &s), 0);
  assert_string_equal(buf_str(&b->response.body), "busy");
  assert_int_equal(s.length, 13);
  s.refuse = true;
  expect_error(b, PERFORM(b, "/ok", .sink = sink, .sink_arg = &s), ERR_NO_SPACE, "sink is full");
}

static void test_limits(void **state)
{
  struct bench *b = *state;
  expect_error(b, PERFORM(b, "/ok-longer-than-8", .body_max = 8), ERR_LIMIT, "longer than 8 bytes");
  expect_error(b, PERFORM(b, "/long-headers"), ERR_LIMIT, "bytes of headers");
  assert_int_equal(PERFORM(b, "/slow-down", .body_max = 2), 0); // an error's text may be longer
}

static void test_credentials(void **state)
{
  struct bench *b = *state;
  struct secret token = {0}, password = {0}, bad = {0};
  secret_set_string(&token, "t0ken");
  secret_set_string(&password, "pass:word");
  secret_set_string(&bad, "x\r\nInjected: 1");
  assert_int_equal(PERFORM(b, "/ok", .bearer = &token), 0);
  assert_string_equal(b->authorization, "Bearer t0ken");
  assert_int_equal(PERFORM(b, "/ok", .basic_user = "joe", .basic_password = &password), 0);
  assert_string_equal(b->authorization, "Basic am9lOnBhc3M6d29yZA==");
  assert_int_equal(PERFORM(b, "/ok"), 0);
  assert_string_equal(b->authorization, ""); // nothing is left from the call before
  expect_error(b, PERFORM(b, "/ok", .bearer = &bad), ERR_INVALID, "line break");
  const struct http_header injected[] = {{"X-A", "1\r\nX-B: 2"}, {NULL, NULL}};
  expect_error(b, PERFORM(b, "/ok", .headers = injected), ERR_INVALID, "characters");
  secret_release(&token), secret_release(&password), secret_release(&bad);
}

// ---- redirects and statuses ----

static void test_redirects(void **state)
{
  struct bench *b = *state;
  assert_int_equal(PERFORM(b, "/moved"), 0);
  assert_string_equal(buf_str(&b->response.body), "/ok?moved");
  assert_int_equal(PERFORM(b, "/moved", .method = "PUT", .body = "x", .body_length = 1), 0);
  assert_int_equal(b->response.status, 302); // only GET and HEAD are followed
  b->requests = 0;
  expect_error(b, PERFORM(b, "/loop"), ERR_PROTOCOL, "more than 5 redirects");
  assert_int_equal(b->requests, 6);
  b->requests = 0;
  assert_int_equal(PERFORM(b, "/away"), 0);
  assert_int_equal(b->requests, 1); // the other origin was not asked
  expect_error(b, http_status_error(&b->response, "GET x", &b->err), ERR_INVALID,
               fake_http_url(b->other));
}

static void test_status_kinds(void **state)
{
  (void)state;
  static const struct {
    long status;
    enum err_kind kind;
  } rows[] = {
      {301, ERR_INVALID},   {400, ERR_INVALID},   {401, ERR_AUTH},      {403, ERR_DENIED},
      {404, ERR_NOT_FOUND}, {409, ERR_CONFLICT},  {410, ERR_NOT_FOUND}, {412, ERR_CONFLICT},
      {413, ERR_NO_SPACE},  {418, ERR_INVALID},   {423, ERR_BUSY},      {429, ERR_THROTTLED},
      {500, ERR_PROTOCOL},  {503, ERR_THROTTLED}, {507, ERR_NO_SPACE},  {599, ERR_PROTOCOL},
      {100, ERR_PROTOCOL},
  };
  for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
    struct err err = ERR_INIT;
    struct http_response r = {.status = rows[i].status, .retry_after_ms = 5000};
    assert_int_equal(http_status_error(&r, "PUT x", &err), -1);
    assert_int_equal(err.kind, rows[i].kind);
    assert_int_equal(err.retry_after_ms, 5000);
  }
}

static void test_retry_after(void **state)
{
  struct bench *b = *state;
  const int64_t now_ms = 784111777000; // Sun, 06 Nov 1994 08:49:37 GMT
  assert_int_equal(http_retry_after_ms("120", now_ms), 120000);
  assert_int_equal(http_retry_after_ms("Sun, 06 Nov 1994 08:50:00 GMT", now_ms), 23000);
  assert_int_equal(http_retry_after_ms("Sun, 06 Nov 1994 08:00:00 GMT", now_ms), 0);
  assert_int_equal(http_retry_after_ms("9999999999", now_ms), HTTP_RETRY_AFTER_MAX_MS);
  assert_int_equal(http_retry_after_ms("-5", now_ms), 0);
  assert_int_equal(http_retry_after_ms("soon", now_ms), 0);
  assert_int_equal(http_retry_after_ms(NULL, now_ms), 0);
  assert_int_equal(PERFORM(b, "/slow-down"), 0);
  assert_int_equal(b->response.retry_after_ms, 7000);
}

// ---- what breaks ----

static void test_broken_answers(void **state)
{
  struct bench *b = *state;
  expect_error(b, PERFORM(b, "/half"), ERR_UNREACHABLE, "in the middle");
  expect_error(b, PERFORM(b, "/nothing"), ERR_UNREACHABLE, "without an answer");
  expect_error(b, PERFORM(b, "/garbage"), ERR_PROTOCOL, "http://127.0.0.1:");
  assert_int_equal(PERFORM(b, "/ok"), 0);
}

static void test_unreachable(void **state)
{
  struct bench *b = *state;
  struct http_request r = {.method = "GET", .url = "http://no-such-host.invalid/x"};
  expect_error(b, http_perform(b->session, &r, &b->response, &b->err), ERR_UNREACHABLE,
               "cannot be resolved");
  r.url = "http://127.0.0.1:1/x";
  expect_error(b, http_perform(b->session, &r, &b->response, &b->err), ERR_UNREACHABLE,
               "no connection");
  r.url = "ftp://127.0.0.1/x";
  expect_error(b, http_perform(b->session, &r, &b->response, &b->err), ERR_INVALID, "http://");
  r.url = "http://user:secret@127.0.0.1:1/x";
  expect_error(b, http_perform(b->session, &r, &b->response, &b->err), ERR_INVALID, "password");
  assert_null(strstr(b->err.message, "secret"));
}

static void test_time_outs(void **state)
{
  struct bench *b = *state;
  expect_error(b, PERFORM(b, "/hang", .idle_timeout_ms = 300), ERR_TIMEOUT, "for 300 ms");
  expect_error(b, PERFORM(b, "/stall", .idle_timeout_ms = 300), ERR_TIMEOUT, "for 300 ms");
  expect_error(b, PERFORM(b, "/stall", .total_timeout_ms = 300), ERR_TIMEOUT, "within 300 ms");
}

static void *set_flag_later(void *arg)
{
  usleep(100000);
  __atomic_store_n((volatile bool *)arg, true, __ATOMIC_RELEASE);
  return NULL;
}

static void *interrupt_later(void *arg)
{
  usleep(100000);
  http_session_interrupt(arg);
  return NULL;
}

static void test_cancel(void **state)
{
  struct bench *b = *state;
  volatile bool cancel = false;
  pthread_t thread;
  int64_t started_ms = clock_ms();
  pthread_create(&thread, NULL, set_flag_later, (void *)&cancel);
  expect_error(b, PERFORM(b, "/hang", .cancel = &cancel), ERR_CANCELLED, "cancelled");
  pthread_join(thread, NULL);
  pthread_create(&thread, NULL, interrupt_later, b->session);
  expect_error(b, PERFORM(b, "/stall"), ERR_CANCELLED, "cancelled");
  pthread_join(thread, NULL);
  assert_true(clock_ms() - started_ms < 2000);
  expect_error(b, PERFORM(b, "/hang"), ERR_CANCELLED, "cancelled"); // for good
}

static void test_address_filter(void **state)
{
  struct bench *b = *state;
  const char *elsewhere = "10.0.0.0/8", *here = "127.0.0.0/8";
  struct address_filter *f = address_filter_new(&elsewhere, 1, NULL);
  b->requests = 0;
  open_client(b, &(struct http_settings){.allowed = f});
  expect_error(b, PERFORM(b, "/ok"), ERR_DENIED, "127.0.0.1 is not among the allowed");
  assert_int_equal(b->requests, 0);
  address_filter_free(f);
  f = address_filter_new(&here, 1, NULL);
  open_client(b, &(struct http_settings){.allowed = f});
  assert_int_equal(PERFORM(b, "/ok"), 0);
  address_filter_free(f);
}

static void test_proxy_of_environment_is_not_used(void **state)
{
  struct bench *b = *state;
  setenv("http_proxy", "http://127.0.0.1:1", 1);
  setenv("ALL_PROXY", "http://127.0.0.1:1", 1);
  int result = PERFORM(b, "/ok");
  unsetenv("http_proxy");
  unsetenv("ALL_PROXY");
  assert_int_equal(result, 0);
}

// ---- TLS ----

static int get_with(struct bench *b, struct http_tls tls)
{
  b->err = (struct err)ERR_INIT;
  open_client(b, &(struct http_settings){.tls = tls});
  return b->session ? PERFORM(b, "/ok") : -1;
}

#define GET_WITH(b, ...) get_with(b, (struct http_tls){__VA_ARGS__})

static void test_trust(void **state)
{
  struct bench *b = *state;
  char other[] = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
  expect_error(b, GET_WITH(b, 0), ERR_TLS, "not trusted");
  assert_int_equal(GET_WITH(b, .insecure = true), 0);
  assert_int_equal(GET_WITH(b, .ca_pem = fake_http_cert_pem(b->server)), 0);
  expect_error(b, GET_WITH(b, .ca_pem = fake_http_cert_pem(b->other)), ERR_TLS, "not trusted");
  assert_int_equal(GET_WITH(b, .fingerprint_sha256 = fake_http_fingerprint(b->server)), 0);
  expect_error(b, GET_WITH(b, .fingerprint_sha256 = other), ERR_TLS, "not the one that is pinned");
  // a pin is not weakened by `insecure`
  expect_error(b, GET_WITH(b, .fingerprint_sha256 = other, .insecure = true), ERR_TLS, "pinned");
}

static void test_name_must_match(void **state)
{
  struct bench *b = *state;
  open_client(b, &(struct http_settings){.tls.ca_pem = fake_http_cert_pem(b->server)});
  char *url cleanup_free =
      str_printf("https://localhost:%s/ok", strrchr(fake_http_url(b->server), ':') + 1);
  struct http_request r = {.method = "GET", .url = url};
  expect_error(b, http_perform(b->session, &r, &b->response, &b->err), ERR_TLS, "not trusted");
}

static void test_bad_tls_settings(void **state)
{
  struct bench *b = *state;
  expect_error(b, GET_WITH(b, .fingerprint_sha256 = "12:34"), ERR_INVALID, "64 hexadecimal");
  expect_error(b, GET_WITH(b, .ca_pem = "no pem"), ERR_INVALID, "CA bundle");
  expect_error(b, GET_WITH(b, .client_cert_pem = fake_http_cert_pem(b->server)), ERR_INVALID,
               "without its private key");
}

static void test_client_certificate(void **state)
{
  struct bench *b = *state;
  struct fake_http *plain = b->server;
  struct secret key = {0};
  b->server = b->other; // the one that wants a certificate
  b->other = plain;
  secret_set_string(&key, fake_http_key_pem(b->server));
  assert_int_equal(GET_WITH(b, .ca_pem = fake_http_cert_pem(b->server),
                            .client_cert_pem = fake_http_cert_pem(b->server),
                            .client_key_pem = &key),
                   0);
  expect_error(b, GET_WITH(b, .ca_pem = fake_http_cert_pem(b->server)), ERR_AUTH, "alert");
  secret_release(&key);
}

static void test_plain_server_on_https(void **state)
{
  struct bench *b = *state;
  char *url cleanup_free = str_printf("https%s/ok", strchr(fake_http_url(b->server), ':'));
  struct http_request r = {.method = "GET", .url = url};
  expect_error(b, http_perform(b->session, &r, &b->response, &b->err), ERR_TLS, "HTTPS");
}

#define PLAIN(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
#define TLS(test)   cmocka_unit_test_setup_teardown(test, set_up_tls, tear_down)

int main(void)
{
  const struct CMUnitTest tests[] = {
      PLAIN(test_get),
      PLAIN(test_body_from_reader),
      PLAIN(test_body_of_unknown_length),
      PLAIN(test_bodies_that_do_not_ask),
      PLAIN(test_round_trip),
      PLAIN(test_sink),
      PLAIN(test_limits),
      PLAIN(test_credentials),
      PLAIN(test_redirects),
      cmocka_unit_test(test_status_kinds),
      PLAIN(test_retry_after),
      PLAIN(test_broken_answers),
      PLAIN(test_unreachable),
      PLAIN(test_time_outs),
      PLAIN(test_cancel),
      PLAIN(test_address_filter),
      PLAIN(test_proxy_of_environment_is_not_used),
      PLAIN(test_plain_server_on_https),
      TLS(test_trust),
      TLS(test_name_must_match),
      TLS(test_bad_tls_settings),
      TLS(test_client_certificate),
  };
  http_global_init();
  return cmocka_run_group_tests(tests, NULL, NULL);
}
