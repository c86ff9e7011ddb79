// SPDX-License-Identifier: Apache-2.0
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "storage/s3/s3_internal.h"

DEFINE_CLEANUP(s3_close, struct s3 *)

static bool is_address(const char *host)
{
  struct in_addr v4;
  char bare[256];
  size_t n = strcspn(host, ":");
  if (host[0] == '[')
    return true;
  if (n >= sizeof(bare))
    return false;
  memcpy(bare, host, n);
  bare[n] = '\0';
  return inet_pton(AF_INET, bare, &v4) == 1;
}

static int check_bucket(const char *bucket, struct err *err)
{
  static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
  if (str_empty(bucket))
    return err_set(err, ERR_INVALID, "the store names no bucket");
  if (strlen(bucket) < 3 || strlen(bucket) > 63 || bucket[strspn(bucket, allowed)] ||
      strstr(bucket, ".."))
    return err_set(err, ERR_INVALID, "'%.80s' is not the name of a bucket", bucket);
  return 0;
}

// curl sends no port that is the default of the scheme, and the Host header is signed.
static char *host_header(const char *authority, bool tls)
{
  const char *standard = tls ? ":443" : ":80";
  size_t length = strlen(authority);
  if (str_ends(authority, standard))
    length -= strlen(standard);
  return str_printf("%.*s", (int)length, authority);
}

static int set_addresses(struct s3 *s3, const char *authority, struct err *err)
{
  const struct storage_config *c = s3->config;
  const char *scheme = s3->tls ? "https" : "http";
  char *full cleanup_free =
      c->path_style ? str_dup(authority) : str_printf("%s.%s", c->bucket, authority);
  if (!c->path_style && is_address(authority))
    return err_set(err, ERR_INVALID,
                   "the endpoint is an address, so the bucket cannot stand before it in the host "
                   "name: set pathStyle");
  s3->origin = str_printf("%s://%s", scheme, full ? full : "");
  s3->host = full ? host_header(full, s3->tls) : NULL;
  s3->base_path = c->path_style ? str_printf("/%s/", c->bucket) : str_dup("/");
  if (!full || !s3->origin || !s3->host || !s3->base_path)
    return err_set(err, ERR_NO_MEMORY, "no memory for a store");
  return 0;
}

static int read_endpoint(struct s3 *s3, struct err *err)
{
  const char *endpoint = s3->config->endpoint;
  char *standard cleanup_free = NULL;
  if (str_empty(endpoint)) // Amazon's own
    endpoint = standard = str_printf("https://s3.%s.amazonaws.com", s3->region);
  if (!endpoint)
    return err_set(err, ERR_NO_MEMORY, "no memory for a store");
  const char *authority = str_after(endpoint, "https://");
  s3->tls = authority != NULL;
  if (!authority)
    authority = str_after(endpoint, "http://");
  size_t length = authority ? strcspn(authority, "/?#") : 0;
  bool rest = authority && !str_empty(authority + length) && !str_eq(authority + length, "/");
  if (length == 0 || rest || memchr(authority, '@', length))
    return err_set(err, ERR_INVALID,
                   "endpoint '%.200s' must be https://HOST or https://HOST:PORT (or http://), "
                   "without user name and path",
                   memchr(endpoint, '@', strlen(endpoint)) ? "..." : endpoint);
  char *host cleanup_free = str_printf("%.*s", (int)length, authority);
  return host ? set_addresses(s3, host, err) : err_set(err, ERR_NO_MEMORY, "no memory for a store");
}

static int read_credentials(struct s3 *s3, struct err *err)
{
  const struct storage_config *c = s3->config;
  s3->region = str_empty(c->region) ? "us-east-1" : c->region;
  s3->anonymous = secret_empty(&c->access_key_id) && secret_empty(&c->secret_access_key);
  if (s3->anonymous && !c->read_only)
    return err_set(err, ERR_INVALID,
                   "there are no credentials: give accessKeyID and secretAccessKey (only a store "
                   "that is read only can do without)");
  if (!s3->anonymous && (secret_empty(&c->access_key_id) || secret_empty(&c->secret_access_key)))
    return err_set(err, ERR_INVALID,
                   "accessKeyID and secretAccessKey belong together: one of them "
                   "is missing");
  if (strpbrk(secret_reveal(&c->access_key_id), "\r\n/, ") || strpbrk(s3->region, "\r\n/, "))
    return err_set(err, ERR_INVALID, "accessKeyID or region holds characters that cannot be");
  return 0;
}

int s3_open(const struct storage_config *c, const struct address_filter *allowed, void **ret,
            struct err *err)
{
  struct s3 *s3 CLEANUP(s3_close_p) = calloc(1, sizeof(*s3));
  if (!s3)
    return err_set(err, ERR_NO_MEMORY, "no memory for a store");
  s3->config = c;
  if (check_bucket(c->bucket, err) < 0 || read_credentials(s3, err) < 0 ||
      read_endpoint(s3, err) < 0 || web_store_open(&s3->web, c, allowed, err) < 0)
    return -1;
  *ret = TAKE(s3);
  return 0;
}

void s3_close(void *store)
{
  struct s3 *s3 = store;
  web_store_close(&s3->web);
  free(s3->origin);
  free(s3->host);
  free(s3->base_path);
  free(s3);
}
