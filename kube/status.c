// SPDX-License-Identifier: Apache-2.0
#include "kube/status.h"

#include <string.h>

#include "base/buf.h"
#include "base/str.h"
#include "kube/object.h"

#define CAUSES_SHOWN      6
#define RETRY_AFTER_MAX_S 3600

// metav1.StatusReason; see k8s.io/apimachinery/pkg/apis/meta/v1/types.go for their meaning.
static const struct {
  const char *reason;
  enum err_kind kind;
} reasons[] = {
    {"Unauthorized", ERR_AUTH},
    {"Forbidden", ERR_DENIED},
    {"NotFound", ERR_NOT_FOUND},
    {"AlreadyExists", ERR_EXISTS},
    {"Conflict", ERR_CONFLICT},
    {"Gone", ERR_CONFLICT},
    {"Expired", ERR_CONFLICT},
    {"Invalid", ERR_INVALID},
    {"BadRequest", ERR_INVALID},
    {"MethodNotAllowed", ERR_UNSUPPORTED},
    {"NotAcceptable", ERR_UNSUPPORTED},
    {"UnsupportedMediaType", ERR_UNSUPPORTED},
    {"RequestEntityTooLarge", ERR_LIMIT},
    {"ServerTimeout", ERR_TIMEOUT},
    {"Timeout", ERR_TIMEOUT},
    {"TooManyRequests", ERR_THROTTLED},
    {"ServiceUnavailable", ERR_THROTTLED},
    {"InternalError", ERR_PROTOCOL},
    {"StoreReadError", ERR_PROTOCOL},
};

// A 404 that is no Status says that the whole API is missing, which must not be taken for the end
// of one object.
static const struct {
  long status;
  enum err_kind kind;
} statuses[] = {
    {400, ERR_INVALID},     {401, ERR_AUTH},     {403, ERR_DENIED},    {404, ERR_PROTOCOL},
    {405, ERR_UNSUPPORTED}, {409, ERR_CONFLICT}, {410, ERR_CONFLICT},  {413, ERR_LIMIT},
    {415, ERR_UNSUPPORTED}, {422, ERR_INVALID},  {429, ERR_THROTTLED}, {503, ERR_THROTTLED},
    {504, ERR_TIMEOUT},
};

static enum err_kind kind_of(long http_status, const char *reason)
{
  for (size_t i = 0; i < ARRAY_SIZE(reasons); i++)
    if (str_eq(reasons[i].reason, reason))
      return reasons[i].kind;
  for (size_t i = 0; i < ARRAY_SIZE(statuses); i++)
    if (statuses[i].status == http_status)
      return statuses[i].kind;
  return ERR_PROTOCOL;
}

bool kube_status_expired(long http_status, struct json_object *status)
{
  const char *reason = object_string(status, "reason", NULL);
  return http_status == 410 || object_int(status, "code", NULL) == 410 ||
         str_eq(reason, "Expired") || str_eq(reason, "Gone");
}

static void retry_after(struct err *err, int64_t header_ms, struct json_object *status)
{
  int64_t seconds = object_int(status, "details", "retryAfterSeconds", NULL);
  if (seconds > RETRY_AFTER_MAX_S)
    seconds = RETRY_AFTER_MAX_S;
  if (err)
    err->retry_after_ms = header_ms > 0 ? (long)header_ms : seconds > 0 ? (long)seconds * 1000 : 0;
}

// "spec.replicas: must be at least 1; spec.mode: ..." for reason Invalid, where the server's own
// message repeats the object's kind and name in Go's words.
static const char *causes(struct json_object *status, struct buf *b)
{
  struct json_object *list = object_at(status, "details", "causes", NULL);
  size_t count = json_object_is_type(list, json_type_array) ? json_object_array_length(list) : 0;
  for (size_t i = 0; i < count && i < CAUSES_SHOWN; i++) {
    struct json_object *cause = json_object_array_get_idx(list, i);
    const char *field = object_string(cause, "field", NULL);
    buf_printf(b, "%s%s%s%s", i ? "; " : "", field, *field ? ": " : "",
               object_string(cause, "message", NULL));
  }
  if (count > CAUSES_SHOWN)
    buf_printf(b, "; and %zu more", count - CAUSES_SHOWN);
  return buf_str(b);
}

static int set_from_object(long http_status, struct json_object *status, int64_t retry_after_ms,
                           const char *what, struct err *err)
{
  struct buf b CLEANUP(buf_release) = BUF_INIT(4096);
  const char *reason = object_string(status, "reason", NULL);
  const char *message = str_eq(reason, "Invalid") ? causes(status, &b) : "";
  if (!*message)
    message = object_string(status, "message", NULL);
  if (!http_status)
    http_status = (long)object_int(status, "code", NULL);
  err_set(err, kind_of(http_status, reason), "%s: %s", what, *message ? message : reason);
  retry_after(err, retry_after_ms, status);
  return -1;
}

int kube_status_object_error(struct json_object *status, const char *what, struct err *err)
{
  return set_from_object(0, status, 0, what, err);
}

int kube_status_error(long http_status, const char *body, size_t length, int64_t retry_after_ms,
                      const char *what, struct err *err)
{
  struct json_object *status cleanup_object = length ? object_parse(body, length) : NULL;
  if (str_eq(object_string(status, "kind", NULL), "Status"))
    return set_from_object(http_status, status, retry_after_ms, what, err);
  int shown = (int)strcspn(body ? body : "", "\r\n");
  err_set(err, kind_of(http_status, NULL), "%s: HTTP status %ld: %.*s%s", what, http_status,
          shown < 200 ? shown : 200, body ? body : "",
          http_status == 404 ? " (the cluster does not serve this API: are the resource "
                               "definitions applied?)"
                             : "");
  retry_after(err, retry_after_ms, NULL);
  return -1;
}
