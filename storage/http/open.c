// SPDX-License-Identifier: Apache-2.0
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "storage/http/dav_internal.h"

DEFINE_CLEANUP(dav_close, struct dav *)

static int read_url(struct dav *d, struct err *err)
{
  const char *url = d->config->endpoint ? d->config->endpoint : "";
  const char *rest = str_after(url, "https://");
  if (!rest)
    rest = str_after(url, "http://");
  size_t host = rest ? strcspn(rest, "/") : 0;
  if (host == 0 || strpbrk(url, "?#@ \"<>\r\n\t"))
    return err_set(err, ERR_INVALID,
                   "the URL must be http:// or https:// with a host and maybe a path, without user "
                   "name, query or blanks; credentials go into the Secret");
  size_t length = strlen(url);
  while (length && url[length - 1] == '/')
    length--;
  d->base = str_printf("%.*s", (int)length, url);
  size_t before = (size_t)(rest - url) + host;
  d->path = d->base && length > before ? str_dup(d->base + before) : str_dup("");
  return d->base && d->path ? 0 : err_set(err, ERR_NO_MEMORY, "no memory for a store");
}

static int check_credentials(const struct storage_config *c, struct err *err)
{
  bool basic = !str_empty(c->username) || !secret_empty(&c->password);
  if (basic && !secret_empty(&c->token))
    return err_set(err, ERR_INVALID,
                   "the Secret holds a token and a user name or password: one of the two");
  if (!secret_empty(&c->password) && str_empty(c->username))
    return err_set(err, ERR_INVALID, "the Secret holds a password without a user name");
  return 0;
}

int dav_open(const struct storage_config *c, const struct address_filter *allowed, void **ret,
             struct err *err)
{
  struct dav *d CLEANUP(dav_close_p) = calloc(1, sizeof(*d));
  if (!d)
    return err_set(err, ERR_NO_MEMORY, "no memory for a store");
  d->config = c;
  atomic_init(&d->open_bodies, STORAGE_UNKNOWN);
  if (read_url(d, err) < 0 || check_credentials(c, err) < 0 ||
      web_store_open(&d->web, c, allowed, err) < 0)
    return -1;
  *ret = TAKE(d);
  return 0;
}

void dav_close(void *store)
{
  struct dav *d = store;
  web_store_close(&d->web);
  free(d->base);
  free(d->path);
  free(d);
}

// ---- registry ----

static void describe(const struct storage_config *c, struct buf *into)
{
  buf_adds(into, "http store ");
  web_shown_url(c->endpoint ? c->endpoint : "(no URL)", into);
}

const struct storage_ops storage_http_ops = {
    .name = "http",
    .keeps_owner = false,
    .ordered = true,
    .takes_any_length = dav_takes_any_length,
    .describe = describe,
    .open = dav_open,
    .close = dav_close,
    .keys = web_store_keys,
    .round_trip_ms = web_store_round_trip_ms,
    .lane_open = web_store_lane_open,
    .lane_close = web_store_lane_close,
    .interrupt = web_store_interrupt,
    .check = dav_check,
    .stat = dav_stat,
    .list = dav_list,
    .remove = dav_remove,
    .remove_partial = dav_remove_partial,
    .get_range = dav_get_range,
    .put = dav_put,
    .put_probe = dav_put_probe,
    .writer = dav_writer,
};
