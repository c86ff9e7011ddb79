// SPDX-License-Identifier: Apache-2.0
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/limits.h"
#include "base/str.h"
#include "storage/s3/answers_internal.h"
#include "storage/s3/s3_internal.h"

#define ANSWER(name) struct s3_answer name CLEANUP(s3_answer_release) = {0}
#define WHAT_BYTES   (LIMIT_PATH_BYTES + 64)

// ---- stat ----

static int read_head(const struct s3_call *c, const struct http_response *r, struct s3_head *ret,
                     struct err *err)
{
  struct s3_head h = {0};
  char etag[S3_ETAG_BYTES];
  const char *nonce = http_response_header(r, S3_UPLOAD_HEADER);
  const char *owner = http_response_header(r, S3_OWNER_HEADER);
  if (!web_content_length(r, &h.stat.size_bytes) || !s3_etag(r, etag))
    return err_set(err, ERR_PROTOCOL, "%s: the server tells no size or no ETag", c->what);
  snprintf(h.stat.identity, sizeof(h.stat.identity), "%s", etag);
  h.stat.modified_wall_ms = web_date_ms(http_response_header(r, "Last-Modified"));
  if (owner)
    web_unescape(owner, h.stat.owner, sizeof(h.stat.owner));
  snprintf(h.nonce, sizeof(h.nonce), "%s", nonce ? nonce : "");
  *ret = h;
  return 0;
}

int s3_head(const struct s3 *s3, struct web_lane *lane, const char *key, struct s3_head *ret,
            struct err *err)
{
  char what[WHAT_BYTES];
  snprintf(what, sizeof(what), "object '%s'", key);
  struct s3_call c = {.method = "HEAD", .key = key, .what = what};
  ANSWER(a);
  struct err failure = ERR_INIT;
  if (s3_request(s3, lane, &c, &a, &failure) == 0)
    return read_head(&c, &a.http, ret, err);
  // An answer to HEAD has no body that could say why. One byte of GET has; and where that finds
  // that the credentials had expired, and gets new ones, the HEAD is worth another try.
  if (a.http.status >= 300 && a.http.status != 404 && a.http.status < 500) {
    ANSWER(why);
    struct s3_call get = {.method = "GET", .key = key, .what = what};
    s3_call_header(&get, "Range", "bytes=0-0");
    struct err better = ERR_INIT;
    if (s3_request(s3, lane, &get, &why, &better) < 0)
      failure = better;
    else if (s3_request(s3, lane, &c, &a, &failure) == 0)
      return read_head(&c, &a.http, ret, err);
  }
  if (err)
    *err = failure;
  return -1;
}

int s3_stat(void *store, void *lane, const char *key, struct storage_stat *ret, struct err *err)
{
  struct s3_head head;
  if (s3_head(store, lane, key, &head, err) < 0)
    return -1;
  *ret = head.stat;
  return 0;
}

// ---- ranges ----

struct range_call {
  const struct s3 *s3;
  struct web_lane *lane;
  const char *key;
  struct web_range range;
};

// For servers that do not know If-Match.
static bool is_same(const struct web_range *r, const struct http_response *response)
{
  char etag[S3_ETAG_BYTES];
  return str_empty(r->identity) || !s3_etag(response, etag) || str_eq(etag, r->identity);
}

static int range_once(void *arg, struct err *err)
{
  struct range_call *g = arg;
  char text[64], what[WHAT_BYTES], quoted[S3_ETAG_BYTES + 3];
  snprintf(what, sizeof(what), "reading '%s'", g->key);
  struct s3_call c = {.method = "GET", .key = g->key, .what = what, .range = &g->range};
  s3_call_header(&c, "Range", web_range_text(&g->range, text));
  if (!str_empty(g->range.identity)) {
    snprintf(quoted, sizeof(quoted), "\"%s\"", g->range.identity);
    s3_call_header(&c, "If-Match", quoted);
  }
  ANSWER(a);
  if (s3_attempt(g->s3, g->lane, &c, &a, err) == 0)
    return web_range_check(&g->range, &a.http, err) < 0 ? err_prefix(err, "%s", what) : 0;
  if (a.http.status == 412 || a.http.status == 416)
    return err_set(err, ERR_CHANGED, "%s: the object is not the same any more", what);
  return -1;
}

int s3_get_range(void *store, void *lane, const char *key, const char *identity, void *into,
                 size_t length, uint64_t offset, struct err *err)
{
  struct range_call g = {
      .s3 = store,
      .lane = lane,
      .key = key,
      .range = {
          .into = into, .length = length, .offset = offset, .same = is_same, .identity = identity}};
  return storage_retry(&g.lane->stop, range_once, &g, err);
}

// ---- list ----

static int list_page(const struct s3 *s3, struct web_lane *lane, const char *prefix,
                     const char *page_size, struct s3_page *p, struct err *err)
{
  char *token cleanup_free = TAKE(p->next);
  struct s3_call c = {.method = "GET", .what = "listing the bucket"};
  s3_call_query(&c, "list-type", "2");
  s3_call_query(&c, "encoding-type", "url");
  s3_call_query(&c, "max-keys", page_size);
  s3_call_query(&c, "prefix", prefix);
  if (token)
    s3_call_query(&c, "continuation-token", token);
  ANSWER(a);
  if (s3_request(s3, lane, &c, &a, err) < 0)
    return -1;
  if (s3_read_page(&a.http.body, p, err) < 0)
    return err_prefix(err, "%s", c.what);
  if (token && str_eq(token, p->next))
    return err_set(err, ERR_PROTOCOL, "the server's list does not end: it goes on where it was");
  return 0;
}

int s3_list(void *store, void *lane, const char *folder, size_t max, struct strings *ret,
            struct err *err)
{
  struct s3_page p = {.names = ret, .max = max};
  char *prefix cleanup_free = str_empty(folder) ? str_dup("") : str_printf("%s/", folder);
  char page_size[16];
  snprintf(page_size, sizeof(page_size), "%d", S3_LIST_PAGE);
  if (!prefix)
    return err_set(err, ERR_NO_MEMORY, "no memory for a list");
  for (size_t pages = 0; pages < S3_PAGES_MAX; pages++) {
    if (list_page(store, lane, prefix, page_size, &p, err) < 0) {
      free(p.next);
      return -1;
    }
    if (!p.next)
      return 0;
  }
  free(p.next);
  return err_set(err, ERR_PROTOCOL, "the server's list does not end");
}

// Listing one key needs the address, the credentials and the bucket, and no object.
int s3_check(void *store, void *lane, struct err *err)
{
  struct s3 *s3 = store;
  struct strings names CLEANUP(strings_release) = {0};
  struct s3_page p = {.names = &names, .max = S3_LIST_PAGE};
  const char *prefix = s3->config->prefix ? s3->config->prefix : "";
  int result = list_page(s3, lane, prefix, "1", &p, err);
  free(p.next);
  return result;
}

int s3_remove(void *store, void *lane, const char *key, struct err *err)
{
  char what[WHAT_BYTES];
  snprintf(what, sizeof(what), "removing '%s'", key);
  struct s3_call c = {.method = "DELETE", .key = key, .what = what};
  ANSWER(a);
  if (s3_request(store, lane, &c, &a, err) == 0 || str_eq(a.code, "NoSuchKey"))
    return 0;
  return -1;
}

// ---- put ----

int s3_is_ours(const struct s3 *s3, struct web_lane *lane, const char *key, const char *nonce,
               uint64_t size_bytes, struct err *err)
{
  struct s3_head head;
  struct err failure = ERR_INIT;
  if (s3_head(s3, lane, key, &head, &failure) < 0) {
    if (failure.kind == ERR_NOT_FOUND)
      return 0;
    if (err)
      *err = failure;
    return -1;
  }
  if (str_eq(head.nonce, nonce) && head.stat.size_bytes == size_bytes)
    return 1;
  return err_set(err, ERR_EXISTS, "object '%s' exists already%s%s", key,
                 head.stat.owner[0] ? " and belongs to " : "", head.stat.owner);
}

static int put_once(struct s3 *s3, struct web_lane *lane, struct s3_call *c,
                    const struct s3_digests *d, bool conditional, struct err *err)
{
  ANSWER(a);
  char etag[S3_ETAG_BYTES];
  size_t header_count = c->header_count;
  if (conditional)
    s3_call_header(c, "If-None-Match", "*");
  int result = s3_request(s3, lane, c, &a, err);
  c->header_count = header_count;
  if (result < 0)
    return -1;
  return s3_etag(&a.http, etag) ? s3_check_etag(&a.http, etag, d, err) : 0;
}

int s3_put_object(struct s3 *s3, struct web_lane *lane, const char *key,
                  const struct object_body *body, const char *owner, const char *nonce,
                  bool only_new, struct err *err)
{
  struct s3_digests d;
  char what[WHAT_BYTES];
  char *escaped cleanup_free = s3_escape_owner(owner);
  snprintf(what, sizeof(what), "writing '%s'", key);
  struct s3_call c = {.method = "PUT", .key = key, .what = what};
  if (!escaped)
    return err_set(err, ERR_NO_MEMORY, "no memory for a request");
  if (s3_digest(s3, body, true, &d, err) < 0)
    return -1;
  s3_call_body(&c, body, &d);
  s3_call_header(&c, "Content-Type", "application/octet-stream");
  s3_call_header(&c, S3_UPLOAD_HEADER, nonce);
  if (escaped[0])
    s3_call_header(&c, S3_OWNER_HEADER, escaped);
  if (!only_new)
    return put_once(s3, lane, &c, &d, false, err);

  int there = s3_is_ours(s3, lane, key, nonce, body->length, err);
  if (there != 0)
    return there < 0 ? -1 : 0;
  struct err failure = ERR_INIT;
  bool conditional = !atomic_load(&s3->no_conditional_put);
  int result = put_once(s3, lane, &c, &d, conditional, &failure);
  if (result < 0 && conditional && failure.kind == ERR_UNSUPPORTED) {
    atomic_store(&s3->no_conditional_put, true);
    result = put_once(s3, lane, &c, &d, false, &failure);
  }
  if (result < 0 && failure.kind == ERR_CONFLICT) { // somebody's, or a lost answer of ours
    there = s3_is_ours(s3, lane, key, nonce, body->length, err);
    if (there != 0)
      return there < 0 ? -1 : 0;
  }
  if (result < 0 && err)
    *err = failure;
  return result;
}

int s3_put(void *store, void *lane, const char *key, const void *data, size_t length,
           const char *owner, bool only_new, struct err *err)
{
  char nonce[S3_NONCE_BYTES];
  struct object_body body = object_body_bytes(data, length);
  s3_nonce(nonce);
  return s3_put_object(store, lane, key, &body, owner, nonce, only_new, err);
}
