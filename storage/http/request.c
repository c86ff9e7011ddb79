// SPDX-License-Identifier: Apache-2.0
#include <assert.h>
#include <stdio.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "storage/http/dav_internal.h"
#include "storage/xml_internal.h"

void dav_call_header(struct dav_call *c, const char *name, const char *value)
{
  assert(c->header_count + 1 < DAV_HEADERS_MAX); // the last one stays empty
  c->headers[c->header_count++] = (struct http_header){name, value};
}

char *dav_url(const struct dav *d, const char *key)
{
  struct buf url CLEANUP(buf_release) = BUF_INIT(0);
  buf_printf(&url, "%s/", d->base);
  buf_add_escaped(&url, key, "/");
  return buf_take(&url);
}

static const struct status_row {
  const char *method; // NULL = any
  long status;
  enum err_kind kind;
  const char *sentence;
} rows[] = {
    {NULL, 401, ERR_AUTH,
     "the server refuses the credentials: check user name and password, or the "
     "token, in the Secret"},
    {NULL, 403, ERR_DENIED, "the server does not allow it to this user"},
    {"HEAD", 405, ERR_UNSUPPORTED, "the server does not answer HEAD"},
    {"PROPFIND", 405, ERR_UNSUPPORTED, "the server gives no lists (no WebDAV PROPFIND)"},
    {"PROPFIND", 501, ERR_UNSUPPORTED, "the server gives no lists (no WebDAV PROPFIND)"},
    {NULL, 405, ERR_DENIED,
     "the server takes no such request there: it is read only, or WebDAV "
     "(PUT, DELETE, MOVE, MKCOL) is not turned on"},
    {NULL, 501, ERR_UNSUPPORTED, "the server does not know this request"},
    {"PUT", 411, ERR_UNSUPPORTED,
     "the server wants to know the length before the first byte, and a compressed image has it at "
     "its end: use format raw or qcow2"},
    {"PUT", 409, ERR_NOT_FOUND, "the folder does not exist and cannot be made"},
    {"PUT", 500, ERR_PROTOCOL,
     "the server failed to take the data; some servers (nginx) say no more "
     "than this when their disk is full"},
};

static int status_error(const struct dav_call *c, const struct http_response *r, struct err *err)
{
  for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
    if (rows[i].status == r->status && (!rows[i].method || str_eq(rows[i].method, c->method))) {
      err_set(err, rows[i].kind, "%s: %s (HTTP %ld)", c->what, rows[i].sentence, r->status);
      if (err)
        err->retry_after_ms = (long)r->retry_after_ms;
      return -1;
    }
  return http_status_error(r, c->what, err);
}

static int attempt_with(const struct dav *d, struct web_lane *lane, const struct dav_call *c,
                        const struct storage_config *keys, struct http_response *ret,
                        struct err *err)
{
  char *url cleanup_free = dav_url(d, c->key);
  struct http_request request = {
      .method = c->method,
      .url = url,
      .headers = c->headers,
      .bearer = &keys->token,
      .basic_user = keys->username,
      .basic_password = &keys->password,
      .body_max = XML_BYTES_MAX,
      .total_timeout_ms = c->total_timeout_ms,
      .head = c->range ? web_range_head : NULL,
      .sink = c->range ? web_range_sink : NULL,
      .sink_arg = c->range,
      .idle_timeout_ms = str_eq(c->method, "MOVE") ? WEB_THINKING_TIMEOUT_MS : 0,
  };
  if (!url)
    return err_set(err, ERR_NO_MEMORY, "no memory for a request");
  if (c->body) {
    request.body = c->body->bytes;
    request.body_length = c->body->length;
    request.read_body = web_read_body;
    request.read_arg = (void *)(uintptr_t)c->body;
    request.read_some = web_read_some;
    request.send_at_once = c->body->length <= WEB_SMALL_BODY_BYTES;
  }
  http_response_release(ret);
  if (http_perform(lane->session, &request, ret, err) < 0)
    return err_prefix(err, "%s", c->what);
  return ret->status / 100 == 2 ? 0 : status_error(c, ret, err);
}

int dav_attempt(const struct dav *d, struct web_lane *lane, const struct dav_call *c,
                struct http_response *ret, struct err *err)
{
  for (bool again = false;; again = true) {
    struct storage_config keys CLEANUP(storage_config_release) = {0};
    struct err failure = ERR_INIT;
    unsigned number = 0;
    if (storage_keys_take(d->web.keys, &keys, &number, err) < 0)
      return -1;
    if (attempt_with(d, lane, c, &keys, ret, &failure) == 0)
      return 0;
    if (again || ret->status != 401 || !storage_keys_renew(d->web.keys, number)) {
      if (err)
        *err = failure;
      return -1;
    }
  }
}

struct attempt {
  const struct dav *dav;
  struct web_lane *lane;
  const struct dav_call *call;
  struct http_response *response;
};

static int once(void *arg, struct err *err)
{
  struct attempt *a = arg;
  return dav_attempt(a->dav, a->lane, a->call, a->response, err);
}

int dav_request(const struct dav *d, struct web_lane *lane, const struct dav_call *c,
                struct http_response *ret, struct err *err)
{
  struct attempt a = {d, lane, c, ret};
  return storage_retry(&lane->stop, once, &a, err);
}
