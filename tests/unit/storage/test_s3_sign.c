// SPDX-License-Identifier: Apache-2.0
// The published examples: of S3 (docs.aws.amazon.com, "Signature calculations for the Authorization
// header") and of the general Signature Version 4 test suite.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "storage/s3/sign_internal.h"

#define EMPTY "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define HOST                                                                                       \
  {                                                                                                \
    "Host", "examplebucket.s3.amazonaws.com"                                                       \
  }
#define DATE                                                                                       \
  {                                                                                                \
    "x-amz-date", "20130524T000000Z"                                                               \
  }
#define NONE                                                                                       \
  {                                                                                                \
    NULL, NULL                                                                                     \
  }

struct row {
  const char *method, *path, *query, *body, *key_id, *key, *service, *date, *signed_names;
  struct http_header headers[8];
  const char *signature;
};

static const char s3_id[] = "AKIAIOSFODNN7EXAMPLE";
static const char s3_key[] = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
static const char suite_id[] = "AKIDEXAMPLE";
static const char suite_key[] = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

static const struct row rows[] = {
    {"GET",
     "/test.txt",
     "",
     "",
     s3_id,
     s3_key,
     "s3",
     "20130524T000000Z",
     "host;range;x-amz-content-sha256;x-amz-date",
     {HOST, {"Range", "bytes=0-9"}, {"x-amz-content-sha256", EMPTY}, DATE, NONE},
     "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"},
    {"PUT",
     "/test%24file.text",
     "",
     "Welcome to Amazon S3.",
     s3_id,
     s3_key,
     "s3",
     "20130524T000000Z",
     "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
     {{"x-amz-storage-class", "REDUCED_REDUNDANCY"},
      {"Date", "Fri, 24 May 2013  00:00:00 GMT "},
      HOST,
      {"x-amz-content-sha256", "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072"},
      DATE,
      NONE},
     "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"},
    {"GET",
     "/",
     "lifecycle=",
     "",
     s3_id,
     s3_key,
     "s3",
     "20130524T000000Z",
     "host;x-amz-content-sha256;x-amz-date",
     {HOST, {"x-amz-content-sha256", EMPTY}, DATE, NONE},
     "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"},
    {"GET",
     "/",
     "max-keys=2&prefix=J",
     "",
     s3_id,
     s3_key,
     "s3",
     "20130524T000000Z",
     "host;x-amz-content-sha256;x-amz-date",
     {HOST, {"x-amz-content-sha256", EMPTY}, DATE, NONE},
     "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"},
    {"GET",
     "/",
     "Param1=value1&Param2=value2",
     "",
     suite_id,
     suite_key,
     "service",
     "20150830T123600Z",
     "host;x-amz-date",
     {{"Host", "example.amazonaws.com"}, {"X-Amz-Date", "20150830T123600Z"}, NONE},
     "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"},
};

static void test_published_signatures(void **state)
{
  (void)state;
  for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
    const struct row *r = &rows[i];
    struct s3_credentials c = {.region = "us-east-1", .service = r->service};
    struct buf value CLEANUP(buf_release) = BUF_INIT(0);
    char hash[S3_HEX_BYTES];
    secret_set_string(&c.key_id, r->key_id);
    secret_set_string(&c.key, r->key);
    s3_sha256_hex(r->body, strlen(r->body), hash);
    struct s3_to_sign to_sign = {r->method, r->path, r->query, r->headers, hash, r->date};
    assert_int_equal(s3_sign(&c, &to_sign, &value), 0);
    char *wanted cleanup_free =
        str_printf("AWS4-HMAC-SHA256 Credential=%s/%.8s/us-east-1/%s/aws4_request,SignedHeaders=%s,"
                   "Signature=%s",
                   r->key_id, r->date, r->service, r->signed_names, r->signature);
    assert_string_equal(buf_str(&value), wanted);
    secret_release(&c.key_id);
    secret_release(&c.key);
  }
}

static void test_canonical_query(void **state)
{
  (void)state;
  struct s3_query items[] = {
      {"uploadId", "a/b+c d~"}, {"partNumber", "1"}, {"a", "2"}, {"a", "1"}, {"A", "\xc3\xa9"}};
  struct buf text CLEANUP(buf_release) = BUF_INIT(0);
  s3_query_text(items, ARRAY_SIZE(items), &text);
  assert_string_equal(buf_str(&text), "A=%C3%A9&a=1&a=2&partNumber=1&uploadId=a%2Fb%2Bc%20d~");
}

static void test_date(void **state)
{
  (void)state;
  char b[S3_AMZ_DATE_BYTES];
  assert_string_equal(s3_amz_date(1369353600999, b), "20130524T000000Z");
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_published_signatures),
      cmocka_unit_test(test_canonical_query),
      cmocka_unit_test(test_date),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
