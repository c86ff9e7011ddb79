// SPDX-License-Identifier: Apache-2.0
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/limits.h"
#include "base/str.h"
#include "storage/http/dav_internal.h"

#define RESPONSE(name) struct http_response name CLEANUP(http_response_release) = {0}
#define WHAT_BYTES     (LIMIT_PATH_BYTES + 64)

// Servers that give no list of a folder answer 403 for it, and some know no HEAD there: that it
// answers at all is enough. 404 is not.
int dav_check(void *store, void *lane, struct err *err)
{
  struct dav_call c = {.method = "HEAD", .key = "", .what = "looking at the base URL"};
  RESPONSE(r);
  struct err failure = ERR_INIT;
  if (dav_request(store, lane, &c, &r, &failure) == 0 || r.status == 403 || r.status == 405)
    return 0;
  if (r.status == 404)
    return err_set(err, ERR_NOT_FOUND,
                   "the folder of the base URL does not exist: make it on the server, or correct "
                   "the URL (HTTP 404)");
  if (err)
    *err = failure;
  return -1;
}

// ETag, or date and size where there is none.
static void identity_of(const struct http_response *r, uint64_t total_bytes, char b[160])
{
  const char *etag = http_response_header(r, "ETag");
  const char *modified = http_response_header(r, "Last-Modified");
  if (!str_empty(etag) && strlen(etag) < 160)
    snprintf(b, 160, "%s", etag);
  else
    snprintf(b, 160, "%.60s:%" PRIu64, modified ? modified : "", total_bytes);
}

int dav_stat(void *store, void *lane, const char *key, struct storage_stat *ret, struct err *err)
{
  char what[WHAT_BYTES];
  snprintf(what, sizeof(what), "object '%s'", key);
  struct dav_call c = {.method = "HEAD", .key = key, .what = what};
  RESPONSE(r);
  struct storage_stat s = {0};
  if (dav_request(store, lane, &c, &r, err) < 0)
    return -1;
  if (!web_content_length(&r, &s.size_bytes))
    return err_set(err, ERR_UNSUPPORTED, "%s: the server does not tell the size", what);
  s.modified_wall_ms = web_date_ms(http_response_header(&r, "Last-Modified"));
  identity_of(&r, s.size_bytes, s.identity);
  *ret = s;
  return 0;
}

struct range_call {
  const struct dav *dav;
  struct web_lane *lane;
  const char *key;
  struct web_range range;
};

static bool is_same(const struct web_range *r, const struct http_response *response)
{
  char identity[160];
  if (str_empty(r->identity) || r->total_bytes == UINT64_MAX)
    return true;
  identity_of(response, r->total_bytes, identity);
  return str_eq(identity, r->identity);
}

// No If-Match: it never holds for weak ETags. What came is looked at instead.
static int range_once(void *arg, struct err *err)
{
  struct range_call *g = arg;
  char text[64], what[WHAT_BYTES];
  snprintf(what, sizeof(what), "reading '%s'", g->key);
  struct dav_call c = {.method = "GET", .key = g->key, .what = what, .range = &g->range};
  dav_call_header(&c, "Range", web_range_text(&g->range, text));
  RESPONSE(r);
  if (dav_attempt(g->dav, g->lane, &c, &r, err) < 0)
    return r.status == 416 || r.status == 412
               ? err_set(err, ERR_CHANGED, "%s: the object is not the same any more", what)
               : -1;
  return web_range_check(&g->range, &r, err) < 0 ? err_prefix(err, "%s", what) : 0;
}

int dav_get_range(void *store, void *lane, const char *key, const char *identity, void *into,
                  size_t length, uint64_t offset, struct err *err)
{
  struct range_call g = {
      .dav = store,
      .lane = lane,
      .key = key,
      .range = {
          .into = into, .length = length, .offset = offset, .same = is_same, .identity = identity}};
  return storage_retry(&g.lane->stop, range_once, &g, err);
}

int dav_remove(void *store, void *lane, const char *key, struct err *err)
{
  char what[WHAT_BYTES];
  snprintf(what, sizeof(what), "removing '%s'", key);
  struct dav_call c = {.method = "DELETE", .key = key, .what = what};
  RESPONSE(r);
  if (dav_request(store, lane, &c, &r, err) == 0 || r.status == 404 || r.status == 410)
    return 0;
  return -1;
}

int dav_remove_partial(void *store, void *lane, const char *key, const char *owner, struct err *err)
{
  char *partial cleanup_free = storage_partial_key(key, owner);
  return partial ? dav_remove(store, lane, partial, err)
                 : err_set(err, ERR_NO_MEMORY, "no memory for a name");
}
