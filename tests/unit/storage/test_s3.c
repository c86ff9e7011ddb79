// SPDX-License-Identifier: Apache-2.0
// What servers do wrong: answers that are lost, late, half or lies. (What they do right is tested
// on real ones: tests/integration/storage_conformance.c.)
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "net/http.h"
#include "storage/s3/s3_internal.h"
#include "tests/fakes/http_server.h"

#define ERROR_XML(code)                                                                            \
  "<?xml version=\"1.0\"?><Error><Code>" code "</Code><Message>m</Message></Error>"
#define BIG_BYTES (6u << 20)

// The server answers by what `mood` says, and notes what it saw.
struct bench {
  struct fake_http *server;
  struct storage *store;
  struct storage_lane *lane;
  struct err err;
  const char *mood;
  int requests, completes, heads;
  bool there; // the object exists
  size_t size;
  char nonce[64], range[64], md5[64], sha[80], host[128], target[512], owner[128];
  bool saw_if_none_match;
};

static bool is(const struct bench *b, const char *mood)
{
  return str_eq(b->mood, mood);
}

static void error(struct fake_http_connection *c, const char *status, const char *code)
{
  char *body cleanup_free = str_printf(ERROR_XML("%s"), code);
  fake_http_answer(c, status, NULL, body);
}

static void note(struct bench *b, const struct fake_http_request *r)
{
  char value[512];
  b->requests++;
  snprintf(b->target, sizeof(b->target), "%s", r->target);
  fake_http_header(r, "Range", b->range, sizeof(b->range));
  fake_http_header(r, "Content-MD5", b->md5, sizeof(b->md5));
  fake_http_header(r, "x-amz-content-sha256", b->sha, sizeof(b->sha));
  fake_http_header(r, "Host", b->host, sizeof(b->host));
  fake_http_header(r, "x-amz-meta-drover-owner", b->owner, sizeof(b->owner));
  if (fake_http_header(r, S3_UPLOAD_HEADER, value, sizeof(value))[0])
    snprintf(b->nonce, sizeof(b->nonce), "%.63s", value);
  b->saw_if_none_match |= fake_http_header(r, "If-None-Match", value, sizeof(value))[0] != '\0';
}

static void answer_head(struct bench *b, struct fake_http_connection *c)
{
  b->heads++;
  if (!b->there) {
    fake_http_answer(c, "404 Not Found", NULL, NULL);
    return;
  }
  char *head cleanup_free =
      str_printf("HTTP/1.1 200 OK\r\nContent-Length: %zu\r\nETag: \"x-1\"\r\n" S3_UPLOAD_HEADER
                 ": %s\r\nx-amz-meta-drover-owner: a%%20b%%22\r\n\r\n",
                 b->size, is(b, "foreign") ? "somebody" : b->nonce);
  fake_http_write(c, head, strlen(head));
}

static void answer_complete(struct bench *b, struct fake_http_connection *c,
                            const struct fake_http_request *r)
{
  static const char good[] = "<CompleteMultipartUploadResult/>";
  char value[8];
  b->completes++;
  if (is(b, "error in 200") && b->completes == 1) {
    fake_http_answer(c, "200 OK", NULL, "  \n<Error><Code>InternalError</Code></Error>");
  } else if (is(b, "lost answer") && b->completes == 1) {
    b->there = true;
    fake_http_close(c);
  } else if (is(b, "lost answer") || is(b, "upload gone") || is(b, "foreign")) {
    b->there |= is(b, "foreign");
    error(c, "404 Not Found", is(b, "upload gone") ? "NoSuchKey" : "NoSuchUpload");
  } else if (is(b, "no conditions") &&
             fake_http_header(r, "If-None-Match", value, sizeof(value))[0]) {
    error(c, "501 Not Implemented", "NotImplemented");
  } else {
    b->there = true;
    fake_http_answer(c, "200 OK", NULL, good);
  }
}

static void answer_put(struct bench *b, struct fake_http_connection *c,
                       const struct fake_http_request *r)
{
  if (is(b, "wrong etag"))
    fake_http_answer(c, "200 OK", "ETag: \"00000000000000000000000000000000\"\r\n", "");
  else if (is(b, "busy") && b->requests < 3)
    error(c, "503 Slow Down", "SlowDown");
  else if (strstr(r->target, "partNumber"))
    fake_http_answer(c, "200 OK", "ETag: \"part\"\r\n", "");
  else
    b->there = true, b->size = r->body_length,
    fake_http_answer(c, "200 OK", "ETag: \"whole\"\r\n", "");
}

static void answer_range(struct bench *b, struct fake_http_connection *c)
{
  static const char all[] = "0123456789";
  unsigned first = 0, last = 0;
  sscanf(b->range, "bytes=%u-%u", &first, &last);
  if (is(b, "another range"))
    first++, last++;
  unsigned length = last - first + 1, sent = is(b, "half") && first == 2 ? 3 : length;
  char *head cleanup_free =
      str_printf("HTTP/1.1 206 Partial\r\nContent-Length: %u\r\nContent-Range: bytes %u-%u/10\r\n"
                 "ETag: \"x-1\"\r\n\r\n",
                 length, first, last);
  fake_http_write(c, head, strlen(head));
  fake_http_write(c, all + first, sent);
  if (sent != length)
    fake_http_close(c);
}

static void answer_list(struct bench *b, struct fake_http_connection *c)
{
  static const char first[] =
      "<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><EncodingType>url"
      "</EncodingType><IsTruncated>true</IsTruncated><NextContinuationToken>a+/=</"
      "NextContinuationToken><Contents><Key>b%2Fc+d</Key></Contents></ListBucketResult>";
  static const char second[] =
      "<ListBucketResult><EncodingType>url</EncodingType><IsTruncated>false</IsTruncated><Contents>"
      "<Key>a%C3%A9</Key></Contents><Contents><Key>folder/</Key></Contents></ListBucketResult>";
  static const char laughs[] = "<?xml version=\"1.0\"?><!DOCTYPE l [<!ENTITY a \"ha\"><!ENTITY b "
                               "\"&a;&a;&a;\">]><ListBucketResult><Contents><Key>&b;</Key>"
                               "</Contents></ListBucketResult>";
  if (is(b, "entities"))
    fake_http_answer(c, "200 OK", NULL, laughs);
  else if (is(b, "not xml"))
    fake_http_answer(c, "200 OK", NULL, "<html><body>welcome");
  else if (is(b, "endless"))
    fake_http_answer(c, "200 OK", NULL, first);
  else if (is(b, "other region"))
    fake_http_answer(c, "301 Moved", "x-amz-bucket-region: eu-west-3\r\n",
                     ERROR_XML("PermanentRedirect"));
  else if (is(b, "malformed region"))
    fake_http_answer(c, "400 Bad Request", NULL,
                     "<Error><Code>AuthorizationHeaderMalformed</Code><Region>eu-west-3</Region>"
                     "</Error>");
  else if (strstr(b->target, "continuation-token=a%2B%2F%3D"))
    fake_http_answer(c, "200 OK", NULL, second);
  else
    fake_http_answer(c, "200 OK", NULL, first);
}

static void answer(void *arg, struct fake_http_connection *c, const struct fake_http_request *r)
{
  struct bench *b = arg;
  note(b, r);
  if (str_starts(b->mood, "code "))
    error(c, "400 Bad Request", b->mood + 5);
  else if (str_eq(r->method, "HEAD"))
    answer_head(b, c);
  else if (str_eq(r->method, "PUT"))
    answer_put(b, c, r);
  else if (str_eq(r->method, "DELETE"))
    fake_http_answer(c, "204 No Content", NULL, "");
  else if (str_eq(r->method, "POST") && strstr(r->target, "uploads="))
    fake_http_answer(c, "200 OK", NULL, "<R><UploadId>id/1+</UploadId></R>");
  else if (str_eq(r->method, "POST"))
    answer_complete(b, c, r);
  else if (b->range[0])
    answer_range(b, c);
  else
    answer_list(b, c);
}

static int open_bench(struct bench *b, bool tls)
{
  char bucket[] = "bucket";
  struct storage_config c = {.type = STORAGE_S3, .bucket = bucket, .path_style = true};
  b->server = fake_http_new(answer, b, &(struct fake_http_options){.tls = tls});
  c.endpoint = (char *)(uintptr_t)fake_http_url(b->server);
  c.ca_pem = tls ? (char *)(uintptr_t)fake_http_cert_pem(b->server) : NULL;
  secret_set_string(&c.access_key_id, "id");
  secret_set_string(&c.secret_access_key, "key");
  int result = storage_open(&c, NULL, &b->store, &b->err);
  secret_release(&c.access_key_id);
  secret_release(&c.secret_access_key);
  return result < 0 ? -1 : storage_lane_new(b->store, &b->lane, &b->err);
}

static int set_up(void **state)
{
  struct bench *b = calloc(1, sizeof(*b));
  *state = b;
  b->mood = "";
  return open_bench(b, false);
}

static int set_up_tls(void **state)
{
  struct bench *b = calloc(1, sizeof(*b));
  *state = b;
  b->mood = "";
  return open_bench(b, true);
}

static int tear_down(void **state)
{
  struct bench *b = *state;
  storage_lane_free(b->lane);
  storage_free(b->store);
  fake_http_free(b->server);
  free(b);
  return 0;
}

static void expect(struct bench *b, int result, enum err_kind kind, const char *text)
{
  fake_http_sync(b->server);
  if (result != (kind == ERR_NONE ? 0 : -1) || b->err.kind != kind || !strstr(b->err.message, text))
    fail_msg("%s: %d %s '%s' instead of %s '%s'", b->mood, result, err_reason(b->err.kind),
             b->err.message, err_reason(kind), text);
}

// ---- uploads ----

static int upload(struct bench *b, const char *mood, bool overwrite)
{
  struct object_writer *w = NULL;
  void *lane = NULL;
  char *bytes cleanup_free = calloc(1, BIG_BYTES);
  struct object_body body = object_body_bytes(bytes, BIG_BYTES);
  b->mood = mood;
  b->size = BIG_BYTES;
  b->err = (struct err)ERR_INIT;
  fake_http_sync(b->server);
  int result = storage_writer(b->store, "key", "a b\"", overwrite, &w, &b->err);
  if (result == 0)
    result = object_begin(w, BIG_BYTES, &b->err);
  if (result == 0)
    result = object_write_lane_open(w, &lane, &b->err);
  if (result == 0) {
    result = object_write_part(w, lane, 0, 0, &body, &b->err);
    object_write_lane_close(w, lane);
  }
  if (result == 0)
    result = object_commit(w, &b->err);
  object_writer_free(w);
  return result;
}

static void test_error_inside_a_200(void **state)
{
  struct bench *b = *state;
  expect(b, upload(b, "error in 200", true), ERR_NONE, "");
  assert_int_equal(b->completes, 2);
}

static void test_lost_answer_to_complete(void **state)
{
  struct bench *b = *state;
  expect(b, upload(b, "lost answer", true), ERR_NONE, "");
  assert_int_equal(b->completes, 2);
  assert_true(b->heads > 0); // it looked whether the object is there and its own
}

static void test_upload_gone(void **state)
{
  struct bench *b = *state;
  expect(b, upload(b, "upload gone", true), ERR_CONFLICT, "gone");
}

static void test_somebody_else_was_faster(void **state)
{
  struct bench *b = *state;
  expect(b, upload(b, "foreign", false), ERR_EXISTS, "exists already and belongs to a b\"");
}

static void test_server_without_conditions(void **state)
{
  struct bench *b = *state;
  expect(b, upload(b, "no conditions", false), ERR_NONE, "");
  assert_true(b->saw_if_none_match);
  assert_int_equal(b->completes, 2);
  b->there = b->saw_if_none_match = false;
  expect(b, upload(b, "no conditions", false), ERR_NONE, ""); // it remembers
  assert_false(b->saw_if_none_match);
}

static int put(struct bench *b, const char *mood, const char *text)
{
  b->mood = mood;
  b->requests = 0;
  b->err = (struct err)ERR_INIT;
  fake_http_sync(b->server);
  return storage_put(b->lane, "k y", text, strlen(text), "a b\"", false, &b->err);
}

static void test_what_goes_along_without_tls(void **state)
{
  struct bench *b = *state;
  expect(b, put(b, "", "Welcome to Amazon S3."), ERR_NONE, "");
  assert_string_equal(b->sha, "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072");
  assert_string_equal(b->target, "/bucket/k%20y");
  assert_string_equal(b->owner, "a%20b%22");
  assert_string_equal(strstr(fake_http_url(b->server), b->host), b->host);
  expect(b, upload(b, "", true), ERR_NONE, "");
}

static void test_what_goes_along_with_tls(void **state)
{
  struct bench *b = *state;
  expect(b, put(b, "", "Welcome to Amazon S3."), ERR_NONE, "");
  assert_string_equal(b->sha, "UNSIGNED-PAYLOAD");
  assert_string_equal(b->md5, "1EfQ6PKJ8WoS/2AnznfCWA==");
  expect(b, put(b, "wrong etag", "x"), ERR_PROTOCOL, "other bytes");
  expect(b, upload(b, "wrong etag", true), ERR_PROTOCOL, "other bytes");
}

static void test_slow_down(void **state)
{
  struct bench *b = *state;
  expect(b, put(b, "busy", "x"), ERR_NONE, "");
  assert_int_equal(b->requests, 3);
}

// ---- reading ----

static int read_middle(struct bench *b, const char *mood, char into[6])
{
  struct object_reader *r = NULL;
  void *lane = NULL;
  b->mood = mood;
  b->there = true;
  b->size = 10;
  b->err = (struct err)ERR_INIT;
  fake_http_sync(b->server);
  memset(into, 0, 6);
  int result = storage_reader(b->store, "key", &r, &b->err);
  if (result == 0)
    result = object_lane_open(r, &lane, &b->err);
  if (result == 0)
    result = object_read(r, lane, into, 5, 2, &b->err);
  if (lane)
    object_lane_close(r, lane);
  object_reader_free(r);
  return result;
}

static void test_broken_answer_goes_on_where_it_broke(void **state)
{
  struct bench *b = *state;
  char into[6];
  expect(b, read_middle(b, "half", into), ERR_NONE, "");
  assert_string_equal(into, "23456");
  assert_string_equal(b->range, "bytes=5-6");
}

static void test_another_range_is_not_taken(void **state)
{
  struct bench *b = *state;
  char into[6];
  expect(b, read_middle(b, "another range", into), ERR_PROTOCOL, "another part");
}

// ---- lists ----

static int list(struct bench *b, const char *mood, size_t max, struct strings *names)
{
  b->mood = mood;
  b->err = (struct err)ERR_INIT;
  fake_http_sync(b->server);
  return storage_list(b->lane, "", max, names, &b->err);
}

static void test_list_pages(void **state)
{
  struct bench *b = *state;
  struct strings names CLEANUP(strings_release) = {0};
  expect(b, list(b, "", 10, &names), ERR_NONE, "");
  assert_int_equal(names.count, 2); // "folder/" is a placeholder of other tools
  assert_string_equal(names.items[0], "a\xc3\xa9");
  assert_string_equal(names.items[1], "b/c d");
}

static void test_bad_lists(void **state)
{
  struct bench *b = *state;
  struct strings names CLEANUP(strings_release) = {0};
  expect(b, list(b, "entities", 10, &names), ERR_PROTOCOL, "not the XML");
  expect(b, list(b, "not xml", 10, &names), ERR_PROTOCOL, "XML");
  expect(b, list(b, "endless", 10, &names), ERR_PROTOCOL, "does not end");
  assert_int_equal(names.count, 0);
}

static void test_other_region(void **state)
{
  struct bench *b = *state;
  struct strings names CLEANUP(strings_release) = {0};
  expect(b, list(b, "other region", 10, &names), ERR_INVALID,
         "in region 'eu-west-3', not in 'us-east-1'");
  expect(b, list(b, "malformed region", 10, &names), ERR_INVALID, "in region 'eu-west-3'");
}

static void test_error_codes(void **state)
{
  struct bench *b = *state;
  static const struct {
    const char *mood;
    enum err_kind kind;
    const char *text;
  } rows[] = {
      {"code AccessDenied", ERR_DENIED, "policy"},
      {"code ExpiredToken", ERR_AUTH, "expired"},
      {"code RequestTimeTooSkewed", ERR_AUTH, "clocks"},
      {"code NoSuchBucket", ERR_NOT_FOUND, "bucket does not exist"},
      {"code QuotaExceeded", ERR_NO_SPACE, "quota"},
      {"code XMinioStorageFull", ERR_NO_SPACE, "full"},
      {"code EntityTooLarge", ERR_LIMIT, "too large"},
      {"code SomethingNew", ERR_INVALID, "SomethingNew"},
  };
  for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
    b->requests = 0;
    expect(b, put(b, rows[i].mood, "x"), rows[i].kind, rows[i].text);
    assert_int_equal(b->requests, 1); // none of them is tried again
  }
}

// R2 is the one store that says so, and it is told by its name; nothing is asked of it here.
static void test_who_wants_equal_parts(void **state)
{
  (void)state;
  static const struct {
    const char *endpoint;
    bool equal_parts;
  } rows[] = {{"https://0123456789abcdef.r2.cloudflarestorage.com", true},
              {"https://0123456789abcdef.eu.r2.cloudflarestorage.com:443", true},
              {"https://r2.cloudflarestorage.com.example.org", false},
              {"", false}};
  for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
    char bucket[] = "bucket";
    struct storage_config c = {
        .type = STORAGE_S3, .bucket = bucket, .endpoint = (char *)(uintptr_t)rows[i].endpoint};
    struct storage *store = NULL;
    struct object_writer *w = NULL;
    secret_set_string(&c.access_key_id, "id");
    secret_set_string(&c.secret_access_key, "key");
    assert_int_equal(storage_open(&c, NULL, &store, NULL), 0);
    assert_int_equal(storage_writer(store, "key", "owner", true, &w, NULL), 0);
    assert_int_equal(w->equal_parts, rows[i].equal_parts);
    assert_int_equal(w->object_max_bytes, 5ull << 40);
    object_writer_free(w);
    storage_free(store);
    secret_release(&c.access_key_id);
    secret_release(&c.secret_access_key);
  }
}

#define PLAIN(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
#define TLS(test)   cmocka_unit_test_setup_teardown(test, set_up_tls, tear_down)

int main(void)
{
  const struct CMUnitTest tests[] = {
      PLAIN(test_error_inside_a_200),
      PLAIN(test_lost_answer_to_complete),
      PLAIN(test_upload_gone),
      PLAIN(test_somebody_else_was_faster),
      PLAIN(test_server_without_conditions),
      PLAIN(test_what_goes_along_without_tls),
      TLS(test_what_goes_along_with_tls),
      PLAIN(test_slow_down),
      PLAIN(test_broken_answer_goes_on_where_it_broke),
      PLAIN(test_another_range_is_not_taken),
      PLAIN(test_list_pages),
      PLAIN(test_bad_lists),
      PLAIN(test_other_region),
      PLAIN(test_error_codes),
      cmocka_unit_test(test_who_wants_equal_parts),
  };
  http_global_init();
  return cmocka_run_group_tests(tests, NULL, NULL);
}
