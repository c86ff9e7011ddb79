// SPDX-License-Identifier: Apache-2.0
// Answers are {"type": "sync" | "async" | "error", "metadata", "operation", "error", "error_code"}.
#include <string.h>

#include "base/cleanup.h"
#include "base/limits.h"
#include "base/str.h"
#include "providers/lxd/lxd_internal.h"

#define OPERATIONS "/1.0/operations/"

// The API has no codes for most of what goes wrong: its words are what there is.
static const struct {
  const char *words;
  enum err_kind kind;
} kinds[] = {
    {"already exists", ERR_EXISTS},
    {"UNIQUE constraint failed: instances", ERR_EXISTS}, // Incus
    {"Command not found", ERR_NOT_FOUND},
    {"Command not executable", ERR_DENIED},
    {"no space left", ERR_NO_SPACE},
    {"No space left", ERR_NO_SPACE},
    {"quota exceeded", ERR_NO_SPACE},
    {"is busy", ERR_BUSY},
    {"nstance is running", ERR_BUSY},
    {"s protected", ERR_DENIED},
    {"is a directory", ERR_INVALID},
    {"not a directory", ERR_INVALID},
    {"SSH_FX_PERMISSION_DENIED", ERR_DENIED},
    {"permission denied", ERR_DENIED},
    {"not found", ERR_NOT_FOUND},
    {"No such file", ERR_NOT_FOUND},
    {"does not exist", ERR_NOT_FOUND},
    {"couldn't be found", ERR_NOT_FOUND},
    {"is not supported on this server", ERR_UNSUPPORTED}, // VMs without KVM
    {"Invalid", ERR_INVALID},
    {"No root device", ERR_INVALID},
};

enum err_kind lxd_kind_of_text(const char *text, enum err_kind fallback)
{
  for (size_t i = 0; text && i < ARRAY_SIZE(kinds); i++)
    if (strstr(text, kinds[i].words))
      return kinds[i].kind;
  return fallback;
}

int lxd_no_memory(struct err *err)
{
  return err_set(err, ERR_NO_MEMORY, "out of memory");
}

char *lxd_instance_path(const char *name, const char *rest)
{
  struct buf b = BUF_INIT(LXD_PATH_MAX);
  buf_adds(&b, "/1.0/instances/");
  buf_add_escaped(&b, name, "");
  buf_adds(&b, rest);
  char *path = buf_take(&b);
  buf_release(&b);
  return path;
}

int lxd_status_error(const struct http_response *r, const char *what, struct err *err)
{
  struct err plain = ERR_INIT;
  http_status_error(r, what, &plain);
  cleanup_json struct json_object *body = json_tokener_parse(buf_str(&r->body));
  const char *text = lxd_text(body, "error");
  if (str_empty(text)) {
    if (err)
      *err = plain;
    return -1;
  }
  enum err_kind kind = plain.kind;
  if (r->status == 400 || r->status / 100 == 5)
    kind = lxd_kind_of_text(text, kind);
  if (r->status == 403)
    return err_set(err, ERR_AUTH,
                   "%s: %s: the daemon does not trust the client certificate, or restricts it; "
                   "have it added there (" LXD_TRUST ")",
                   what, text);
  err_set(err, kind, "%s: %s", what, text);
  if (err)
    err->retry_after_ms = plain.retry_after_ms;
  return -1;
}

// "POST /1.0/instances" without a query: that may name files of a guest, and is long.
static void describe(const char *method, const char *path, char what[200])
{
  snprintf(what, 200, "%s %.*s", method, (int)strcspn(path, "?"), path);
}

static int read_answer(const struct http_response *r, const char *what, struct json_object **ret,
                       char **ret_operation, struct err *err)
{
  cleanup_json struct json_object *answer = json_tokener_parse(buf_str(&r->body));
  const char *type = lxd_text(answer, "type");
  bool async = str_eq(type, "async");
  const char *text = str_eq(type, "error") ? lxd_text(answer, "error") : NULL;
  if (!str_empty(text)) // Incus, of an operation that was waited for, with status 200
    return err_set(err, lxd_kind_of_text(text, ERR_PROTOCOL), "%s: %s", what, text);
  if (!async && !str_eq(type, "sync"))
    return err_set(err, ERR_PROTOCOL,
                   "%s: the answer is not one of LXD's: is this the API of LXD or Incus?", what);
  const char *id = str_after(lxd_text(answer, "operation"), OPERATIONS);
  if (async && (!ret_operation || str_empty(id)))
    return err_set(err, ERR_PROTOCOL, "%s: an operation that was not expected, or has no name",
                   what);
  if (ret_operation && async && !(*ret_operation = str_dup(id)))
    return lxd_no_memory(err);
  if (ret)
    *ret = json_object_get(lxd_member(answer, "metadata"));
  return 0;
}

int lxd_call(struct lxd *l, const char *method, const char *path, struct json_object *body,
             struct json_object **ret, char **ret_operation, struct err *err)
{
  struct http_header headers[] = {{"Content-Type", "application/json"}, {NULL, NULL}};
  const char *text = body ? json_object_to_json_string(body) : NULL;
  cleanup_free char *url = path ? str_printf("%s%s", l->origin, path) : NULL;
  struct http_response response CLEANUP(http_response_release) = {0};
  char what[200];
  if (!url || (body && !text))
    return lxd_no_memory(err);
  struct http_request request = {.method = method,
                                 .url = url,
                                 .headers = headers,
                                 .body = text,
                                 .body_length = text ? strlen(text) : 0,
                                 .body_max = LXD_LISTING_MAX,
                                 .no_redirects = true,
                                 .send_at_once = true, // bodies are small
                                 .idle_timeout_ms = l->call_ms,
                                 .total_timeout_ms = l->call_ms};
  describe(method, path, what);
  int failed = http_perform(l->session, &request, &response, err);
  if (text)
    explicit_bzero((char *)(uintptr_t)text, strlen(text)); // user data may hold secrets
  if (failed)
    return -1;
  if (response.status / 100 != 2)
    return lxd_status_error(&response, what, err);
  if (ret)
    *ret = NULL;
  if (ret_operation)
    *ret_operation = NULL;
  return read_answer(&response, what, ret, ret_operation, err);
}

int lxd_get(struct lxd *l, const char *path, struct json_object **ret, struct err *err)
{
  return lxd_call(l, "GET", path, NULL, ret, NULL, err);
}

int lxd_patch(struct lxd *l, const char *name, struct json_object *body, struct err *err)
{
  cleanup_free char *path = lxd_instance_path(name, "");
  cleanup_free char *operation = NULL;
  int failed = lxd_call(l, "PATCH", path, body, NULL, &operation, err);
  json_object_put(body);
  if (!failed && operation) // a running VM
    return lxd_wait(l, operation, l->call_ms, NULL, err);
  return failed;
}
