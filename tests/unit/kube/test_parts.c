// SPDX-License-Identifier: Apache-2.0
// The small parts: errors from Status, the request budget, the memory of an informer, correlation.
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/str.h"
#include "kube/bucket.h"
#include "kube/correlator.h"
#include "kube/known.h"
#include "kube/object.h"
#include "kube/status.h"
#include "tests/unit/unit.h"

#define STATUS(rest) "{\"kind\":\"Status\",\"apiVersion\":\"v1\"," rest "}"

static const struct {
  long status;
  const char *body;
  enum err_kind kind;
  const char *message; // that it must hold
  long retry_after_ms;
} statuses[] = {
    {404, STATUS("\"reason\":\"NotFound\",\"message\":\"things \\\"x\\\" not found\""),
     ERR_NOT_FOUND, "\"x\" not found", 0},
    {404, "404 page not found\n", ERR_PROTOCOL, "does not serve this API", 0},
    {409, STATUS("\"reason\":\"AlreadyExists\",\"message\":\"m\""), ERR_EXISTS, "m", 0},
    {409, STATUS("\"reason\":\"Conflict\",\"message\":\"m\""), ERR_CONFLICT, "m", 0},
    {401, STATUS("\"reason\":\"Unauthorized\",\"message\":\"m\""), ERR_AUTH, "m", 0},
    {403, STATUS("\"reason\":\"Forbidden\",\"message\":\"m\""), ERR_DENIED, "m", 0},
    {410, STATUS("\"reason\":\"Expired\",\"message\":\"m\""), ERR_CONFLICT, "m", 0},
    {429, STATUS("\"reason\":\"TooManyRequests\",\"details\":{\"retryAfterSeconds\":7}"),
     ERR_THROTTLED, "TooManyRequests", 7000},
    {429, STATUS("\"reason\":\"TooManyRequests\",\"details\":{\"retryAfterSeconds\":999999999}"),
     ERR_THROTTLED, "", 3600000},
    {504, STATUS("\"reason\":\"Timeout\",\"message\":\"m\""), ERR_TIMEOUT, "m", 0},
    {500, STATUS("\"reason\":\"InternalError\",\"message\":\"m\""), ERR_PROTOCOL, "m", 0},
    {500, STATUS("\"reason\":\"SomethingNew\",\"message\":\"m\""), ERR_PROTOCOL, "m", 0},
    {413, STATUS("\"reason\":\"RequestEntityTooLarge\",\"message\":\"m\""), ERR_LIMIT, "m", 0},
    {503, "upstream is gone", ERR_THROTTLED, "upstream is gone", 0},
    {502, "", ERR_PROTOCOL, "502", 0},
    {422,
     STATUS("\"reason\":\"Invalid\",\"message\":\"long\",\"details\":{\"causes\":[{\"field\":"
            "\"spec.a\",\"message\":\"too big\"},{\"message\":\"rule\"}]}"),
     ERR_INVALID, "spec.a: too big; rule", 0},
    {422, STATUS("\"reason\":\"Invalid\",\"message\":\"only this\""), ERR_INVALID, "only this", 0},
    {400, "{\"kind\":\"Status\",\"reason\":17,\"message\":[]}", ERR_INVALID, "what", 0},
    {403, "[[[[", ERR_DENIED, "403", 0},
};

static void test_status(void **state)
{
  (void)state;
  for (size_t i = 0; i < ARRAY_SIZE(statuses); i++) {
    struct err err = ERR_INIT;
    const char *body = statuses[i].body;
    assert_int_equal(kube_status_error(statuses[i].status, body, strlen(body), 0, "what", &err),
                     -1);
    if (err.kind != statuses[i].kind || !strstr(err.message, statuses[i].message) ||
        err.retry_after_ms != statuses[i].retry_after_ms || !str_starts(err.message, "what"))
      fail_msg("row %zu: %s: %s (%ld)", i, err_reason(err.kind), err.message, err.retry_after_ms);
  }
}

static void test_bucket(void **state)
{
  (void)state;
  struct bucket b;
  bucket_init(&b, 10, 3, 1000);
  for (int i = 0; i < 3; i++)
    assert_int_equal(bucket_take(&b, 1000), 0);
  assert_in_range(bucket_take(&b, 1000), 100, 102);
  assert_in_range(bucket_take(&b, 1000), 200, 202); // behind the one before
  assert_false(bucket_try(&b, 1100));
  assert_true(bucket_try(&b, 1310));
  assert_int_equal(bucket_take(&b, 100000), 0);
  assert_int_equal(bucket_take(&b, 99000), 0); // a time before: nothing breaks
  assert_true(bucket_try(&b, 99000));
  assert_false(bucket_try(&b, 99000));
}

static void note_gone(void *arg, const char *ns, const char *name, const char *uid)
{
  buf_printf(arg, "%s/%s=%s ", ns, name, uid);
}

static void test_known(void **state)
{
  (void)state;
  struct known_set *k = known_new();
  struct buf gone CLEANUP(buf_release) = BUF_INIT(0);
  known_begin(k);
  assert_int_equal(known_put(k, "n", "a", "u1", "1", note_gone, &gone), KNOWN_NEW);
  assert_int_equal(known_put(k, "", "a", "u2", "1", note_gone, &gone), KNOWN_NEW);
  assert_int_equal(known_put(k, "n", "a", "u1", "1", note_gone, &gone), KNOWN_SAME);
  assert_int_equal(known_put(k, "n", "a", "u1", "2", note_gone, &gone), KNOWN_CHANGED);
  assert_int_equal(known_put(k, "n", "a", "u3", "3", note_gone, &gone), KNOWN_REPLACED);
  assert_string_equal(buf_str(&gone), "n/a=u1 ");
  known_begin(k);
  known_put(k, "n", "b", "u4", "1", note_gone, &gone);
  known_sweep(k, note_gone, &gone);
  assert_string_equal(buf_str(&gone), "n/a=u1 /a=u2 n/a=u3 ");
  assert_int_equal(known_count(k), 1);
  known_remove(k, "n", "x", note_gone, &gone);
  known_remove(k, "n", "b", note_gone, &gone);
  assert_string_equal(buf_str(&gone), "n/a=u1 /a=u2 n/a=u3 n/b=u4 ");
  known_free(k);
}

// ---- correlation ----------------------------------------------------------------------------

struct bench {
  struct correlator *c;
  int64_t now_ms;
};

static struct correlated judge(struct bench *b, const char *object, const char *message)
{
  struct correlated r;
  correlator_judge(b->c, object, "Normal", "Reason", message, b->now_ms, b->now_ms, &r);
  if (r.action == CORRELATED_CREATE)
    correlator_written(b->c, r.key, message);
  return r;
}

static void test_repeated(void **state)
{
  (void)state;
  struct bench b = {correlator_new(), 1000};
  struct correlated r = judge(&b, "o", "m");
  assert_int_equal(r.action, CORRELATED_CREATE);
  assert_int_equal(r.count, 1);
  b.now_ms = 2000;
  r = judge(&b, "o", "m");
  assert_int_equal(r.action, CORRELATED_UPDATE);
  assert_int_equal(r.count, 2);
  assert_int_equal(r.first_wall_ms, 1000);
  assert_string_equal(r.event_name, "m");
  correlator_forget(b.c, r.key);
  r = judge(&b, "o", "m");
  assert_int_equal(r.action, CORRELATED_CREATE);
  assert_int_equal(r.count, 1);
  assert_int_equal(judge(&b, "other", "m").action, CORRELATED_CREATE);
  correlator_free(b.c);
}

static void test_similar_and_spam(void **state)
{
  (void)state;
  struct bench b = {correlator_new(), 1000};
  char message[32];
  for (int i = 0; i < 25; i++) {
    snprintf(message, sizeof(message), "message %d", i);
    struct correlated r = judge(&b, "o", message);
    assert_int_equal(r.action, i <= 10 ? CORRELATED_CREATE : CORRELATED_UPDATE);
    assert_int_equal(str_starts(r.message, "(combined from similar events): "), i >= 10);
    assert_int_equal(r.count, i <= 10 ? 1 : i - 9);
  }
  assert_int_equal(judge(&b, "o", "one more").action, CORRELATED_DROP);
  assert_int_equal(judge(&b, "other", "one more").action, CORRELATED_CREATE);
  b.now_ms += 299000;
  assert_int_equal(judge(&b, "o", "one more").action, CORRELATED_DROP);
  b.now_ms += 2000;
  assert_int_equal(judge(&b, "o", "one more").action, CORRELATED_UPDATE);
  // Long after, different messages are different again.
  b.now_ms += 3600000;
  assert_false(str_starts(judge(&b, "o", "fresh").message, "(combined"));
  correlator_free(b.c);
}

static void test_long_and_many(void **state)
{
  (void)state;
  struct bench b = {correlator_new(), 1000};
  char text[3000];
  for (size_t i = 0; i + 2 < sizeof(text); i += 2)
    memcpy(text + i, "\xc3\xa9", 3);
  text[0] = 'x', text[1] = 'y', text[2] = 'z', text[3] = '!', text[4] = ' ', text[5] = ' ';
  struct correlated r = judge(&b, "o", text);
  size_t length = strlen(r.message);
  assert_in_range(length, 1020, 1024);
  assert_int_equal((unsigned char)r.message[length - 1], 0xa9); // not half a character
  for (int i = 0; i < 3 * CORRELATOR_MAX; i++) {                // memory stays bounded; no crash
    snprintf(text, sizeof(text), "object %d", i);
    assert_int_equal(judge(&b, text, "m").action, CORRELATED_CREATE);
  }
  assert_int_equal(judge(&b, "object 0", "m").action, CORRELATED_CREATE); // forgotten
  correlator_free(b.c);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_status),
      cmocka_unit_test(test_bucket),
      cmocka_unit_test(test_known),
      cmocka_unit_test(test_repeated),
      cmocka_unit_test(test_similar_and_spam),
      cmocka_unit_test(test_long_and_many),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
