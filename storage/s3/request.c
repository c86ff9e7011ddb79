// SPDX-License-Identifier: Apache-2.0
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/str.h"
#include "storage/s3/answers_internal.h"
#include "storage/s3/s3_internal.h"
#include "storage/xml_internal.h"

#define EMPTY_SHA256 "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

void s3_call_query(struct s3_call *c, const char *name, const char *value)
{
  assert(c->query_count < S3_QUERY_MAX);
  c->query[c->query_count++] = (struct s3_query){name, value};
}

void s3_call_header(struct s3_call *c, const char *name, const char *value)
{
  assert(c->header_count < S3_HEADERS_MAX);
  c->headers[c->header_count++] = (struct http_header){name, value};
}

void s3_answer_release(struct s3_answer *a)
{
  http_response_release(&a->http);
  a->code[0] = '\0';
}

// ---- sending ----

struct signed_headers {
  struct http_header items[S3_HEADERS_MAX + 6];
  size_t count;
};

static void add(struct signed_headers *h, const char *name, const char *value)
{
  h->items[h->count++] = (struct http_header){name, value};
}

static int send_signed(const struct s3 *s3, struct web_lane *lane, const struct s3_call *c,
                       const struct storage_config *keys, struct http_request *request,
                       struct http_response *ret, struct err *err)
{
  const struct s3_credentials credentials = {
      .key_id = keys->access_key_id,
      .key = keys->secret_access_key,
      .region = s3->region,
      .service = "s3",
  };
  struct buf path CLEANUP(buf_release) = BUF_INIT(0);
  struct buf query CLEANUP(buf_release) = BUF_INIT(0);
  struct buf authorization CLEANUP(buf_release) = BUF_INIT(0);
  struct s3_query items[S3_QUERY_MAX];
  char date[S3_AMZ_DATE_BYTES];
  struct signed_headers h = {0};
  const char *hash = c->payload_hash ? c->payload_hash : EMPTY_SHA256;

  buf_adds(&path, s3->base_path);
  buf_add_escaped(&path, c->key ? c->key : "", "/");
  memcpy(items, c->query, sizeof(items));
  s3_query_text(items, c->query_count, &query);
  char *url cleanup_free =
      str_printf("%s%s%s%s", s3->origin, buf_str(&path), query.length ? "?" : "", buf_str(&query));
  for (size_t i = 0; i < c->header_count; i++)
    h.items[h.count++] = c->headers[i];
  add(&h, "Host", s3->host);
  add(&h, "x-amz-content-sha256", hash);
  add(&h, "x-amz-date", s3_amz_date(clock_wall_ms(), date));
  if (!secret_empty(&keys->session_token))
    add(&h, "x-amz-security-token", secret_reveal(&keys->session_token));
  struct s3_to_sign to_sign = {.method = c->method,
                               .path = buf_str(&path),
                               .amz_date = date,
                               .query = buf_str(&query),
                               .headers = h.items,
                               .payload_hash = hash};
  if (!url || !buf_ok(&path) || !buf_ok(&query) ||
      (!s3->anonymous && s3_sign(&credentials, &to_sign, &authorization) < 0))
    return err_set(err, ERR_NO_MEMORY, "no memory for a request");
  if (!s3->anonymous)
    add(&h, "Authorization", buf_str(&authorization));
  request->url = url;
  request->headers = h.items;
  return http_perform(lane->session, request, ret, err);
}

// ---- errors ----

struct code_row {
  const char *code; // ends with '*': prefix
  enum err_kind kind;
  const char *sentence; // NULL: the server's own message says enough
};

static const struct code_row codes[] = {
    {"InvalidAccessKeyId", ERR_AUTH, "the access key id is not known there: check the Secret"},
    {"SignatureDoesNotMatch", ERR_AUTH, "the secret access key is wrong: check the Secret"},
    {"ExpiredToken", ERR_AUTH, "the session token has expired: put a new one into the Secret"},
    {"InvalidToken", ERR_AUTH, "the session token is wrong: check the Secret"},
    {"InvalidTokenId", ERR_AUTH, "the session token is wrong: check the Secret"},
    {"TokenRefreshRequired", ERR_AUTH, "the session token must be renewed"},
    {"RequestTimeTooSkewed", ERR_AUTH,
     "the clocks of this machine and of the server differ by too "
     "much: set the time"},
    {"AccessDenied", ERR_DENIED, "the credentials are good, but their policy does not allow it"},
    {"AllAccessDisabled", ERR_DENIED, NULL},
    {"AccountProblem", ERR_DENIED, NULL},
    {"NoSuchBucket", ERR_NOT_FOUND, "the bucket does not exist: create it, or correct its name"},
    {"NoSuchKey", ERR_NOT_FOUND, "there is no such object"},
    {"NoSuchUpload", ERR_NOT_FOUND, "there is no such upload (any more)"},
    {"PreconditionFailed", ERR_CONFLICT, NULL},
    {"ConditionalRequestConflict", ERR_CONFLICT, NULL},
    {"OperationAborted", ERR_CONFLICT, NULL},
    {"NotImplemented", ERR_UNSUPPORTED, NULL},
    {"SlowDown*", ERR_THROTTLED, NULL},
    {"ServiceUnavailable", ERR_THROTTLED, NULL},
    {"Throttling*", ERR_THROTTLED, NULL},
    {"RequestLimitExceeded", ERR_THROTTLED, NULL},
    {"TooManyRequests", ERR_THROTTLED, NULL},
    {"RequestTimeout", ERR_TIMEOUT, NULL},
    {"InternalError", ERR_PROTOCOL, NULL},
    {"BadDigest", ERR_PROTOCOL, "the bytes were damaged on their way"},
    {"XAmzContentSHA256Mismatch", ERR_PROTOCOL, "the bytes were damaged on their way"},
    {"IncompleteBody", ERR_PROTOCOL, NULL},
    {"EntityTooLarge", ERR_LIMIT, "the object is too large for the server"},
    {"InvalidPart*", ERR_PROTOCOL, "the server has lost a part"},
    {"EntityTooSmall", ERR_INTERNAL, NULL},
    {"QuotaExceeded", ERR_NO_SPACE, "the quota is reached: remove objects, or raise it"},
    {"XMinioAdminBucketQuotaExceeded", ERR_NO_SPACE, "the quota of the bucket is reached"},
    {"XMinioStorageFull", ERR_NO_SPACE, "the disks of the server are full"},
    {"XMinioDiskFull", ERR_NO_SPACE, "the disks of the server are full"},
    {"StorageFull", ERR_NO_SPACE, "the disks of the server are full"},
    {"InsufficientStorage", ERR_NO_SPACE, "the disks of the server are full"},
    {"InsufficientCapacity", ERR_NO_SPACE, NULL},
};

static const struct code_row *row_of(const char *code)
{
  for (size_t i = 0; i < ARRAY_SIZE(codes); i++) {
    size_t n = strcspn(codes[i].code, "*");
    if (strncmp(code, codes[i].code, n) == 0 && (codes[i].code[n] == '*' || code[n] == '\0'))
      return &codes[i];
  }
  return NULL;
}

// The region that the bucket is in, when that is what the answer is about; "" else.
static void other_region(const struct s3 *s3, const struct s3_answer *a, const char *said, char *b,
                         size_t size)
{
  const char *header = http_response_header(&a->http, "x-amz-bucket-region");
  b[0] = '\0';
  if (!str_eq(a->code, "PermanentRedirect") && !str_eq(a->code, "TemporaryRedirect") &&
      !str_eq(a->code, "AuthorizationHeaderMalformed") &&
      !str_eq(a->code, "IllegalLocationConstraintException") && a->http.status / 100 != 3)
    return;
  snprintf(b, size, "%s", header ? header : said);
  if (str_eq(b, s3->region))
    b[0] = '\0';
}

int s3_answer_error(const struct s3 *s3, const struct s3_call *c, struct s3_answer *a,
                    struct err *err)
{
  struct s3_error e;
  char region[64];
  s3_read_error(&a->http.body, &e);
  snprintf(a->code, sizeof(a->code), "%s", e.code);
  other_region(s3, a, e.region, region, sizeof(region));

  const struct code_row *row = row_of(a->code);
  if (region[0])
    return err_set(err, ERR_INVALID,
                   "%s: the bucket is in region '%s', not in '%s': correct the region", c->what,
                   region, s3->region);
  if (!row || a->http.status == 503) { // S3's words vary; 503 always means "later"
    http_status_error(&a->http, c->what, err);
    if (err && a->code[0])
      snprintf(err->message, sizeof(err->message), "%s: %.60s: %s (HTTP %ld)", c->what, a->code,
               e.message, a->http.status);
    return -1;
  }
  if (s3->anonymous && row->kind == ERR_DENIED)
    return err_set(err, ERR_DENIED, "%s: the bucket is not public: give credentials (%s)", c->what,
                   a->code);
  err_set(err, row->kind, "%s: %s%s(%s%s%s)", c->what, row->sentence ? row->sentence : "",
          row->sentence ? " " : "", a->code, e.message[0] ? ": " : "", e.message);
  if (err)
    err->retry_after_ms = (long)a->http.retry_after_ms;
  return -1;
}

// ---- calls ----

static int attempt_with(const struct s3 *s3, struct web_lane *lane, const struct s3_call *c,
                        const struct storage_config *keys, struct s3_answer *ret, struct err *err)
{
  struct http_request request = {
      .method = c->method,
      .head = c->range ? web_range_head : NULL,
      .sink = c->range ? web_range_sink : NULL,
      .sink_arg = c->range,
      .no_redirects = true, // the signature is of this host and path
      .body_max = XML_BYTES_MAX,
      .idle_timeout_ms = c->slow ? WEB_THINKING_TIMEOUT_MS : 0,
  };
  if (c->body) {
    request.body = c->body->bytes;
    request.body_length = c->body->length;
    request.read_body = web_read_body;
    request.read_arg = (void *)(uintptr_t)c->body;
    request.send_at_once = lane->trusted || c->body->length <= WEB_SMALL_BODY_BYTES;
  }
  s3_answer_release(ret);
  lane->trusted = false;
  if (send_signed(s3, lane, c, keys, &request, &ret->http, err) < 0)
    return err_prefix(err, "%s", c->what);
  lane->trusted = ret->http.status / 100 == 2;
  return lane->trusted ? 0 : s3_answer_error(s3, c, ret, err);
}

static bool keys_are_stale(const struct s3_answer *a)
{
  static const char *const stale[] = {"ExpiredToken", "TokenRefreshRequired", "InvalidToken",
                                      "InvalidTokenId", "InvalidAccessKeyId"};
  for (size_t i = 0; i < ARRAY_SIZE(stale); i++)
    if (str_eq(a->code, stale[i]))
      return true;
  return false;
}

int s3_attempt(const struct s3 *s3, struct web_lane *lane, const struct s3_call *c,
               struct s3_answer *ret, struct err *err)
{
  for (bool again = false;; again = true) {
    struct storage_config keys CLEANUP(storage_config_release) = {0};
    struct err failure = ERR_INIT;
    unsigned number = 0;
    if (storage_keys_take(s3->web.keys, &keys, &number, err) < 0)
      return -1;
    if (attempt_with(s3, lane, c, &keys, ret, &failure) == 0)
      return 0;
    if (again || !keys_are_stale(ret) || !storage_keys_renew(s3->web.keys, number)) {
      if (err)
        *err = failure;
      return -1;
    }
  }
}

struct attempt {
  const struct s3 *s3;
  struct web_lane *lane;
  const struct s3_call *call;
  struct s3_answer *answer;
};

static int once(void *arg, struct err *err)
{
  struct attempt *a = arg;
  return s3_attempt(a->s3, a->lane, a->call, a->answer, err);
}

int s3_request(const struct s3 *s3, struct web_lane *lane, const struct s3_call *c,
               struct s3_answer *ret, struct err *err)
{
  struct attempt a = {s3, lane, c, ret};
  return storage_retry(&lane->stop, once, &a, err);
}
